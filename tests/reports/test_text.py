"""Documents as text: each one renders, says what matters first, names the next command, and shows no learner."""

import copy
import importlib
import json
import pkgutil
import re
from datetime import timedelta

import pytest

import migration_shim
from migration_shim.core.attention import attention
from migration_shim.core.data import DivergenceClass
from migration_shim.core.reconcile_document import whole_content
from migration_shim.reports.terminal import render
from tests.builders import documents as step_documents
from tests.builders.core_rows import NOON
from tests.builders.documents import CANARY, COURSE, GO_BACK, HANDOFF, PROBLEM, cutover
from tests.schemas import validate


def finding(code, severity, rows=0, example=None, seam=False, about="", listed=()):
    return {
        "code": code,
        "severity": severity,
        "seam": seam,
        "rows": rows,
        "example_legacy_id": example,
        "listed_legacy_ids": list(listed),
        "queue": "exu-py1",
        "problem": PROBLEM,
        "about": about,
        "effect": f"effect of {code}",
        "advice": f"advice on {code}",
    }


def preflight(*findings):
    return {
        "schema": "migration_shim.xqueue_preflight/1",
        "course": COURSE,
        "at": NOON.isoformat(),
        "rows": 1793,
        "classes": {"final": 1683, "imported": 74, "superseded": 36},
        "queues": ["exu-py1"],
        "cohorts": [],
        "retention": {"rows": 3141, "oldest_legacy_id": 2356, "oldest_arrival": NOON.isoformat(), "missing_ids": 229},
        "history": {"pairs": 400, "graded": 1683, "per_problem": 200, "needed": 449, "thin_problems": [PROBLEM]},
        "findings": list(findings),
        "probes": [],
        "versions": {},
    }


def backfill(**changes):
    return {
        "schema": "migration_shim.xqueue_backfill/1",
        "mode": "shadow",
        "executed": True,
        "scope": "shadow open",
        "finished_at": NOON.isoformat(),
        "read": 404,
        "written": 395,
        "classes": {"imported": 395, "malformed": 9, "final": 0},
        "reasons": {"malformed": {"body_not_json": 1, "callback_no_course": 8}},
        "adds_mb": 2.04,
        "waited": {},
        "left": 0,
        "checkpoint": 0,
        "complete": True,
        "stopped_by": "",
        "next": ["xqueue_reconcile --all"],
        "seconds": 1.5,
    } | changes


def reconcile(complete=True):
    cohort = {
        "course": COURSE,
        "queue": "exu-py1",
        "problem": PROBLEM,
        "pairs": 4,
        "equal": 2,
        "diverged": 1,
        "known": 1,
    }
    course = {
        "course": COURSE,
        "complete": complete,
        "finished_at": NOON.isoformat(),
        "of": 5,
        "compared": 4,
        "equal": 2,
        "diverged": 1,
        "waiting": 0,
        "overdue": 0,
        "full": False,
        "last_full_at": NOON.isoformat(),
        "stopped_by": "",
        "waited": {},
        "looked_at": 3,
        "classes": {klass.value: int(klass is DivergenceClass.SCORE) for klass in DivergenceClass},
        "known_differences": {"collided_on_legacy_only": 1},
        "echoed": 0,
        "fence_leaks": 0,
        "double_authority": 0,
        "counters_differed": 0,
        "payloads_compared": 4,
        "cohorts": [cohort],
        "latency": {side: {"graded": 2, "median": 4.5, "p95": 9.0} for side in ("legacy", "target")},
    }
    return whole_content([COURSE], [course], [], NOON)


def gate(verdict="PASS", **changes):
    tally = {
        "name": "exu-py1",
        "entries": 460,
        "graded_pairs": 449,
        "echoed": 0,
        "diverged": 0,
        "deterministic": 0,
        "known": 0,
        "classes": [],
        "payload_compared": 460,
        "twins": 0,
        "twins_differ": 0,
        "elsewhere": 0,
        "side_effects": False,
    }
    return {
        "schema": "migration_shim.xqueue_gate/1",
        "course": COURSE,
        "at": NOON.isoformat(),
        "phase": "shadow",
        "next_step": "live",
        "verdict": verdict,
        "reasons": [],
        "needed": [],
        "ways_out": ["a signed override"],
        "notes": ["6 known differences are counted, and not held against the course"],
        "overrides": [
            {
                "id": 3,
                "step_to": "live",
                "reason": "exam on Friday",
                "causes": ["stale"],
                "signed_by": "ops",
                "seconded_by": "",
                "signed_at": NOON.isoformat(),
                "used_at": NOON.isoformat(),
                "expires_at": NOON.isoformat(),
                "verdict": "INCONCLUSIVE",
                "reasons": ["there was no preflight"],
            }
        ],
        "register": [
            {
                "id": 4,
                "class": "score",
                "course": COURSE,
                "queue": "",
                "problem": PROBLEM,
                "reason": "draws random numbers",
                "owner": "ada",
                "created_at": NOON.isoformat(),
                "expires_at": NOON.isoformat(),
                "state": "in force",
                "covers": 6,
            }
        ],
        "evidence": {
            "reconcile_age_seconds": 60.0,
            "reconcile_complete": True,
            "preflight_age_seconds": None,
            "preflight_blockers": [],
            "problems": [tally | {"name": PROBLEM}],
            "queues": [tally],
            "missing": 0,
            "overdue": 0,
            "lost": 0,
            "stuck": 0,
            "fence_leaks": 0,
            "double_authority": 0,
            "latency": {"timed": 449, "legacy": 20.0, "target": 21.5},
            "arithmetic": {
                "pairs": 449,
                "diverged": 0,
                "threshold": 0.01,
                "error": 0.05,
                "evidence": 20.036,
                "evidence_needed": 20.0,
            },
            "explained": ["course: 0 unexplained divergences in 449 pairs", "note: 6 known differences"],
        },
    } | changes


