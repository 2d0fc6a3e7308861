"""
Everything about a legacy row that can change, as a digest that XQueue's database computes: cheap, and enough to
compare.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from django.db import connections

from ..conf import LEGACY_ALIAS
from ..core.classification import MARK
from ..core.data import LegacyRow
from ..db import bulk, fingerprint
from .crowds import CROWD
from .rows import by_id_with, holdable

_PLAIN = ("retired", "lms_ack", "num_failures", "arrival_time")
_NULLABLE = ("pull_time", "push_time", "return_time")
_TEXTS = ("xqueue_header", "s3_keys", "grader_id", "pullkey", "grader_reply")


def digest(alias: str) -> str:
    """Return the SQL for the digest of all that is compared of a row of the table ``alias``."""
    here = connections[LEGACY_ALIAS]
    parts = [f"{alias}.{name}" for name in _PLAIN]
    parts += [fingerprint.nullable(f"{alias}.{name}") for name in _NULLABLE]
    parts += fingerprint.texts(here, [f"{alias}.{name}" for name in _TEXTS], long=f"{alias}.xqueue_body")
    return fingerprint.sql(here, parts)


def digests(ids: Iterable[int]) -> dict[int, str]:
    """Return the digests of the rows that exist, by id; ``db.fingerprint.UNKNOWN`` where none could be made."""
    wanted = bulk.among("q.id", ids)
    if not wanted:
        return {}
    with connections[LEGACY_ALIAS].cursor() as cursor:
        cursor.execute(f"SELECT q.id, {fingerprint.known(digest('q'))} FROM queue_submission q WHERE {wanted}")
        return dict(cursor.fetchall())


def with_digests(ids: Iterable[int]) -> dict[int, tuple[LegacyRow, str]]:
    """Return the rows that exist, by id, each with its digest, which was computed when it was read; see ``digests``."""
    return by_id_with(ids, fingerprint.known(digest("queue_submission")))


#: The conditions, by name, under which a row ``q`` may be judged without the rules. Each is separate, so that a test
#: can leave one out. A row that meets them and has a reply is graded, and has no file and no duplicate.
PLAIN: dict[str, str] = {
    "acknowledged": "q.retired AND q.lms_ack AND q.return_time IS NOT NULL",
    "not_handed_off": f"SUBSTR(q.grader_id, 1, {len(MARK)}) <> '{MARK}'",
    "no_legacy_files": "q.s3_keys IN ('', '{}')",
    # No row with its truncated callback is the same submission again, or a newer one that arrived before the reply.
    # Where one callback covers a whole course, the rules decide (``core/siblings.py``), without quadratic time.
    "alone": "CASE WHEN (SELECT o.id FROM queue_submission o WHERE o.lms_callback_url = q.lms_callback_url"
    f" LIMIT 1 OFFSET {CROWD}) IS NULL"
    " THEN NOT EXISTS (SELECT 1 FROM queue_submission o WHERE o.lms_callback_url = q.lms_callback_url"
    " AND o.id <> q.id AND (o.xqueue_header = q.xqueue_header"
    " OR (o.id > q.id AND o.arrival_time < q.return_time))) ELSE 0 END",
}


#: The conditions for an ungraded row whose submission a newer attempt has superseded by what the ledger says. The
#: rules call such a row superseded, whatever its siblings are, and whether XQueue or a handoff has retired it.
REPLACED: dict[str, str] = {
    "unanswered": "q.retired AND NOT q.lms_ack",
    "never_failed": "q.num_failures = 0",
    "no_legacy_files": PLAIN["no_legacy_files"],
    # The same submission once more would be a duplicate, while it is in flight.
    "none_in_flight": "CASE WHEN (SELECT o.id FROM queue_submission o WHERE o.lms_callback_url = q.lms_callback_url"
    f" LIMIT 1 OFFSET {CROWD}) IS NULL"
    " THEN NOT EXISTS (SELECT 1 FROM queue_submission o WHERE o.lms_callback_url = q.lms_callback_url"
    " AND o.id <> q.id AND NOT o.retired) ELSE 0 END",
}


def plain_rows(
    ids: Iterable[int], ended_before: datetime, conditions: Mapping[str, str] = PLAIN
) -> dict[int, tuple[Any, ...]]:
    """
    Return the rows that may be judged without the rules, by id.

    Each is (digest, header, body, reply, microseconds from arrival to return, whether it was returned before
    ``ended_before``).
    """
    wanted = bulk.numbers(ids)
    if not wanted:
        return {}
    here = connections[LEGACY_ALIAS]
    with here.cursor() as cursor:
        cursor.execute(
            f"{fingerprint.uncached(here)}"
            f"SELECT q.id, {fingerprint.known(digest('q'))}, q.xqueue_header, q.xqueue_body, q.grader_reply,"
            f" {fingerprint.microseconds(here, 'q.arrival_time', 'q.return_time')}, q.return_time < %s"
            f" FROM queue_submission q WHERE q.id IN ({wanted}) AND {' AND '.join(conditions.values())}",
            [here.ops.adapt_datetimefield_value(ended_before)],
        )
        return {row_id: tuple(rest) for row_id, *rest in cursor.fetchall()}


def ids_pulled_since(queues: Iterable[str], moment: datetime) -> list[int]:
    """
    Return the ids of the rows of these queues that were pulled since ``moment``. One statement.

    ``retired`` is named so that XQueue's index on (queue_name, retired, pull_time) serves it.
    """
    if not (wanted := holdable("queue_name", queues)):
        return []
    found = bulk.ask(
        f"SELECT id FROM queue_submission WHERE queue_name IN ({', '.join(['%s'] * len(wanted))})"
        " AND retired IN (0, 1) AND pull_time >= %s",
        [*wanted, moment],
        using=LEGACY_ALIAS,
    )
    return [row_id for (row_id,) in found]
