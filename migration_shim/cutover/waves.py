"""
Waves: steps of many courses, a canary first, then a limited number at a time, with a stop at the first that fails.

A course that was moved is in flight until a fresh reconcile that began after its step shows it well in its phase
(``health``). The canary and the limit are the rule of campaigns (``core/campaign.py``). Running the same wave again
continues it: how far it has come is read from the courses' own records.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import cast

from django.utils.timezone import now

from .. import toggles
from ..core.campaign import Health, waits_for_turn
from ..core.data import Document, ExitCode, Phase
from ..core.documents.cutover import CutoverDocument
from ..core.documents.cutover_wave import CourseOfWave, CutoverWaveDocument, WaveCounts
from ..core.errors import IllegalStep
from ..models import CoursePhase, Run
from ..runs import records as run_records
from . import steps
from .health import health

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


_STATES = {Health.WELL: WaveState.DONE, Health.UNKNOWN: WaveState.WATCHED, Health.FAILED: WaveState.FAILED}
#: States of courses that were moved, and are not shown well yet.
_IN_FLIGHT = (WaveState.WATCHED, WaveState.MOVED, WaveState.PLANNED)


def run(
    courses: Sequence[str],
    to: Phase,
    *,
    reason: str,
    execute: bool,
    user: str,
    login: str | None,
    limit: int = 1,
) -> Document[CutoverWaveDocument]:
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
        self.found: dict[str, CourseOfWave] = {}
        self.stopped: str | None = None
        self.exit_code = ExitCode.OK

    def run(self, record: Run | None) -> Document[CutoverWaveDocument]:
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
        state = WaveState.DONE
        reasons: list[str] = []
        if self.to is not Phase.LEGACY:
            found, reasons = health(CoursePhase.objects.get(course_id=course_id))
            state = _STATES[found]
        self._note(course_id, state, decision.phase, reasons)
        if state is WaveState.FAILED:
            self.exit_code |= ExitCode.DIFFERENCES
            self.stopped = self.stopped or f"{course_id} is not well in {self.to}"

    def _take(self, course_id: str, record: Run | None) -> None:
        """Move a course, or note why it is not moved now."""
        phase = toggles.phase_of(course_id).phase
        waits = self.stopped or self._wait(course_id)
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

    def _wait(self, course_id: str) -> str:
        """Return why a course may not be moved now; empty if it may."""
        if self.to is Phase.LEGACY:
            return ""
        canary = self.found.get(self.courses[0])
        return waits_for_turn(
            course_id,
            self.to,
            canary=self.courses[0],
            canary_is_there=canary is not None and canary["state"] == WaveState.DONE,
            moved=sum(found["state"] in _IN_FLIGHT for found in self.found.values()),
            limit=self.limit,
            option="--wave",
        )

    def _refuse(self, course_id: str, phase: Phase, reasons: list[str], needed: list[str], code: ExitCode) -> None:
        self.exit_code |= code
        self._note(course_id, WaveState.REFUSED, phase, reasons)
        self.found[course_id]["needed"] = needed

    def _note(
        self, course_id: str, state: WaveState, phase: Phase, reasons: list[str], step: CutoverDocument | None = None
    ) -> None:
        self.found[course_id] = {
            "course": course_id,
            "state": state.value,
            "from": phase.value,
            "verdict": step["verdict"] if step else None,
            "overridden": False,
            "reasons": reasons,
            "needed": [],
            "in_flight": step["in_flight"] if step else None,
        }

    def _content(self, executed: bool) -> CutoverWaveDocument:
        courses = [self.found[course_id] for course_id in self.courses]
        return {
            "schema": SCHEMA,
            "at": now().isoformat(),
            "to": self.to.value,
            "reason": self.reason,
            "limit": self.limit,
            "canary": self.courses[0],
            "counts": cast(
                WaveCounts, {state.value: sum(found["state"] == state for found in courses) for state in WaveState}
            ),
            "stopped": self.stopped,
            "courses": courses,
            "next": list(self._next(courses)),
            "executed": executed,
        }

    def _next(self, courses: list[CourseOfWave]) -> list[str]:
        failed = [found["course"] for found in courses if found["state"] == WaveState.FAILED]
        if failed:
            return [f"xqueue_gate --course {course_id} --explain" for course_id in failed]
        evidence_of = [found["course"] for found in courses if found["state"] in (WaveState.WATCHED, WaveState.MOVED)]
        if evidence_of and self.to is not Phase.LEGACY:
            return ["xqueue_reconcile " + " ".join(f"--course {course_id}" for course_id in evidence_of)]
        refused = [found["course"] for found in courses if found["state"] == WaveState.REFUSED and found["needed"]]
        return [f"xqueue_gate --course {course_id} --explain" for course_id in refused]
