"""The document ``migration_shim.xqueue_preflight/1``."""

from typing import Annotated, NotRequired, TypedDict

from ..data import ScoreStyle
from .parts import Count, Moment, NonNegative, one_of, says


class FoundProblem(TypedDict):
    """An item of ``cohorts``."""

    queue: Annotated[str, says("The queue.")]
    problem: Annotated[str, says("The problem's usage key; empty for rows that cannot be read.")]
    rows: Annotated[Count, says("Its rows.")]
    in_flight: Annotated[Count, says("Those that are not retired.")]
    history: Annotated[Count, says("Graded rows that --history could import and have echoed.")]
    inputs: Annotated[Count, says("Inputs of the problem that were seen.")]
    points_possible: Annotated[Count, says("The problem's maximum.")]
    points_assumed: Annotated[bool, says("Whether that is assumed.")]
    score_style: Annotated[str, one_of(ScoreStyle), says("What the queue's graders call a score.")]
    longest_grading_seconds: Annotated[NonNegative, says("From a row's last pull to its return.")]


class Retention(TypedDict):
    """``retention``."""

    rows: Annotated[Count, says("Rows of all courses.")]
    oldest_legacy_id: Annotated[int | None, says("The oldest row.")]
    oldest_arrival: Annotated[Moment | None, says("When it arrived.")]
    missing_ids: Annotated[Count, says("Ids between the oldest and the newest row that no row has.")]


class History(TypedDict):
    """``history``."""

    pairs: Annotated[Count, says("Graded pairs that --history could give, with per_problem rows of a problem at most.")]
    graded: Annotated[Count, says("The same without that bound.")]
    per_problem: Annotated[Count, says("The default of --per-problem.")]
    needed: Annotated[Count, says("Pairs that the gate asks for if none diverges.")]
    thin_problems: Annotated[list[str], says("Problems that have fewer of their own than the gate asks for.")]


class FindingDocument(TypedDict):
    """An item of ``findings``."""

    code: Annotated[str, says("What was found.")]
    severity: Annotated[str, one_of("blocker", "warning", "note"), says("A blocker closes the gate.")]
    rows: Annotated[Count, says("Rows that have it; 0 where it is not about rows.")]
    example_legacy_id: Annotated[int | None, says("One of these rows.")]
    listed_legacy_ids: Annotated[
        list[int], says("Rows that somebody has to look after, at most 1000 of each place; else empty.")
    ]
    queue: Annotated[str, says("The queue, or empty.")]
    problem: Annotated[str, says("The problem's usage key, or empty.")]
    about: Annotated[
        str, says("What else there is to say: names of keys, sizes, reasons, a check's complaint. Or empty.")
    ]
    effect: Annotated[str, says("What the target does with it.")]
    advice: Annotated[str, says("What to do.")]
    seam: Annotated[bool, says("Whether the watcher seam takes care of it.")]
    page: NotRequired[Annotated[str, says("The page of the runbook, with its anchor.")]]


class ProbeDocument(TypedDict):
    """An item of ``probes``."""

    queue: Annotated[str, says("The queue of reverse shadows.")]
    sent: Annotated[bool, says("Whether XQueue has taken it.")]
    said: Annotated[str, says("Why it was not sent, or empty.")]


class PreflightDocument(TypedDict):
    """
    What would break on the target.

    The document of xqueue_preflight.
    """

    schema: Annotated[str, one_of("migration_shim.xqueue_preflight/1")]
    course: Annotated[str, says("The course key, in its canonical form.")]
    at: Annotated[Moment, says("When.")]
    rows: Annotated[Count, says("Legacy rows of the course that were looked at.")]
    classes: Annotated[
        dict[str, Count],
        says("What backfill makes of these rows with --history, by class, as if nothing were imported yet."),
    ]
    queues: Annotated[list[str], says("The queues that they name.")]
    cohorts: Annotated[
        list[FoundProblem], says("Every problem of every queue; what is over a bound stands together as (others).")
    ]
    retention: Annotated[Retention, says("How far back legacy's table goes, for all courses.")]
    history: Annotated[History, says("Whether legacy's past is enough for the gate.")]
    findings: Annotated[list[FindingDocument], says("Blockers first.")]
    probes: Annotated[list[ProbeDocument], says("With --probe, one a queue; else empty.")]
    versions: Annotated[dict[str, str], says("The versions that the result depends on.")]
