"""
Uploaded files of legacy rows are stored on the target here, before the rows that name them are written.

This reads one storage and writes another, so none of it belongs in a transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from django.core.files.storage import Storage

from ..conf import ShimSettings
from ..core.data import LegacyRow
from ..core.errors import FileUnavailable, TargetWriteFailed
from ..legacy import files as legacy_files
from ..legacy.files import Source
from ..target import file_storage
from ..target.file_storage import StoredFile


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedFiles:
    """A row whose files are wanted on the target: ``keys`` are their storage keys on legacy, by file name."""

    row: LegacyRow
    keys: dict[str, str]
    queue_name: str


@dataclass(slots=True, kw_only=True)
class StoredFiles:
    """The files stored of each row, or why they could not be, by legacy id. A row without files is in neither."""

    files: dict[int, list[StoredFile]] = field(default_factory=dict)
    failed: dict[int, FileUnavailable | TargetWriteFailed] = field(default_factory=dict)


@contextmanager
def stored(wanted: Iterable[WantedFiles], source: Source, settings: ShimSettings) -> Iterator[StoredFiles]:
    """
    Store the files of many rows in edx-submissions' storage; the block then writes the rows that name them.

    Where both systems keep their files in the same place the files are linked. Else they are copied one at a time and
    read back. When the block ends, every content that no SubmissionFile names is deleted again: its row was not written
    after all, or its transaction was rolled back. So the block must not end inside a transaction.

    Args:
        wanted: the rows.
        source: where legacy's files are.
        settings: the settings in force, which limit the size of files.
    """
    result = StoredFiles()
    linked = isinstance(source, Storage) and file_storage.is_same_place(source)
    every: list[StoredFile] = []
    try:
        for item in wanted:
            if not item.keys:
                continue
            meant: list[StoredFile] = []
            try:
                places = legacy_files.places(item.row, item.keys, source)
                if linked:
                    result.files[item.row.id] = _linked(item, places, source, settings)
                    continue
                meant = file_storage.record_intents(item.queue_name, item.keys)
                every += meant
                result.files[item.row.id] = _copied(item, places, source, settings, meant)
            except (FileUnavailable, TargetWriteFailed) as error:
                result.failed[item.row.id] = error
                file_storage.discard(meant)
        yield result
    finally:
        file_storage.discard_unnamed([*every, *(file for files in result.files.values() for file in files)])


def _linked(item: WantedFiles, places: dict[str, str], source: Source, settings: ShimSettings) -> list[StoredFile]:
    total = 0
    for name, key in item.keys.items():
        total += legacy_files.size(source, places[name], key, settings.legacy_file_limit)
        legacy_files.check_total(total, settings)
    return [file_storage.link(places[name], name) for name in item.keys]


def _copied(
    item: WantedFiles, places: dict[str, str], source: Source, settings: ShimSettings, meant: list[StoredFile]
) -> list[StoredFile]:
    stored, total = [], 0
    for file, (name, key) in zip(meant, item.keys.items(), strict=True):
        data = legacy_files.read(source, places[name], key, settings.legacy_file_limit)
        total += len(data)
        legacy_files.check_total(total, settings)
        stored.append(file_storage.save_checked(file, data))
    return stored
