"""
Store the files of a row as XQueue's submit does: ``<queue>/<md5 of header and name>``, named by two columns of the row.

Source: ``submission_queue/lms_interface.py`` of XQueue.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from urllib.parse import urlsplit

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, Storage

from ..core.errors import FileUnavailable
from ..core.wire import is_folder

#: Characters in ``s3_keys`` and ``s3_urls``. What is longer goes into a stored document that the columns lead to.
COLUMN = 1024
_TRIES = 20


def check(queue_name: str, names: Mapping[str, bytes], storage: Storage | None) -> None:
    """
    Refuse files that XQueue's graders could not be given.

    Raises:
        FileUnavailable: there is no storage, it has no URLs for the files, or the queue's name cannot name a folder.
    """
    if not names:
        return
    if storage is None:
        raise FileUnavailable("no_legacy_storage", "")
    if not is_folder(queue_name):
        raise FileUnavailable("queue_name_not_a_folder", "")
    if not _knows_urls(storage, f"{queue_name}/{'0' * 32}"):
        # With a relative one XQueue's get_submission may fail, again and again, and block its queue.
        raise FileUnavailable("file_url_unknown", "")


def _knows_urls(storage: Storage, name: str) -> bool:
    """Tell whether a storage has whole URLs of its own, and does not fall back to the LMS's."""
    if isinstance(storage, FileSystemStorage) and storage.base_url == settings.MEDIA_URL:
        return False
    try:
        parts = urlsplit(storage.url(name))
    except (NotImplementedError, ValueError):
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def store(queue_name: str, header: str, contents: Mapping[str, bytes], storage: Storage | None) -> tuple[str, str]:
    """
    Store files, and return the texts of the columns ``s3_keys`` and ``s3_urls``. Files that are stored already stay.

    Raises:
        FileUnavailable: see ``check``.
        OSError: the storage failed; it may raise other errors of its own.
    """
    check(queue_name, contents, storage)
    if not contents:
        return "{}", "{}"
    assert storage is not None
    keys = {name: _store(queue_name, header + name, content, storage) for name, content in contents.items()}
    urls = {name: storage.url(f"{queue_name}/{key}") for name, key in keys.items()}
    if max(len(json.dumps(urls)), len(json.dumps(keys))) > COLUMN:
        document = json.dumps({"files": urls, "keys": keys}).encode()
        key = _store(queue_name, header + json.dumps(list(contents)), document, storage)
        keys = {"KEY_FOR_EXTERNAL_DICTS": key}
        urls = {"URL_FOR_EXTERNAL_DICTS": storage.url(f"{queue_name}/{key}")}
    return json.dumps(keys), json.dumps(urls)


def _store(queue_name: str, text: str, content: bytes, storage: Storage) -> str:
    """
    Store one file under XQueue's key, and return the key.

    Where something else has that name (the same header was sent twice, or a crash left half a file), the next key is
    tried: a file that another row may name is never overwritten.
    """
    for number in range(_TRIES):
        key = hashlib.md5((text + (str(number) if number else "")).encode(), usedforsecurity=False).hexdigest()
        name = f"{queue_name}/{key}"
        if not storage.exists(name):
            saved = storage.save(name, ContentFile(content))
            if saved == name:
                return key
            storage.delete(saved)  # another return was quicker: what it stored is looked at below
        if _read(storage, name, len(content) + 1) == content:
            return key
    raise FileUnavailable("file_key_taken", "")


def _read(storage: Storage, name: str, size: int) -> bytes:
    with storage.open(name) as file:
        return file.read(size)
