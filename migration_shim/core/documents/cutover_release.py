"""The document ``migration_shim.xqueue_cutover_release/1``."""

from typing import Annotated, TypedDict

from ..data import Authority
from .overrides import Override
from .parts import Count, Moment, one_of, says


class Finding(TypedDict):
    """An item of ``findings``."""

    code: str
    rows: Count
    queue: str
    problem: str
    side: Annotated[
        Annotated[str, one_of(Authority)],
        says("Whether legacy's rows show it, or what learners sent since the target is authoritative."),
    ]


class ReleasePlan(TypedDict):
    """A release as it is planned: the document, but for whether it was done."""

    schema: Annotated[str, one_of("migration_shim.xqueue_cutover_release/1")]
    course: Annotated[str, says("The course.")]
    at: Annotated[Moment, says("When.")]
    reason: Annotated[str, says("Why, as the operator said it.")]
    preflight_at: Annotated[Moment | None, says("When the preflight that it rests on ended; null where there is none.")]
    permitted: Annotated[bool, says("Whether it may be released.")]
    reasons: Annotated[list[str], says("What is missing of the evidence.")]
    findings: Annotated[list[Finding], says("What the course's submissions need the watcher seam or the router for.")]
    acceptable: Annotated[list[str], says("The codes that an operator may answer for with --override.")]
    accepted: Annotated[list[str], says("Those that were accepted.")]
    override: Annotated[Override | None, says("The override on record; null where there is none, as in a plan.")]
    flag: Annotated[str, says("The platform's flag.")]
    flag_before: Annotated[bool, says("Whether it was on.")]
    way_back: Annotated[str, says("The command of the way back.")]


class CutoverReleaseDocument(ReleasePlan):
    """
    The release of a course to the platform's own flag.

    The document of xqueue_cutover --to complete --release.
    """

    executed: Annotated[bool, says("Whether it was turned on.")]
