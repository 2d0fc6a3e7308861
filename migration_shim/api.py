"""The public API for an LMS and other apps. All else is internal; our own commands call the use cases directly."""

from .backfill.request import Request as BackfillRequest
from .backfill.start import start as backfill
from .comparison.linking import relink
from .cutover.cures import cure
from .cutover.gate import run_gate as gate
from .cutover.release import run as release
from .cutover.steps import remove_shadows
from .cutover.steps import run as cutover
from .cutover.waves import run as cutover_wave
from .delivery.undelivered import listing as undelivered
from .delivery.ungradable import fail
from .dual_write import QueueInterface as queue_interface
from .ledger.audit import run as audit
from .ledger.counts import known_courses
from .ledger.known_differences import add as add_known_difference
from .ledger.known_differences import listing as known_differences
from .ledger.known_differences import withdraw as withdraw_known_difference
from .ledger.stamp import adopt
from .preflight.run import run as preflight
from .reconcile import run as reconcile
from .reports.collect import gather as diff_report
from .retention.user_retirement import retire_learner
from .status.document import run as status
from .toggles import new_work_cycle
from .watch.round import run as watch

__all__ = [
    "BackfillRequest",
    "add_known_difference",
    "adopt",
    "audit",
    "backfill",
    "cure",
    "cutover",
    "cutover_wave",
    "diff_report",
    "fail",
    "gate",
    "known_courses",
    "known_differences",
    "new_work_cycle",
    "preflight",
    "queue_interface",
    "reconcile",
    "release",
    "relink",
    "remove_shadows",
    "retire_learner",
    "status",
    "undelivered",
    "watch",
    "withdraw_known_difference",
]
