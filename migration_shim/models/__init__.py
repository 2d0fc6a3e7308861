"""
The app's own tables, all in the LMS's database, and XQueue's one table, unmanaged, in XQueue's database.

The app's tables hold the ledger and its counters, the differences and signatures, runs, phases, and outside an LMS the
flag overrides.
"""

from .ledger import (
    Bucket,
    Campaign,
    CampaignCourse,
    CampaignLine,
    Checkpoint,
    CoursePhase,
    Divergence,
    DoorHost,
    FlagOverride,
    GateOverride,
    Histogram,
    KnownDifference,
    LedgerEntry,
    LedgerStamp,
    LegacyCourse,
    LegacySubmission,
    PhaseChange,
    Run,
    StoredIntent,
    WatcherLogin,
)

__all__ = [
    "Bucket",
    "Campaign",
    "CampaignCourse",
    "CampaignLine",
    "Checkpoint",
    "CoursePhase",
    "Divergence",
    "DoorHost",
    "FlagOverride",
    "GateOverride",
    "Histogram",
    "KnownDifference",
    "LedgerEntry",
    "LedgerStamp",
    "LegacyCourse",
    "LegacySubmission",
    "PhaseChange",
    "Run",
    "StoredIntent",
    "WatcherLogin",
]
