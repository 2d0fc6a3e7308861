"""The names of what is measured, as tables show them, by group; which of a group is the unit of its multiples."""

from __future__ import annotations

GROUPS = ("submit", "pullers", "import", "reconcile", "reads", "memory")

#: How a row begins that says that a library is not there.
ABSENT = "not installed"

KEPT = "off: straight to XQueue, session kept"
YARDSTICK = "yardstick: one create_external_grader_detail"
DEFERRED = "shadow, deferred, first in its second (a nudge is sent)"
LIVE = "live, first in its second"

SEAM, UPSTREAM = "watcher seam", "edx-submissions"
ISOLATION = ("read committed", "repeatable read")

IMPORT = "this backfill, ledger and checkpoint included"
PUBLIC_API = "create_external_grader_detail, row by row"
NAIVE = "naive bulk_create with IN look-ups"
EXECUTEMANY = "raw executemany"
LOAD_TARGET = "LOAD DATA of the target only"
LOAD_DATA = "LOAD DATA of target and ledger"

DRAIN = "drain of legacy, target and ledger"
PLAIN_READ = "plain read of what a first run needs"
SCRIPT = "a script that reads, parses, compares and stores, no more"
FIRST = "first run: links, compares outcomes and payloads, stores all"
FULL = "full, nothing changed"
NOTHING_NEW = "incremental, nothing changed"
INCREMENTAL = "incremental, 1 % changed"
#: What is run over fresh pairs, in this order; then 1 % of them change.
COMPARED = (DRAIN, PLAIN_READ, SCRIPT, FIRST, FULL, NOTHING_NEW)
POLARS = "polars and connectorx"
PANDAS = "pandas"
DATACOMPY = "pandas and datacompy"
RELADIFF = "reladiff"
LIBRARIES = (POLARS, PANDAS, DATACOMPY, RELADIFF)

GATE = "gate of one course"
STATUS = "status of all courses"
DASHBOARD = "dashboard, the overview"
READS = (GATE, STATUS, DASHBOARD)

#: What a group's multiples are multiples of.
UNIT = {"submit": YARDSTICK, "import": LOAD_DATA, "reconcile": DRAIN}
#: Ways that are no part of the app: floors, and what else one might do.
OTHERS = frozenset(
    {KEPT, YARDSTICK, PUBLIC_API, NAIVE, EXECUTEMANY, LOAD_TARGET, LOAD_DATA, DRAIN, PLAIN_READ, SCRIPT, *LIBRARIES}
)