def status(**changes):
    course = {
        "course": COURSE,
        "phase": "shadow",
        "since": NOON.isoformat(),
        "changed_by": "ada",
        "reason": "trial",
        "drift": True,
        "drift_because": "the gate has given no permit for live",
        "asked": "live",
        "flags": {"migration_shim.dual_write": True, "migration_shim.target_primary": True},
        "permit": None,
        "permit_until": None,
        "in_flight": {"legacy": {"queued": 3}, "target": {}},
        "in_flight_oldest_seconds": {"legacy": {"queued": 7300}, "target": {}},
        "strangers": {},
        "failed": 0,
        "held": {"rows": 0, "oldest_seconds": None},
        "returning": {"rows": 0, "oldest_seconds": None},
        "stuck_leases": {"rows": 0, "oldest_seconds": None},
        "handed_out_in_vain": 0,
        "queues_without_watcher": [],
        "copies": {"shadow": {"failed": 2}, "reverse": {}},
        "last_runs": {
            "preflight": None,
            "reconcile": {"finished_at": NOON.isoformat(), "complete": False},
            "backfill": {"finished_at": NOON.isoformat(), "complete": True, "mode": "shadow", "written": 7},
        },
        "last_full_reconcile_at": None,
        "verdict": None,
        "verdict_reasons": [],
        "verdict_age_seconds": None,
        "fence_leaks": 0,
        "double_authority": None,
        "counters_differed": 0,
        "learners_asked": True,
        "undelivered": None,
        "undeliverable": None,
        "wrong_side": None,
        "passed_through": 0,
        "unknown_queues": [],
        "new_queues": [],
        "overrides": [],
        "override_proposals": [],
        "platform_flag": None,
        "released_at": None,
        "ledger_rows": 12,
        "rank": 1,
        "short": "PY1",
        "word": "blocked",
        "because": [{"word": "blocked", "text": "DRIFT"}, {"word": "needs_pairs", "text": "too few"}],
        "todo": ["reverse_queue_not_polled exu-py1.reverse"],
        "actor": "operator",
        "next": f"xqueue_preflight --course {COURSE}",
        "forecast": {
            "pairs": 212,
            "per_day": 70.0,
            "at": (NOON + timedelta(days=3)).isoformat(),
            "why": None,
        },
        "may_move": {"to": "live", "by": None},
        "judged_at": NOON.isoformat(),
        "changes": [{"run": "gate", "what": "pairs", "was": 20, "is": 237, "since": NOON.isoformat()}],
        "known": True,
        "found_in_xqueue": {"open_rows": 1, "seen_at": NOON.isoformat(), "hosts": ["courses.example.edu"]},
    } | changes
    return {
        "schema": "migration_shim.xqueue_status/1",
        "at": NOON.isoformat(),
        "site": False,
        "kill_switch": False,
        "legacy_readable": True,
        "breakers": {"target": {"failures": 5, "open": True}, "legacy": {"failures": 0, "open": False}},
        "watchers_past_the_seam": {"point_them_at": "https://courses.example.edu/migration_shim", "logins": []},
        "queues_without_watcher": [],
        "ledger": {"rows": 12, "residue": 3},
        "callback_hosts": {"ours": ["courses.example.edu"], "foreign": ["staging.example.edu"], "unnamed": []},
        "ledger_complaint": "",
        "problems": [],
        "counts": {"blocked": 1},
        "xqueue": {"courses": 11, "known": 2, "unknown_lms": 0, "looked_at": NOON.isoformat(), "under_way": False},
        "courses": [course | {"attention": attention(course)}],
    }


def known(*entries):
    return {"schema": "migration_shim.xqueue_known/1", "at": NOON.isoformat(), "known_differences": list(entries)}


def known_difference(**changes):
    return {
        "id": 7,
        "class": "score",
        "course": COURSE,
        "queue": "",
        "problem": PROBLEM,
        "reason": "random tests",
        "owner": "grace",
        "created_at": NOON.isoformat(),
        "expires_at": NOON.isoformat(),
        "state": "in force",
        "covers": 12,
    } | changes


FAILED = {
    "schema": "migration_shim.xqueue_fail/1",
    "at": "2026-11-22T10:00:00+00:00",
    "course": COURSE,
    "reason": "its grader is killed",
    "by": "ada",
    "rows": [{"submission": 7, "queue": "exu-py1", "leases": 15, "arrived_at": "2026-11-22T08:00:00+00:00"}],
    "not_found": [8],
    "executed": False,
    "failed": 0,
}
UNDELIVERED = {
    "schema": "migration_shim.xqueue_undelivered/1",
    "at": NOON.isoformat(),
    "course": COURSE,
    "applies": True,
    "looked_up": False,
    "reason": "",
    "by": "ada",
    "rows": [
        {
            "entry": 3,
            "submission": 7,
            "problem": "block-v1:p",
            "queue": "exu-py1",
            "arrived_at": "2026-11-22T08:00:00+00:00",
            "what": "the learner waits, and its result is stored",
            "deliveries": 3,
            "undeliverable": "three_deliveries",
            "user_id": None,
        }
    ],
}
LEARNERS = {
    "schema": "migration_shim.xqueue_learners/1",
    "at": NOON.isoformat(),
    "course": COURSE,
    "applies": True,
    "by": "ada",
    "run_by": "root",
    "reason": "a learner has written",
    "rows": 1,
}
ONE_LEARNER = LEARNERS | {
    "learner": "2d61a0477717",
    "people": [
        {"learner": "2d61a0477717", "user_id": "7", "username": "lea"},
        {"learner": "2d61a0477717", "user_id": None, "username": None},
    ],
    "divergences": [
        {
            "entry": 3,
            "problem": "block-v1:p",
            "submitted_at": "2026-11-22T08:00:00+00:00",
            "class": "undelivered",
            "what": "the learner waits, and its result is stored",
            "grade_that_counts": "target",
            "what_to_do": "Ask the learner to submit again, unless the grade has arrived by now.",
        }
    ],
}
ADOPTION = {
    "schema": "migration_shim.xqueue_cutover_adoption/1",
    "at": NOON.isoformat(),
    "from": "old.example.edu",
    "to": "courses.example.edu",
    "reason": "the LMS has got another name",
    "executed": False,
}
FORGOTTEN = {
    "schema": "migration_shim.xqueue_cutover_forget/1",
    "at": NOON.isoformat(),
    "course": COURSE,
    "reason": "mistyped",
    "by": "ada",
    "permitted": True,
    "reasons": [],
    "executed": False,
}
NOBODY = {"schema": "migration_shim.no_courses/1", "at": NOON.isoformat(), "state": [], "courses": []}


