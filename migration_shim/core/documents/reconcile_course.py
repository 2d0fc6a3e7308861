"""The part of ``migration_shim.xqueue_reconcile/1`` about one course; the run of the course on record keeps it too."""

from typing import Annotated, NotRequired, TypedDict

from msgspec import Meta

from ..data import ScoreStyle
from .gate import Register
from .overrides import Override
from .parts import Count, Moment, NonNegative, one_of, says


class Cohort(TypedDict):
    """An item of ``cohorts``."""

    course: Annotated[str, says("The course key, in its canonical form.")]
    queue: Annotated[str, says("The queue's name, without a suffix.")]
    problem: Annotated[str, says("The problem's usage key.")]
    entries: Annotated[int, Meta(ge=1), says("Ledger entries there are.")]
    pairs: Annotated[int, Meta(ge=1), says("Pairs compared.")]
    equal: NotRequired[Annotated[Count, says("Of these, equal.")]]
    known: NotRequired[Annotated[Count, says("Of these, known.")]]
    diverged: NotRequired[Annotated[Count, says("Of these, diverged.")]]
    waiting: NotRequired[Annotated[Count, says("Of these, waiting.")]]
    overdue: NotRequired[Annotated[Count, says("Of these, overdue.")]]


class GradingTimes(TypedDict):
    """``latency.legacy``."""

    graded: Annotated[Count, says("Pairs with a time.")]
    median: Annotated[float | None, says("Median of the seconds from arrival to the grader's return.")]
    p90: Annotated[float | None, says("90th percentile of the seconds from arrival to the grader's return.")]
    p95: Annotated[float | None, says("95th percentile of the seconds from arrival to the grader's return.")]
    p99: Annotated[float | None, says("99th percentile of the seconds from arrival to the grader's return.")]


class Latency(TypedDict):
    """An item of ``latency``."""

    legacy: GradingTimes
    target: GradingTimes


class ThirdSide(TypedDict):
    """``courses.learners.third_side``."""

    compared: Annotated[Count, says("How many of them can be compared. The next four add up to it.")]
    as_both: Annotated[Count, says("They have what both systems gave.")]
    as_legacy: Annotated[Count, says("They have what legacy gave, and the target gave something else, or nothing.")]
    as_target: Annotated[Count, says("The other way round.")]
    as_neither: Annotated[Count, says("They have something else: a wiped result, or one that staff has changed.")]
    not_comparable: Annotated[dict[str, Count], says("Why others cannot be compared (reason to count).")]


class Learners(TypedDict):
    """``courses.learners``."""

    applies: Annotated[
        bool, says("Whether there is an LMS whose learners' states can be asked; false: all the rest says nothing.")
    ]
    receiver: Annotated[
        bool, says("Whether a receiver of the platform's hears of stored results, in the process that ran this.")
    ]
    waiting: Annotated[Count, says("Undelivered: learners whose state waits for a grade that nobody brings.")]
    undeliverable: Annotated[Count, says("Those of them for whom nothing can be done.")]
    third_side: Annotated[
        ThirdSide, says("What learners have for their newest attempts, beside what both systems gave.")
    ]


class ClassCounts(TypedDict):
    """``courses.classes``."""

    presence: Annotated[Count, says("Missing on one side after its grace.")]
    stored_after_refusal: Annotated[
        Count, says("The sender was told that it failed; legacy has stored it all the same.")
    ]
    state: Annotated[Count, says("Final, in different states, or only one side's reply reached the learner.")]
    correctness: Annotated[Count, says("Learners would see another correctness.")]
    score: Annotated[Count, says("Learners would see another score.")]
    scale: Annotated[
        Count, says("Points on one side, a share of 1 on the other; or stored points that follow from such a mistake.")
    ]
    out_of_range: Annotated[Count, says("A score outside of what the problem can give.")]
    stored_points: Annotated[
        Count, says("The target's stored score is not what the installed edx-submissions makes of the reply.")
    ]
    payload: Annotated[
        Count, says("Graders get another payload, or got the reduced one of edx-submissions' own endpoint.")
    ]
    files: Annotated[Count, says("Graders get other files.")]
    identity: Annotated[Count, says("The two sides name another learner or problem.")]
    order: Annotated[Count, says("The target handed out a later attempt of the same learner and input first.")]
    duplicate: Annotated[Count, says("More than one living row of one submission on one side.")]
    stuck: Annotated[Count, says("With a grader for so long that only an operator will move it.")]
    latency: Annotated[Count, says("The target took much longer.")]
    lost: Annotated[Count, says("Vanished before it had an outcome, or graded without a score.")]
    undelivered: Annotated[Count, says("A learner waits, or has waited, for a grade that nobody brings.")]
    wrong_side: Annotated[Count, says("Reached legacy while the target was authoritative.")]
    double_authority: Annotated[Count, says("Both systems have it for real.")]
    fence_leak: Annotated[Count, says("A copy without the whole fence.")]


