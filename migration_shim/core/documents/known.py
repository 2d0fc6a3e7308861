"""The document ``migration_shim.xqueue_known/1``."""

from typing import Annotated, NotRequired, TypedDict

from .parts import Count, Moment, one_of, says

KnownDifference = TypedDict(
    "KnownDifference",
    {
        "id": Annotated[int, says("Its number.")],
        "class": Annotated[str, says("The class of divergence.")],
        "course": Annotated[str, says("The course; empty for all.")],
        "queue": Annotated[str, says("The queue; empty for all.")],
        "problem": Annotated[str, says("The problem's usage key; empty for all.")],
        "reason": Annotated[str, says("Why it is harmless.")],
        "owner": Annotated[str, says("Who answers for it.")],
        "created_at": Annotated[Moment, says("Since when.")],
        "expires_at": Annotated[Moment, says("From when it bites again.")],
        "state": Annotated[Annotated[str, one_of("in force", "expired", "withdrawn")], says("Whether it counts now.")],
        "covers": Annotated[
            Count, says("How many divergences it covers, as the last reconcile of each course found them.")
        ],
    },
)


Cure = TypedDict(
    "Cure",
    {
        "course": Annotated[str, says("The course.")],
        "class": Annotated[str, says("The class of divergence.")],
        "number": Annotated[Count, says("How many were on record.")],
        "at": Annotated[Moment, says("When.")],
        "by": Annotated[str, says("Who signed.")],
        "reason": Annotated[str, says("What was done about it.")],
    },
)


class KnownDocument(TypedDict):
    """
    The register of known differences.

    The document of xqueue_known.
    """

    schema: Annotated[str, one_of("migration_shim.xqueue_known/1")]
    at: Annotated[Moment, says("When.")]
    known_differences: Annotated[list[KnownDifference], says("The whole register, in the order of its numbers.")]
    cures: NotRequired[
        Annotated[list[Cure], says("What somebody has signed for that cannot be registered, the oldest first.")]
    ]
