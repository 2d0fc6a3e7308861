"""
Where every course stands: phase, drift, permit, copies, last runs, verdict; and the site's breakers and watchers.

Everything is read for all courses at once: how many statements it takes does not depend on how many courses there are.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.timezone import now

from .. import toggles
from ..conf import ShimSettings, load
from ..copies import breaker
from ..core.attention import attention
from ..core.data import Authority, DivergenceClass, Document, ExitCode, Move
from ..core.phases import allowed_steps
from ..cutover import overrides
from ..delivery import ungradable
from ..ledger import counts, hosts, stamp
from ..legacy import open_rows as legacy_open_rows
from ..legacy.timeouts import AWAY
from ..lms import flags as lms_flags
from ..lms import state as lms_state
from ..runs.isolated import attempt, exit_code_of
from ..target import logins
from ..target import open_rows as target_open_rows
from . import graders, queries, unknown_queues

SCHEMA = "migration_shim.xqueue_status/1"
_KINDS = ("preflight", "reconcile", "gate")


def run(courses: Collection[str] | None = None, *, watcher_config: bool = False) -> Document:
    """
    The status of courses, and of the site. Reading it changes nothing but what a flip by hand has made due.

    Args:
        courses: their keys, in canonical form; without any, the site with all courses that the app knows.
        watcher_config: give each course also the configuration that lets watchers serve all of its queues.

    Exit code 8 says that a course does not stand where its flags say, 1 that something went wrong with one, which is
    then among the problems and not among the courses; 0 that all is as asked.

    Raises:
        ConfigurationError: the settings are not usable.
    """
    settings, moment = load(), now()
    site = courses is None and not watcher_config
    courses = counts.known_courses() if courses is None else courses
    facts = _gather(courses, settings, moment)
    described, problems = [], []
    for course_id in courses:
        course: dict[str, Any] | None
        if len(courses) == 1:  # who has named it hears of it himself
            course, said = _described(course_id, facts, watcher_config), ""
        else:
            course, said = attempt("status", course_id, _described, course_id, facts, watcher_config)
        if course is None:
            problems.append({"course": course_id, "said": said})
        else:
            described.append(course)
    content = {
        "schema": SCHEMA,
        "at": moment.isoformat(),
        "site": site,
        "kill_switch": toggles.kill_switch_on(),
        "legacy_readable": facts.legacy is not None,
        "breakers": {leg: _breaker(leg) for leg in breaker.LEGS},
        "watchers_past_the_seam": {"point_them_at": graders.seam_url(), "logins": logins.seen()},
        "queues_without_watcher": facts.unserved,
        "callback_hosts": _hosts(),
        "ledger_complaint": stamp.complaint(),
        "ledger": _ledger(facts.sizes),
        "courses": described,
        "problems": problems,
    }
    astray = any(course["drift"] or _past_the_shim(course) for course in described)
    return Document(content=content, exit_code=exit_code_of(problems) | (ExitCode.STALE if astray else ExitCode.OK))


def _described(course_id: str, facts: _Facts, watcher_config: bool) -> dict[str, Any]:
    course = _course(course_id, facts)
    course["attention"] = attention(course)
    if watcher_config:
        course["watcher_config"] = graders.watcher_configuration(course_id)
    return course


def _past_the_shim(course: dict[str, Any]) -> bool:
    return any(item["what"] == "past_the_shim" for item in course["attention"])


def _breaker(leg: str) -> dict[str, Any]:
    state = breaker.state(leg)
    return {"failures": state["failures"], "open": breaker.is_open(leg)}


def _ledger(sizes: dict[str, counts.Size]) -> dict[str, int]:
    """Entries, and those of them that still hold what is left of the envelope (the residue)."""
    rows = sum(size.entries for size in sizes.values())
    return {"rows": rows, "residue": rows - sum(size.dropped for size in sizes.values())}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """What was read, by course. ``legacy`` is None where its database does not answer."""

    moment: datetime
    phases: dict[str, queries.CourseState]
    #: Of every LMS; what is counted is ours. None where nobody can say.
    legacy: list[legacy_open_rows.Held] | None
    target: list[target_open_rows.Held]
    unserved: list[dict[str, Any]]
    moves: dict[tuple[str, str], tuple[int, datetime | None]]
    shadows_owed: dict[str, dict[str, int]]
    reverse_owed: dict[str, dict[str, int]]
    alarms: dict[tuple[str, str], int]
    runs: dict[tuple[str, str], list[dict[str, Any]]]
    backfills: dict[str, dict[str, Any]]
    overrides: dict[str, list[dict[str, Any]]]
    undelivered: dict[str, tuple[int, int]]
    passed_through: dict[str, int]
    unknown_queues: dict[str, dict[str, int]]
    new_queues: dict[str, list[dict[str, Any]]]
    reverse_suffix: str
    sizes: dict[str, counts.Size]
    ungradable: dict[str, list[int]]
    platform_flag: dict[str, bool]


def _gather(courses: Collection[str], settings: ShimSettings, moment: datetime) -> _Facts:
    phases = queries.course_states(courses)
    runs = queries.newest_runs(_KINDS, courses)
    target, legacy = target_open_rows.held(settings), None
    queues = {
        course: complete["document__queues"] or []
        for course in courses
        if (complete := _complete(runs["reconcile", course])) is not None
    }
    try:
        legacy = legacy_open_rows.everything()
        unserved = graders.queues_without_watcher(legacy_open_rows.ours(legacy), target, queues, settings, moment)
    except AWAY:
        # An operator whose legacy is down needs the rest of the screen most. It is said, and never shown as nothing.
        legacy, unserved = None, graders.queues_without_watcher([], target, queues, settings, moment)
    return _Facts(
        moment=moment,
        phases=phases,
        legacy=legacy,
        target=target,
        unserved=unserved,
        moves=queries.rows_between_systems(courses),
        shadows_owed=queries.owed_copies(courses, "target_leg", Authority.LEGACY),
        reverse_owed=queries.owed_copies(courses, "legacy_leg", Authority.TARGET),
        alarms=queries.alarms(courses),
        runs=runs,
        backfills=queries.newest_backfills(courses),
        overrides=overrides.described_by_course(courses, moment),
        unknown_queues=unknown_queues.unknown_to_xqueue(courses),
        new_queues=unknown_queues.new_queues_of_last_watch(),
        reverse_suffix=settings.reverse_queue_suffix,
        undelivered=queries.undelivered(courses),
        passed_through=queries.passed_through(courses),
        sizes=counts.sizes(),
        in_vain=ungradable.rows(courses, settings),
        # The platform's own; where there is no platform nobody has to ask.
        platform_flag=lms_flags.submission_flags_on(courses) if toggles.in_platform() else {},
    )


def _hosts() -> dict[str, list[str]]:
    """Whose rows are whose: the hosts of callbacks that are known, and those of ours that somebody has to name."""
    known = hosts.known()
    return {
        "ours": sorted(known.named | known.door),
        "foreign": sorted(known.foreign),
        "unnamed": sorted(known.unnamed | (known.door & known.foreign)),
    }


def _course(course_id: str, facts: _Facts) -> dict[str, Any]:
    state = facts.phases[course_id]
    record, change = state.record, state.change
    reconcile, gate = (_complete(facts.runs[kind, course_id]) for kind in ("reconcile", "gate"))
    drift = state.asked is not state.phase
    legacy, legacy_oldest = _on_legacy(course_id, facts)
    real = [held for held in facts.target if held.course == course_id and held.real]
    target = [held for held in real if held.status != "failed"]
    expired = [held for held in facts.target if held.course == course_id and held.expired]
    return {
        "course": course_id,
        "phase": state.phase.value,
        "since": record.since.isoformat() if record else None,
        "changed_by": change.changed_by if change else None,
        "changed_at": change.changed_at.isoformat() if change else None,
        "reason": change.reason if change else None,
        "drift": drift,
        "drift_because": _why_drifted(state, facts.moment) if drift else None,
        "asked": state.asked.value,
        "flags": dict(zip(toggles.FLAGS, state.flags, strict=True)),
        "platform_flag": facts.platform_flag.get(course_id),
        "released_at": record.released_at.isoformat() if record and record.released_at else None,
        "permit": record.permit or None if record else None,
        "permit_until": record.permit_until.isoformat() if record and record.permit_until else None,
        "in_flight": {"legacy": legacy, "target": _by_status(target)},
        "in_flight_oldest_seconds": {
            "legacy": legacy_oldest,
            "target": {
                status: _age(min(held.oldest for held in target if held.status == status), facts.moment)
                for status in _by_status(target)
            },
        },
        "strangers": None if facts.legacy is None else legacy_open_rows.strangers(facts.legacy, course_id),
        "failed": sum(held.rows for held in real if held.status == "failed"),
        "stuck_leases": {
            "rows": sum(held.expired for held in expired),
            "oldest_seconds": _age(
                min((held.expired_since for held in expired if held.expired_since is not None), default=None),
                facts.moment,
            ),
        },
        "handed_out_in_vain": len(facts.in_vain.get(course_id, [])),
        "queues_without_watcher": [
            {name: queue[name] for name in ("side", "queue", "rows", "oldest_seconds")}
            for queue in facts.unserved
            if course_id in queue["courses"]
        ],
        "held": _moving(course_id, facts, Move.HELD, Move.FENCED),
        "returning": _moving(course_id, facts, Move.RETURNING),
        "unknown_queues": [
            {"queue": queue, "copies": queue + facts.reverse_suffix, "rows": rows}
            for queue, rows in facts.unknown_queues.get(course_id, {}).items()
        ],
        "new_queues": facts.new_queues.get(course_id, []),
        "copies": {
            "shadow": facts.shadows_owed.get(course_id, {}),
            "reverse": facts.reverse_owed.get(course_id, {}),
        },
        "last_runs": {kind: _run(facts.runs[kind, course_id]) for kind in _KINDS}
        | {"backfill": _backfill(facts.backfills.get(course_id))},
        "last_full_reconcile_at": reconcile["document__last_full_at"] if reconcile else None,
        "verdict": gate["document__verdict"] if gate else None,
        "verdict_reasons": (gate["document__reasons"] or [])[:10] if gate else [],
        "verdict_age_seconds": _age(gate["finished_at"], facts.moment) if gate else None,
        "fence_leaks": _alarms("fence_leaks", DivergenceClass.FENCE_LEAK, reconcile, course_id, facts),
        "double_authority": _alarms("double_authority", DivergenceClass.DOUBLE_AUTHORITY, reconcile, course_id, facts),
        "wrong_side": facts.alarms.get((course_id, DivergenceClass.WRONG_SIDE), 0) if reconcile else None,
        **_learners(course_id, reconcile, facts),
        "counters_differed": (reconcile["document__counters_differed"] or 0) if reconcile else 0,
        "passed_through": facts.passed_through.get(course_id, 0),
        "overrides": [
            {name: item[name] for name in ("id", "step_to", "reason", "signed_by", "expires_at")}
            for item in facts.overrides[course_id]
        ],
        "daily": ((reconcile["document__daily"] or []) if reconcile else [])[-30:],
        "ledger_rows": facts.sizes[course_id].entries if course_id in facts.sizes else 0,
    }


def _learners(course_id: str, reconcile: dict[str, Any] | None, facts: _Facts) -> dict[str, Any]:
    """Who waits in vain. None where nobody has asked, or where there is no LMS and nobody can (``learners_asked``)."""
    waiting, lost = facts.undelivered.get(course_id, (0, 0))
    asked = reconcile is not None and (reconcile["document__learners"] or {}).get("applies")
    return {
        "learners_asked": lms_state.is_lms(),
        "undelivered": waiting if waiting or asked else None,
        "undeliverable": lost if waiting or asked else None,
    }


def _age(since: datetime | None, moment: datetime) -> float | None:
    """Seconds since then; clocks differ, and nothing is younger than now."""
    return max(round((moment - since).total_seconds(), 1), 0.0) if since else None


def _why_drifted(state: queries.CourseState, moment: datetime) -> str:
    steps = allowed_steps(state.phase)
    if state.asked not in steps:
        return f"from {state.phase} a course can go to {', '.join(steps)}"
    record = state.record
    if record and record.permit == state.asked and record.permit_until:
        if record.permit_until < moment:
            return f"the permit ended at {record.permit_until.isoformat()}"
        return "the permit was given for other evidence, settings or register: ask the gate again"
    return f"the gate has given no permit for {state.asked}"


def _on_legacy(course_id: str, facts: _Facts) -> tuple[dict[str, int] | None, dict[str, float | None] | None]:
    """By state: how many unretired rows name the course, and the age of the oldest. None where nobody can say."""
    if facts.legacy is None:
        return None, None
    rows: dict[str, int] = {}
    oldest: dict[str, float | None] = {}
    for pulled, state in ((False, "queued"), (True, "pulled")):
        held = [
            held for held in legacy_open_rows.ours(facts.legacy) if held.course == course_id and held.pulled is pulled
        ]
        if held:
            rows[state] = sum(item.rows for item in held)
            oldest[state] = _age(min(item.oldest for item in held), facts.moment)
    return rows, oldest


def _by_status(held: list[target_open_rows.Held]) -> dict[str, int]:
    found: dict[str, int] = {}
    for item in held:
        found[item.status] = found.get(item.status, 0) + item.rows
    return found


def _moving(course_id: str, facts: _Facts, *moves: Move) -> dict[str, Any]:
    """Rows that are between the systems: neither one's graders have them, so they must not grow old."""
    found = [facts.moves[course_id, move] for move in moves if (course_id, move) in facts.moves]
    oldest = min((since for _, since in found if since), default=None)
    return {"rows": sum(number for number, _ in found), "oldest_seconds": _age(oldest, facts.moment)}