def several(command, *courses, problems=(), following="", **counted):
    """A command's document of several courses."""
    return {
        "schema": f"migration_shim.{command}_courses/1",
        "at": NOON.isoformat(),
        "courses": list(courses),
        "counts": counted,
        "problems": [{"course": COURSE, "said": said} for said in problems],
        "next": following,
    }


DOCUMENTS = {
    "forget, plan": FORGOTTEN,
    "forget": FORGOTTEN | {"executed": True},
    "forget, refused": FORGOTTEN | {"permitted": False, "reasons": ["it is in shadow"]},
    "nobody": NOBODY,
    "nobody in a state": NOBODY | {"state": ["ready", "live"]},
    "gates": several(
        "xqueue_gate",
        gate(cause="ready"),
        gate("INCONCLUSIVE", reasons=["no preflight"], cause="needs_pairs"),
        ready=1,
        needs_pairs=1,
    ),
    "gates, none": several("xqueue_gate", problems=["RunLocked: at work", "RunLocked: at work"]),
    "preflights": several(
        "xqueue_preflight",
        preflight(),
        preflight(finding("answer_over_limit", "blocker", 3, 2356), finding("random_seed", "note", 5, seam=True)),
        following="xqueue_preflight --course ID",
        blocked=1,
        clear=1,
    ),
    "fails": several("xqueue_fail", FAILED, FAILED | {"executed": True, "failed": 1}, to_fail=2, failed=1),
    "undelivereds": several(
        "xqueue_undelivered",
        UNDELIVERED,
        UNDELIVERED | {"rows": [UNDELIVERED["rows"][0] | {"user_id": "7"}]},
        submissions=2,
        courses_affected=2,
    ),
    "undelivereds, no LMS": several(
        "xqueue_undelivered", UNDELIVERED | {"applies": False, "rows": []}, submissions=0, courses_affected=0
    ),
    "adoption, plan": ADOPTION,
    "adoption": ADOPTION | {"executed": True},
    "undelivered": UNDELIVERED,
    "undelivered, looked up": UNDELIVERED
    | {"looked_up": True, "reason": "to ask them", "rows": [UNDELIVERED["rows"][0] | {"user_id": "7"}]},
    "undelivered, no LMS": UNDELIVERED | {"applies": False, "rows": []},
    "learners, one": ONE_LEARNER,
    "learners, file": LEARNERS | {"file": "/tmp/who.csv", "learners": 1},
    "fail, plan": FAILED,
    "fail": FAILED | {"executed": True, "failed": 1, "not_found": []},
    "preflight, clean": preflight(),
    "preflight": preflight(
        finding("answer_over_limit", "blocker", 3, 2356),
        finding("queue_unknown", "blocker"),
        finding("random_seed", "note", 5, seam=True),
    ),
    "backfill": backfill(),
    "backfill, plan": backfill(executed=False, written=0),
    "reconcile": reconcile(),
    "reconcile, no course": whole_content([], [], [], NOON),
    "gate": gate(),
    "gate, nothing to open": gate(phase="complete", next_step=None),
    "gate, closed": gate("INCONCLUSIVE", reasons=["there was no preflight"], needed=["a preflight"]),
    "known": known(known_difference(), known_difference(course="", problem="", state="expired")),
    "known, none": known(),
    "status": status(),
    "status, no course": status() | {"courses": []},
    "status, new course": status(since=None, changed_by=None, reason=None, drift=False, asked="shadow"),
    **step_documents.DOCUMENTS,
}


def lines(document):
    return [line.strip() for line in render(document).splitlines()]


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_every_document_renders(document):
    text = render(document).replace('": None,', "")  # as an entry of XQUEUES is written
    assert text.strip()
    assert not any(word in text for word in ("None", "True", "False", "{", "<"))


@pytest.mark.parametrize(
    "document", [document for name, document in DOCUMENTS.items() if name.startswith(("forget", "nobody"))]
)
def test_these_documents_are_as_their_schemas_say(document):
    validate(document)


@pytest.mark.parametrize("document", step_documents.DOCUMENTS.values(), ids=step_documents.DOCUMENTS)
def test_the_documents_of_steps_are_as_their_schemas_say(document):
    validate(document)


def schemas():
    """Every document that the app makes, found in its modules."""
    names = [module.name for module in pkgutil.walk_packages(migration_shim.__path__, "migration_shim.")]
    modules = [importlib.import_module(name) for name in names if ".management.commands." not in name]
    return {value for module in modules for name, value in vars(module).items() if name.endswith("SCHEMA")}


