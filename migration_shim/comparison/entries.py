"""The ledger entries that are compared by the rules, each read together with its target row and the digest of both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection

from ..core.errors import Malformed
from ..db import bulk, converted, fingerprint
from ..models import LedgerEntry
from ..target import outcomes
from ..target.fingerprints import DUPLICATES, HAS_FILES, digest, joins
from .candidates import Fingerprints, Rules, fingerprints_now


@dataclass(slots=True)
class Entry:
    """The columns of a ledger entry that a comparison reads or writes. They are plain data: nothing is saved."""

    id: int
    course_id: str
    queue_name: str
    item_id: str
    learner: str
    input_key: str
    phase: str
    authority: str
    origin: str
    history: bool
    echo: bool
    arrived_at: datetime
    copied_at: datetime | None
    copy_due: datetime | None
    superseded_at: datetime | None
    legacy_leg: str
    legacy_reason: str
    legacy_id: int | None
    target_leg: str
    target_submission_id: int | None
    move: str
    moved_at: datetime | None
    double_authority: bool
    lease_key: str
    leases: int
    raw_header: str
    grader_payload: str | None
    student_info: str
    extra_body: str
    result: str
    divergences: str
    known: str
    graded_pair: bool
    legacy_state: str
    legacy_correct: bool | None
    legacy_score: float | None
    legacy_seconds: float | None
    target_state: str
    target_correct: bool | None
    target_score: float | None
    target_seconds: float | None
    target_graded_at: datetime | None
    payload_compared_at: datetime | None
    seen: str
    legacy_seen: str
    target_seen: str
    compared_at: datetime | None
    settled_at: datetime | None
    bucket_id: int | None


class Found(NamedTuple):
    """
    An entry with its target row, None where there is none.

    ``seen`` and ``target_seen`` are digests of the rules and of what was read here. ``points`` are those of the Score,
    ``others`` the living rows beside it with its StudentItem and key, and ``answer`` is as the database has it.
    """

    entry: Entry
    seen: str
    target_seen: str
    target: outcomes.TargetRow | None
    points: int | None
    others: int
    has_files: bool
    answer: str | None


_NAMES = tuple(column.name for column in fields(Entry))
_TABLE = LedgerEntry._meta.db_table


def read(ids: Iterable[int], rules: Rules) -> list[Found]:
    """
    Return the entries with these ids that exist, in the order of ids.

    One statement reads an entry, its target row and the digest of both, so that the next run finds whatever changes
    from now on. Only what has duplicates or several Scores, which is rare, takes more statements.
    """
    wanted = list(ids)
    rows = _rows(wanted)
    counted: dict[int, Fingerprints] = {}
    others: dict[int, int] = {}
    if several := [pk for pk, row in rows.items() if row.duplicates != 0 or row.several]:
        # The number is a part of their digest, and is to be read before the rows.
        counted = fingerprints_now(several, rules)
        for pk in several:
            rows.pop(pk)
        rows |= _rows([pk for pk in several if pk in counted])
        others = outcomes.others({pk: rows[pk].target for pk in several if pk in rows})
    return [
        Found(
            entry=row.entry,
            seen=rules.of_queue(row.entry.queue_name),
            target_seen=counted[pk].target_seen if pk in counted else row.digest,
            target=row.target,
            points=row.points,
            others=others.get(pk, 0),
            has_files=bool(row.has_files),
            answer=row.answer,
        )
        for pk, row in sorted(rows.items())
    ]


class _Row(NamedTuple):
    entry: Entry
    target: outcomes.TargetRow | None
    digest: str
    duplicates: int | None
    has_files: int
    answer: str | None
    points: int | None
    several: bool


def _rows(ids: Sequence[int]) -> dict[int, _Row]:
    """Return entries with their target rows, by id. Their digests are those of rows without duplicates."""
    if not ids:
        return {}
    names = ", ".join([f"l.{name}" for name in _NAMES])
    rows = bulk.ask(
        f"{fingerprint.uncached(connection)}"
        f"SELECT {names}, {outcomes.COLUMNS}, {fingerprint.known(digest('0'))}, {DUPLICATES}, {HAS_FILES},"
        f" s.raw_answer, p.points_earned, p.id FROM {_TABLE} l {joins()} WHERE l.id IN ({bulk.numbers(ids)})"
    )
    # The last Score counts.
    rows.sort(key=lambda row: (row[0], row[-1] or 0))
    found: dict[int, _Row] = {}
    middle, end = len(_NAMES), len(_NAMES) + len(outcomes.TargetRow._fields)
    for row in converted.values(LedgerEntry, _NAMES, rows):
        pk = row[0]
        target = outcomes.TargetRow.of_columns(row[middle:end])
        found[pk] = _Row._make((Entry(*row[:middle]), target, *row[end:-1], pk in found))
    return found


def answer_of(text: str | None) -> Any:
    """
    Return an answer as edx-submissions gives it back.

    Raises:
        Malformed: it was stored before there was a limit of depth, and cannot be read back.
    """
    try:
        return outcomes.ANSWER.from_db_value(text, None, connection)
    except RecursionError as error:
        raise Malformed("answer_too_deep") from error
