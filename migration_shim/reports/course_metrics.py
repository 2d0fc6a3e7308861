"""The metrics of each course."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

from ..core import ranking
from ..core.data import Phase, Verdict
from ..core.documents.cutover import SIDES
from ..core.documents.status import StatusDocument
from ..core.documents.status_course import RunTimes
from ..core.documents.status_judgement import CourseStatus
from .metric import Metric, Sample, timestamp


def _courses(read: Callable[[CourseStatus], float | int | bool | None]) -> Callable[[StatusDocument], Iterator[Sample]]:
    """Return a reader that yields one sample for each course."""

    def samples(content: StatusDocument) -> Iterator[Sample]:
        for course in content["courses"]:
            yield (course["course"],), read(course)

    return samples


def _each(read: Callable[[CourseStatus], Iterator[Sample]]) -> Callable[[StatusDocument], Iterator[Sample]]:
    """Return a reader that yields several samples for each course, whose own labels follow the course's."""

    def samples(content: StatusDocument) -> Iterator[Sample]:
        for course in content["courses"]:
            for labels, number in read(course):
                yield (course["course"], *labels), number

    return samples


def _one_of(
    key: Literal["word", "phase", "verdict"], values: Iterable[str]
) -> Callable[[CourseStatus], Iterator[Sample]]:
    """Return a reader that yields a sample for each value that a course may have under a key: 1 for its own."""

    def samples(course: CourseStatus) -> Iterator[Sample]:
        for value in values:
            yield (value,), course[key] == value

    return samples


def _in_flight(key: Literal["in_flight", "in_flight_oldest_seconds"]) -> Callable[[CourseStatus], Iterator[Sample]]:
    def samples(course: CourseStatus) -> Iterator[Sample]:
        for side in SIDES:
            states: Mapping[str, float] | None = course[key][side]
            if states is not None:
                for state in _STATES[side]:
                    yield (side, state), states.get(state, 0)

    return samples


def _copies(course: CourseStatus) -> Iterator[Sample]:
    copies: Mapping[str, Any] = course["copies"]
    for kind, counts in copies.items():
        for leg in ("missing", "failed"):
            yield (kind, leg), counts.get(leg, 0)


def _runs(read: Callable[[RunTimes], float | int | bool | None]) -> Callable[[CourseStatus], Iterator[Sample]]:
    def samples(course: CourseStatus) -> Iterator[Sample]:
        runs: Mapping[str, Any] = course["last_runs"]
        for kind, run in runs.items():
            yield (kind,), read(run) if run is not None else None

    return samples


_STATES = {"legacy": ("queued", "pulled"), "target": ("pending", "pulled", "retry")}