def test_every_schema_of_the_app_is_rendered_here():
    error = "migration_shim.error/1"  # of no use case: management.failures prints it
    assert schemas() - {error} == {document["schema"] for document in DOCUMENTS.values()}


LEARNER = "cafe1b3b73d49907bd901eacd552484d"
PRIVATE = {"learner": LEARNER, "answer": LEARNER, "msg": LEARNER, "raw_header": LEARNER, "grader_reply": LEARNER}
RECORDS = ("schema", "course", "code", "name", "arithmetic", "pairs", "finished_at", "failures")
RECORDS += ("bound", "compared", "digest", "how", "ledger", "seam", "step", "verdict", "written", "young")


def planted(value):
    """The document with a learner's data in every record of it, as a careless producer might leave them."""
    if isinstance(value, list):
        return [planted(item) for item in value]
    if not isinstance(value, dict):
        return value
    inner = {key: planted(item) for key, item in value.items()}
    return inner | PRIVATE if any(key in value for key in RECORDS) else inner


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_no_text_shows_what_it_was_not_asked_for(document):
    whole = planted(copy.deepcopy(document))
    assert LEARNER in str(whole)
    assert render(whole) == render(document)


def test_preflight():
    found = lines(DOCUMENTS["preflight"])
    assert found[0] == f"Preflight of {COURSE}: 2 blockers in 1793 legacy rows, queues: exu-py1"
    assert "BLOCKER  answer_over_limit: 3 rows, 2356 for one" in found
    assert "effect of answer_over_limit" in found
    assert "To do: advice on answer_over_limit" in found
    assert f"3  exu-py1  {PROBLEM}  (legacy row 2356)" in found
    assert "BLOCKER  queue_unknown" in found
    assert "NOTE     random_seed: 5 rows" in found
    assert "effect of random_seed (the watcher seam hands out the original)" in found
    assert "Legacy's past: 400 graded pairs for --history, the gate asks for 449; thin problems: 1" in found
    assert found[-2] == "The gate stays closed while there are blockers."
    assert found[-1] == f"Next, when they are dealt with: xqueue_preflight --course {COURSE}"
    clean = lines(preflight(finding("submission_time_format", "note", 1)))
    assert clean[-1] == f"Next: xqueue_reconcile --course {COURSE}"


def test_preflight_sums_the_rows_of_a_code():
    found = lines(
        preflight(
            finding("answer_over_limit", "blocker", 3, about="up to 4 s"), finding("answer_over_limit", "blocker", 4)
        )
    )
    assert "BLOCKER  answer_over_limit: 7 rows" in found
    assert f"3  exu-py1  {PROBLEM}  up to 4 s" in found


def test_preflight_tells_one_severity_of_a_code_from_another():
    found = lines(preflight(finding("file_unreachable", "blocker", 2), finding("file_unreachable", "warning", 3)))
    assert "BLOCKER  file_unreachable: 2 rows" in found
    assert "WARNING  file_unreachable: 3 rows" in found


def test_preflight_bounds_what_it_shows_and_says_where_the_rest_is():
    found = lines(preflight(*[finding("collided", "warning", 30, listed=range(30)) for _ in range(12)]))
    assert sum(line.startswith("30  exu-py1") for line in found) == 10
    assert "and 2 more places; all with --format json" in found
    shown = ", ".join(str(number) for number in range(20))
    assert f"legacy rows {shown}, and 340 more; all with --format json" in found


def test_preflight_says_of_a_note_what_was_seen_but_not_where():
    items = [finding("payload_extra_keys", "note", 2, seam=True, about=about) for about in ("lang", "lang", "output")]
    found = lines(preflight(*items))
    assert "NOTE     payload_extra_keys: 6 rows" in found
    assert "lang; output" in found
    assert not any(PROBLEM in line for line in found)


def test_backfill():
    found = lines(backfill())
    assert found[0] == "Backfill (shadow): 404 rows read, 395 written"
    assert [line.split() for line in found[1:3]] == [["imported", "395"], ["malformed", "9"]]
    assert ["callback_no_course", "8"] in [line.split() for line in found]
    assert not any("final" in line for line in found)
    assert "This added about 2.0 MB to the LMS's database (an estimate)." in found
    assert found[-2:] == ["1.5 s", "Next: xqueue_reconcile --all"]
    plan = lines(backfill(executed=False))
    assert plan[0].endswith("nothing written: this is the plan")
    assert "This will add about 2.0 MB to the LMS's database (an estimate)." in plan


def test_a_backfill_names_the_files_for_want_of_which_rows_stay():
    missing = {"legacy_id": 4711, "reason": "file_missing", "key": "f" * 32}
    assert f"legacy row 4711: file_missing, key {'f' * 32}" in lines(backfill(files_missing=[missing]))


def test_a_backfill_that_was_stopped_says_what_is_left_and_what_to_run():
    again = ["waffle_switch migration_shim.kill_switch off", "xqueue_backfill --mode shadow --all --execute"]
    changes = {"complete": False, "stopped_by": "kill switch", "left": 96, "checkpoint": 4711, "next": again}
    found = lines(backfill(waited={"pause_file": 3.5, "lag": 1.0}, **changes))
    assert found[1] == "Stopped before the end by kill switch, 96 rows left; nothing is lost."
    assert found[2] == "Done up to legacy row 4711: the next run goes on behind it."
    assert found[-3] == "1.5 s, of which waited: 3.5 s for pause file, 1.0 s for lag"
    assert found[-2:] == [f"Next: {command}" for command in again]
    limited = lines(backfill(complete=False, left=5))
    assert limited[1] == "Stopped before the end, 5 rows left; nothing is lost."


