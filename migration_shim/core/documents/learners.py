"""The document ``migration_shim.xqueue_learners/1``."""

from typing import Annotated, NotRequired, TypedDict

from msgspec import Meta

from ..data import Authority
from .parts import Count, Moment, one_of, says


class Person(TypedDict):
    """An item of ``people``."""

    learner: Annotated[str, Meta(pattern="^[0-9a-f]{12}$"), says("The keyed hash.")]
    user_id: Annotated[str | None, says("The LMS user's id; null where nothing tells it any more.")]
    username: Annotated[str | None, says("The user's name; null where there is no such user here.")]


DivergenceOfLearner = TypedDict(
    "DivergenceOfLearner",
    {
        "entry": Annotated[Count, says("The ledger entry.")],
        "problem": Annotated[str, says("The problem.")],
        "submitted_at": Annotated[Moment, says("When it was submitted.")],
        "class": Annotated[str, says("The class.")],
        "what": Annotated[str, says("What differs.")],
        "grade_that_counts": Annotated[str, one_of(Authority), says("Whose grade reaches the learner.")],
        "what_to_do": Annotated[str, says("What support does.")],
    },
)


class LearnersDocument(TypedDict):
    """
    Who the learners behind a report's hashes are.

    The document of xqueue_learners. With --learner it names one, with --learners a file names them and the document
    nobody.
    """

    schema: Annotated[str, one_of("migration_shim.xqueue_learners/1")]
    at: Annotated[Moment, says("When.")]
    course: Annotated[str, says("The course.")]
    applies: Annotated[bool, says("Whether there is an LMS here that knows its learners.")]
    by: Annotated[str, says("The LMS user who has looked, as given.")]
    run_by: Annotated[str, says("The operating system's name of whoever ran it.")]
    reason: Annotated[str, says("Why, as given.")]
    learner: NotRequired[Annotated[str, Meta(pattern="^[0-9a-f]{12}$"), says("The keyed hash.")]]
    people: NotRequired[
        Annotated[list[Person], says("Only with --learner: whom the hash stands for, nearly always one.")]
    ]
    divergences: NotRequired[
        Annotated[
            list[DivergenceOfLearner], says("Only with --learner: what is on record of the learner, 500 at most.")
        ]
    ]
    file: NotRequired[Annotated[str, says("Only with --learners: the file.")]]
    learners: NotRequired[Annotated[Count, says("Only with --learners: how many learners are in the file.")]]
    rows: Annotated[Count, says("Divergences: of the learner, or in the file.")]
