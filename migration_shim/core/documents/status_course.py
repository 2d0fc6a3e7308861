"""What the status sees of a course: the larger part of an item of ``courses`` in ``migration_shim.xqueue_status/1``."""

from typing import Annotated, Any, NotRequired, TypedDict

from msgspec import Meta

from .. import codes
from ..data import Authority, Phase, Verdict
from .cutover import Flags, InFlight
from .overrides import CourseOverride
from .parts import Count, Moment, NonNegative, one_of, says
from .reconcile_course import Day


class Copies(TypedDict):
    """``courses.copies``."""

    shadow: Annotated[
        dict[Annotated[str, one_of("missing", "failed")], Count],
        says("Shadows that are owed, or could not be written."),
    ]
    reverse: Annotated[dict[Annotated[str, one_of("missing", "failed")], Count], says("The same of reverse shadows.")]


class RunTimes(TypedDict):
    """A run in ``courses.last_runs``."""

    id: int
    started_at: Moment
    finished_at: Moment | None
    complete: bool


class BackfillTimes(RunTimes):
    """``courses.last_runs.backfill``."""

    mode: Annotated[str, one_of("shadow", "handoff", "return")] | None
    written: Count | None


class LastRuns(TypedDict):
    """``courses.last_runs``."""

    preflight: RunTimes | None
    reconcile: RunTimes | None
    gate: RunTimes | None
    backfill: Annotated[
        BackfillTimes | None,
        says(
            "The newest that wrote and named the course or no course at all; one by queue is not "
            "counted. Mode and what was written are null while it runs, or where it died."
        ),
    ]


class UnknownQueue(TypedDict):
    """An item of ``courses.unknown_queues``."""

    queue: Annotated[str, says("Its name.")]
    copies: Annotated[str, says("The queue of its reverse shadows, which XQueue does not know.")]
    rows: Annotated[int, Meta(ge=1), says("How many copies were refused.")]


class NewQueue(TypedDict):
    """An item of ``courses.new_queues``."""

    queue: Annotated[str, says("Its name.")]
    since: Annotated[Moment, says("When its first submission came.")]
    rows: Annotated[int, Meta(ge=1), says("How many submissions it has.")]


class MovingRows(TypedDict):
    """``courses.held`` and ``courses.returning``."""

    rows: Annotated[Count, says("How many.")]
    oldest_seconds: Annotated[
        float | None, says("Since when the longest of them has been as it is; null without rows.")
    ]


class OldestInFlight(TypedDict):
    """``courses.in_flight_oldest_seconds``."""

    legacy: Annotated[
        dict[Annotated[str, one_of("queued", "pulled")], NonNegative] | None,
        says("By state, in seconds. Null where legacy's database does not answer."),
    ]
    target: Annotated[
        dict[Annotated[str, one_of("pending", "pulled", "retry")], NonNegative], says("By state, in seconds.")
    ]


class StuckLeases(TypedDict):
    """``courses.stuck_leases``."""

    rows: Annotated[Count, says("How many.")]
    oldest_seconds: Annotated[NonNegative | None, says("How long ago the oldest was pulled; null without rows.")]


class UnservedQueue(TypedDict):
    """An item of ``courses.queues_without_watcher``."""

    side: Annotated[str, one_of(Authority), says("The system.")]
    queue: Annotated[str, says("The queue.")]
    rows: Annotated[int, Meta(ge=1), says("Rows that wait in it.")]
    oldest_seconds: Annotated[NonNegative, says("For how long the oldest has waited.")]


class Attention(TypedDict):
    """An item of ``courses.attention``."""

    what: Annotated[str, one_of(*codes.ATTENTION), says("Its kind.")]
    text: Annotated[str, says("In words.")]
    commands: Annotated[list[str], says("What would see to it.")]
    page: NotRequired[Annotated[str, says("The page of the runbook, with its anchor.")]]


WatcherConfig = TypedDict(
    "WatcherConfig",
    {
        "xqwatcher.json": Annotated[dict[str, Any], says("What all clients of a watcher share.")],
        "MIGRATION_SHIM": Annotated[dict[str, Any], says("Our own settings: which account has which queues.")],
        "xqueue_servers.json": Annotated[dict[str, Any], says("Servers, by name.")],
        "conf.d": Annotated[dict[str, Any], says("Queues to poll, by name.")],
        "XQUEUES": Annotated[dict[str, None], says("XQueue's own queues.")],
    },
)


class WaitingLearners(TypedDict):
    """How many learners of a course wait in vain."""

    learners_asked: Annotated[
        bool, says("Whether there is an LMS whose learners' states can be asked; false: undelivered is not applicable.")
    ]
    undelivered: Annotated[
        Count | None,
        says("Learners who wait for a grade that nobody brings; null where nobody has asked, or nobody can."),
    ]
    undeliverable: Annotated[
        Count | None, says("Those of them for whom nothing can be done but a signed cure; null as above.")
    ]


