"""
Uploaded files of legacy rows: their names, where they are, whether they can be read, and their contents.

Everything here may read a storage or a host, so none of it belongs in a transaction. Nothing is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.core.files.storage import Storage
from django.utils.module_loading import import_string

from ..conf import ShimSettings
from ..core import json_text
from ..core.data import LegacyRow
from ..core.errors import ConfigurationError, FileUnavailable
from ..core.wire import is_folder
from ..db.storage import storage_errors
from .downloads import Downloads

#: XQueue writes these keys where the dictionaries outgrow their columns; they lead to a stored document with both.
EXTERNAL_KEY = "KEY_FOR_EXTERNAL_DICTS"
EXTERNAL_URL = "URL_FOR_EXTERNAL_DICTS"
DOCUMENT_LIMIT = 1024 * 1024
#: The LMS allows 20 files an input.
FILES_LIMIT = 100

#: What XQueue names its objects by. Nothing else is opened, whatever a row says.
_KEY = re.compile(r"[0-9a-f]{32}")

#: Reasons that may pass: the storage does not answer, is not mounted, or is not configured yet.
_PASSING = frozenset({"file_unreadable", "file_missing", "no_legacy_storage"})

Source = Storage | Downloads | None


def legacy_storage(settings: ShimSettings) -> Source:
    """
    Return XQueue's storage as configured, else the hosts that its files may be fetched from, else None.

    Raises:
        ConfigurationError: the configured storage does not exist.
    """
    if not settings.legacy_storage:
        hosts = settings.legacy_file_hosts
        return Downloads(hosts, settings.legacy_read_timeout) if hosts else None
    try:
        return import_string(settings.legacy_storage["BACKEND"])(**settings.legacy_storage.get("OPTIONS", {}))
    except (KeyError, ImportError, TypeError, ImproperlyConfigured) as error:
        reason = type(error).__name__
        raise ConfigurationError(f'MIGRATION_SHIM["LEGACY_STORAGE"] makes no storage: {reason}.') from error


def file_keys(row: LegacyRow, source: Source) -> dict[str, str]:
    """
    Return the storage keys of a row's files by original name.

    Raises:
        FileUnavailable: the column or the external document cannot be read.
    """
    keys = _dictionary(row.s3_keys)
    # A learner may call a file by that name; then the URLs have it too, and it leads nowhere.
    if EXTERNAL_KEY not in keys or EXTERNAL_KEY in _dictionary(row.s3_urls):
        return keys
    return _external(row, keys[EXTERNAL_KEY], source, "keys")


def may_pass(error: FileUnavailable | None) -> bool:
    """Tell whether another try may succeed where this one failed. ``error`` is None where it did not fail."""
    return error is not None and error.reason in _PASSING


def check(row: LegacyRow, keys: dict[str, str], source: Source, settings: ShimSettings) -> None:
    """
    Check that the files of a row are available, without reading them.

    Raises:
        FileUnavailable: with the key of the first that is not.
    """
    at = places(row, keys, source)
    total = sum(size(source, at[name], key, settings.legacy_file_limit) for name, key in keys.items())
    check_total(total, settings)


def contents(row: LegacyRow, keys: dict[str, str], source: Source, limit: int) -> dict[str, ContentFile]:
    """
    Return the contents of a row's files by original name. ``limit`` is the size of the largest allowed file in bytes.

    Raises:
        FileUnavailable: with the key of the first that cannot be read.
    """
    at = places(row, keys, source)
    return {name: ContentFile(read(source, at[name], key, limit), name=name) for name, key in keys.items()}


def check_total(total: int, settings: ShimSettings) -> None:
    """
    Refuse a row whose files are together larger than the settings allow. ``total`` is in bytes.

    Raises:
        FileUnavailable: they are too large.
    """
    if total > settings.legacy_row_limit:
        raise FileUnavailable("files_over_limit", "")


def places(row: LegacyRow, keys: dict[str, str], source: Source) -> dict[str, str]:
    """
    Return where to read each file by original name: its name in the storage, or its URL.

    Raises:
        FileUnavailable: there are too many files, or one has no name or URL that may be opened.
    """
    if len(keys) > FILES_LIMIT:
        raise FileUnavailable("too_many_files", "")
    names = {name: _object(row.queue_name, key) for name, key in keys.items()}
    if not isinstance(source, Downloads) or not keys:
        return names
    urls = _dictionary(row.s3_urls)
    if EXTERNAL_URL in urls and EXTERNAL_KEY not in keys:
        urls = _external(row, _dictionary(row.s3_keys).get(EXTERNAL_KEY, ""), source, "files")
    for name, key in keys.items():
        url = urls.get(EXTERNAL_URL if name == EXTERNAL_KEY else name, "")
        if not source.allows(url, names[name]):
            raise FileUnavailable("file_url_not_allowed", key)
        names[name] = url
    return names


def _object(queue_name: str, key: str) -> str:
    if not _KEY.fullmatch(key) or not is_folder(queue_name):
        raise FileUnavailable("file_key_not_a_name", "")
    return f"{queue_name}/{key}"


def _external(row: LegacyRow, key: str, source: Source, part: str) -> dict[str, str]:
    """Return one of the two dictionaries of a row's external document."""
    place = places(row, {EXTERNAL_KEY: key}, source)[EXTERNAL_KEY]
    data = read(source, place, key, DOCUMENT_LIMIT)
    try:
        whole = json_text.loads(data.decode("utf-8"))
    except ValueError as error:
        raise FileUnavailable("files_not_json", key) from error
    return _checked(whole.get(part) if isinstance(whole, dict) else None, key)


def _dictionary(text: str) -> dict[str, str]:
    try:
        return _checked(json_text.loads(text or "{}"), "")
    except ValueError as error:
        raise FileUnavailable("files_not_json", "") from error


def _checked(value: Any, key: str) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise FileUnavailable("files_not_object", key)
    try:
        "".join(value).encode()
    except UnicodeEncodeError as error:  # half a surrogate pair, which no database takes
        raise FileUnavailable("file_name_not_text", key) from error
    return value


def size(source: Source, place: str, key: str, limit: int) -> int:
    """
    Return the size in bytes of the file at one of ``places``.

    Raises:
        FileUnavailable: with its ``key``: it does not exist, or is larger than ``limit``.
    """
    with _opened(source, place, key, limit) as file:
        return file.size


def read(source: Source, place: str, key: str, limit: int) -> bytes:
    """
    Return the contents of the file at one of ``places``.

    Raises:
        FileUnavailable: with its ``key``: it cannot be read, or is larger than ``limit``.
    """
    with _opened(source, place, key, limit) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise FileUnavailable("file_over_limit", key)
    return data


@contextmanager
def _opened(source: Source, place: str, key: str, limit: int) -> Iterator[Any]:
    """Open one file that is not larger than it may be. Some storages fetch the whole file at the first byte read."""
    if source is None:
        raise FileUnavailable("no_legacy_storage", key)
    try:
        with source.open(place) as file:
            if file.size > limit:
                raise FileUnavailable("file_over_limit", key)
            yield file
    except FileNotFoundError as error:
        raise FileUnavailable("file_missing", key) from error
    except storage_errors() as error:
        raise FileUnavailable("file_unreadable", key) from error
