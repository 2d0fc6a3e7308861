"""
Contents of files in edx-submissions' storage: stored before the transaction that names them, deleted with their rows.

What is about to be stored is written down first (``intended``), and the transaction that names it strikes that out
(``named``): what stays written down for a day was stored for nothing, and ``orphaned_files`` removes it.

What is ours is told by its name: it holds the uuid of the SubmissionFile that names it. A linked file, an object of
XQueue's that a row only points at, is named by an MD5 and never deleted by us.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.core.files.base import ContentFile, File
from django.core.files.storage import FileSystemStorage, Storage
from django.db import Error, connection
from submissions.models import SubmissionFile, get_storage

from ..core.errors import TargetWriteFailed
from ..db.storage import storage_errors
from ..models import StoredIntent

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """
    A file whose contents are in edx-submissions' storage, or about to be, and whose row is not written yet.

    ``intent`` is the key of the row that says so; None for a linked file, which is not ours to remove.
    """

    uuid: UUID
    stored_name: str
    original_name: str
    intent: UUID | None = None


def in_use() -> Storage:
    """edx-submissions' storage."""
    return get_storage()


def is_place_of(other: Storage) -> bool:
    """Whether edx-submissions' storage surely holds the same objects under the same names as another one."""
    here = _place(get_storage())
    return here is not None and here == _place(other)


def _place(storage: Storage) -> tuple[Any, ...] | None:
    """Where a storage keeps its objects; None where that is not known. Anything in doubt is another place."""
    kind = storage.__class__  # type() of Django's default storage is a proxy's
    if isinstance(storage, FileSystemStorage):
        return kind, os.path.realpath(storage.location)
    bucket = getattr(storage, "bucket_name", None) or getattr(storage, "azure_container", None)
    more = ("endpoint_url", "account_name", "location")
    return (kind, bucket, *(getattr(storage, name, None) for name in more)) if bucket else None


def intended(queue_name: str, original_names: Iterable[str]) -> list[StoredFile]:
    """
    Write down which contents are about to be stored, under their final names: those that SubmissionFile's own
    ``upload_to`` would give. One INSERT, and none where there are no files.

    To be called outside a transaction: it has to outlive what comes after it. Inside one of a caller's own it is as
    good as that transaction.
    """
    intent = uuid.uuid4()
    files = []
    for name in original_names:
        key = uuid.uuid4()
        files.append(StoredFile(uuid=key, stored_name=f"{queue_name}/{key}", original_name=name, intent=intent))
    if files:
        _write_down(intent, files)
    return files


def abandoned(names: Iterable[tuple[uuid.UUID, str]]) -> list[StoredFile]:
    """
    The contents of rows, each given as (uuid, stored name), that the caller's transaction deletes: written down there,
    for ``discard`` to be called after the commit, or for the sweeper where nobody lives to call it.
    """
    intent = uuid.uuid4()
    files = [
        StoredFile(uuid=key, stored_name=name, original_name="", intent=intent)
        for key, name in names
        if _is_own(key, name)
    ]
    if files:
        _write_down(intent, files)
    return files


def _write_down(intent: uuid.UUID, files: list[StoredFile]) -> None:
    StoredIntent.objects.create(id=intent, names={str(file.uuid): file.stored_name for file in files})


def named(files: Iterable[StoredFile]) -> None:
    """Strike out what was written down of these files: to be called in the transaction that writes their rows."""
    if intents := {file.intent for file in files if file.intent is not None}:
        StoredIntent.objects.filter(pk__in=intents).delete()


def save(file: StoredFile, content: File) -> StoredFile:
    """
    Store one content under the name that was written down.

    Raises:
        TargetWriteFailed: the storage did not take it.
    """
    try:
        saved = get_storage().save(file.stored_name, content)
    except storage_errors() as error:
        raise TargetWriteFailed(type(error).__name__) from error
    return dataclasses.replace(file, stored_name=saved)


def save_checked(file: StoredFile, data: bytes) -> StoredFile:
    """
    Store one content, and read it back: what a grader will get is what was given.

    Raises:
        TargetWriteFailed: the storage did not take it, or gives something else.
    """
    file = save(file, ContentFile(data))
    found = hashlib.sha256()
    try:
        with get_storage().open(file.stored_name) as stored:
            for chunk in stored.chunks():
                found.update(chunk)
    except storage_errors() as error:
        raise TargetWriteFailed(type(error).__name__) from error
    if found.digest() != hashlib.sha256(data).digest():
        raise TargetWriteFailed("checksum")
    return file


def link(stored_name: str, original_name: str) -> StoredFile:
    """A file that stays where it is, in a storage that both systems share."""
    return StoredFile(uuid=uuid.uuid4(), stored_name=stored_name, original_name=original_name)


@contextmanager
def stored_files(queue_name: str, contents: Mapping[str, Any]) -> Iterator[list[StoredFile]]:
    """
    File contents in edx-submissions' storage, under their final names, for the length of a transaction.

    The block writes the rows (``writer.insert``). If it raises, what no row names is removed again; what a process
    leaves that dies in it the sweeper removes. Contents are Django files or plain file objects, by original name.

    Raises:
        TargetWriteFailed: the storage did not take them.
    """
    files = intended(queue_name, contents)
    stored: list[StoredFile] = []
    try:
        for file, content in zip(files, contents.values(), strict=True):
            stored.append(save(file, content if isinstance(content, File) else File(content)))
        yield stored
    except BaseException:
        discard_unnamed([*files, *stored])  # a storage may have given one another name
        raise


def discard_unnamed(files: Iterable[StoredFile]) -> None:
    """
    Delete the contents that no row has come to name, and strike out that they were meant to be stored.

    Where that cannot be known, both stay: contents without a row harm nobody, a row without its contents would. A
    connection that was dropped may have been dropped by a commit, and the commit may have been carried out.
    """
    files = [file for file in files if file.intent is not None]
    if not files or connection.connection is None:
        return
    try:
        if not connection.in_atomic_block:
            # Struck out means named. Asked by their key: no index finds the rows of files by theirs.
            intents = StoredIntent.objects.filter(pk__in={file.intent for file in files})
            open_intents = set(intents.values_list("pk", flat=True))
            files = [file for file in files if file.intent in open_intents]
            if not files:
                return
        rows = SubmissionFile.objects.filter(uuid__in={file.uuid for file in files})
        with_row = set(rows.values_list("uuid", flat=True))
        discard(file for file in files if file.uuid not in with_row)
        named(file for file in files if file.uuid in with_row)
    except Error as error:
        log.warning("migration_shim: %d stored files may be left without rows: %s", len(files), type(error).__name__)


def discard(files: Iterable[StoredFile]) -> None:
    """
    Delete the contents of files that no row names, and strike out that they were stored.

    What the storage will not delete stays written down, for the sweeper.
    """
    files = list(files)
    if not delete((file.uuid, file.stored_name) for file in files):
        named(files)


def delete(files: Iterable[tuple[uuid.UUID, str]]) -> int:
    """
    Delete the contents of rows that are gone, each given as (uuid, stored name). Linked ones are left alone.

    One that the storage will not delete is left too, with a warning: it harms nobody. How many were left.
    """
    failed = 0
    for key, name in files:
        if not _is_own(key, name):
            continue
        try:
            get_storage().delete(name)
        except storage_errors():
            failed += 1
    if failed:
        log.warning("migration_shim: %d stored files without rows could not be deleted", failed)
    return failed


def _is_own(key: uuid.UUID, name: str) -> bool:
    return str(key) in name