class SeenOfCourse(WaitingLearners):
    """What is read of a course, from which all else about it follows."""

    course: Annotated[str, says("The course key, in its canonical form.")]
    phase: Annotated[str, one_of(Phase), says("The phase in force.")]
    since: Annotated[Moment | None, says("Since when; null where nothing is on record.")]
    changed_by: Annotated[str | None, says("Who took the last step.")]
    reason: Annotated[str | None, says("Why.")]
    drift: Annotated[bool, says("Whether the flags ask for a phase that is not in force.")]
    asked: Annotated[str, one_of(Phase), says("The phase that the flags ask for.")]
    flags: Annotated[Flags, says("The course's flags.")]
    permit: Annotated[Annotated[str, one_of(Phase)] | None, says("The step that the gate permits.")]
    permit_until: Annotated[Moment | None, says("Until when.")]
    in_flight: Annotated[InFlight, says("What each side still holds.")]
    strangers: Annotated[
        dict[str, Annotated[int, Meta(ge=1)]] | None,
        says(
            "Legacy's open rows of the course by the host of their callbacks, where no setting says "
            "whose it is; null where legacy does not answer."
        ),
    ]
    failed: Annotated[Count, says("Real rows that have failed for good on the target.")]
    copies: Annotated[Copies, says("Copies that are not there.")]
    last_runs: Annotated[LastRuns, says("The newest run of each kind, however it ended.")]
    verdict: Annotated[Annotated[str, one_of(Verdict)] | None, says("Of the last gate.")]
    fence_leaks: Annotated[
        Count | None,
        says(
            "Of the last complete reconcile, or what has been found since if that is more; null where "
            "nobody has looked."
        ),
    ]
    double_authority: Annotated[
        Count | None,
        says(
            "Of the last complete reconcile, or what has been found since if that is more; null where "
            "nobody has looked."
        ),
    ]
    counters_differed: Annotated[
        Count,
        says(
            "Counters that did not say what the ledger says when a run looked at everything last. They "
            "were set right; more than none is an alarm."
        ),
    ]
    wrong_side: Annotated[
        Count | None,
        says(
            "Submissions that reached legacy while the target was authoritative, and that legacy still "
            "has; null where nobody has looked."
        ),
    ]
    passed_through: Annotated[
        Count,
        says(
            "Plots that the router has to pass to legacy though the target is authoritative, and that "
            "legacy has not answered."
        ),
    ]
    unknown_queues: Annotated[
        list[UnknownQueue], says("Queues whose reverse shadows XQueue refuses, because it does not know their queue.")
    ]
    new_queues: Annotated[
        list[NewQueue],
        says("Queues that neither the ledger nor XQueue had seen before the last day, by the last round of the watch."),
    ]
    held: Annotated[MovingRows, says("Rows that a handoff holds: no grader has them. The next handoff finishes them.")]
    returning: Annotated[
        MovingRows,
        says(
            "Rows on their way back to legacy that an interrupted return has left: no grader has them. "
            "The next return finishes them."
        ),
    ]
    changed_at: Annotated[Moment | None, says("When; null where nothing is on record.")]
    drift_because: Annotated[str | None, says("Why the flags are not obeyed; null without drift.")]
    platform_flag: Annotated[
        bool | None, says("Whether the platform's own send_to_submission_course.enable is on; null outside an LMS.")
    ]
    released_at: Annotated[Moment | None, says("When the course was released to that flag; null where it was not.")]
    in_flight_oldest_seconds: Annotated[OldestInFlight, says("How long ago the oldest of them arrived.")]
    handed_out_in_vain: Annotated[
        Count,
        says("Submissions on the target, shadows among them, that were handed out again and again without a result."),
    ]
    stuck_leases: Annotated[
        StuckLeases,
        says("Rows of the target, shadows among them, that a grader has pulled and not answered within its lease."),
    ]
    queues_without_watcher: Annotated[
        list[UnservedQueue], says("Those of the site's in which rows of the course wait.")
    ]
    last_full_reconcile_at: Annotated[
        Moment | None, says("When the last complete reconcile began that looked at everything.")
    ]
    verdict_reasons: Annotated[list[str], Meta(max_length=10), says("Its reasons, the first ten.")]
    verdict_age_seconds: Annotated[NonNegative | None, says("How old it is; null without one.")]
    overrides: Annotated[list[CourseOverride], says("Signed overrides of the gate that the course's phase rests on.")]
    override_proposals: Annotated[
        list[CourseOverride], says("Overrides that wait for a second person; no step was taken with them.")
    ]
    daily: Annotated[
        list[Day],
        Meta(max_length=30),
        says("Of the last complete reconcile: by day of arrival, how many were compared, and how many diverge."),
    ]
    ledger_rows: Annotated[Count, says("Entries of the ledger that are the course's.")]
    lost: Annotated[Count | None, says("Submissions or scores on record as lost; null before the first reconcile.")]
    watcher_config: NotRequired[
        Annotated[WatcherConfig, says("With --watcher-config: what the operator's own configuration files need.")]
    ]


class AttendedCourse(SeenOfCourse):
    """The same with what somebody should look at."""

    attention: Annotated[list[Attention], says("What somebody should look at, the worst first.")]
