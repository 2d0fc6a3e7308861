"""Documents for the tests of texts: of steps of courses, the log of them, and the watch. Each is as its schema says."""

from tests.builders.core_rows import NOON

COURSE = "course-v1:ExU+PY1+2026"
CANARY = "course-v1:ExU+PY0+2026"
PROBLEM = "block-v1:ExU+PY1+2026+type@problem+block@a"
AT = NOON.isoformat()
STANDS = ("done", "watched", "failed", "moved", "planned", "refused", "waits")
FIRST, SECOND = "a" * 64, "b" * 64
HANDOFF = f"xqueue_backfill --mode handoff --course {COURSE}"
GO_BACK = f"xqueue_backfill --mode return --course {COURSE} --execute"


def moves(side, rows, what, how, instead=None):
    return {"side": side, "rows": rows, "what": what, "how": how, "instead": instead}


def polled(queue, seam, holds="real", until_empty=False):
    return {"queue": queue, "seam": seam, "holds": holds, "until_empty": until_empty}


def cutover(**changes):
    return {
        "schema": "migration_shim.xqueue_cutover/1",
        "course": COURSE,
        "at": AT,
        "from": "shadow",
        "to": "live",
        "reason": "term starts",
        "gated": True,
        "permitted": True,
        "overridden": False,
        "override": None,
        "verdict": "PASS",
        "causes": [],
        "reasons": [],
        "needed": [],
        "flags_before": {"migration_shim.dual_write": True, "migration_shim.target_primary": False},
        "flags_after": {"migration_shim.dual_write": True, "migration_shim.target_primary": True},
        "authoritative_after": "target",
        "platform_flag_before": False,
        "in_flight": {"legacy": {"queued": 3, "pulled": 1}, "target": {}},
        "becomes": [
            moves("legacy", 4, "drain", "They stay with legacy's graders.", HANDOFF),
            moves("between", 2, "held", "No grader has them.", f"{HANDOFF} --execute"),
        ],
        "serve": [
            polled("exu-py1", "target"),
            polled("exu-py1.reverse", "legacy", "reverse"),
            polled("exu-py1", "legacy", until_empty=True),
        ],
        "xqueues": {"exu-py1.reverse": None, "exu-py1": None},
        "remember": "Keep XQueue running.",
        "way_back": "xqueue_cutover --to legacy",
        "next": [f"xqueue_status --course {COURSE}", f"xqueue_reconcile --course {COURSE}"],
        "executed": False,
    } | changes


def cutover_to_legacy():
    """The way back, while legacy's database does not answer and the platform's own flag is on."""
    return cutover() | {
        "from": "live",
        "to": "legacy",
        "gated": False,
        "verdict": None,
        "flags_before": {"migration_shim.dual_write": True, "migration_shim.target_primary": True},
        "flags_after": {"migration_shim.dual_write": False, "migration_shim.target_primary": False},
        "authoritative_after": "legacy",
        "platform_flag_before": True,
        "in_flight": {"legacy": None, "target": {"pending": 5}},
        "becomes": [
            moves("legacy", None, "stay", "They are graded on legacy, as new ones are."),
            moves("target", 5, "drain", "They stay with the target's graders.", GO_BACK),
        ],
        "serve": [],
        "xqueues": {},
        "way_back": None,
    }


def removal(**changes):
    return {
        "schema": "migration_shim.xqueue_cutover_removal/1",
        "course": COURSE,
        "at": AT,
        "shadows": 119,
        "removed": 0,
        "executed": False,
    } | changes


def in_wave(course, state, **changes):
    return {
        "course": course,
        "state": state,
        "from": "shadow",
        "verdict": None,
        "overridden": False,
        "reasons": [],
        "needed": [],
        "in_flight": None,
    } | changes


def wave(*courses, **changes):
    return {
        "schema": "migration_shim.xqueue_cutover_wave/1",
        "at": AT,
        "to": "live",
        "reason": "term starts",
        "limit": 1,
        "canary": CANARY,
        "counts": {stand: sum(course["state"] == stand for course in courses) for stand in STANDS},
        "stopped": None,
        "courses": list(courses),
        "next": [],
        "executed": True,
    } | changes


def signed(**changes):
    """An override on record; a proposal if not changed."""
    return {
        "id": 3,
        "step_to": "live",
        "causes": ["stale", "needs_pairs"],
        "reason": "term starts",
        "signed_by": "ada",
        "seconded_by": "",
        "signed_at": AT,
        "expires_at": AT,
        "used_at": None,
        "verdict": "INCONCLUSIVE",
        "reasons": ["there was no preflight", "too few pairs"],
    } | changes


def release(**changes):
    return {
        "schema": "migration_shim.xqueue_cutover_release/1",
        "course": COURSE,
        "at": AT,
        "reason": "term is over",
        "preflight_at": AT,
        "permitted": True,
        "reasons": [],
        "findings": [],
        "acceptable": ["residue_purged", "submission_time_format"],
        "accepted": [],
        "override": None,
        "flag": "send_to_submission_course.enable",
        "flag_before": False,
        "way_back": f"xqueue_cutover --course {COURSE} --to live --reason TEXT --execute",
        "executed": False,
    } | changes


