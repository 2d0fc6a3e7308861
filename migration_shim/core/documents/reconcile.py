"""The document ``migration_shim.xqueue_reconcile/1``."""

from typing import Annotated, NotRequired

from ..data import DivergenceClass
from .parts import Count, CourseProblem, Moment, one_of, says
from .reconcile_course import Cohort, Latency, ReconciledCourse, RunTotals, Statuses
from .reconcile_report import ReconcileReport
from .reconcile_since import CourseSince


class ReconcileDocument(Statuses, RunTotals):
    """
    The comparison of both systems.

    The document of xqueue_reconcile. Learners appear in it as numbers only.
    """

    schema: Annotated[str, one_of("migration_shim.xqueue_reconcile/1")]
    finished_at: Annotated[Moment, says("When the run ended.")]
    complete: Annotated[bool, says("Whether every course was compared to its end.")]
    classes: Annotated[
        dict[Annotated[str, one_of(DivergenceClass)], Count],
        says(
            "Divergences by class, the registered ones included; a pair can have several. Empty when there was "
            "no course to compare."
        ),
    ]
    cohorts: Annotated[list[Cohort], says("All courses, problem by problem.")]
    latency: Annotated[
        dict[str, Annotated[Latency, says("Grading times of the pairs that both sides got in the same moment.")]],
        says("By course."),
    ]
    courses: Annotated[
        list[Annotated[ReconciledCourse, says("One course's part.")]],
        says("Course by course; each is also the document of its own run on record."),
    ]
    not_compared: Annotated[list[str], says("What this version does not compare.")]
    report: NotRequired[
        Annotated[ReconcileReport, says("Only in a file of --report: what a report says beside the comparison.")]
    ]
    looked_at: Annotated[
        Count,
        says(
            "Entries looked at by this run, course by course and pass by pass; the counts are over all "
            "of them all the same."
        ),
    ]
    problems: Annotated[
        list[CourseProblem],
        says("Courses that something went wrong with, or that another run is at work on; they are not among courses."),
    ]
    since: NotRequired[
        Annotated[
            list[CourseSince],
            says(
                "Only with --since: what has changed since an earlier complete reconcile. A course that has "
                "none is left out."
            ),
        ]
    ]
