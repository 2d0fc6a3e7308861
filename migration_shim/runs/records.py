"""Records of runs: what was done with which settings and versions, and whether it was completed."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import django
from django.db import transaction
from django.db.models import QuerySet
from django.utils.timezone import now

from .. import __version__
from ..conf import ShimSettings, load
from ..core.errors import RunLocked
from ..models import Checkpoint, Run
from . import owner
from .control import waits_for
from .owner import HEARTBEAT_LIMIT

SCOPE_LIMIT = 255
_SECRET = ("legacy_password", "legacy_username", "legacy_url", "legacy_storage", "submit_users", "preflight_graders")


def versions() -> dict[str, str]:
    """Return the versions that a result depends on, by package."""
    return {
        "migration_shim": __version__,
        "django": django.get_version(),
        "edx-submissions": importlib.metadata.version("edx-submissions"),
    }


def settings_of(settings: ShimSettings) -> dict[str, Any]:
    """Return the settings as a run keeps them on record, without secrets."""
    return {key: value for key, value in dataclasses.asdict(settings).items() if key not in _SECRET}


def scope_name(scope: str) -> str:
    """Return a scope as it is kept on record: one that is too long for the column ends with a digest of the whole."""
    return scope if len(scope) <= SCOPE_LIMIT else f"{scope[: SCOPE_LIMIT - 33]} {digest({'scope': scope})[:32]}"


@contextmanager
def running(kind: str, scope: str = "", *, judge: Callable[[Run], None] | None = None) -> Iterator[Run]:
    """
    Keep a run record around some work, and save it on the way out. The work itself has to mark the record as complete.

    Runs of one kind and scope exclude each other. Scopes that overlap do not, so what such runs write has to be safe by
    itself. ``judge`` is called in the transaction that finishes the run, however the work ended: what follows from the
    run is stored together with its end, or neither is.

    Raises:
        RunLocked: a run of this kind and scope is still at work.
    """
    scope = scope_name(scope)
    lock = hashlib.sha256(scope.encode()).hexdigest()[:32]
    Checkpoint.objects.get_or_create(name=f"lock:{kind}:{lock}")
    with transaction.atomic():
        # The lock row makes two commands that start at once take turns here.
        Checkpoint.objects.select_for_update().get(name=f"lock:{kind}:{lock}")
        alive = Run.objects.filter(
            kind=kind, scope=scope, finished_at=None, heartbeat_at__gt=now() - HEARTBEAT_LIMIT
        ).first()
        if alive is not None:
            raise RunLocked(owner.held_by(alive, now()))
        run = Run.objects.create(
            kind=kind, scope=scope, settings=settings_of(load()), versions=versions(), **owner.owner()
        )
    try:
        yield run
    finally:
        run.finished_at = now()
        try:
            with transaction.atomic():
                run.save()
                if judge is not None:
                    judge(run)
        except Exception:
            run.save()  # it has ended, whatever the verdict; a permit that rests on an older run no longer holds
            raise


def beat(run: Run) -> None:
    """Record a sign of life of a run, and what it waits for."""
    Run.objects.filter(pk=run.pk).update(heartbeat_at=now(), waits_for=waits_for()[:255])


def keep_place(run: Run) -> None:
    """
    Record a sign of life, unless another run of the scope has begun since because this one seemed dead.

    Raises:
        RunLocked: this run has lost its place, and what it says is no evidence.
    """
    if not is_newest(run):
        raise RunLocked("Another run has taken this one's place; it was thought dead.")
    beat(run)


def is_newest(run: Run) -> bool:
    """Tell whether no other run of the same kind and scope has begun since."""
    return not Run.objects.filter(kind=run.kind, scope=run.scope, id__gt=run.pk).exists()


def is_alive(run_id: int) -> bool:
    """Tell whether a run is at work, by its signs of life."""
    return Run.objects.filter(pk=run_id, finished_at=None, heartbeat_at__gt=now() - HEARTBEAT_LIMIT).exists()


def last_complete(kind: str, scope: str) -> Run | None:
    """Return the newest complete run of a kind and scope, or None."""
    return _ended(kind, scope).filter(complete=True).first()


def last(kind: str, scope: str) -> Run | None:
    """Return the newest run of a kind and scope, however it ended, or None."""
    return _ended(kind, scope).first()


def _ended(kind: str, scope: str) -> QuerySet[Run]:
    """Return runs, the newest first, without their owner: the way back reads them on tables of the release before."""
    return Run.objects.filter(kind=kind, scope=scope).order_by("-id").defer("host", "pid", "user", "waits_for")


def digest(document: Mapping[str, Any]) -> str:
    """Return a digest of a document, by which a record can say on what evidence it rests: SHA-256 in hexadecimal."""
    text = json.dumps(document, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
