"""The document ``migration_shim.xqueue_watch/1``."""

from typing import Annotated, NotRequired, TypedDict

from ..bounds import Bound
from ..campaign import CampaignState
from ..data import Phase
from .parts import Count, Moment, NonNegative, one_of, says
from .status_course import NewQueue


class ComparedCourse(TypedDict):
    """``courses.reconcile``."""

    complete: Annotated[bool, says("Whether it came to its end.")]
    of: Count
    compared: Count
    equal: Count
    diverged: Count
    waiting: Count
    overdue: Count


class OwedReverse(TypedDict):
    """``courses.reverse``."""

    owed: Annotated[Count, says("Entries without one.")]
    started: Annotated[Count, says("How many were written or tried.")]


class BreachDocument(TypedDict):
    """An item of ``courses.breaches``."""

    bound: Annotated[str, one_of(Bound), says("Which bound.")]
    rows: Annotated[Count, says("How many submissions.")]
    text: Annotated[str, says("What was seen, without learner data.")]
    target_failed: Annotated[
        bool, says("Whether this is the target's failure, and reason enough to step the course back.")
    ]
    page: NotRequired[Annotated[str, says("The page of the runbook, with its anchor.")]]


class StepOfWatch(TypedDict):
    """Whether a round has stepped a course back."""

    stepped_back: Annotated[bool, says("Whether this round has stepped the course back to legacy.")]
    not_stepped_back: Annotated[str, says("Why it has not, though the target has failed; else empty.")]


class GuardedCourse(StepOfWatch):
    """What the bounds of a course say."""

    phase: Annotated[
        Annotated[str, one_of(Phase)] | None,
        says("The phase in force after this round; null where the guard could not look."),
    ]
    breaches: Annotated[list[BreachDocument], says("The bounds that the course is out of, the gravest first.")]
    next: Annotated[list[str], says("Commands that are due now.")]


_DoneForCourse = TypedDict(
    "_DoneForCourse",
    {
        "course": Annotated[str, says("The course key.")],
        "handoff": Annotated[
            dict[str, Count] | None,
            says(
                "What became of rows that a handoff had left held, fenced or released, by outcome; empty "
                "where there were none, null where the step failed."
            ),
        ],
        "return": Annotated[
            dict[str, Count] | None, says("The same of rows that a return had fenced and not written.")
        ],
        "reconcile": Annotated[ComparedCourse | None, says("The comparison of this round; null where there was none.")],
        "redelivery": Annotated[
            dict[str, Count] | None,
            says(
                "What came of delivering stored results again, by outcome (delivered, not_awaited, "
                "without_effect, looked_at_again, undeliverable, no_receiver); empty where nobody waits, "
                "null where the step failed."
            ),
        ],
        "reverse": Annotated[
            OwedReverse | None, says("Reverse shadows; null where the course is not live and owes none.")
        ],
        "new_queues": Annotated[
            list[NewQueue], says("Queues that neither the ledger nor XQueue had seen before the last day.")
        ],
    },
)


class WatchedCourse(_DoneForCourse, GuardedCourse):
    """An item of ``courses``."""


class CourseSearch(TypedDict):
    """``found_in_xqueue``."""

    complete: Annotated[bool, says("Whether the search has come to its end; else the next round goes on.")]
    seeks: Annotated[Count, says("Seeks in XQueue's index.")]
    courses: Annotated[Count, says("Courses on record, without other LMSs'.")]
    gone: Annotated[Count, says("Courses of which XQueue has no row any more, taken off the record.")]


class RepairedShadows(TypedDict):
    """``repaired``."""

    complete: Annotated[bool, says("Whether it came to its end.")]
    read: Annotated[Count, says("Rows read.")]
    written: Annotated[Count, says("Shadows written.")]
    classes: Annotated[dict[str, Count], says("Rows by class.")]


class CampaignMember(TypedDict):
    """An item of ``campaigns.courses``."""

    course: str
    did: list[str]
    says: str
    looked_at: Annotated[Moment | None, says("When its evidence was looked at, where it waits for more of it.")]


