"""
Waves: steps of many courses, a canary first, then a limited number at a time, with a stop at the first that fails.

A course that was moved is in flight until a fresh reconcile that began after its step shows it healthy, a grade by the
target included. Running the same wave again continues it: how far it has come is read from the courses' own records.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.utils.timezone import now

from .. import toggles
from ..conf import load
from ..core.data import Document, ExitCode, Phase, State, Verdict
from ..core.errors import IllegalStep
from ..core.wording import counted, verb
from ..models import CoursePhase, LedgerEntry, Run
from ..runs import records as run_records
from . import gate, steps

SCHEMA = "migration_shim.xqueue_cutover_wave/1"


class WaveState(enum.StrEnum):
    """The state of one course of a wave after a call."""

    DONE = "done"  # in the phase, and healthy by fresh evidence
    WATCHED = "watched"  # in the phase, without fresh evidence since its step
    FAILED = "failed"  # in the phase, and not healthy by its evidence
    MOVED = "moved"  # moved by this call
    PLANNED = "planned"  # would be moved by this call with --execute
    REFUSED = "refused"  # refused by the gate, or a step that the phases do not allow
    WAITS = "waits"  # waits for its turn


def run(
    courses: Sequence[str],
    to: Phase,
    *,
    reason: str,
    execute: bool,
    user: str,
    login: str | None,
    limit: int = 1,
) -> Document:
    """
    Plan a wave, or take its next steps.

    Args:
        courses: the courses in the order in which they are to be moved, the canary first; duplicates count once.
        to, reason, execute, user, login: as for one course, see ``cutover.steps.run``. No override goes with a wave: a
            person signs for one course.
        limit: how many courses may be in flight. Neither limit nor canary applies to a wave back to legacy.

    Returns:
        The wave's document. Exit code 2: a course failed, or its gate says FAIL. 2|8: a gate lacks evidence. 1: the
        phases do not allow a step. 4: courses wait for their turn.

    Raises:
        RunLocked: another wave is at work.
        ShimError: there is no LMS user ``login``.
        ConfigurationError: the settings are not usable.
    """
    wave = _Wave(list(dict.fromkeys(courses)), to, reason, user, login, limit)
    if not execute:
        return wave.run(None)
    with run_records.running("wave") as record:
        document = wave.run(record)
        record.document, record.complete = document.content, True
    return document


class _Wave:
    """One call of a wave, with what it has found so far."""

    def __init__(self, courses: list[str], to: Phase, reason: str, user: str, login: str | None, limit: int) -> None:
        self.courses, self.to, self.reason, self.user, self.login = courses, to, reason, user, login
        self.limit = len(courses) if to is Phase.LEGACY else limit
        self.found: dict[str, dict[str, Any]] = {}
        self.stopped: str | None = None
        self.exit_code = ExitCode.OK

    def run(self, record: Run | None) -> Document:
        # Courses already in the phase come first: a failure among them stops the whole list, whatever the order.
        for course_id in self.courses:
            self._look(course_id)
        for course_id in self.courses:
            if course_id not in self.found:
                self._take(course_id, record)
            if record is not None:
                run_records.beat(record)
        return Document(content=self._content(record is not None), exit_code=self.exit_code)

    def _look(self, course_id: str) -> None:
        """Note the state of a course that is in the phase already; in legacy it is done without evidence."""
        toggles.new_work_cycle()
        decision = toggles.phase_of(course_id)
        if decision.phase is not self.to or decision.drift:
            return
        state, reasons = (WaveState.DONE, []) if self.to is Phase.LEGACY else _health(course_id)
        self._note(course_id, state, decision.phase, reasons)
        if state is WaveState.FAILED:
            self.exit_code |= ExitCode.DIFFERENCES
            self.stopped = self.stopped or f"{course_id} is not well in {self.to}"

    def _take(self, course_id: str, record: Run | None) -> None:
        """Move a course, or note why it is not moved now."""
        phase = toggles.phase_of(course_id).phase
        waits = self.stopped or self._wait()
        if waits:
            self.exit_code |= ExitCode.LEFT_BEHIND
            self._note(course_id, WaveState.WAITS, phase, [waits])
            return
        try:
            step = steps.run(
                course_id,
                self.to,
                reason=self.reason,
                execute=record is not None,
                user=self.user,
                login=self.login,
            )
        except IllegalStep as error:
            self._refuse(course_id, phase, [str(error)], [], ExitCode.ERROR)
            return
        if step.exit_code:
            self._refuse(course_id, phase, step.content["reasons"], step.content["needed"], step.exit_code)
            return
        self._note(course_id, WaveState.PLANNED if record is None else WaveState.MOVED, phase, [], step.content)

    def _wait(self) -> str | None:
        """Return why no further course may be moved now; None if one may."""
        canary = self.courses[0]
        if self.to is not Phase.LEGACY and canary in self.found and self.found[canary]["state"] != WaveState.DONE:
            return f"the canary {canary} is not healthy in {self.to} yet"
        in_flight = (WaveState.WATCHED, WaveState.MOVED, WaveState.PLANNED)
        number = sum(found["state"] in in_flight for found in self.found.values())
        if number >= self.limit:
            return f"{counted(number, 'course')} {verb(number, 'is', 'are')} in flight, and --wave allows {self.limit}"
        return None

    def _refuse(self, course_id: str, phase: Phase, reasons: list[str], needed: list[str], code: ExitCode) -> None:
        self.exit_code |= code
        self._note(course_id, WaveState.REFUSED, phase, reasons)
        self.found[course_id]["needed"] = needed

    def _note(
        self, course_id: str, state: WaveState, phase: Phase, reasons: list[str], step: dict[str, Any] | None = None
    ) -> None:
        self.found[course_id] = {
            "course": course_id,
            "state": state.value,
            "from": phase.value,
            "verdict": step["verdict"] if step else None,
            "overridden": step["overridden"] if step else False,
            "reasons": reasons,
            "needed": [],
            "in_flight": step["in_flight"] if step else None,
        }

    def _content(self, executed: bool) -> dict[str, Any]:
        courses = [self.found[course_id] for course_id in self.courses]
        return {
            "schema": SCHEMA,
            "at": now().isoformat(),
            "to": self.to.value,
            "reason": self.reason,
            "limit": self.limit,
            "canary": self.courses[0],
            "counts": {state.value: sum(found["state"] == state for found in courses) for state in WaveState},
            "stopped": self.stopped,
            "courses": courses,
            "next": list(self._next(courses)),
            "executed": executed,
        }

    def _next(self, courses: list[dict[str, Any]]) -> list[str]:
        failed = [found["course"] for found in courses if found["state"] == WaveState.FAILED]
        if failed:
            return [f"xqueue_gate --course {course_id} --explain" for course_id in failed]
        evidence_of = [found["course"] for found in courses if found["state"] in (WaveState.WATCHED, WaveState.MOVED)]
        if evidence_of and self.to is not Phase.LEGACY:
            return ["xqueue_reconcile " + " ".join(f"--course {course_id}" for course_id in evidence_of)]
        refused = [found["course"] for found in courses if found["state"] == WaveState.REFUSED and found["needed"]]
        return [f"xqueue_gate --course {course_id} --explain" for course_id in refused]


def _health(course_id: str) -> tuple[WaveState, list[str]]:
    """Return the state of a course in its phase by the evidence since its step, and the reasons for it."""
    record = CoursePhase.objects.get(course_id=course_id)
    reconciled = run_records.last_complete("reconcile", course_id)
    if reconciled is None or reconciled.finished_at is None or reconciled.started_at < record.since:
        return WaveState.WATCHED, ["no reconcile has begun and ended since its step"]
    result, found = gate.evaluate_course(course_id)
    bad = {
        "fence leaks": found.fence_leaks,
        "double authority": found.double_authority,
        "undelivered": found.undelivered if found.learners_asked else 0,
        "on the wrong side": found.wrong_side,
        "overdue": found.overdue,
        "missing": found.missing,
        "lost": found.lost,
        "stuck": found.stuck,
    }
    bad |= {klass.value.replace("_", " "): number for klass, number in found.grave}
    reasons = [f"{number} {what}" for what, number in bad.items() if number]
    if result.verdict is Verdict.FAIL:
        reasons += result.reasons
    if reasons:
        return WaveState.FAILED, reasons
    if unknown := [f"nobody has looked for {what}" for what, number in bad.items() if number is None]:
        return WaveState.WATCHED, unknown
    graded = LedgerEntry.objects.filter(
        course_id=course_id,
        # In live a shadow's grade shows nothing about the graders of the learners' own submissions.
        authority=Phase(record.phase).authority,
        target_state=State.GRADED,
        target_graded_at__gte=record.since,
    )
    if record.phase != Phase.COMPLETE and not graded.exists():  # a step to complete does not change who grades
        return WaveState.WATCHED, ["no reconcile has seen a grade of the target since its step"]
    if now() - reconciled.finished_at > timedelta(seconds=load().evidence_max_age_seconds):
        return WaveState.WATCHED, ["its last reconcile is too old"]
    return WaveState.DONE, []
