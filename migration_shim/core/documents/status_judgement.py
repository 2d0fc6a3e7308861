"""What the status makes of a course: its word, the reasons, what is missing and since when."""

from typing import Annotated, Any, TypedDict

from msgspec import Meta

from ..forecast import Why
from ..ranking import ORDER, NextActor
from .parts import Count, Moment, NonNegative, one_of, says
from .status_course import AttendedCourse

#: A word for a course; the list begins with the worst.
Word = Annotated[str, one_of(*ORDER)]


class ReasonOfCourse(TypedDict):
    """An item of ``courses.because``."""

    word: Word
    text: str


class Forecast(TypedDict):
    """``courses.forecast``."""

    pairs: Annotated[Annotated[int, Meta(ge=1)] | None, says("How many; null where no number in reach would do.")]
    per_day: Annotated[NonNegative | None, says("Submissions of the course a day, over the last week.")]
    at: Annotated[Moment | None, says("About when; null where no date can be told.")]
    why: Annotated[Annotated[str, one_of(Why)] | None, says("Why there is no date.")]


class MayMove(TypedDict):
    """``courses.may_move``."""

    to: Annotated[
        Annotated[str, one_of("shadow", "live", "complete")] | None, says("The next phase; null where there is none.")
    ]
    by: Annotated[
        Annotated[str, one_of("anybody", "permit")] | None,
        says("What permits the step: no permit is needed, or the gate's. Null: nothing does."),
    ]


ChangedSince = TypedDict(
    "ChangedSince",
    {
        "run": Annotated[str, one_of("gate", "reconcile")],
        "what": str,
        "was": Any,
        "is": Any,
        "since": Annotated[Moment, says("When the run before ended.")],
    },
)


class FoundInXQueue(TypedDict):
    """``courses.found_in_xqueue``."""

    open_rows: Annotated[Count, says("Rows that were not retired then.")]
    seen_at: Annotated[Moment, says("When a row of the course was seen last.")]
    hosts: Annotated[list[str], says("The hosts of their callbacks.")]


class JudgedCourse(TypedDict):
    """What follows from what is seen of a course, and from its last gate."""

    word: Annotated[
        Word,
        says(
            "Where the course stands in one word: the causes of the gate, the worst first in this list, "
            "with unknown (it could not be read) and not_begun."
        ),
    ]
    because: Annotated[
        list[ReasonOfCourse],
        says(
            "What stands between the course and its next step, the worst first; ten at most. The first "
            "is the reason for the word."
        ),
    ]
    todo: Annotated[
        list[str],
        says("Blockers that only a later step meets: routine, and no reason against the phase that the course is in."),
    ]
    actor: Annotated[str, one_of(NextActor), says("Who has to act next.")]
    next: Annotated[str, says("The command to run now; empty where there is only to wait, or nothing to do.")]
    needed: Annotated[list[str], says("What is missing, as the last gate says it.")]
    forecast: Annotated[
        Forecast | None,
        says(
            "How many pairs are missing, and when they will have come at the course's own traffic; null "
            "where pairs are not what is missing."
        ),
    ]
    may_move: Annotated[MayMove, says("The next step, and what permits it now.")]
    judged_at: Annotated[Moment | None, says("When the last complete gate ended; null where there was none.")]
    changes: Annotated[
        list[ChangedSince],
        says(
            "What the last gate and reconcile say otherwise than those before them; only of courses that "
            "were asked for."
        ),
    ]
    known: Annotated[bool, says("Whether the shim knows the course: it has a phase on record or a ledger entry.")]
    found_in_xqueue: Annotated[
        FoundInXQueue | None,
        says("What the watch has found of the course in XQueue; null where it has found nothing, or never looked."),
    ]


class LastGate(TypedDict):
    """What the last gate said, and what of it is too old by now; it is in no document."""

    phase: str
    causes: list[str]
    reasons: list[str]
    old: list[str]


class CourseToRank(AttendedCourse):
    """What a course is ranked by."""

    gate: LastGate | None
    blockers: list[str]


class DescribedCourse(AttendedCourse, JudgedCourse):
    """All about one course."""


class CourseStatus(DescribedCourse):
    """An item of ``courses``: a course among others."""

    rank: Annotated[int, Meta(ge=1), says("The course's place among those of this document, the worst first.")]
    short: Annotated[str, says("The shortest name that no other course of the site has.")]