def lost(code, side="legacy"):
    """What a course would lose by its release."""
    return {"code": code, "rows": 7, "queue": "exu-py1", "problem": PROBLEM, "side": side}


def entry(position, step_from, step_to, digest, **changes):
    return {
        "id": 40 + (position or 0),
        "position": position,
        "at": AT,
        "from": step_from,
        "to": step_to,
        "by": "ada",
        "reason": "first look",
        "evidence": {"verdict": None, "login": "grace"},
        "digest": digest,
    } | changes


def logged(**changes):
    return {
        "course": COURSE,
        "phase": "live",
        "length": 2,
        "head": SECOND,
        "older": 0,
        "broken": [],
        "entries": [entry(1, "legacy", "shadow", FIRST), entry(2, "shadow", "live", SECOND, reason="term starts")],
    } | changes


def audit(*courses, **changes):
    broken = sum(len(course["broken"]) for course in courses)
    return {
        "schema": "migration_shim.xqueue_audit/1",
        "at": AT,
        "whole": not broken,
        "broken": broken,
        "compared_with_noted": False,
        "digest": "c" * 64,
        "courses": list(courses),
    } | changes


def breach(bound, rows, text, target_failed=False):
    return {"bound": bound, "rows": rows, "text": text, "target_failed": target_failed}


def watched(**changes):
    return {
        "course": COURSE,
        "phase": "live",
        "handoff": {},
        "return": {},
        "reconcile": {
            "complete": True,
            "of": 9,
            "compared": 8,
            "equal": 5,
            "diverged": 1,
            "waiting": 2,
            "overdue": 3,
        },
        "redelivery": {},
        "reverse": {"owed": 0, "started": 0},
        "breaches": [],
        "new_queues": [],
        "stepped_back": False,
        "not_stepped_back": "",
        "next": [],
    } | changes


def watch(*courses, **changes):
    return {
        "schema": "migration_shim.xqueue_watch/1",
        "at": AT,
        "seconds": 1.5,
        "complete": True,
        "stopped_by": "",
        "kill_switch": False,
        "waiting": "",
        "courses": list(courses),
        "outbox": {},
        "repaired": None,
        "campaigns": [],
        "forgotten": 0,
        "purge": purge(),
        "sweep": sweep(),
        "problems": [],
        "next": [command for course in courses for command in course["next"]],
    } | changes


def campaign(*courses, **changes):
    return {
        "schema": "migration_shim.xqueue_campaign/1",
        "at": NOON.isoformat(),
        "action": "status",
        "executed": False,
        "campaigns": [
            {
                "name": "autumn",
                "state": "running",
                "said": "",
                "to": "complete",
                "canary": COURSE,
                "canary_because": "",
                "limit": 5,
                "soak": "48h",
                "windows": ["Mon-Thu 09:00-16:00 Europe/Berlin"],
                "freezes": ["2026-12-10..2026-12-20"],
                "not_before": "",
                "zone": "Europe/Berlin",
                "reason": "term over",
                "started_at": NOON.isoformat(),
                "started_by": "ada",
                "counts": {"going": 1, "parked": 0, "failed": 1, "done": 0},
                "courses": list(courses),
                "lines": [{"at": NOON.isoformat(), "by": "ada", "course": "", "what": "start", "text": "term over"}],
            }
            | changes
        ],
    }


def member(**changes):
    return {
        "course": COURSE,
        "phase": "shadow",
        "state": "going",
        "next": None,
        "says": "waits for 212 more graded pairs",
        "expected_at": None,
    } | changes


def purge(**changes):
    ledger = {"entries": 12, "with_residue": 3, "oldest_settled_at": None}
    return {"executed": False, "found": 0, "dropped": 0, "kept": {}, "more": False, "ledger": ledger} | changes


def sweep(**changes):
    return {"at": AT, "executed": False, "ours": 4, "young": 1, "old": 0, "removed": 0} | changes


OVERDUE = breach("overdue", 3, "3 submissions are overdue or missing on target, whose learners wait", True)
NOT_DONE = {"step": "reconcile", "course": COURSE, "said": "OperationalError"}

PASSED = {
    "overridden": True,
    "verdict": "INCONCLUSIVE",
    "causes": ["stale", "needs_pairs"],
    "reasons": ["there was no preflight", "too few pairs"],
}