class StoppedCourses(TypedDict):
    """``campaigns.stopped``."""

    parked: Count
    failed: Count


class CampaignRound(TypedDict):
    """An item of ``campaigns``."""

    name: str
    state: Annotated[str, one_of(CampaignState)]
    said: str
    stopped: Annotated[StoppedCourses, says("How many of its courses wait for a person.")]
    courses: list[CampaignMember]


class LedgerResidue(TypedDict):
    """``purge.ledger``."""

    entries: Annotated[Count, says("All entries.")]
    with_residue: Annotated[Count, says("Those with residue.")]
    oldest_settled_at: Annotated[Moment | None, says("Since when the oldest of these is settled.")]


class PurgeTotals(TypedDict):
    """What a purge counts."""

    found: Annotated[Count, says("Entries settled for long enough.")]
    dropped: Annotated[Count, says("How many of them can spare it, or have lost it.")]
    kept: Annotated[dict[str, Count], says("Why the others keep it.")]
    more: Annotated[bool, says("Whether there are more of them, which a plan has not looked at.")]


class PurgedResidue(PurgeTotals):
    """``purge``."""

    executed: Annotated[bool, says("Whether it was dropped, or only counted.")]
    ledger: Annotated[LedgerResidue, says("The size of the ledger.")]


class SweptContents(TypedDict):
    """``sweep``."""

    at: Annotated[Moment, says("When that was.")]
    executed: Annotated[bool, says("Whether they were removed, or only counted.")]
    ours: Annotated[
        Count, says("Contents that were written down before they were stored, and that no transaction has named since.")
    ]
    young: Annotated[Count, says("Of them those whose transaction may still be at work.")]
    old: Annotated[Count, says("Of them those that are old enough, and that no row names.")]
    removed: Annotated[Count, says("Removed.")]


class StepProblem(TypedDict):
    """An item of ``problems``."""

    step: Annotated[str, says("Which step.")]
    course: Annotated[str, says("Of which course; empty for a step of the site.")]
    said: Annotated[str, says("The error.")]


class WatchDocument(TypedDict):
    """
    One round of the watch.

    The document of one round of xqueue_watch.
    """

    schema: Annotated[str, one_of("migration_shim.xqueue_watch/1")]
    at: Annotated[Moment, says("When the round ended.")]
    seconds: Annotated[NonNegative, says("How long it took.")]
    complete: Annotated[bool, says("Whether it came to its end; a step that failed is in problems.")]
    stopped_by: Annotated[str, says("The signal that stopped it; else empty.")]
    kill_switch: Annotated[
        bool, says("Whether the kill switch is on: then nothing is compared and no copy is written.")
    ]
    waiting: Annotated[
        str, says("What spoke against comparing and repairing just now (a pause file, lag, load); else empty.")
    ]
    outbox: Annotated[
        dict[str, Count] | None,
        says(
            "What was done of what submissions of all courses were owed (supersession, shadows, reverse "
            "shadows), by outcome; null where the step failed."
        ),
    ]
    courses: Annotated[list[WatchedCourse], says("The courses watched over.")]
    found_in_xqueue: NotRequired[
        Annotated[
            CourseSearch | None,
            says(
                "What looking for courses in XQueue came to; null where the step failed, the round was of "
                "named courses only, or there is no XQueue."
            ),
        ]
    ]
    repaired: Annotated[RepairedShadows | None, says("The backfill of owed shadows; null where none was owed.")]
    campaigns: Annotated[
        list[CampaignRound], says("The running campaigns: what was done with each course, or what it waits for.")
    ]
    forgotten: Annotated[Count, says("Entries that name nobody any more because their learner's account is retired.")]
    purge: Annotated[PurgedResidue | None, says("Residue of settled entries; null where the step failed.")]
    sweep: Annotated[
        SweptContents | None,
        says("Stored contents that no row names, as the newest sweep has found them; null where the step failed."),
    ]
    problems: Annotated[list[StepProblem], says("Steps that could not be done; the next round tries again.")]
    next: Annotated[list[str], says("Commands that are due now, of all courses.")]
