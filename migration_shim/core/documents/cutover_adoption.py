"""The document ``migration_shim.xqueue_cutover_adoption/1``."""

from typing import Annotated, TypedDict

from .parts import Moment, one_of, says

CutoverAdoptionDocument = TypedDict(
    "CutoverAdoptionDocument",
    {
        "schema": Annotated[
            Annotated[str, one_of("migration_shim.xqueue_cutover_adoption/1")],
            says("Name and version of this document."),
        ],
        "at": Annotated[Moment, says("When.")],
        "from": Annotated[str, says("The host that the ledger was stamped with; empty where it was not.")],
        "to": Annotated[str, says("This LMS's host.")],
        "reason": Annotated[str, says("Why.")],
        "executed": Annotated[bool, says("Whether the ledger was stamped.")],
    },
)
CutoverAdoptionDocument.__doc__ = """
migration_shim.xqueue_cutover_adoption/1.

xqueue_cutover --adopt: whose the ledger is.
"""