DOCUMENTS = {
    "runs": {
        "schema": "migration_shim.xqueue_status_runs/1",
        "at": "2026-11-30T14:04:18+00:00",
        "runs": [
            {
                "id": 12,
                "command": "xqueue_reconcile",
                "scope": COURSE,
                "state": "running",
                "started_at": "2026-11-30T14:02:08+00:00",
                "last_sign_at": "2026-11-30T14:04:10+00:00",
                "last_sign_seconds": 8.0,
                "frees_at": "2026-11-30T14:06:10+00:00",
                "waits_for": "",
                "pid": 4711,
                "host": "lms-worker-3",
                "user": "app",
            }
        ],
        "more": False,
        "page": "docs/runbook/errors.md#another-run-holds-the-lock",
    },
    "cutover": cutover(),
    "cutover, done": cutover(executed=True),
    "cutover, back to legacy": cutover_to_legacy(),
    "cutover, overridden": cutover(**PASSED),
    "cutover, overridden, done": cutover(**PASSED, override=signed(used_at=AT, seconded_by="grace"), executed=True),
    "cutover, proposed": cutover(**PASSED, override=signed()),
    "cutover, refused": cutover(
        permitted=False,
        verdict="STALE",
        causes=["stale"],
        reasons=["too old"],
        needed=["a reconcile"],
        next=[f"xqueue_gate --course {COURSE} --explain"],
    ),
    "removal": removal(),
    "removal, done": removal(executed=True, removed=119),
    "wave": wave(
        in_wave(CANARY, "done", **{"from": "live"}),
        in_wave(COURSE, "moved", verdict="PASS", in_flight={"legacy": {"queued": 3}, "target": {}}),
        in_wave("course-v1:ExU+PY2+2026", "waits", reasons=["1 course is in flight, and --wave allows 1"]),
        next=[f"xqueue_reconcile --course {COURSE}"],
    ),
    "wave, plan": wave(
        in_wave(CANARY, "planned", verdict="INCONCLUSIVE", overridden=True, in_flight={"legacy": None, "target": {}}),
        in_wave(COURSE, "waits", reasons=["1 course is in flight, and --wave allows 1"]),
        executed=False,
    ),
    "wave, stopped": wave(
        in_wave(CANARY, "failed", reasons=["2 overdue"], **{"from": "live"}),
        in_wave(COURSE, "waits", reasons=[f"{CANARY} is not well in live"]),
        stopped=f"{CANARY} is not well in live",
        next=[f"xqueue_gate --course {CANARY} --explain"],
    ),
    "wave, refused": wave(
        in_wave(CANARY, "refused", reasons=["too few pairs"], needed=["40 more graded pairs"]),
        next=[f"xqueue_gate --course {CANARY} --explain"],
    ),
    "release": release(),
    "release, done": release(executed=True),
    "release, accepted": release(accepted=["submission_time_format"], findings=[lost("submission_time_format")]),
    "release, acceptable": release(permitted=False, findings=[lost("residue_purged", "target")]),
    "release, refused": release(
        permitted=False, accepted=["residue_purged"], findings=[lost("residue_purged", "target"), lost("random_seed")]
    ),
    "release, no evidence": release(permitted=False, preflight_at=None, reasons=["there is no preflight"]),
    "audit": audit(logged()),
    "audit, compared": audit(logged(), compared_with_noted=True),
    "audit, no log": audit(logged(phase=None, length=0, head=None, entries=[])),
    "audit, broken": audit(
        logged(
            length=3,
            older=1,
            broken=["entry 42 is not what was written", "the log ends at place 2"],
            entries=[entry(None, "legacy", "shadow", None), entry(2, "shadow", "live", SECOND)],
        )
    ),
    "campaign": campaign(member(), member(state="failed", says="failed in shadow: 3 overdue")),
    "watch": watch(watched()),
    "watch, campaign": watch(
        campaigns=[
            {
                "name": "autumn",
                "state": "running",
                "said": "",
                "stopped": {"parked": 0, "failed": 2},
                "courses": [
                    {
                        "course": COURSE,
                        "did": ["preflight", "shadow"],
                        "says": "stepped from legacy to shadow",
                        "looked_at": None,
                    }
                ],
            }
        ]
    ),
    "watch, nothing compared": watch(
        watched(phase=None, handoff=None, reconcile=None, reverse=None), kill_switch=True, waiting="the disk is slow"
    ),
    "watch, delivered again": watch(watched(redelivery={"delivered": 2, "without_effect": 1})),
    "watch, breach": watch(watched(breaches=[OVERDUE], not_stepped_back="WATCH_STEP_BACK is off")),
    "watch, stepped back": watch(
        watched(phase="legacy", reverse=None, breaches=[OVERDUE], stepped_back=True, next=[GO_BACK])
    ),
    "watch, not done": watch(
        watched(reconcile=None), purge=None, problems=[NOT_DONE, {**NOT_DONE, "step": "purge", "course": ""}]
    ),
    "watch, stopped": watch(complete=False, stopped_by="SIGTERM", purge=None, sweep=None),
    "watch, tidied up": watch(
        watched(handoff={"released": 2, "waiting": 1}, reverse={"owed": 5, "started": 4}),
        repaired={"complete": True, "read": 9, "written": 6, "classes": {"imported": 6, "present": 3}},
        forgotten=8,
        purge=purge(executed=True, found=11, dropped=10, kept={"copy_owed": 1}),
        sweep=sweep(old=3),
    ),
}