def test_reconcile():
    found = lines(reconcile())
    assert found[0] == f"{COURSE}: compared 4 of 5"
    words = [line.split() for line in found]
    for expected in (["equal", "2"], ["diverged", "1"], ["fence", "leaks", "0"], ["score", "1"]):
        assert expected in words
    assert ["collided_on_legacy_only", "1"] in words
    assert f"exu-py1  {PROBLEM}: 4 pairs, 2 equal, 1 diverged" in found
    assert f"incremental, 3 looked at; last full run {NOON.isoformat()}" in found
    assert "legacy grading time: median 4.5 s, 95 % within 9.0 s (2 graded)" in found
    assert found[-1] == f"Next: xqueue_gate --course {COURSE}"
    assert "Stopped before the end: this is not evidence." not in found
    assert "Stopped before the end: this is not evidence." in lines(reconcile(complete=False))


def test_gate():
    found = lines(gate())
    assert found[0] == f"PASS  {COURSE}"
    assert "course: 0 unexplained divergences in 449 pairs" in found
    assert "way out: a signed override" in found
    assert sum("6 known differences" in line for line in found) == 1
    assert f"OVERRIDE to live by ops on {NOON.isoformat()} past stale: exam on Friday" in found
    assert f"known difference 4, score until {NOON.isoformat()}: draws random numbers" in found
    assert found[-1] == f"Next: xqueue_cutover --course {COURSE} --to live --reason TEXT"
    assert "--to complete" in lines(gate(phase="live", next_step="complete"))[-1]
    nothing = lines(DOCUMENTS["gate, nothing to open"])
    assert nothing[-1] == "The course is in complete: there is no step that needs the gate."
    closed = lines(DOCUMENTS["gate, closed"])
    assert closed[:3] == [f"INCONCLUSIVE  {COURSE}", "because there was no preflight", "needed: a preflight"]
    assert not any("--to live" in line for line in closed)


def test_fail():
    assert lines(DOCUMENTS["fail, plan"]) == [
        f"Plan. 1 submission of {COURSE} to be failed on the target",
        "7  exu-py1  handed out 15 times, arrived 2026-11-22T08:00:00+00:00",
        "not in flight in this course: 8",
        "Next: the same command with --execute; their learners are told that they could not be graded",
    ]
    assert lines(DOCUMENTS["fail"])[0] == f"Done. 1 of 1 submission of {COURSE} to be failed on the target"


def test_cutover():
    found = lines(cutover())
    assert found[0] == f"Plan. {COURSE}: shadow -> live"
    assert "migration_shim.target_primary: off -> on" in found
    assert "authoritative after it: target" in found
    assert "in flight on legacy: 3 queued, 1 pulled" in found
    assert "in flight on target: nothing" in found
    assert found[-1] == "Next: the same command with --execute"
    assert lines(cutover(executed=True))[0] == f"Done. {COURSE}: shadow -> live"
    refused = lines(DOCUMENTS["cutover, refused"])
    assert refused[:5] == [
        f"NOT PERMITTED. {COURSE}: shadow -> live",
        "gate: STALE",
        "open: stale",
        "because too old",
        "needed: a reconcile",
    ]
    assert refused[-1] == f"Next: xqueue_gate --course {COURSE} --explain"
    assert not any("--execute" in line for line in refused)


def test_cutover_says_what_becomes_of_rows_and_what_graders_poll():
    found = lines(cutover())
    at = found.index("4 rows drain (legacy): They stay with legacy's graders.")
    assert found[at : at + 4] == [
        "4 rows drain (legacy): They stay with legacy's graders.",
        f"or: {HANDOFF}",
        "2 rows held (between): No grader has them.",
        f"to finish it: {HANDOFF} --execute",
    ]
    at = found.index("graders must poll:")
    assert found[at + 1 : at + 7] == [
        "exu-py1 at the watcher seam",
        "exu-py1.reverse at XQueue (reverse shadows)",
        "exu-py1 at XQueue, until it is empty",
        "XQUEUES in XQueue's settings:",
        '"exu-py1.reverse": None,',
        '"exu-py1": None,',
    ]
    assert not any("own flag" in line for line in found)
    done = lines(cutover(executed=True))
    assert done[-2:] == [f"Next: xqueue_status --course {COURSE}", f"Next: xqueue_reconcile --course {COURSE}"]
    assert not any("--execute" in line for line in done[-2:])


def test_the_way_back_is_said_where_there_is_one_and_works_without_legacy():
    assert any(line.startswith("way back: ") for line in lines(cutover()))
    found = lines(DOCUMENTS["cutover, back to legacy"])
    assert not any(line.startswith("way back") for line in found)
    assert "the platform's own flag, which sends past the shim: on -> off, first" in found
    assert "in flight on legacy: unknown, its database does not answer" in found
    assert "rows stay (legacy): They are graded on legacy, as new ones are." in found
    assert "No queue of the course is known yet: xqueue_preflight finds them." in found


def test_removal():
    plan = lines(DOCUMENTS["removal"])
    assert plan[0] == f"{COURSE}: 119 shadows would be removed, with their files; no real row"
    assert plan[-1] == "Next: the same command with --execute"
    assert lines(DOCUMENTS["removal, done"]) == [f"{COURSE}: 119 of 119 shadows removed"]


