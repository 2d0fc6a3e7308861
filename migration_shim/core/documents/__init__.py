"""The types of the documents that commands print. docs/generate.py makes the JSON Schema files from them."""

from .audit import AuditDocument
from .backfill import BackfillDocument
from .cutover_adoption import CutoverAdoptionDocument
from .cutover_release import CutoverReleaseDocument
from .cutover_removal import CutoverRemovalDocument
from .fail import FailDocument
from .known import KnownDocument
from .undelivered import UndeliveredDocument

DOCUMENTS: tuple[type, ...] = (
    AuditDocument,
    BackfillDocument,
    CutoverAdoptionDocument,
    CutoverReleaseDocument,
    CutoverRemovalDocument,
    FailDocument,
    KnownDocument,
    UndeliveredDocument,
)
