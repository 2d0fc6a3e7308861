"""
One round of ``xqueue_watch``: finish interrupted moves, compare every course, hold it to its bounds, write owed copies,
take the next steps of campaigns, and purge.

The steps are independent: one that fails is reported and left to the next round, and the others go on. A round may be
killed at any point and run again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, TypeVar

from django.db import connections
from django.utils.timezone import now

from .. import checks, reconcile, toggles
from ..backfill import unfinished
from ..campaign import round as campaign_round
from ..conf import LEGACY_ALIAS, ShimSettings, load
from ..core.data import Document, ExitCode, Phase
from ..core.documents.reconcile_course import ReconciledCourse
from ..core.documents.watch import (
    CampaignRound,
    CourseSearch,
    PurgedResidue,
    RepairedShadows,
    StepProblem,
    SweptContents,
    WatchDocument,
    WatchedCourse,
)
from ..delivery import learner_side, redelivery
from ..ledger import counts, stamp
from ..legacy import course_search
from ..models import CoursePhase, LedgerEntry, Run
from ..retention import purge, user_retirement
from ..runs import records as run_records
from ..runs.control import Control, Stopped
from ..runs.isolated import exit_code_of, run_step
from ..runs.throttle import Throttle
from ..status import unknown_queues
from ..target import orphaned_files
from . import guard, repair

SCHEMA = "migration_shim.xqueue_watch/1"
#: How long records of routine runs are kept at least.
RUNS_FOR = timedelta(hours=1)
#: Contents are stored before the transaction that writes their rows; of one that began before, none is at work still.
SWEEP_AFTER = timedelta(days=1)

T = TypeVar("T")


def run(courses: list[str] | None = None, *, purge: bool = False) -> Document[WatchDocument]:
    """
    Run one round of the watch.

    Args:
        courses: course ids; None for every course that is not in ``legacy``, or has work left there.
        purge: drop residue and stored contents that are due, even if ``WATCH_PURGE`` is off; else they are counted.

    Returns:
        The round's document. Exit code 2: a course is out of its bounds. 1: a step failed. Both codes may be combined,
        also with that of a stop.

    Raises:
        RunLocked: another watch is at work.
        ConfigurationError: the settings are not usable.
    """
    settings = load()
    with (
        run_records.running("watch") as record,
        Control(toggles.kill_switch_ignored, settings=settings, beat=lambda: run_records.beat(record)) as control,
    ):
        return _Round(courses, settings, control, record, purge=purge).run()


class _Round:
    """One round, with its document as far as it is made."""

    def __init__(
        self, courses: list[str] | None, settings: ShimSettings, control: Control, record: Run, *, purge: bool
    ) -> None:
        self.wanted, self.settings, self.control, self.record = courses, settings, control, record
        self.purge = purge or settings.watch_purge
        self.throttle = Throttle(settings)
        self.problems: list[StepProblem] = []
        self.content: WatchDocument = {
            "schema": SCHEMA,
            "at": "",
            "seconds": 0.0,
            "complete": False,
            "stopped_by": "",
            "kill_switch": False,
            "waiting": "",
            "outbox": None,
            "courses": [],
            "found_in_xqueue": None,
            "repaired": None,
            "campaigns": [],
            "purge": None,
            "sweep": None,
            "forgotten": 0,
            "problems": self.problems,
            "next": [],
        }

    def run(self) -> Document[WatchDocument]:
        started, stopped_by = time.monotonic(), ""
        try:
            self._work()
        except Stopped as stopped:
            stopped_by = str(stopped)
        next_commands = [command for course in self.content["courses"] for command in course["next"]]
        self.content |= {
            "at": now().isoformat(),
            "seconds": round(time.monotonic() - started, 3),
            "complete": not stopped_by,
            "stopped_by": stopped_by,
            "kill_switch": toggles.kill_switch_on(),
            "next": next_commands,
        }
        self.record.document, self.record.complete = self.content, not (stopped_by or self.problems)
        return Document(content=self.content, exit_code=self._exit_code(stopped_by))

    def _exit_code(self, stopped_by: str) -> ExitCode:
        code = ExitCode.STOPPED if stopped_by else ExitCode.OK
        code |= exit_code_of(self.problems)
        if any(course["breaches"] for course in self.content["courses"]):
            code |= ExitCode.DIFFERENCES
        return code

    def _work(self) -> None:
        # Complaints are reported and stop nothing: learners wait for what a round finishes and steps back.
        self._try("checks", "", checks.refuse_on_complaints)
        self._try("ledger", "", stamp.check)  # reported in every round, even if no step needs the ledger to be ours
        courses = self._try("courses", "", self._courses) or []
        for course_id in courses:
            self._course(course_id)
        self.content["outbox"] = self._try("outbox", "", repair.drain, self.settings, self.control.check)
        shadowed = [course["course"] for course in self.content["courses"] if course["phase"] == Phase.SHADOW]
        if shadowed:
            self.content["repaired"] = self._try("shadows", "", self._repair, shadowed)
        if self.wanted is None and LEGACY_ALIAS in connections.settings:  # else XQueue was switched off for good
            self.content["found_in_xqueue"] = self._try("xqueue_courses", "", self._look)
        self.content["campaigns"] = self._try("campaigns", "", self._campaigns) or []
        self.content["forgotten"] = self._try("forget", "", self._forget) or 0
        self.content["purge"] = self._try("purge", "", self._purge)
        self.content["sweep"] = self._try("sweep", "", self._sweep)
        self._try("runs", "", purge.prune_runs, now() - RUNS_FOR)

    def _try(self, step: str, course_id: str, work: Callable[..., T], *args: Any) -> T | None:
        """Do one step and return its result; None if it failed, which is then among the problems."""
        self.control.check()
        done, said = run_step(step, course_id, work, *args)
        if said:
            self.problems.append({"step": step, "course": course_id, "said": said})
        return done

    def _courses(self) -> list[str]:
        if self.wanted is not None:
            return self.wanted
        open_work = LedgerEntry.objects.filter(settled_at=None).exclude(history=True, echo=False)
        records = set(CoursePhase.objects.values_list("course_id", flat=True))
        known = records | set(counts.courses())
        busy = {course for course in known if open_work.filter(course_id=course).exists()}
        return [course for course in sorted(records | busy) if course in busy or self._is_moving(course)]

    def _is_moving(self, course_id: str) -> bool:
        """Return whether a course needs the round: it is not in ``legacy``, or learners there may wait for a grade."""
        decision = self._try("phase", course_id, toggles.phase_of, course_id)
        if decision is None or decision.phase is not Phase.LEGACY:
            return True
        return self._try("learners", course_id, learner_side.has_unasked, course_id) is not False

    def _course(self, course_id: str) -> None:
        check = self.control.check
        course: WatchedCourse = {
            "course": course_id,
            "phase": None,
            "handoff": self._try("handoff", course_id, unfinished.finish_handoff, course_id, self.settings, check),
            "return": self._try("return", course_id, unfinished.finish_return, course_id, self.settings, check),
            "reconcile": None,
            "redelivery": None,
            "reverse": None,
            "breaches": [],
            "new_queues": [],
            "stepped_back": False,
            "not_stepped_back": "",
            "next": [],
        }
        self.content["courses"].append(course)
        reconciled = self._try("reconcile", course_id, self._reconcile, course_id)
        if reconciled is not None:
            course["reconcile"] = {
                "complete": reconciled["complete"],
                "of": reconciled["of"],
                "compared": reconciled["compared"],
                "equal": reconciled["equal"],
                "diverged": reconciled["diverged"],
                "waiting": reconciled["waiting"],
                "overdue": reconciled["overdue"],
            }
        if reconciled is None or not reconciled["complete"]:
            self._try("learners", course_id, learner_side.ask_learners, course_id, self.settings, check)
        # Learners who wait are served whatever speaks against comparing.
        course["redelivery"] = self._try("redelivery", course_id, redelivery.run, course_id, self.settings, check)
        whole = reconciled if reconciled is not None and reconciled["complete"] else None
        guarded = self._try("guard", course_id, guard.guard, course_id, self.settings, whole)
        if guarded is not None:
            course["phase"], course["breaches"] = guarded["phase"], guarded["breaches"]
            course["stepped_back"] = guarded["stepped_back"]
            course["not_stepped_back"] = guarded["not_stepped_back"]
            course["next"] = guarded["next"]
        if course["phase"] in (Phase.LIVE, Phase.COMPLETE):
            course["new_queues"] = self._try("queues", course_id, unknown_queues.new_queues, course_id, now()) or []
        reverse = self._try("reverse", course_id, repair.write_owed_reverse_shadows, course_id, self.settings, check)
        # Copies are owed whatever phase the course is in by now.
        if reverse is not None and (reverse["owed"] or course["phase"] == Phase.LIVE):
            course["reverse"] = reverse
        if course["stepped_back"]:
            course["phase"] = Phase.LEGACY.value

    def _reconcile(self, course_id: str) -> ReconciledCourse | None:
        if self._is_waiting():
            return None
        return reconcile.run([course_id], self._alive, tell=self._alive).content["courses"][0]

    def _is_waiting(self) -> bool:
        """Return whether the throttle asks to put off what can wait; checking the bounds cannot."""
        reason = self.throttle.reason()
        self.content["waiting"] = reason.text if reason else ""
        return reason is not None

    def _alive(self, *args: object) -> None:
        self.control.beat()

    def _repair(self, courses: list[str]) -> RepairedShadows | None:
        if self._is_waiting():
            return None
        done = repair.write_owed_shadows(courses, self.settings, self._alive)
        if done is None:
            return None
        classes: Mapping[str, Any] = done["classes"]
        return {
            "complete": done["complete"],
            "read": done["read"],
            "written": done["written"],
            "classes": dict(classes),
        }

    def _look(self) -> CourseSearch | None:
        # Where XQueue's database has failed in this round, another wait for it tells nothing new.
        away = any(problem["said"].startswith("xqueue_database") for problem in self.problems)
        return None if away or self._is_waiting() else course_search.look(self.control.check)

    def _campaigns(self) -> list[CampaignRound]:
        if not campaign_round.is_any_at_work() or self._is_waiting():
            return []
        watched = self.content["courses"]
        return campaign_round.run(self.settings, self._try, self._campaign_alive, self.wanted, watched)

    def _campaign_alive(self, *args: object) -> None:
        self.control.check()

    def _forget(self) -> int:
        return user_retirement.forget_due(self.settings, check=self.control.check)

    def _purge(self) -> PurgedResidue:
        found = purge.purge(self.settings, execute=self.purge, check=self.control.check).content()
        return {"executed": self.purge, **found, "ledger": purge.ledger_size()}

    def _sweep(self) -> SweptContents:
        swept = orphaned_files.sweep(now() - SWEEP_AFTER, execute=self.purge, check=self.control.check)
        return {
            "at": now().isoformat(),
            "executed": self.purge,
            "ours": swept.ours,
            "young": swept.young,
            "old": swept.old,
            "removed": swept.removed,
        }
