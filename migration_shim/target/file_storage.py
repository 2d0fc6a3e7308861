"""
File contents in edx-submissions' storage: copied there before the transaction that names them, deleted with their rows.

What is about to be stored is written down first, as an intent (``record_intents``), and the transaction that names it
strikes that out (``clear_intents``). What stays written down for a day was stored for nothing, and ``orphaned_files``
removes it.

Our own files are told by their names, which hold the uuid of the SubmissionFile that names them. A linked file, an
object of XQueue's that a row only points at, is named by an MD5 and never deleted by us.
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


def storage_in_use() -> Storage:
    """Return edx-submissions' storage."""
    return get_storage()


def is_same_place(other: Storage) -> bool:
    """
    Tell whether edx-submissions' storage certainly holds the same objects under the same names as another storage.
    """
    here = _place(get_storage())
    return here is not None and here == _place(other)


def _place(storage: Storage) -> tuple[Any, ...] | None:
    """
    Return where a storage keeps its objects; None where that is not known. A storage in doubt counts as another place.
    """
    kind = storage.__class__  # type() of Django's default storage is a proxy's
    if isinstance(storage, FileSystemStorage):
        return kind, os.path.realpath(storage.location)
    bucket = getattr(storage, "bucket_name", None) or getattr(storage, "azure_container", None)
    more = ("endpoint_url", "account_name", "location")
    return (kind, bucket, *(getattr(storage, name, None) for name in more)) if bucket else None


def record_intents(queue_name: str, original_names: Iterable[str]) -> list[StoredFile]:
    """
    Write down which contents are about to be stored, under the final names that SubmissionFile's ``upload_to`` gives.

    One INSERT, and none where there are no files. To be called outside a transaction, because the record has to outlive
    whatever comes after it. Inside a caller's transaction it lasts only as long as that one.
    """
    intent = uuid.uuid4()
    files = []
    for name in original_names:
        key = uuid.uuid4()
        files.append(StoredFile(uuid=key, stored_name=f"{queue_name}/{key}", original_name=name, intent=intent))
    if files:
        _write_down(intent, files)
    return files


def record_abandoned(names: Iterable[tuple[uuid.UUID, str]]) -> list[StoredFile]:
    """
    Write down the contents of rows that the caller's transaction deletes, each given as (uuid, stored name).

    Call ``discard`` with the result after the commit. If the process dies before that, the sweeper removes them.
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


def clear_intents(files: Iterable[StoredFile]) -> None:
    """Strike out what was written down of these files. To be called in the transaction that writes their rows."""
    if intents := {file.intent for file in files if file.intent is not None}:
        StoredIntent.objects.filter(pk__in=intents).delete()


def save(file: StoredFile, content: File) -> StoredFile:
    """
    Store one content under the name that was written down, and return the file with the name that the storage gave it.

    Raises:
        TargetWriteFailed: the storage did not accept it.
    """
    try:
        saved = get_storage().save(file.stored_name, content)
    except storage_errors() as error:
        raise TargetWriteFailed(type(error).__name__) from error
    return dataclasses.replace(file, stored_name=saved)


def save_checked(file: StoredFile, data: bytes) -> StoredFile:
    """
    Store one content, and read it back to make sure that graders get what was given.

    Raises:
        TargetWriteFailed: the storage did not accept it, or returns something else.
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
    """Return a file that stays where it is, in a storage that both systems share."""
    return StoredFile(uuid=uuid.uuid4(), stored_name=stored_name, original_name=original_name)


@contextmanager
def stored_files(queue_name: str, contents: Mapping[str, Any]) -> Iterator[list[StoredFile]]:
    """
    Store file contents in edx-submissions' storage, under their final names, around a transaction.

    The block writes the rows (``writer.insert``). If it raises, contents that no row names are removed again. What a
    process leaves that dies in the block, the sweeper removes.

    Args:
        queue_name: the folder.
        contents: Django files or plain file objects, by original name.

    Raises:
        TargetWriteFailed: the storage did not accept them.
    """
    files = record_intents(queue_name, contents)
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
    Delete the contents that no row names, and strike out that they were to be stored.

    Where it cannot be known whether a row names them, both stay: contents without a row do no harm, a row without its
    contents would. A dropped connection may have been dropped during a commit, and the commit may have succeeded.
    """
    files = [file for file in files if file.intent is not None]
    if not files or connection.connection is None:
        return
    try:
        if not connection.in_atomic_block:
            # If an intent was struck out, a row names the file. Intents are looked up by key, because no index finds
            # the rows of files by uuid.
            intents = StoredIntent.objects.filter(pk__in={file.intent for file in files})
            open_intents = set(intents.values_list("pk", flat=True))
            files = [file for file in files if file.intent in open_intents]
            if not files:
                return
        rows = SubmissionFile.objects.filter(uuid__in={file.uuid for file in files})
        with_row = set(rows.values_list("uuid", flat=True))
        discard(file for file in files if file.uuid not in with_row)
        clear_intents(file for file in files if file.uuid in with_row)
    except Error as error:
        log.warning(
            "migration_shim.files_maybe_orphaned: %d stored files may be left without rows: %s",
            len(files),
            type(error).__name__,
        )


def discard(files: Iterable[StoredFile]) -> None:
    """
    Delete the contents of files that no row names, and strike out that they were stored.

    What the storage fails to delete stays written down, for the sweeper.
    """
    files = list(files)
    if not delete((file.uuid, file.stored_name) for file in files):
        clear_intents(files)


def delete(files: Iterable[tuple[uuid.UUID, str]]) -> int:
    """
    Delete the contents of rows that are gone, each given as (uuid, stored name), and return how many could not be.

    Linked files are left alone. Files that the storage fails to delete are left with a warning; they do no harm.
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
        log.warning("migration_shim.orphans_not_deleted: %d stored files without rows could not be deleted", failed)
    return failed


def _is_own(key: uuid.UUID, name: str) -> bool:
    return str(key) in name
