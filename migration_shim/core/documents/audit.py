"""The document ``migration_shim.xqueue_audit/1``."""

from typing import Annotated, Any, TypedDict

from msgspec import Meta

from ..data import Phase
from .parts import Count, Moment, one_of, says

AuditEntry = TypedDict(
    "AuditEntry",
    {
        "id": Count,
        "position": Annotated[int, Meta(ge=1)] | None,
        "at": Moment,
        "from": Annotated[str, one_of(Phase)],
        "to": Annotated[str, one_of(Phase)],
        "by": str,
        "reason": str,
        "evidence": Annotated[
            dict[str, Any], says("On what evidence: digest and verdict of the plan, and the settings in force.")
        ],
        "digest": str | None,
    },
)


class AuditedCourse(TypedDict):
    """An item of ``courses``."""

    course: str
    phase: Annotated[Annotated[str, one_of(Phase)] | None, says("The phase on record; null where there is no record.")]
    length: Annotated[Count, says("How many entries the log has by its head.")]
    head: Annotated[str | None, says("The digest of the newest entry; null where the log has no chain yet.")]
    older: Annotated[Count, says("Entries older than the chain.")]
    broken: Annotated[list[str], says("What is wrong with the log.")]
    entries: list[AuditEntry]


class AuditDocument(TypedDict):
    """
    The log of phase changes.

    The document of xqueue_audit.
    """

    schema: Annotated[str, one_of("migration_shim.xqueue_audit/1")]
    at: Annotated[Moment, says("When.")]
    whole: Annotated[bool, says("Whether nothing is wrong with any log.")]
    broken: Annotated[Count, says("How many things are wrong.")]
    compared_with_noted: Annotated[bool, says("Whether the logs were compared with an earlier audit.")]
    digest: Annotated[str, says("A digest of all heads.")]
    courses: Annotated[list[AuditedCourse], says("The log of each course.")]
