"""
A first run as a script of an afternoon would do it: the floor that does the app's ordinary work, and nothing else.

Every row is read once, every text is parsed once by ``json``, what both sides have graded is compared, and the result
goes into the columns of a copy of the ledger, with the ledger's indexes. It links nothing, knows no rule and no
exception, looks for no twin and at no learner, makes no digest and no counter, locks nothing and cannot be resumed.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from benchmarks import names, pairs
from benchmarks.legacy_rows import Kind, counts

PAGE = 500
#: The copy that the results go to: the ledger itself is to be as it was when the app's first run comes.
COPY = "bench_ledger"
_LEGACY = (
    "SELECT id, lms_ack, return_time, grader_reply, xqueue_header, xqueue_body,"
    " TIMESTAMPDIFF(MICROSECOND, arrival_time, return_time) FROM queue_submission WHERE id > %s ORDER BY id LIMIT %s"
)
_BOTH = (
    "SELECT l.legacy_id, l.id, l.raw_header, l.grader_payload, l.student_info, d.status, d.grader_reply,"
    " d.points_possible, p.points_earned, s.raw_answer, d.status_time,"
    " TIMESTAMPDIFF(MICROSECOND, d.created_at, d.status_time) FROM migration_shim_ledgerentry l"
    " LEFT JOIN submissions_externalgraderdetail d ON d.submission_id = l.target_submission_id"
    " LEFT JOIN submissions_submission s ON s.id = l.target_submission_id"
    " LEFT JOIN submissions_score p ON p.submission_id = s.id WHERE l.legacy_id IN %s"
)
_COLUMNS = (
    *("result", "legacy_correct", "legacy_score", "legacy_seconds", "target_correct", "target_score"),
    *("target_seconds", "target_graded_at"),
)
_SAME = "graded_pair = 1, legacy_state = 'graded', target_state = 'graded', payload_compared_at = NOW(6), room = ''"
_DIFFERING = (Kind.CORRECTNESS, Kind.SCORE, Kind.POINTS, Kind.INVALID_REPLY, Kind.PAYLOAD)


def script(options: argparse.Namespace) -> dict[str, Any]:
    """All pairs in pages, and what both sides have graded compared and stored."""
    from django.db import connection, connections

    after, seen, differ = 0, 0, 0
    with connections["xqueue"].cursor() as legacy, connection.cursor() as target:
        while True:
            legacy.execute(_LEGACY, [after, PAGE])
            page = {row[0]: row[1:] for row in legacy.fetchall()}
            if not page:
                break
            after = max(page)
            target.execute(_BOTH, [tuple(page)])
            found = target.fetchall()
            results = [result for row in found if (result := _compared(page[row[0]], *row[1:])) is not None]
            seen += len(found)
            differ += sum(result[1] != "equal" for result in results)
            _store(target, results)
    wanted = sum(counts(options.rows, options.odd)[kind] for kind in _DIFFERING)
    return {"pairs": seen, "wrong": "" if differ == wanted else f"{differ} differ, not {wanted}"}


def _compared(row: tuple, pk: int, header: str, payload: str, info: str, status: str, reply: str, *more: Any) -> Any:
    """The columns of a pair that both sides have graded, or None."""
    possible, earned, answer, graded_at, target_took = more
    acknowledged, returned_at, legacy_reply, legacy_header, body, took = row
    if not acknowledged or returned_at is None or status != "retired" or not reply:
        return None
    sent, theirs = json.loads(body), json.loads(reply)
    try:
        ours = json.loads(legacy_reply)
    except ValueError:
        ours = {"correct": None, "score": None}
    same = (
        (ours["correct"], ours["score"]) == (theirs["correct"], theirs["score"])
        and theirs["score"] * possible == earned
        and json.loads(legacy_header) == json.loads(header)
        and sent.get("grader_payload") == payload
        and sent["student_info"] == info
        and sent["student_response"] == json.loads(answer)
    )
    columns = ours["correct"], ours["score"], took / 1e6, theirs["correct"], theirs["score"], target_took / 1e6
    return pk, "equal" if same else "diverged", *columns, str(graded_at)


def _store(cursor: Any, results: list[tuple]) -> None:
    if not results:
        return
    head = ", ".join(f"NULL AS {name}" for name in ("id", *_COLUMNS))
    row = f" UNION ALL SELECT {', '.join(['%s'] * (1 + len(_COLUMNS)))}"
    values = ", ".join(f"l.{name} = n.{name}" for name in _COLUMNS)
    cursor.execute(
        f"UPDATE (SELECT {head}{row * len(results)}) AS n STRAIGHT_JOIN {COPY} l ON l.id = n.id SET {values}, {_SAME}",
        [value for result in results for value in result],
    )


def copy_ledger(options: argparse.Namespace) -> dict[str, Any]:
    """The ledger once more, for what the script finds."""
    pairs.execute([f"CREATE TABLE {COPY} LIKE migration_shim_ledgerentry"])
    pairs.execute([f"INSERT INTO {COPY} SELECT * FROM migration_shim_ledgerentry", f"ANALYZE TABLE {COPY}"])
    return {}


def drop_copy(options: argparse.Namespace) -> dict[str, Any]:
    """The copy goes again."""
    pairs.execute([f"DROP TABLE IF EXISTS {COPY}"])
    return {}


WAYS = {names.SCRIPT: script}
