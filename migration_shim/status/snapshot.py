"""What the status shows, read for all courses at once: more courses cost no more statements."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .. import toggles
from ..conf import ShimSettings
from ..core.data import Authority, Phase, Whose
from ..core.documents.overrides import Override
from ..core.documents.status import UnservedQueueOfSite
from ..core.documents.status_course import NewQueue
from ..cutover import override_records
from ..delivery import ungradable
from ..ledger import counts, site_courses
from ..legacy import open_rows as legacy_open_rows
from ..legacy.timeouts import AWAY
from ..lms import flags as lms_flags
from ..models import CoursePhase
from ..target import open_rows as target_open_rows
from . import graders, queries, unknown_queues

#: Kinds of runs whose last one is shown of each course.
KINDS = ("preflight", "reconcile", "gate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """
    All that was read for one status document; most of it by course.

    Args:
        moment: when it was read; every age is counted up to it.
        states: phase, flags and record of each course.
        legacy: unretired rows on legacy, those of other LMSs included; None where its database does not answer.
        target: rows in flight or failed on the target.
        without_watcher: queues that no grader polls, see ``graders.queues_without_watcher``.
        moves: by course and move: how many entries are between the systems, and since when the oldest of them.
        shadows_owed: by course and state: shadows that are missing or failed.
        reverse_owed: by course and state: reverse shadows that are missing or failed.
        alarms: by course and class: divergences that no signature covers.
        runs: by kind and course: runs from the newest on, see ``queries.newest_runs``.
        blockers: what the newest preflight of each course in ``legacy`` found that has to be mended.
        backfills: the newest backfill that wrote for a course.
        overrides: the gate overrides that a course's phase rests on, as documents show them.
        override_proposals: those that wait for a second person.
        undelivered: learners who wait in vain, and how many of them nothing can be delivered to.
        passed_through: submissions that the router passed to legacy while the target was authoritative.
        unknown_queues: by course and queue: reverse shadows that XQueue refused because it does not know the queue.
        new_queues: queues that the last round of the watch saw for the first time.
        reverse_suffix: what a queue of reverse shadows has behind its name.
        sizes: entries of each course's ledger.
        handed_out_in_vain: submissions on the target that were handed out again and again without a result.
        platform_flag: whether the platform's own flag is on; empty outside an LMS.
        known: the courses that the shim knows: of these there is a phase or a ledger entry.
        found: what the watch has found of each course in XQueue.
        strangers: courses that were found with the host of an LMS that no setting names.
        look: how far that search is; None where nothing has ever looked.
        before: by kind and course: the complete run before the newest; read for courses that were asked for.
        max_age: for how many seconds evidence counts.
        pair_days: for how many days a pair counts.
    """

    moment: datetime
    states: dict[str, queries.CourseState]
    legacy: list[legacy_open_rows.OpenRows] | None
    target: list[target_open_rows.OpenRows]
    without_watcher: list[UnservedQueueOfSite]
    moves: dict[tuple[str, str], tuple[int, datetime | None]]
    shadows_owed: dict[str, dict[str, int]]
    reverse_owed: dict[str, dict[str, int]]
    alarms: dict[tuple[str, str], int]
    runs: dict[tuple[str, str], list[dict[str, Any]]]
    blockers: dict[str, list[str]]
    backfills: dict[str, dict[str, Any]]
    overrides: dict[str, list[Override]]
    override_proposals: dict[str, list[Override]]
    undelivered: dict[str, tuple[int, int]]
    passed_through: dict[str, int]
    unknown_queues: dict[str, dict[str, int]]
    new_queues: dict[str, list[NewQueue]]
    reverse_suffix: str
    sizes: dict[str, counts.Size]
    handed_out_in_vain: dict[str, list[int]]
    platform_flag: dict[str, bool]
    known: frozenset[str]
    found: dict[str, site_courses.FoundCourse]
    strangers: list[site_courses.FoundCourse]
    look: site_courses.Look | None
    before: dict[tuple[str, str], dict[str, Any]]
    max_age: float
    pair_days: float


def take(courses: Collection[str], settings: ShimSettings, moment: datetime, *, compare_runs: bool = False) -> Snapshot:
    """
    Read all that the status shows of these courses, in as many statements for one course as for many.

    Where legacy's database does not answer, ``legacy`` is None and the rest is read all the same. With
    ``compare_runs`` the runs before the newest are read too.
    """
    states = queries.course_states(courses)
    runs = queries.newest_runs(KINDS, courses)
    target, legacy = target_open_rows.all_rows(settings), None
    queues = {
        course: complete["document__queues"] or []
        for course in courses
        if (complete := newest_complete(runs["reconcile", course])) is not None
    }
    try:
        legacy = legacy_open_rows.all_rows()
        without_watcher = graders.queues_without_watcher(
            legacy_open_rows.only_ours(legacy), target, queues, settings, moment
        )
    except AWAY:
        # The rest of the screen is what an operator needs most then; that legacy is down is shown, never as "nothing".
        legacy, without_watcher = None, graders.queues_without_watcher([], target, queues, settings, moment)
    standing, proposed = override_records.both_by_course(courses, moment)
    in_xqueue, sizes = site_courses.found(), counts.sizes()
    preflights = [
        newest_complete(runs["preflight", course]) for course in courses if states[course].phase is Phase.LEGACY
    ]
    newest = [run for of in runs.values() if (run := newest_complete(of)) is not None]
    return Snapshot(
        moment=moment,
        states=states,
        legacy=legacy,
        target=target,
        without_watcher=without_watcher,
        moves=queries.rows_between_systems(courses),
        shadows_owed=queries.owed_copies(courses, "target_leg", Authority.LEGACY),
        reverse_owed=queries.owed_copies(courses, "legacy_leg", Authority.TARGET),
        alarms=queries.alarms(courses),
        runs=runs,
        blockers=queries.blockers([run["id"] for run in preflights if run is not None]),
        backfills=queries.newest_backfills(courses),
        overrides=standing,
        override_proposals=proposed,
        unknown_queues=unknown_queues.unknown_to_xqueue(courses),
        new_queues=unknown_queues.new_queues_of_last_watch(),
        reverse_suffix=settings.reverse_queue_suffix,
        undelivered=queries.undelivered(courses),
        passed_through=queries.passed_through(courses),
        sizes=sizes,
        handed_out_in_vain=ungradable.rows(courses, settings),
        platform_flag=lms_flags.submission_flags_on(courses) if toggles.in_platform() else {},
        known=frozenset({*sizes, *CoursePhase.objects.values_list("course_id", flat=True)}),
        found={item.course_id: item for item in in_xqueue if item.whose is Whose.OURS},
        strangers=[item for item in in_xqueue if item.whose is not Whose.OURS],
        look=site_courses.last_look(),
        before=queries.runs_before(newest, ("reconcile", "gate"), courses) if compare_runs else {},
        max_age=settings.evidence_max_age_seconds,
        pair_days=settings.evidence_days,
    )


def newest_complete(runs: Collection[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the first run that came to its end, of runs that begin with the newest; None without one."""
    return next((run for run in runs if run["complete"]), None)
