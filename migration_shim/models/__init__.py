"""
The app's own tables, all in the LMS's database, and XQueue's one table, unmanaged, in XQueue's database.

The app's tables hold the ledger and its counters, the differences and signatures, runs, phases, and outside an LMS the
flag overrides.
"""

from .campaigns import Campaign, CampaignCourse, CampaignLine
from .counters import Bucket, Histogram
from .differences import Divergence, KnownDifference
from .files import StoredIntent
from .hosts import DoorHost, LedgerStamp, WatcherLogin
from .ledger import LedgerEntry
from .legacy import LegacyCourse, LegacySubmission
from .phase_log import PhaseChange
from .phases import CoursePhase, FlagOverride, GateOverride
from .runs import Checkpoint, Run

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
