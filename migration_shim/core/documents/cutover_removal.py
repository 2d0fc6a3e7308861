"""The document ``migration_shim.xqueue_cutover_removal/1``."""

from typing import Annotated, TypedDict

from .parts import Count, one_of, says


class CutoverRemovalDocument(TypedDict):
    """
    migration_shim.xqueue_cutover_removal/1.

    xqueue_cutover --to complete --remove-shadows: the shadows of a course whose migration is over.
    """

    schema: Annotated[
        Annotated[str, one_of("migration_shim.xqueue_cutover_removal/1")], says("Name and version of this document.")
    ]
    course: Annotated[str, says("The course.")]
    at: Annotated[str, says("When.")]
    shadows: Annotated[Count, says("Shadows found on the target.")]
    removed: Annotated[Count, says("Shadows removed; 0 in a plan.")]
    executed: Annotated[bool, says("Whether anything was removed.")]
