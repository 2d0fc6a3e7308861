"""Where every course stands: phase, drift, permit, copies, last runs; and the site's breakers and stray watchers."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, Min
from django.utils.timezone import now

from . import breaker, runs, toggles, watchers
from .data import Document, ExitCode, Leg, Move
from .legacy import rows as legacy_rows
from .models import CoursePhase, LedgerEntry, PhaseChange, Run
from .target import logins, reader

SCHEMA = "migration_shim.xqueue_status/1"


def run(courses: list[str], *, watcher_config: bool = False) -> Document:
    """
    The status of courses, and of the site. Reading it changes nothing but what a flip by hand has made due.

    With ``watcher_config`` each course also gets the configuration that lets watchers serve all of its queues.

    Exit code 8 says that a course's flags ask for what it does not get, 0 that all is as asked.
    """
    described = [_course(course_id) for course_id in courses]
    content = {
        "schema": SCHEMA,
        "at": now().isoformat(),
        "kill_switch": toggles.kill_switch_on(),
        "breakers": {leg: _breaker(leg) for leg in breaker.LEGS},
        "watchers_past_the_seam": {"point_them_at": watchers.seam_url(), "logins": logins.seen()},
        "courses": described,
    }
    if watcher_config:
        for course in described:
            course["watcher_config"] = watchers.configuration(course["course"])
    drift = any(course["drift"] for course in described)
    return Document(content=content, exit_code=ExitCode.STALE if drift else ExitCode.OK)


def _breaker(leg: str) -> dict[str, Any]:
    state = breaker.state(leg)
    return {"failures": state["failures"], "open": breaker.is_open(leg)}


def _course(course_id: str) -> dict[str, Any]:
    decision = toggles.phase_of(course_id)
    record = CoursePhase.objects.filter(course_id=course_id).first()
    change = PhaseChange.objects.filter(course_id=course_id).order_by("-id").first()
    return {
        "course": course_id,
        "phase": decision.phase.value,
        "since": record.since.isoformat() if record else None,
        "changed_by": change.changed_by if change else None,
        "reason": change.reason if change else None,
        "drift": decision.drift,
        "asked": decision.asked.value,
        "flags": dict(zip(toggles.FLAGS, toggles.flags_for(course_id), strict=True)),
        "permit": record.permit or None if record else None,
        "permit_until": record.permit_until.isoformat() if record and record.permit_until else None,
        "in_flight": {
            "legacy": legacy_rows.in_flight(f"/courses/{course_id}/"),
            "target": reader.in_flight(course_id),
        },
        "failed": reader.failed(course_id),
        "held": _moving(course_id, Move.HELD, Move.FENCED),
        "returning": _moving(course_id, Move.RETURNING),
        "copies": {"shadow": _legs(course_id, "target_leg"), "reverse": _legs(course_id, "legacy_leg")},
        "last_runs": {kind: _run(runs.last(kind, course_id)) for kind in ("preflight", "reconcile", "gate")},
        "verdict": _verdict(course_id),
        "fence_leaks": _reconciled(course_id, "fence_leaks"),
        "double_authority": _reconciled(course_id, "double_authority"),
    }


def _moving(course_id: str, *moves: Move) -> dict[str, Any]:
    """Rows that are between the systems: neither one's graders have them, so they must not grow old."""
    moving = LedgerEntry.objects.filter(course_id=course_id, move__in=moves)
    found = moving.aggregate(rows=Count("id"), oldest=Min("moved_at"))
    age = round((now() - found["oldest"]).total_seconds(), 1) if found["oldest"] else None
    return {"rows": found["rows"], "oldest_seconds": age}


def _legs(course_id: str, leg: str) -> dict[str, int]:
    """How many copies are missing and how many have failed; the reasons of the failures are on the ledger entries."""
    owed = LedgerEntry.objects.filter(course_id=course_id, **{f"{leg}__in": (Leg.MISSING, Leg.FAILED)})
    return {row[leg]: row["number"] for row in owed.values(leg).annotate(number=Count("id")).order_by(leg)}


def _run(run: Run | None) -> dict[str, Any] | None:
    if run is None:
        return None
    finished = run.finished_at.isoformat() if run.finished_at else None
    return {"id": run.pk, "started_at": run.started_at.isoformat(), "finished_at": finished, "complete": run.complete}


def _verdict(course_id: str) -> str | None:
    gate = runs.last_complete("gate", course_id)
    return gate.document["verdict"] if gate else None


def _reconciled(course_id: str, key: str) -> int | None:
    reconciled = runs.last_complete("reconcile", course_id)
    return reconciled.document[key] if reconciled else None