def _complete(runs: list[dict[str, Any]]) -> dict[str, Any] | None:
    return next((run for run in runs if run["complete"]), None)


def _run(runs: list[dict[str, Any]]) -> dict[str, Any] | None:
    return _times(runs[0]) if runs else None


def _times(run: dict[str, Any]) -> dict[str, Any]:
    finished = run["finished_at"].isoformat() if run["finished_at"] else None
    return {
        "id": run["id"],
        "started_at": run["started_at"].isoformat(),
        "finished_at": finished,
        "complete": run["complete"],
    }


def _backfill(run: dict[str, Any] | None) -> dict[str, Any] | None:
    return _times(run) | {"mode": run["document__mode"], "written": run["document__written"]} if run else None


def _alarms(
    key: str, klass: DivergenceClass, reconcile: dict[str, Any] | None, course_id: str, facts: _Facts
) -> int | None:
    """What the last complete reconcile says, or what has been found since if that is more. None: nobody has looked."""
    found = facts.alarms.get((course_id, klass), 0)
    record = facts.phases[course_id].record
    if klass is DivergenceClass.FENCE_LEAK and record is not None:
        found = max(found, record.fence_leaks)
    said = reconcile[f"document__{key}"] if reconcile is not None else None
    # What was not said is unknown, and never none.
    return found or None if said is None else max(found, said)