class Noise(TypedDict):
    """``courses.noise``."""

    twins: Annotated[Count, says("Shadows that were given to a grader a second time.")]
    judged: Annotated[Count, says("Of these, graded twice by now; nothing waits for the others.")]
    differ: Annotated[Count, says("Of these, with another outcome the second time.")]


class ConfusedPairs(TypedDict):
    """An item of ``courses.confusion``."""

    legacy: Annotated[str, says("What legacy's graders said, in a few words.")]
    target: Annotated[str, says("What the target's said.")]
    pairs: Annotated[Count, says("How many pairs.")]


class Day(TypedDict):
    """An item of ``courses.daily``."""

    day: Annotated[str, Meta(extra_json_schema={"format": "date"}), says("Day of arrival, in UTC.")]
    compared: Annotated[Count, says("Entries compared.")]
    diverged: Annotated[Count, says("Of these, diverged.")]


class Statuses(TypedDict):
    """Pairs by the result of their comparison, of a course or of all of them."""

    of: Annotated[Count, says("Ledger entries there are.")]
    compared: Annotated[Count, says("Of these, entries with two sides that were compared.")]
    equal: Annotated[Count, says("Both sides final, and the same.")]
    diverged: Annotated[Count, says("An unexplained difference.")]
    waiting: Annotated[Count, says("One side or both not final, inside the deadline.")]
    overdue: Annotated[Count, says("One side final, the other past its deadline.")]


class RunTotals(TypedDict):
    """What else is added up over the courses."""

    stopped_by: Annotated[
        str,
        one_of("", "SIGINT", "SIGTERM", "kill switch"),
        says("What stopped the run between two batches; empty when nothing did."),
    ]
    waited: Annotated[
        dict[Annotated[str, one_of("pause_file", "lag", "load")], NonNegative],
        says(
            "Seconds waited before batches, by what spoke against more load. With workers the sum over "
            "them, and the command's own."
        ),
    ]
    fence_leaks: Annotated[Count, says("Copies whose grade could reach a learner.")]
    double_authority: Annotated[Count, says("Submissions that are alive for real on both systems.")]
    known_differences: Annotated[dict[str, Count], says("Pairs that differ in a way that is understood, by kind.")]
    echoed: Annotated[Count, says("Shadows that this run gave legacy's own reply (--grading echo).")]
    payloads_compared: Annotated[Count, says("Entries whose payloads were compared as a whole.")]


class CourseFacts(RunTotals):
    """What a run has found and done in a course, but for what its pairs came to."""

    counters_differed: Annotated[
        Count,
        says(
            "Counters that did not say what the ledger says when a run looked at everything last. They "
            "were set right; more than none is an alarm."
        ),
    ]
    learners: Annotated[
        Learners,
        says("The third side: what learners have. Never a reason for a gate but for waiting in live and complete."),
    ]
    fence_looked_upto: Annotated[
        Count,
        says(
            "The newest StudentItem when the fence was looked at; the next run begins there, if this one found no leak."
        ),
    ]
    strangers: Annotated[
        dict[str, Annotated[int, Meta(ge=1)]],
        says("Legacy's open rows of the course by the host of their callbacks, where no setting says whose it is."),
    ]
    classes: Annotated[
        ClassCounts, says("Divergences by class, the registered ones included; a pair can have several.")
    ]
    cohorts: Annotated[list[Cohort], says("Problem by problem.")]
    latency: Annotated[Latency, says("Grading times of the pairs that both sides got in the same moment.")]
    noise: Annotated[Noise, says("Shadows that are graded twice on the target (TWIN_PERCENT).")]
    looked_at: Annotated[Count, says("Entries that this run looked at; the counts are over all that are stored.")]
    full: Annotated[bool, says("Whether settled entries were looked at too.")]
    last_full_at: Annotated[Moment | None, says("When the last complete full run began; null when there was none.")]
    watermark: Annotated[Moment, says("When this run began: the next one asks for what happened since.")]
    queues: Annotated[list[str], says("The course's queues, without a suffix.")]
    styles: Annotated[
        dict[str, Annotated[str, one_of(ScoreStyle)]],
        says("What the graders of a queue call a score, where scores have told it."),
    ]
    confusion: Annotated[list[ConfusedPairs], says("Pairs graded on both sides, by what either side said.")]
    daily: Annotated[list[Day], says("By day of arrival.")]
    overrides: Annotated[
        list[Override], says("Signed overrides of the gate that a course's phase rests on. They change no verdict.")
    ]
    register: Register
    versions: Annotated[dict[str, str], says("The versions that the results rest on.")]
    settings_digest: Annotated[str, says("A digest of the settings in force.")]


class ReconciledCourse(Statuses, CourseFacts):
    """An item of ``courses``."""

    course: Annotated[str, says("The course key, in its canonical form.")]
    complete: Annotated[
        bool, says("Whether all of its entries were compared; a run that was not complete is no evidence.")
    ]
    finished_at: Annotated[Moment, says("When.")]
