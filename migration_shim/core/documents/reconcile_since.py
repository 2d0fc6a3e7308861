"""What ``xqueue_reconcile --since`` adds: what has changed in a course since an earlier reconcile."""

from typing import Annotated, TypedDict

from .parts import Count, Moment, says

_BOTH = says("The count then and now.")


class VerdictThenAndNow(TypedDict):
    """``since.verdict``."""

    then: Annotated[str | None, says("The gate's last answer before the next reconcile; null where it was not asked.")]
    now: Annotated[str, says("The gate's answer now; asked without a permit.")]


class ThenAndNow(TypedDict):
    """``since.counts.of``."""

    then: Annotated[int | None, says("Then; null where the run did not say.")]
    now: Annotated[int | None, says("Now.")]


class CountsThenAndNow(TypedDict):
    """``since.counts``."""

    of: Annotated[ThenAndNow, _BOTH]
    compared: Annotated[ThenAndNow, _BOTH]
    equal: Annotated[ThenAndNow, _BOTH]
    diverged: Annotated[ThenAndNow, _BOTH]
    waiting: Annotated[ThenAndNow, _BOTH]
    overdue: Annotated[ThenAndNow, _BOTH]
    fence_leaks: Annotated[ThenAndNow, _BOTH]
    double_authority: Annotated[ThenAndNow, _BOTH]


ClassThenAndNow = TypedDict(
    "ClassThenAndNow",
    {
        "class": Annotated[str, says("The class.")],
        "then": Annotated[Count, says("On record then.")],
        "new": Annotated[Count, says("Found first since.")],
        "gone": Annotated[Count, says("On record then or found since, and not any more: cured, mended or removed.")],
        "now": Annotated[Count, says("On record now.")],
    },
)


NewDivergence = TypedDict(
    "NewDivergence",
    {
        "entry": Annotated[Count, says("The ledger entry.")],
        "class": Annotated[str, says("The class.")],
        "what": Annotated[str, says("What differs.")],
        "found_at": Annotated[Moment, says("When it was found first.")],
    },
)


GoneDivergence = TypedDict(
    "GoneDivergence",
    {
        "entry": Annotated[Count, says("The ledger entry.")],
        "class": Annotated[str, says("The class.")],
        "is_now": Annotated[str, says("The entry's result now; cured, or removed where the entry is gone.")],
    },
)


class CourseSince(TypedDict):
    """An item of ``since``."""

    course: Annotated[str, says("The course.")]
    run: Annotated[Count, says("The earlier run.")]
    finished_at: Annotated[Moment | None, says("When it ended.")]
    verdict: Annotated[VerdictThenAndNow, says("The verdicts.")]
    counts: Annotated[CountsThenAndNow, says("How the counts changed.")]
    classes: Annotated[list[ClassThenAndNow], says("Classes of divergence that there were or are.")]
    new: Annotated[Count, says("All that were found first since.")]
    gone: Annotated[Count, says("All that are gone.")]
    listed_new: Annotated[list[NewDivergence], says("The newest of those that are new, 100 at most.")]
    listed_gone: Annotated[
        list[GoneDivergence] | None,
        says("Some of those that are gone, 100 at most; null where the earlier run keeps no list."),
    ]
