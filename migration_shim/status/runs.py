"""The document of ``xqueue_status --runs``: which runs are at work, wait, or have died without an end."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Max
from django.utils.timezone import now

from ..core import codes
from ..core.data import Document, ExitCode
from ..core.documents.status_runs import StatusRunsDocument, UnfinishedRun
from ..models import Run
from ..runs import owner
from ..runs.owner import RunState

SCHEMA = "migration_shim.xqueue_status_runs/1"
#: Runs that died longer ago are history, and purged with it.
DEAD_FOR = timedelta(days=7)
#: No more runs than this are listed, the newest first.
LISTED = 100


def run() -> Document[StatusRunsDocument]:
    """
    List the unfinished runs. Two statements, whatever there is.

    A dead run is listed while it is the newest of its kind and scope: after another one it is nobody's trouble.
    """
    moment = now()
    open_runs = Run.objects.filter(finished_at=None, heartbeat_at__gt=moment - DEAD_FOR).defer("settings", "document")
    found = list(open_runs.order_by("-id")[: LISTED + 1])
    scopes = Run.objects.filter(kind__in={one.kind for one in found}, scope__in={one.scope for one in found})
    rows = scopes.values("kind", "scope").annotate(newest=Max("id")).values_list("kind", "scope", "newest")
    newest = {(kind, scope): pk for kind, scope, pk in rows}
    listed = [
        _described(one, moment)
        for one in found[:LISTED]
        if owner.state(one, moment) is not RunState.DEAD or newest[one.kind, one.scope] == one.pk
    ]
    content: StatusRunsDocument = {
        "schema": SCHEMA,
        "at": moment.isoformat(),
        "runs": listed,
        "more": len(found) > LISTED,
        "page": codes.page("error", "run_locked"),
    }
    return Document(content=content, exit_code=ExitCode.OK)


def _described(one: Run, moment: datetime) -> UnfinishedRun:
    found = owner.state(one, moment)
    return {
        "id": one.pk,
        "command": owner.command(one),
        "scope": one.scope,
        "state": found.value,
        "started_at": one.started_at.isoformat(),
        "last_sign_at": one.heartbeat_at.isoformat(),
        "last_sign_seconds": round(max(0.0, (moment - one.heartbeat_at).total_seconds()), 1),
        "frees_at": owner.frees_at(one).isoformat(),
        "waits_for": one.waits_for,
        "pid": one.pid or None,
        "host": one.host,
        "user": one.user,
    }