def test_a_cutover_past_the_gate_says_so():
    found = lines(DOCUMENTS["cutover, overridden"])
    assert "OVERRIDE of a gate that says INCONCLUSIVE, because: term starts" in found
    assert "passed: stale, needs_pairs" in found
    assert "the gate: too few pairs" in found
    with_codes = "the same command with --override-reasons stale,needs_pairs --user LOGIN --execute"
    assert found[-1] == f"Next: {with_codes}; without a terminal also --confirm {COURSE}"
    done = lines(DOCUMENTS["cutover, overridden, done"])
    assert "signed by ada and grace" in done and "passed: stale, needs_pairs" in done


def test_an_override_that_waits_for_a_second_person_says_that_nothing_was_done():
    found = lines(DOCUMENTS["cutover, proposed"])
    assert found[0].startswith("PROPOSED.")
    assert found[1].startswith("OVERRIDE PROPOSED to live by ada past stale, needs_pairs: term starts")
    assert "Nothing was changed." in found and found[-1].startswith("Next: another person")
    assert not any(line.startswith("Done") or "->" in line for line in found[1:])


def test_wave():
    assert lines(DOCUMENTS["wave"]) == [
        f"Wave to live: 1 of 3 courses are there and well, no more than 1 in flight; canary {CANARY}",
        f"done     {CANARY} (was in live)",
        f"moved    {COURSE} (was in shadow)",
        "in flight: 3 queued on legacy, nothing on target",
        "waits    course-v1:ExU+PY2+2026 (was in shadow)",
        "because 1 course is in flight, and --wave allows 1",
        f"Next: xqueue_reconcile --course {COURSE}",
        "Then: the same command again",
    ]
    plan = lines(DOCUMENTS["wave, plan"])
    assert plan[0].startswith("Plan of a wave to live: 0 of 2 courses")
    assert "OVERRIDE of a gate that says INCONCLUSIVE, because: term starts" in plan
    assert "in flight: unknown, its database does not answer on legacy, nothing on target" in plan
    assert plan[-1] == "Next: the same command with --execute"


def test_a_wave_that_goes_no_further_says_why():
    stopped = lines(DOCUMENTS["wave, stopped"])
    assert stopped[1:4] == [
        f"STOPPED: {CANARY} is not well in live. Nothing further is moved.",
        f"failed   {CANARY} (was in live)",
        "because 2 overdue",
    ]
    assert stopped[-1] == f"Next: xqueue_gate --course {CANARY} --explain"
    assert lines(DOCUMENTS["wave, refused"])[1:] == [
        f"refused  {CANARY} (was in shadow)",
        "because too few pairs",
        "needed: 40 more graded pairs",
        f"Next: xqueue_gate --course {CANARY} --explain",
    ]


def test_release():
    plan, done = lines(DOCUMENTS["release"]), lines(DOCUMENTS["release, done"])
    assert plan[:2] == [f"Plan. {COURSE} can be released.", "send_to_submission_course.enable: off -> on"]
    assert plan[2] == f"way back: xqueue_cutover --course {COURSE} --to live --reason TEXT --execute"
    assert plan[3:] == ["Next: the same command with --execute"]
    assert done == [f"Done. {COURSE} is released: the platform sends its submissions itself.", *plan[1:3]]
    accepted = lines(DOCUMENTS["release, accepted"])
    assert accepted[1] == f"accepted: submission_time_format, 7 rows on legacy  exu-py1  {PROBLEM}"


def test_a_release_that_is_refused_says_what_is_left():
    by_hand, seam, blind = (lines(DOCUMENTS[f"release, {what}"]) for what in ("acceptable", "refused", "no evidence"))
    for found in (by_hand, seam, blind):
        assert found[0] == f"NOT PERMITTED. {COURSE} is not released."
        assert not any("-> on" in line or "--execute" in line for line in found)
    assert by_hand[1] == f"found: residue_purged, 7 rows on target  exu-py1  {PROBLEM}"
    assert by_hand[-1] == "Next: the same command with --override, if the course's graders do not need it"
    assert seam[1].startswith("accepted: residue_purged") and seam[2].startswith("found: random_seed")
    assert seam[-1].startswith("The course stays complete, with its graders at the watcher seam")
    assert blind[1:] == ["because there is no preflight", f"Next: xqueue_preflight --course {COURSE}"]


def test_audit():
    found = lines(DOCUMENTS["audit"])
    assert found[:4] == [
        f"{COURSE}: live",
        f"1  {NOON.isoformat()}  legacy -> shadow  ada: first look",
        f"2  {NOON.isoformat()}  shadow -> live  ada: term starts",
        f"head: place 2, {'b' * 64}",
    ]
    assert found[4] == "The log is whole."
    assert found[5].startswith(f"Digest of all heads: {'c' * 64}. ")
    assert "The log is whole, and holds all that was noted earlier." in lines(DOCUMENTS["audit, compared"])
    assert lines(DOCUMENTS["audit, no log"])[0] == f"{COURSE}: no phase on record"


def test_an_audit_of_a_broken_log_says_what_is_wrong():
    found = lines(DOCUMENTS["audit, broken"])
    assert found[1] == "1 entry is older than the chain: nothing shows whether they were changed"
    assert found[2].startswith("-  ")
    assert found[4:6] == ["BROKEN: entry 42 is not what was written", "BROKEN: the log ends at place 2"]
    assert "The log is BROKEN in 2 places: see the runbook, 'The log is broken'." in found
    assert not any("whole" in line for line in found)


def test_watch():
    counts = "8 of 9 compared, 1 diverged, 2 waiting, 3 overdue"
    assert lines(DOCUMENTS["watch"]) == ["Watch: 1 course, 0 breaches, 1.5 s", "", f"{COURSE}: live, {counts}"]
    assert lines(DOCUMENTS["watch, stopped"]) == ["Watch: 0 courses, 0 breaches, stopped by SIGTERM"]
    assert lines(DOCUMENTS["watch, nothing compared"])[1:] == [
        "The kill switch is on: nothing was compared, and no copy was written.",
        "Nothing was compared, and no copy was written: the disk is slow",
        "",
        f"{COURSE}: phase unknown, not compared",
    ]


