"""What the status says of a course beyond what it reads: its word, the reasons, what is missing and since when."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from ..core import ranking
from ..core.data import Phase, Verdict
from ..core.documents.status_course import AttendedCourse
from ..core.documents.status_judgement import (
    ChangedSince,
    Forecast,
    FoundInXQueue,
    JudgedCourse,
    LastGate,
    MayMove,
)
from ..core.evidence import Cause
from ..core.forecast import forecast
from ..core.phases import allowed_steps, needs_permit
from .snapshot import Snapshot, newest_complete

Runs = dict[str, Any]
#: Reasons of one course in the document. The rest is in the gate's.
REASONS = 10


def of(described: AttendedCourse, snapshot: Snapshot) -> JudgedCourse:
    """
    Return the keys of a course that are made of others and of its last gate.

    Args:
        described: the course's part of the document so far, with its ``attention``.
        snapshot: what was read.
    """
    course_id = described["course"]
    gate = newest_complete(snapshot.runs["gate", course_id])
    judged = _gate(gate, snapshot, course_id) if gate else None
    blockers = snapshot.blockers.get(course_id, [])
    standing = ranking.standing({**described, "gate": judged, "blockers": blockers})
    return {
        "word": str(standing.word),
        "because": [{"word": str(word), "text": text} for word, text in standing.because[:REASONS]],
        "todo": list(standing.todo),
        "actor": standing.actor.value,
        "next": standing.next,
        "needed": (gate["document__needed"] or []) if gate else [],
        "forecast": _forecast(gate, described, snapshot) if _wants_pairs(standing) else None,
        "may_move": _may_move(described, standing, snapshot.moment),
        "judged_at": gate["finished_at"].isoformat() if gate else None,
        "changes": _changes(gate, course_id, snapshot),
        "known": course_id in snapshot.known,
        "found_in_xqueue": _found(course_id, snapshot),
    }


def _gate(gate: Runs, snapshot: Snapshot, course_id: str) -> LastGate:
    """Return what the last gate said, whatever release has written it, and what of it is too old by now."""
    verdict, cause = gate["document__verdict"], gate["document__cause"] or ranking.UNKNOWN
    reasons, causes = gate["document__reasons"] or [], gate["document__reason_causes"]
    if not reasons and verdict != Verdict.PASS:
        reasons = [f"the gate said {verdict}"]
    if causes is None or len(causes) != len(reasons):  # written by the release before
        causes = [cause] * len(reasons)
    return {
        "phase": gate["document__phase"] or snapshot.states[course_id].phase.value,
        "causes": causes,
        "reasons": reasons,
        "old": list(_old(course_id, snapshot)),
    }


def _old(course_id: str, snapshot: Snapshot) -> Iterator[str]:
    """Yield what has grown too old since the gate looked at it."""
    for kind in ("reconcile", "preflight"):
        run = newest_complete(snapshot.runs[kind, course_id])
        if run is not None and (age := (snapshot.moment - run["finished_at"]).total_seconds()) > snapshot.max_age:
            yield f"the last {kind} is {age / 3600:.1f} h old, the limit is {snapshot.max_age / 3600:.1f} h"
    record = snapshot.states[course_id].record
    if record and record.permit and record.permit_until and record.permit_until < snapshot.moment:
        yield f"the permit for {record.permit} has ended: ask the gate again"


def _wants_pairs(standing: ranking.Standing) -> bool:
    """Return whether more pairs would help. A difference has to be understood first, whatever comes behind it."""
    words = {reason.word for reason in standing.because}
    return Cause.NEEDS_PAIRS in words and Cause.DIFFERS not in words


def _forecast(gate: Runs | None, described: AttendedCourse, snapshot: Snapshot) -> Forecast | None:
    """Return how many pairs are missing and when they will have come; None where the gate has not told how many."""
    by_queue = (gate["document__more_by_queue"] or {}) if gate else {}
    more = gate["document__more_pairs"] if gate else 0
    pairs = max(more or 0, *by_queue.values(), 0) if more is not None else None
    if gate is None or pairs == 0:
        return None
    reconciled = newest_complete(snapshot.runs["reconcile", described["course"]])
    have = gate["document__evidence__arithmetic__pairs"]
    daily = (reconciled["document__daily"] or []) if reconciled else None
    told = forecast(pairs, have, daily, snapshot.moment, counts_for_days=snapshot.pair_days)
    return {
        "pairs": pairs,
        "per_day": told.per_day,
        "at": told.at.isoformat() if told.at else None,
        "why": told.why.value if told.why else None,
    }


def _may_move(described: AttendedCourse, standing: ranking.Standing, moment: datetime) -> MayMove:
    """Return the next step, and what permits it now. An override permits nothing: it ends with the step it was for."""
    phase = Phase(described["phase"])
    order = list(Phase)
    step = next((step for step in allowed_steps(phase) if order.index(step) > order.index(phase)), None)
    if step is None:
        return {"to": None, "by": None}
    if not needs_permit(phase, step):
        return {"to": step.value, "by": None if standing.word in ranking.ALARMS else "anybody"}
    until = described["permit_until"]
    holds = described["permit"] == step and until is not None and datetime.fromisoformat(until) > moment
    return {"to": step.value, "by": "permit" if holds and standing.word == Cause.READY else None}


def _changes(gate: Runs | None, course_id: str, snapshot: Snapshot) -> list[ChangedSince]:
    """Return what the last gate and the last reconcile say otherwise than those before them, name by name."""
    reconcile = newest_complete(snapshot.runs["reconcile", course_id])
    found: list[ChangedSince] = []
    for kind, run, keys in (
        ("gate", gate, {"verdict": "verdict", "cause": "cause", "pairs": "evidence__arithmetic__pairs"}),
        ("reconcile", reconcile, {name: name for name in ("of", "compared", "equal", "diverged")}),
    ):
        before = snapshot.before.get((kind, course_id))
        if run is None or before is None:
            continue
        for name, key in keys.items():
            was, now = before[f"document__{key}"], run[f"document__{key}"]
            if was != now and was is not None:
                since = before["finished_at"].isoformat()
                found.append({"run": kind, "what": name, "was": was, "is": now, "since": since})
    return found


def _found(course_id: str, snapshot: Snapshot) -> FoundInXQueue | None:
    """Return what the watch has found of a course in XQueue; None where it has found nothing, or never looked."""
    item = snapshot.found.get(course_id)
    if item is None:
        return None
    return {"open_rows": item.open_rows, "seen_at": item.seen_at.isoformat(), "hosts": list(item.hosts)}
