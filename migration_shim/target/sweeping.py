"""
Removing contents without rows: stored for a transaction that never committed, by a process that died before it could
clean up.

Only names that ``contents.save`` makes are looked at, a uuid in the folder of one of our queues: nothing of XQueue's,
which is named by an MD5, and nothing in anybody else's folder.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from django.utils.timezone import is_naive, make_aware
from submissions.models import SubmissionFile, get_storage

from ..core.wire import is_folder
from ..errors import TargetWriteFailed
from . import contents

BATCH = 500


@dataclass(slots=True, kw_only=True)
class Swept:
    """What a sweep has seen: contents that are ``ours``, and of those without a row the ``old`` ones and the young."""

    ours: int = 0
    young: int = 0
    old: int = 0
    removed: int = 0


def sweep(queue_names: Iterable[str], before: datetime, *, execute: bool, check: Callable[[], None]) -> Swept:
    """
    Count the contents that no row names, and with ``execute`` remove those that were stored ``before``.

    A name is looked up in the table after it was seen in the storage, so a row that is there by now keeps its content.

    Args:
        queue_names: the folders to look into.
        before: no transaction that began before it may still be at work.
        execute: remove; else only count.
        check: called before every batch; may raise.

    Raises:
        TargetWriteFailed: the storage does not answer, or cannot list what it holds.
    """
    swept = Swept()
    try:
        for queue_name in queue_names:
            for names in _ours(queue_name):
                check()
                swept.ours += len(names)
                unnamed = _unnamed(names)
                old = {key: name for key, name in unnamed.items() if _stored_at(name) < before}
                swept.young += len(unnamed) - len(old)
                swept.old += len(old)
                if execute:
                    contents.delete(old.items())
                    swept.removed += len(old)
    except (NotImplementedError, *contents.storage_errors()) as error:
        raise TargetWriteFailed(f"the storage cannot be swept: {type(error).__name__}") from error
    return swept


def _ours(queue_name: str) -> Iterator[dict[uuid.UUID, str]]:
    """The contents in the folder of a queue that bear a name of ours, in batches: stored name by uuid."""
    if not is_folder(queue_name):
        return
    try:
        _, names = get_storage().listdir(queue_name)
    except FileNotFoundError:
        return
    batch: dict[uuid.UUID, str] = {}
    for name in names:
        if (key := _uuid(name)) is not None:
            batch[key] = f"{queue_name}/{name}"
        if len(batch) == BATCH:
            yield batch
            batch = {}
    if batch:
        yield batch


def _uuid(name: str) -> uuid.UUID | None:
    """The uuid that is this very name, if it is one: 36 characters with hyphens. XQueue's names have none."""
    try:
        key = uuid.UUID(name)
    except ValueError:
        return None
    return key if str(key) == name else None


def _unnamed(names: dict[uuid.UUID, str]) -> dict[uuid.UUID, str]:
    """Those that no row names, neither by its uuid nor as the place of its file."""
    keys = set(SubmissionFile.objects.filter(uuid__in=names).values_list("uuid", flat=True))
    files = set(SubmissionFile.objects.filter(file__in=list(names.values())).values_list("file", flat=True))
    return {key: name for key, name in names.items() if key not in keys and name not in files}


def _stored_at(name: str) -> datetime:
    moment = get_storage().get_modified_time(name)
    return make_aware(moment) if is_naive(moment) else moment
