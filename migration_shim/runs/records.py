"""Records of runs: what was done with which settings and versions, and whether it was completed."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import django
from django.db import transaction
from django.utils.timezone import now

from .. import __version__
from ..conf import ShimSettings, load
from ..core.errors import RunLocked
from ..db import bulk, bulk_update, converted
from ..models import Checkpoint, Run
from . import owner
from .control import waits_for
from .owner import HEARTBEAT_LIMIT

SCOPE_LIMIT = 255
_TABLE = Run._meta.db_table
#: A run that is at work is among so many newest ones of its kind and scope: each newer one has thought it dead. All of
#: them, over the years, would be read for every run else.
_RECENT = 20
_SECRET = ("legacy_password", "legacy_username", "legacy_url", "legacy_storage", "submit_users", "preflight_graders")


def versions() -> dict[str, str]:
    """Return the versions that a result depends on, by package."""
    return {
        "migration_shim": __version__,
        "django": django.get_version(),
        "edx-submissions": _installed("edx-submissions"),
    }


@functools.cache  # to find it takes as long as a statement, and what is loaded stays as it is
def _installed(package: str) -> str:
    return importlib.metadata.version(package)


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
    lock = f"lock:{kind}:{hashlib.sha256(scope.encode()).hexdigest()[:32]}"
    while (run := _begun(kind, scope, lock)) is None:
        # Not in that transaction: of two that insert at once InnoDB would let one wait for the other's run.
        Checkpoint.objects.get_or_create(name=lock)
    try:
        yield run
    finally:
        run.finished_at = now()
        try:
            with transaction.atomic():
                _store_end(run)
                if judge is not None:
                    judge(run)
        except Exception:
            _store_end(run)  # whatever the verdict; a permit that rests on an older run no longer holds
            raise


@transaction.atomic
def _begun(kind: str, scope: str, lock: str) -> Run | None:
    """
    Put a run on record that begins now, and return it; None where the row that it locks does not exist yet.

    Raises:
        RunLocked: another one is still at work.
    """
    # The lock makes two commands that start at once take turns here.
    if not bulk.select(Checkpoint, ("id",), lock=True, name=[lock]):
        return None
    lately = bulk.ask(
        f"SELECT id, finished_at, heartbeat_at FROM {_TABLE} WHERE kind = %s AND scope = %s"
        f" ORDER BY id DESC LIMIT {_RECENT}",
        [kind, scope],
    )
    limit = now() - HEARTBEAT_LIMIT
    for pk, finished_at, heartbeat_at in lately:
        if finished_at is None and bulk.moment(heartbeat_at) > limit:
            raise RunLocked(owner.held_by(Run.objects.get(pk=pk), now()))
    return Run.objects.create(
        kind=kind, scope=scope, settings=settings_of(load()), versions=versions(), **owner.owner()
    )


def _store_end(run: Run) -> None:
    ended = {"finished_at": run.finished_at, "complete": run.complete, "document": run.document, "waits_for": ""}
    bulk_update.update_where(Run, {"id": run.pk}, ended)


def beat(run: Run) -> None:
    """Record a sign of life of a run, and what it waits for."""
    bulk_update.update_where(Run, {"id": run.pk}, {"heartbeat_at": now(), "waits_for": waits_for()[:255]})


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
    newer = f"SELECT id FROM {_TABLE} WHERE kind = %s AND scope = %s AND id > %s LIMIT 1"
    return not bulk.ask(newer, [run.kind, run.scope, run.pk])


def is_alive(run_id: int) -> bool:
    """Tell whether a run is at work, by its signs of life."""
    return Run.objects.filter(pk=run_id, finished_at=None, heartbeat_at__gt=now() - HEARTBEAT_LIMIT).exists()


def last_complete(kind: str, scope: str) -> Run | None:
    """Return the newest complete run of a kind and scope, or None."""
    return _newest("kind = %s AND scope = %s AND complete = 1", kind, scope)


def last(kind: str, scope: str) -> Run | None:
    """Return the newest run of a kind and scope, however it ended, or None."""
    return _newest("kind = %s AND scope = %s", kind, scope)


def _newest(condition: str, kind: str, scope: str) -> Run | None:
    """Return the newest of some runs, without its owner: the way back reads it on tables of the release before."""
    owned = ("host", "pid", "user", "waits_for")
    return next(iter(converted.found(Run, f"{condition} ORDER BY id DESC LIMIT 1", [kind, scope], without=owned)), None)


def digest(document: Mapping[str, Any]) -> str:
    """Return a digest of a document, by which a record can say on what evidence it rests: SHA-256 in hexadecimal."""
    text = json.dumps(document, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