def test_a_campaign_is_one_line_a_course_and_says_its_rules():
    assert lines(DOCUMENTS["campaign"]) == [
        "Campaign autumn: running, 2 courses to complete: 1 failed, 1 going",
        "because: term over",
        "rules: 5 in flight at most; soaks in live for 48h; window Mon-Thu 09:00-16:00 Europe/Berlin; "
        "frozen 2026-12-10..2026-12-20; days of Europe/Berlin",
        "shadow   FAILED PY1 (canary): 3 overdue",
        "shadow   going  PY1 (canary): waits for 212 more graded pairs",
        f"{NOON:%Y-%m-%d %H:%M} ada: start term over",
        "1 course waits for you. When it is mended, let it go on, one or several:",
        f"Next: xqueue_campaign resume --name autumn --course {COURSE} --reason TEXT --execute",
    ]


def test_a_watch_says_last_of_a_campaign_what_its_exit_code_does_not():
    found = {**DOCUMENTS["watch, campaign"]}
    assert lines(found)[2:] == [
        "Campaign autumn: running",
        f"{COURSE}: preflight, shadow; stepped from legacy to shadow",
        "CAMPAIGN autumn waits for a person: 2 courses failed",
        "Next: xqueue_campaign status --name autumn",
    ]
    quiet = {"stopped": {"parked": 0, "failed": 0}, "courses": []}
    found["campaigns"] = [found["campaigns"][0] | quiet | {"state": "paused", "said": "paused by ada: exams"}]
    assert lines(found)[-2:] == [
        "CAMPAIGN autumn waits for a person: paused",
        "Next: xqueue_campaign status --name autumn",
    ]
    found["campaigns"] = [found["campaigns"][0] | quiet | {"state": "running", "said": ""}]
    assert lines(found)[-1] == "Campaign autumn: running"


CODES = "What each bound means: docs/runbook/codes.md"


def test_a_watch_says_a_breach_and_whether_the_course_was_stepped_back():
    late = "BREACH overdue: 3 submissions are overdue or missing on target, whose learners wait"
    found = lines(DOCUMENTS["watch, breach"])
    assert found[0] == "Watch: 1 course, 1 breach, 1.5 s"
    assert found[3:] == [late, "not stepped back: WATCH_STEP_BACK is off", CODES]
    found = lines(DOCUMENTS["watch, stepped back"])
    assert found[2].startswith(f"{COURSE}: legacy, ")
    assert found[3:] == [late, "STEPPED BACK to legacy", CODES, f"Next: {GO_BACK}"]


def test_a_watch_says_what_it_could_not_do_and_what_it_tidied_up():
    assert lines(DOCUMENTS["watch, not done"])[-2:] == [
        f"NOT DONE: reconcile of {COURSE}: OperationalError. The next round tries again.",
        "NOT DONE: purge: OperationalError. The next round tries again.",
    ]
    assert lines(DOCUMENTS["watch, tidied up"])[3:] == [
        "rows left by a handoff: 2 released, 1 waiting",
        "reverse shadows: 4 of 5 owed were started",
        "",
        "Shadows that were owed: 6 written",
        "Retired learners: 8 entries name nobody any more",
        "Residue: 10 dropped, kept: 1 copy_owed",
        "Stored contents without a row: 3, --purge removes them",
    ]


def test_the_register_of_known_differences():
    found = lines(DOCUMENTS["known"])
    assert found[0] == "2 known differences"
    assert f"7  score  in force until {NOON.isoformat()}: {COURSE}, {PROBLEM}" in found
    assert "covers 12 divergences; grace: random tests" in found
    assert any(line.endswith(": everywhere") for line in found)
    assert lines(known())[0] == "No known differences."


def test_watcher_configuration_is_printed_as_json():
    servers = {"legacy": {"SERVER": "https://xqueue.example.edu"}}
    found = render(status(watcher_config={"xqueue_servers.json": servers}))
    _, _, printed = found.partition("  xqueue_servers.json:\n")
    assert json.JSONDecoder().raw_decode(printed.strip())[0] == servers
    assert "xqueue_servers.json" not in render(status())


def test_status():
    found = lines(status())
    assert found[0] == "kill switch: off"
    assert "breaker target: OPEN, copies are paused, 5 failures in a row" in found
    assert "breaker legacy: closed, 0 failures in a row" in found
    assert f"{COURSE}: shadow since Sun 22 Nov 12:00 UTC (just now)" in found
    answers = found.index("may it move: to live: no")
    assert found[answers : answers + 9] == [
        "may it move: to live: no",
        "stands at: blocked, judged just now",
        "because DRIFT",
        "because too few",
        "needs: 212 pairs, about Wed 25 Nov (70 submissions a day)",
        "who acts next: the operator",
        f"xqueue_preflight --course {COURSE}",
        "for a later step: reverse_queue_not_polled exu-py1.reverse",
        "changed since the gate of Sun 22 Nov 12:00 UTC: pairs 20 then, 237 now",
    ]
    assert "in XQueue: 1 open row, seen just now" in found
    assert "DRIFT: the flags ask for live, and nothing permits it: the gate has given no permit for live." in found
    assert f"xqueue_cutover --course {COURSE} --to live --reason TEXT" in found
    assert "shadow copies owed: 2 failed" in found
    assert "last preflight: never" in found
    assert "last reconcile: just now (not complete)" in found
    assert "last backfill: just now (shadow, 7 written)" in found
    assert "in flight on legacy: 3 queued (2 h)" in found
    assert "verdict: none" in found
    assert "fence leaks: 0" in found
    assert "double authority: not checked yet" in found
    assert "No course is known to the shim yet." in lines(DOCUMENTS["status, no course"])


