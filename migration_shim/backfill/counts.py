"""What a backfill counts, and the document made of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, cast

from ..core.data import Document, ExitCode, RowClass
from ..core.documents.backfill import BackfillDocument, CountedRows, MissingFile, RowClasses
from .classing import WRITTEN, ClassedRow
from .request import Request

SCHEMA = "migration_shim.xqueue_backfill/1"
#: Classes of rows that stay behind on legacy and that an operator must know of.
LEFT_BEHIND = (RowClass.DRAIN, RowClass.MALFORMED)
#: Bytes that one imported row takes in the LMS's database besides its text: four rows and their index entries.
ROW_BYTES = 2_500
#: How many missing files a document names at most; its reasons count them all.
FILES_SHOWN = 100


@dataclass(slots=True, kw_only=True)
class RowCounts:
    """Rows counted by (class, reason), and what became of them."""

    classes: Counter[tuple[str, str]] = field(default_factory=Counter)
    written: int = 0
    #: An estimate of the bytes that the rows written take in the LMS's database.
    adds_bytes: int = 0
    #: The first FILES_SHOWN rows that a missing file keeps on legacy, with the file's storage key.
    files_missing: list[MissingFile] = field(default_factory=list)
    #: Seconds waited, by kind of reason.
    waited: Counter[str] = field(default_factory=Counter)

    @property
    def read(self) -> int:
        """The number of rows read; every one has a class."""
        return self.classes.total()

    def add(self, classed: Iterable[ClassedRow], written: int) -> None:
        """Count one batch, of which ``written`` rows were written."""
        for item in classed:
            self.classes[item.decision.row_class.value, item.decision.reason] += 1
            if item.missing and item.decision.row_class in LEFT_BEHIND:
                self._missing([{"legacy_id": item.parsed.row.id, "reason": item.decision.reason, "key": item.missing}])
            if item.decision.row_class in WRITTEN:
                row = item.parsed.row
                self.adds_bytes += ROW_BYTES + len(row.xqueue_header) + len(row.xqueue_body)
        self.written += written

    def _missing(self, found: list[MissingFile]) -> None:
        self.files_missing = (self.files_missing + found)[:FILES_SHOWN]

    def join(self, other: RowCounts) -> None:
        """Add what another process has counted."""
        self.classes.update(other.classes)
        self.written += other.written
        self.adds_bytes += other.adds_bytes
        self.waited.update(other.waited)
        self._missing(other.files_missing)

    def to_json(self) -> dict[str, Any]:
        """Return the counts as plain data, for a checkpoint."""
        return {
            "classes": [[*key, number] for key, number in self.classes.items()],
            "written": self.written,
            "adds_bytes": self.adds_bytes,
            "waited": dict(self.waited),
            "files_missing": self.files_missing,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> RowCounts:
        """Return the counts of a checkpoint; all zero where it has counted nothing yet."""
        return cls(
            classes=Counter({(klass, reason): number for klass, reason, number in data.get("classes", ())}),
            written=data.get("written", 0),
            adds_bytes=data.get("adds_bytes", 0),
            waited=Counter(data.get("waited", {})),
            files_missing=data.get("files_missing", []),
        )

    def content(self) -> CountedRows:
        """Return the part of the document that these counts make up."""
        classes: Counter[str] = Counter()
        reasons: dict[str, dict[str, int]] = {}
        for (klass, reason), number in sorted(self.classes.items()):
            classes[klass] += number
            if reason:
                reasons.setdefault(klass, {})[reason] = number
        return {
            "read": self.read,
            "written": self.written,
            "adds_mb": round(self.adds_bytes / 1_000_000, 3),
            "classes": cast(RowClasses, {row_class.value: classes[row_class.value] for row_class in RowClass}),
            "reasons": reasons,
            "files_missing": self.files_missing,
            "waited": {kind: round(seconds, 1) for kind, seconds in self.waited.items()},
        }


def document(content: dict[str, Any]) -> Document[BackfillDocument]:
    """Return the document of some content, with the exit code that the content asks for."""
    exit_code = ExitCode.OK
    if any(content["classes"][row_class.value] for row_class in LEFT_BEHIND):
        exit_code |= ExitCode.LEFT_BEHIND
    if content["stopped_by"]:
        exit_code |= ExitCode.STOPPED
    return Document(content=cast(BackfillDocument, content), exit_code=exit_code)


def next_commands(request: Request, content: dict[str, Any]) -> list[str]:
    """Return the commands to run next, in order."""
    switch_off = ["waffle_switch migration_shim.kill_switch off"] * (content["stopped_by"] == "kill switch")
    if not content["complete"]:
        return [*switch_off, request.command(execute=request.execute)]
    if not request.execute:
        return [request.command(execute=True)]
    courses = " ".join(f"--course {course}" for course in sorted(request.courses or ()))
    return [f"xqueue_reconcile {courses or '--all'}"]
