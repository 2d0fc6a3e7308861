"""
Contents of files in edx-submissions' storage: stored before the transaction that names them, deleted with their rows.

What is ours is told by its name: it holds the uuid of the SubmissionFile that names it. A linked file, an object of
XQueue's that a row only points at, is named by an MD5 and never deleted by us.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.core.files.base import ContentFile, File
from django.core.files.storage import FileSystemStorage, Storage
from django.db import Error, connection
from submissions.models import SubmissionFile, get_storage

from ..errors import TargetWriteFailed

log = logging.getLogger(__name__)

#: The roots of what the backends of django-storages raise: none of them is an OSError.
_BACKEND_ERRORS = (
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("boto3.exceptions", "Boto3Error"),
    ("google.api_core.exceptions", "GoogleAPIError"),
    ("azure.core.exceptions", "AzureError"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A file whose contents are in edx-submissions' storage, and whose row is not written yet."""

    uuid: uuid.UUID
    stored_name: str
    original_name: str


def storage_errors() -> tuple[type[Exception], ...]:
    """
    What a storage may raise when it does not do as it is told; for an ``except``, which asks when something was raised.

    A backend that has raised is imported: what is not imported needs no entry, and nothing is imported for its sake.
    """
    loaded = ((sys.modules.get(module), name) for module, name in _BACKEND_ERRORS)
    # A ValueError is Python's own word for a name that no file can have: with a NUL in it, for one.
    known = (OSError, SuspiciousOperation, ValueError)
    return (*known, *(getattr(module, name) for module, name in loaded if hasattr(module, name)))


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


def save(queue_name: str, original_name: str, content: File) -> StoredFile:
    """
    Store one content under its final name: the one that SubmissionFile's own ``upload_to`` would give.

    Raises:
        TargetWriteFailed: the storage did not take it.
    """
    key = uuid.uuid4()
    try:
        saved = get_storage().save(f"{queue_name}/{key}", content)
    except storage_errors() as error:
        raise TargetWriteFailed(type(error).__name__) from error
    return StoredFile(uuid=key, stored_name=saved, original_name=original_name)


def save_checked(queue_name: str, original_name: str, data: bytes) -> StoredFile:
    """
    Store one content, and read it back: what a grader will get is what was given.

    Raises:
        TargetWriteFailed: the storage did not take it, or gives something else.
    """
    file = save(queue_name, original_name, ContentFile(data))
    found = hashlib.sha256()
    try:
        with get_storage().open(file.stored_name) as stored:
            for chunk in stored.chunks():
                found.update(chunk)
    except storage_errors() as error:
        delete([(file.uuid, file.stored_name)])
        raise TargetWriteFailed(type(error).__name__) from error
    if found.digest() != hashlib.sha256(data).digest():
        delete([(file.uuid, file.stored_name)])
        raise TargetWriteFailed("checksum")
    return file


def link(stored_name: str, original_name: str) -> StoredFile:
    """A file that stays where it is, in a storage that both systems share."""
    return StoredFile(uuid=uuid.uuid4(), stored_name=stored_name, original_name=original_name)


@contextmanager
def stored_files(queue_name: str, contents: Mapping[str, Any]) -> Iterator[list[StoredFile]]:
    """
    File contents in edx-submissions' storage, under their final names, for the length of a transaction.

    The block writes the rows. If it raises, what no row names is removed again; a process that dies in it leaves
    contents without rows, which harm nobody. Contents are Django files or plain file objects, by original name.

    Raises:
        TargetWriteFailed: the storage did not take them.
    """
    stored: list[StoredFile] = []
    try:
        for name, content in contents.items():
            stored.append(save(queue_name, name, content if isinstance(content, File) else File(content)))
        yield stored
    except BaseException:
        discard_unnamed(stored)
        raise


def discard_unnamed(files: Iterable[StoredFile]) -> None:
    """
    Delete the contents that no row has come to name.

    Where that cannot be known, they stay: contents without a row harm nobody, a row without its contents would. A
    connection that was dropped may have been dropped by a commit, and the commit may have been carried out.
    """
    files = {file.uuid: file for file in files}
    if not files or connection.connection is None:
        return
    try:
        named = set(SubmissionFile.objects.filter(uuid__in=files).values_list("uuid", flat=True))
    except Error as error:
        log.warning("migration_shim: %d stored files may be left without rows: %s", len(files), type(error).__name__)
        return
    delete((key, file.stored_name) for key, file in files.items() if key not in named)


def delete(files: Iterable[tuple[uuid.UUID, str]]) -> None:
    """
    Delete the contents of rows that are gone, each given as (uuid, stored name). Linked ones are left alone.

    One that the storage will not delete is left too, with a warning: it harms nobody.
    """
    failed = 0
    for key, name in files:
        if str(key) not in name:
            continue
        try:
            get_storage().delete(name)
        except storage_errors():
            failed += 1
    if failed:
        log.warning("migration_shim: %d stored files without rows could not be deleted", failed)