#: What keeps something from being done, wherever in a document it stands.
BLOCKING = ("advice", "reasons", "needed", "stopped", "stopped_by", "broken", "ledger_complaint")


def blocking(value):
    """The places of a document in which such a text stands: (what holds it, its name there, its number in a list)."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name in BLOCKING and isinstance(item, str) and item:
                yield value, name
            elif name in BLOCKING and isinstance(item, list):
                yield from ((item, number) for number, one in enumerate(item) if isinstance(one, str))
            elif name not in ("override", "overrides"):  # what was in the way of a step that was signed for since
                yield from blocking(item)
    elif isinstance(value, list):
        for item in value:
            yield from blocking(item)


MOVES = {"held": 0, "released": 0, "dropped": 0, "double_authority": 0, "queues": []}
IN_THE_WAY = {
    f"backfill, {mode}, {'plan' if plan else 'executed'}": backfill(
        mode=mode,
        executed=not plan,
        complete=plan,
        stopped_by="" if plan else "kill switch",
        advice=["--execute would be refused: the server is a replica"],
        **MOVES if mode == "handoff" else {},
    )
    for mode in ("shadow", "handoff", "return")
    for plan in (True, False)
}


#: Of several courses each has its first reason, or the codes of its blockers, and the number of the others: the screen
#: is for choosing the course to look at. What else is in its way is on its own screen.
WHOLE = {name: document for name, document in DOCUMENTS.items() if name != "preflights"} | IN_THE_WAY


@pytest.mark.parametrize("document", WHOLE.values(), ids=WHOLE)
def test_text_and_json_of_a_document_say_the_same_of_what_is_in_the_way(document):
    """Each such text is replaced, one at a time, and looked for in what a terminal shows."""
    for number, _ in enumerate(blocking(document)):
        changed = copy.deepcopy(document)
        place, key = list(blocking(changed))[number]
        place[key] = "in-the-way"
        assert "in-the-way" in render(changed), (key, place)


def test_the_documents_above_have_something_in_the_way_for_every_command_that_can_be_refused():
    found = {}
    for document in (DOCUMENTS | IN_THE_WAY).values():
        found.setdefault(document["schema"], []).extend(blocking(document))
    assert {schema.split(".")[1].split("/")[0] for schema, places in found.items() if places} >= {
        "xqueue_backfill",
        "xqueue_cutover",
        "xqueue_cutover_release",
        "xqueue_cutover_wave",
        "xqueue_gate",
        "xqueue_preflight",
        "xqueue_watch",
    }


def test_of_several_courses_each_has_its_first_reason_and_the_number_of_the_others():
    many = several("xqueue_gate", gate("FAIL", cause="differs", reasons=["first", "second", "x" * 90]), differs=1)
    assert "first (and 2 more)" in lines(many)
    many = several("xqueue_gate", gate("FAIL", cause="differs", reasons=["y" * 90, "second"]), differs=1)
    [cut] = [line for line in render(many).splitlines() if "yyy" in line]
    assert (len(cut), cut[-16:]) == (80, "... (and 1 more)")


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_on_a_terminal_no_line_is_broken_by_it_and_in_a_pipe_none_is_broken(document, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    whole = render(document)
    monkeypatch.setenv("COLUMNS", "80")
    fitted = render(document)
    for line in fitted.splitlines():
        longest = max(map(len, line.split()), default=0)
        assert len(line) <= 80 or longest > 60, line
    # A command that is copied is the same to a shell.
    pasted = re.sub(r" \\\n +", " ", fitted)
    assert pasted.split() == whole.split()
    commands = [
        line.strip() for line in whole.splitlines() if line.lstrip("> ").startswith(("Next: xqueue_", "xqueue_"))
    ]
    assert set(commands) <= {line.strip() for line in pasted.splitlines()}


def preflights(*blockers, problems=()):
    """The preflights of courses that have these blockers."""
    courses = [
        {"course": f"c{number}", "rows": 1, "findings": [{"severity": "blocker", "code": code} for code in codes]}
        for number, codes in enumerate(blockers)
    ]
    return {
        "schema": "migration_shim.xqueue_preflight_courses/1",
        "courses": courses,
        "problems": list(problems),
        "counts": {"blocked": len(courses)},
        "next": "",
    }


def test_what_blocks_every_course_is_said_once():
    assert lines(preflights(["down", "own"], ["down"], ["down"]))[:6] == [
        "All 3 courses are blocked by down",
        "",
        "BLOCKED  c0  1 row",
        "own",
        "BLOCKED  c1  1 row",
        "BLOCKED  c2  1 row",
    ]
    assert lines(preflights(["down"], ["down"], []))[0] == "BLOCKED  c0  1 row"
    assert lines(preflights(["down"], ["down"]))[:2] == ["BLOCKED  c0  1 row", "down"]


def test_why_many_preflights_were_not_done_fits_the_terminal_and_names_its_page(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    said = "xqueue_database_refused: XQueue's database is down or out of reach: 127.0.0.1:3306 takes no connection."
    text = render(preflights(problems=[{"course": f"c{number}", "said": said} for number in range(3)]))
    assert max(map(len, text.splitlines())) <= 80
    assert "  See: docs/runbook/errors.md#xqueues-database-does-not-answer" in text.splitlines()