#: In the order in which they are written, after those of the site.
COURSE_METRICS: tuple[Metric, ...] = (
    Metric(
        name="course_word",
        help="1 for the word that says where the course stands, 0 for the others.",
        labels=("course", "word"),
        samples=_each(_one_of("word", ranking.ORDER)),
    ),
    Metric(
        name="course_phase",
        help="1 for the phase that is in force, 0 for the others.",
        labels=("course", "phase"),
        samples=_each(_one_of("phase", [phase.value for phase in Phase])),
    ),
    Metric(
        name="course_drift",
        help="Whether the flags ask for a phase that is not in force.",
        labels=("course",),
        samples=_courses(lambda course: course["drift"]),
    ),
    Metric(
        name="course_past_the_shim",
        help="Whether the platform's own flag sends submissions past the shim without a release.",
        labels=("course",),
        samples=_courses(lambda course: any(item["what"] == "past_the_shim" for item in course["attention"])),
    ),
    Metric(
        name="course_permit_until_timestamp_seconds",
        help="Until when the gate permits the next step.",
        labels=("course",),
        samples=_courses(lambda course: timestamp(course["permit_until"])),
    ),
    Metric(
        name="course_verdict",
        help="1 for the verdict of the last gate, 0 for the others.",
        labels=("course", "verdict"),
        samples=_each(_one_of("verdict", [verdict.value for verdict in Verdict])),
    ),
    Metric(
        name="course_verdict_age_seconds",
        help="How old that verdict is.",
        labels=("course",),
        samples=_courses(lambda course: course["verdict_age_seconds"]),
    ),
    Metric(
        name="in_flight",
        help="Learners' submissions that a side has not finished.",
        labels=("course", "side", "state"),
        samples=_each(_in_flight("in_flight")),
    ),
    Metric(
        name="in_flight_oldest_seconds",
        help="How long ago the oldest of them arrived; 0 without any.",
        labels=("course", "side", "state"),
        samples=_each(_in_flight("in_flight_oldest_seconds")),
    ),
    Metric(
        name="unknown_lms",
        help="Open rows of legacy that name the course and a host of which no setting says whose it is.",
        labels=("course",),
        samples=_courses(lambda course: None if course["strangers"] is None else sum(course["strangers"].values())),
    ),
    Metric(
        name="failed",
        help="Learners' submissions that have failed for good on the target.",
        labels=("course",),
        samples=_courses(lambda course: course["failed"]),
    ),
    Metric(
        name="stuck_leases",
        help="Rows of the target that a grader has pulled and not answered within its lease.",
        labels=("course",),
        samples=_courses(lambda course: course["stuck_leases"]["rows"]),
    ),
    Metric(
        name="handed_out_in_vain",
        help="Rows of the target that were handed out again and again without a result.",
        labels=("course",),
        samples=_courses(lambda course: course["handed_out_in_vain"]),
    ),
    Metric(
        name="held_rows",
        help="Rows that a handoff holds: no grader has them.",
        labels=("course",),
        samples=_courses(lambda course: course["held"]["rows"]),
    ),
    Metric(
        name="held_oldest_seconds",
        help="For how long the oldest of them has been held; 0 without any.",
        labels=("course",),
        samples=_courses(lambda course: course["held"]["oldest_seconds"] or 0),
    ),
    Metric(
        name="returning_rows",
        help="Rows on their way back to legacy: no grader has them.",
        labels=("course",),
        samples=_courses(lambda course: course["returning"]["rows"]),
    ),
    Metric(
        name="returning_oldest_seconds",
        help="For how long the oldest of them has been on its way; 0 without any.",
        labels=("course",),
        samples=_courses(lambda course: course["returning"]["oldest_seconds"] or 0),
    ),
    Metric(
        name="copies_owed",
        help="Copies that are missing, or were tried and failed.",
        labels=("course", "copy", "state"),
        samples=_each(_copies),
    ),
    Metric(
        name="last_run_timestamp_seconds",
        help="When the last run of a kind ended; no sample while it runs, or where there was none.",
        labels=("course", "kind"),
        samples=_each(_runs(lambda run: timestamp(run["finished_at"]))),
    ),
    Metric(
        name="last_run_complete",
        help="Whether the last run of a kind came to its end.",
        labels=("course", "kind"),
        samples=_each(_runs(lambda run: run["complete"])),
    ),
    Metric(
        name="last_full_reconcile_timestamp_seconds",
        help="When the last reconcile began that looked at everything.",
        labels=("course",),
        samples=_courses(lambda course: timestamp(course["last_full_reconcile_at"])),
    ),
    Metric(
        name="fence_leaks",
        help="Copies that have reached a learner, or could; no sample before the first reconcile.",
        labels=("course",),
        samples=_courses(lambda course: course["fence_leaks"]),
    ),
    Metric(
        name="double_authority",
        help="Submissions that both systems had for real; no sample before the first reconcile.",
        labels=("course",),
        samples=_courses(lambda course: course["double_authority"]),
    ),
    Metric(
        name="counters_differed",
        help="Counters that did not say what the ledger says when a reconcile looked at everything last.",
        labels=("course",),
        samples=_courses(lambda course: course["counters_differed"]),
    ),
    Metric(
        name="undelivered",
        help="Learners who wait for a grade that nobody brings; no sample before a reconcile, nor outside an LMS.",
        labels=("course",),
        samples=_courses(lambda course: course["undelivered"]),
    ),
    Metric(
        name="undeliverable",
        help="Those of them for whom nothing can be done; the same.",
        labels=("course",),
        samples=_courses(lambda course: course["undeliverable"]),
    ),
    Metric(
        name="wrong_side",
        help="Submissions that reached legacy while the target was authoritative; no sample before a reconcile.",
        labels=("course",),
        samples=_courses(lambda course: course["wrong_side"]),
    ),
    Metric(
        name="overrides",
        help="Signed overrides of the gate that the phase of the course rests on.",
        labels=("course",),
        samples=_courses(lambda course: len(course["overrides"])),
    ),
    Metric(
        name="course_ledger_entries",
        help="Entries of the ledger that are a course's.",
        labels=("course",),
        samples=_courses(lambda course: course["ledger_rows"]),
    ),
)
