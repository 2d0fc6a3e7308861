"""One course in the status document: every key that the screen, the dashboard and the metrics read of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

from .. import toggles
from ..core.attention import attention
from ..core.data import DivergenceClass, Move
from ..core.documents.cutover import Flags
from ..core.documents.overrides import CourseOverride, Override
from ..core.documents.status_course import (
    AttendedCourse,
    BackfillTimes,
    MovingRows,
    RunTimes,
    SeenOfCourse,
    WaitingLearners,
)
from ..core.documents.status_judgement import DescribedCourse
from ..core.phases import allowed_steps
from ..legacy import open_rows as legacy_open_rows
from ..lms import state as lms_state
from ..target import open_rows as target_open_rows
from . import graders, judgement, queries
from .snapshot import Snapshot, newest_complete


def describe(course_id: str, snapshot: Snapshot, *, watcher_config: bool = False) -> DescribedCourse:
    """
    Return the part of the status document about one course.

    Args:
        course_id: one of the courses that the snapshot was taken of.
        snapshot: what was read.
        watcher_config: add the configuration that lets watchers serve all of its queues.
    """
    seen = _seen(course_id, snapshot)
    attended: AttendedCourse = {**seen, "attention": attention(seen)}
    described: DescribedCourse = {**attended, **judgement.of(attended, snapshot)}
    if watcher_config:
        described["watcher_config"] = graders.watcher_configuration(course_id)
    return described


def _seen(course_id: str, snapshot: Snapshot) -> SeenOfCourse:
    state = snapshot.states[course_id]
    record, change = state.record, state.change
    reconcile, gate = (newest_complete(snapshot.runs[kind, course_id]) for kind in ("reconcile", "gate"))
    drift = state.asked is not state.phase
    legacy, legacy_oldest = _on_legacy(course_id, snapshot)
    real = [held for held in snapshot.target if held.course == course_id and held.real]
    target = [held for held in real if held.status != "failed"]
    expired = [held for held in snapshot.target if held.course == course_id and held.expired]
    learners = _learners(course_id, reconcile, snapshot)
    return {
        "course": course_id,
        "phase": state.phase.value,
        "since": record.since.isoformat() if record else None,
        "changed_by": change.changed_by if change else None,
        "changed_at": change.changed_at.isoformat() if change else None,
        "reason": change.reason if change else None,
        "drift": drift,
        "drift_because": _why_drifted(state, snapshot.moment) if drift else None,
        "asked": state.asked.value,
        "flags": cast(Flags, dict(zip(toggles.FLAGS, state.flags, strict=True))),
        "platform_flag": snapshot.platform_flag.get(course_id),
        "released_at": record.released_at.isoformat() if record and record.released_at else None,
        "permit": record.permit or None if record else None,
        "permit_until": record.permit_until.isoformat() if record and record.permit_until else None,
        "in_flight": {"legacy": legacy, "target": _by_status(target)},
        "in_flight_oldest_seconds": {
            "legacy": legacy_oldest,
            "target": {
                status: _seconds(min(held.oldest for held in target if held.status == status), snapshot.moment)
                for status in _by_status(target)
            },
        },
        "strangers": None if snapshot.legacy is None else legacy_open_rows.count_unclaimed(snapshot.legacy, course_id),
        "failed": sum(held.rows for held in real if held.status == "failed"),
        "stuck_leases": {
            "rows": sum(held.expired for held in expired),
            "oldest_seconds": _age(
                min((held.expired_since for held in expired if held.expired_since is not None), default=None),
                snapshot.moment,
            ),
        },
        "handed_out_in_vain": len(snapshot.handed_out_in_vain.get(course_id, [])),
        "queues_without_watcher": [
            {
                "side": queue["side"],
                "queue": queue["queue"],
                "rows": queue["rows"],
                "oldest_seconds": queue["oldest_seconds"],
            }
            for queue in snapshot.without_watcher
            if course_id in queue["courses"]
        ],
        "held": _moving(course_id, snapshot, Move.HELD, Move.FENCED),
        "returning": _moving(course_id, snapshot, Move.RETURNING),
        "unknown_queues": [
            {"queue": queue, "copies": queue + snapshot.reverse_suffix, "rows": rows}
            for queue, rows in snapshot.unknown_queues.get(course_id, {}).items()
        ],
        "new_queues": snapshot.new_queues.get(course_id, []),
        "copies": {
            "shadow": snapshot.shadows_owed.get(course_id, {}),
            "reverse": snapshot.reverse_owed.get(course_id, {}),
        },
        "last_runs": {
            "preflight": _run(snapshot.runs["preflight", course_id]),
            "reconcile": _run(snapshot.runs["reconcile", course_id]),
            "gate": _run(snapshot.runs["gate", course_id]),
            "backfill": _backfill(snapshot.backfills.get(course_id)),
        },
        "last_full_reconcile_at": reconcile["document__last_full_at"] if reconcile else None,
        "verdict": gate["document__verdict"] if gate else None,
        "verdict_reasons": (gate["document__reasons"] or [])[:10] if gate else [],
        "verdict_age_seconds": _age(gate["finished_at"], snapshot.moment) if gate else None,
        "fence_leaks": _alarms("fence_leaks", DivergenceClass.FENCE_LEAK, reconcile, course_id, snapshot),
        "lost": snapshot.alarms.get((course_id, DivergenceClass.LOST), 0 if reconcile else None),
        "double_authority": _alarms(
            "double_authority", DivergenceClass.DOUBLE_AUTHORITY, reconcile, course_id, snapshot
        ),
        "wrong_side": snapshot.alarms.get((course_id, DivergenceClass.WRONG_SIDE), 0) if reconcile else None,
        "learners_asked": learners["learners_asked"],
        "undelivered": learners["undelivered"],
        "undeliverable": learners["undeliverable"],
        "counters_differed": (reconcile["document__counters_differed"] or 0) if reconcile else 0,
        "passed_through": snapshot.passed_through.get(course_id, 0),
        "overrides": [_override(item) for item in snapshot.overrides[course_id]],
        "override_proposals": [_override(item) for item in snapshot.override_proposals[course_id]],
        "daily": ((reconcile["document__daily"] or []) if reconcile else [])[-30:],
        "ledger_rows": snapshot.sizes[course_id].entries if course_id in snapshot.sizes else 0,
    }


def _override(item: Override) -> CourseOverride:
    """Return what the status says of an override."""
    return {
        "id": item["id"],
        "step_to": item["step_to"],
        "causes": item["causes"],
        "reason": item["reason"],
        "signed_by": item["signed_by"],
        "seconded_by": item["seconded_by"],
        "used_at": item["used_at"],
        "expires_at": item["expires_at"],
    }


def _learners(course_id: str, reconcile: dict[str, Any] | None, snapshot: Snapshot) -> WaitingLearners:
    """Return how many learners wait in vain; None where no reconcile has read their states, as outside an LMS."""
    waiting, lost = snapshot.undelivered.get(course_id, (0, 0))
    asked = reconcile is not None and (reconcile["document__learners"] or {}).get("applies")
    return {
        "learners_asked": lms_state.is_lms(),
        "undelivered": waiting if waiting or asked else None,
        "undeliverable": lost if waiting or asked else None,
    }


def _age(since: datetime | None, moment: datetime) -> float | None:
    return _seconds(since, moment) if since else None


def _seconds(since: datetime, moment: datetime) -> float:
    """Return the seconds from ``since`` to ``moment``, at least 0: the clocks of two servers differ."""
    return max(round((moment - since).total_seconds(), 1), 0.0)


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


def _on_legacy(course_id: str, snapshot: Snapshot) -> tuple[dict[str, int] | None, dict[str, float] | None]:
    """Return the unretired rows of ours by state, and the age of the oldest of each; None while legacy is down."""
    if snapshot.legacy is None:
        return None, None
    rows: dict[str, int] = {}
    oldest: dict[str, float] = {}
    for pulled, state in ((False, "queued"), (True, "pulled")):
        held = [
            held
            for held in legacy_open_rows.only_ours(snapshot.legacy)
            if held.course == course_id and held.pulled is pulled
        ]
        if held:
            rows[state] = sum(item.rows for item in held)
            oldest[state] = _seconds(min(item.oldest for item in held), snapshot.moment)
    return rows, oldest


def _by_status(held: list[target_open_rows.OpenRows]) -> dict[str, int]:
    found: dict[str, int] = {}
    for item in held:
        found[item.status] = found.get(item.status, 0) + item.rows
    return found


def _moving(course_id: str, snapshot: Snapshot, *moves: Move) -> MovingRows:
    """Return the number and the highest age of entries between the systems, where no grader has them."""
    found = [snapshot.moves[course_id, move] for move in moves if (course_id, move) in snapshot.moves]
    oldest = min((since for _, since in found if since), default=None)
    return {"rows": sum(number for number, _ in found), "oldest_seconds": _age(oldest, snapshot.moment)}


def _run(runs: list[dict[str, Any]]) -> RunTimes | None:
    return _times(runs[0]) if runs else None


def _times(run: dict[str, Any]) -> RunTimes:
    finished = run["finished_at"].isoformat() if run["finished_at"] else None
    return {
        "id": run["id"],
        "started_at": run["started_at"].isoformat(),
        "finished_at": finished,
        "complete": run["complete"],
    }


def _backfill(run: dict[str, Any] | None) -> BackfillTimes | None:
    return {**_times(run), "mode": run["document__mode"], "written": run["document__written"]} if run else None


def _alarms(
    key: str, klass: DivergenceClass, reconcile: dict[str, Any] | None, course_id: str, snapshot: Snapshot
) -> int | None:
    """Return the count of the last complete reconcile, or what is on record if more; None before the first one."""
    found = snapshot.alarms.get((course_id, klass), 0)
    record = snapshot.states[course_id].record
    if klass is DivergenceClass.FENCE_LEAK and record is not None:
        found = max(found, record.fence_leaks)
    said = reconcile[f"document__{key}"] if reconcile is not None else None
    # A reconcile whose document lacks the count has not looked.
    return found or None if said is None else max(found, said)
