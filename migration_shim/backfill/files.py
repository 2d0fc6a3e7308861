"""Uploaded files of legacy rows: their names, and their contents out of XQueue's storage. No URL is ever fetched."""

from __future__ import annotations

import json
from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.core.files.base import ContentFile
from django.core.files.storage import Storage
from django.utils.module_loading import import_string

from ..conf import ShimSettings
from ..data import LegacyRow
from ..errors import FileUnavailable

#: XQueue writes these where the dictionaries outgrow their columns; the key names a stored document with both.
EXTERNAL_KEY = "KEY_FOR_EXTERNAL_DICTS"
DOCUMENT_LIMIT = 1024 * 1024


def legacy_storage(settings: ShimSettings) -> Storage | None:
    """XQueue's storage as configured, or None."""
    if not settings.legacy_storage:
        return None
    backend = import_string(settings.legacy_storage["BACKEND"])
    return backend(**settings.legacy_storage.get("OPTIONS", {}))


def file_keys(row: LegacyRow, storage: Storage | None) -> dict[str, str]:
    """
    The files of a row: storage key by original name.

    Raises:
        FileUnavailable: the column or the external document cannot be read.
    """
    keys = _dictionary(row.s3_keys or "{}", "files_not_json", "s3_keys")
    if EXTERNAL_KEY not in keys:
        return keys
    document = _read(storage, row.queue_name, keys[EXTERNAL_KEY], DOCUMENT_LIMIT)
    try:
        text = document.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FileUnavailable("files_not_json", keys[EXTERNAL_KEY]) from error
    whole = _json(text, "files_not_json", keys[EXTERNAL_KEY])
    return _checked(whole.get("keys") if isinstance(whole, dict) else None, keys[EXTERNAL_KEY])


def contents(row: LegacyRow, keys: dict[str, str], storage: Storage | None, limit: int) -> dict[str, ContentFile]:
    """
    The contents of a row's files, by original name; ``limit`` is the largest file in bytes.

    Raises:
        FileUnavailable: with the key of the first that cannot be read.
    """
    return {name: ContentFile(_read(storage, row.queue_name, key, limit), name=name) for name, key in keys.items()}


def _dictionary(text: str, reason: str, name: str) -> dict[str, str]:
    return _checked(_json(text, reason, name), name)


def _json(text: str, reason: str, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileUnavailable(reason, name) from error


def _checked(value: Any, name: str) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value.values()):
        raise FileUnavailable("files_not_object", name)
    try:
        "".join(value).encode()
    except UnicodeEncodeError as error:  # half a surrogate pair, which no database takes
        raise FileUnavailable("file_name_not_text", name) from error
    return value


def _read(storage: Storage | None, queue_name: str, key: str, limit: int) -> bytes:
    if storage is None:
        raise FileUnavailable("no_legacy_storage", key)
    if not key.isalnum() or "/" in queue_name or queue_name.startswith("."):
        raise FileUnavailable("file_key_not_a_name", "")  # XQueue's keys are hexadecimal; this one is not XQueue's
    try:
        with storage.open(f"{queue_name}/{key}") as file:
            data = file.read(limit + 1)
    except (OSError, SuspiciousOperation) as error:
        raise FileUnavailable("file_missing", key) from error
    if len(data) > limit:
        raise FileUnavailable("file_over_limit", key)
    return data
