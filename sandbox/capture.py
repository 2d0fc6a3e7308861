"""Load rows captured from a real XQueue into the sandbox's legacy database, ids kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

from django.db import connections, transaction

from sandbox.databases import LEGACY_MEDIA
from sandbox.schema import require_sandbox_legacy

ROWS_FILE = "queue_submission.jsonl"
FILES_DIRECTORY = "files"
COLUMNS = (
    "id", "requester_id", "lms_callback_url", "queue_name", "xqueue_header", "xqueue_body", "s3_keys", "s3_urls",
    "arrival_time", "pull_time", "push_time", "return_time", "grader_id", "pullkey", "grader_reply", "num_failures",
    "lms_ack", "retired",
)  # fmt: skip
TIMES = frozenset({"arrival_time", "pull_time", "push_time", "return_time"})
# What XQueue never changes after it has written the row. The other columns move on when the loaded rows are graded.
ENVELOPE = ("queue_name", "xqueue_header", "xqueue_body")
BATCH_ROWS = 200


class CaptureError(ValueError):
    """The capture cannot be loaded; the message names the line, row or file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureCounts:
    """What one load did."""

    rows: int
    """Rows inserted."""
    files: int
    """Stored files copied, external documents included."""
    rows_present: int
    """Rows of the capture that were there already; nothing of them was changed."""


def load_capture(directory: str | Path) -> CaptureCounts:
    """Insert the rows of ``queue_submission.jsonl`` and copy ``files/<key>`` to ``<queue_name>/<key>`` of the storage.

    Streams: memory does not grow with the capture. A second load of the same rows writes nothing. Raises
    :class:`CaptureError` for a directory without the file, a line that is no row, a missing stored file, or a row
    whose id is taken by another submission; what came in earlier batches stays. The auto-increment goes on after the
    highest id by itself, on SQLite and on MySQL. Raises ``NotASandbox`` for a legacy database that is not ours.
    """
    directory = Path(directory)
    if not (directory / ROWS_FILE).is_file():
        raise CaptureError(f"{directory} has no {ROWS_FILE}")
    require_sandbox_legacy()
    inserted = present = copied = 0
    rows = _read(directory / ROWS_FILE)
    while batch := list(islice(rows, BATCH_ROWS)):
        # Files first, as XQueue itself stores them before the row.
        copied += sum(_copy_files(row, directory / FILES_DIRECTORY) for row in batch)
        new = _insert(batch)
        inserted += new
        present += len(batch) - new
    return CaptureCounts(rows=inserted, files=copied, rows_present=present)


def _read(path: Path) -> Iterator[dict]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
            except ValueError as error:
                raise CaptureError(f"{path}, line {number}: not JSON") from error
            if not isinstance(row, dict) or row.keys() != set(COLUMNS):
                raise CaptureError(f"{path}, line {number}: not a row of queue_submission with all its columns")
            yield row


def _insert(batch: list[dict]) -> int:
    connection = connections["xqueue"]
    with transaction.atomic(using="xqueue"), connection.cursor() as cursor:
        marks = ", ".join(["%s"] * len(batch))
        cursor.execute(
            f"SELECT id, {', '.join(ENVELOPE)} FROM queue_submission WHERE id IN ({marks})",
            [row["id"] for row in batch],
        )
        present = {row_id: tuple(envelope) for row_id, *envelope in cursor.fetchall()}
        for row in batch:
            if row["id"] in present and present[row["id"]] != tuple(row[name] for name in ENVELOPE):
                raise CaptureError(f"id {row['id']} is taken by another submission: load into an empty table")
        new = [_values(row, connection.ops) for row in batch if row["id"] not in present]
        marks = ", ".join(["%s"] * len(COLUMNS))
        cursor.executemany(f"INSERT INTO queue_submission ({', '.join(COLUMNS)}) VALUES ({marks})", new)
    return len(new)


def _values(row: dict, operations) -> list:
    def value(name: str) -> object:
        if name in TIMES and row[name] is not None:
            return operations.adapt_datetimefield_value(datetime.fromisoformat(row[name]))
        return row[name]

    return [value(name) for name in COLUMNS]


def _copy_files(row: dict, source: Path) -> int:
    """Copy what the row's ``s3_keys`` name, and what the document named there names; return the number copied."""
    keys = json.loads(row["s3_keys"])
    document = keys.get("KEY_FOR_EXTERNAL_DICTS")
    copied = 0
    if document is not None:
        copied += _copy(source / document, row)
        keys = json.loads((source / document).read_text(encoding="utf-8"))["keys"]
    return copied + sum(_copy(source / key, row) for key in keys.values())


def _copy(source: Path, row: dict) -> int:
    target = LEGACY_MEDIA / row["queue_name"] / source.name
    if target.exists():
        return 0
    if not source.is_file():
        raise CaptureError(f"row {row['id']}: its stored file {source} is missing")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    return 1
