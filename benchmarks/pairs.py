"""
Both sides of all submissions, made by SQL: the only place of the benchmarks that knows the ledger's columns.

The import has written the copies; here both sides get the outcomes that ``legacy_rows.Kind`` names, as XQueue and the
watcher seam would have left them. What a comparison has to find then is in ``expected.py``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from benchmarks.legacy_rows import BURST, CHANGED, UNGRADED, Kind, places

#: Ready-made outcomes of one schema, for libraries that compare two tables.
EXTRACTS = ("bench_legacy", "bench_target")
POINTS = 4
_SUPERSEDED_ON_TARGET = (Kind.REPLACED_QUEUED, Kind.REPLACED_PULLED, Kind.REPLACED_ON_TARGET)


def at(column: str, *kinds: Kind, odd: float) -> str:
    """A condition that legacy's id in a column is one of a row of these kinds."""
    return _at_places(column, sorted(place for kind in kinds for place in places(odd)[kind]))


def _at_places(column: str, wanted: Iterable[int]) -> str:
    listed = ", ".join(map(str, wanted))
    return f"({column} - 1) MOD {BURST} IN ({listed})" if listed else "FALSE"


def _reply(correct: str, score: str) -> str:
    message = "'<p>', REPEAT('Your program was run on the test data. ', 4), '</p>'"
    return f"""CONCAT('{{"correct": ', {correct}, ', "score": ', {score}, ', "msg": "', {message}, '"}}')"""


def _graded(column: str) -> tuple[str, str, str]:
    """Correctness, score and points of a row by its id: four in turn, shares of ``POINTS`` that need no rounding."""
    return (
        f"IF({column} MOD 4, 'true', 'false')",
        f"ELT({column} MOD 4 + 1, '0', '0.25', '0.5', '1')",
        f"ELT({column} MOD 4 + 1, 0, 1, 2, 4)",
    )


def legacy_statements(odd: float) -> list[str]:
    """What gives legacy's rows their outcomes."""
    correct, score, _ = _graded("id")
    ungraded = at("id", *UNGRADED, Kind.WAITING, odd=odd)
    return [
        f"UPDATE queue_submission SET retired = 1 WHERE {at('id', *UNGRADED, odd=odd)}",
        "UPDATE queue_submission SET retired = 1, lms_ack = 1, pull_time = arrival_time + INTERVAL 5 SECOND,"
        " return_time = arrival_time + INTERVAL 20 SECOND, grader_id = '10.20.4.7', pullkey = MD5(id),"
        f" grader_reply = {_reply(correct, score)} WHERE NOT {ungraded}",
        "UPDATE queue_submission SET grader_reply = 'Traceback (most recent call last):'"
        f" WHERE {at('id', Kind.INVALID_REPLY, odd=odd)}",
        f"UPDATE queue_submission SET lms_ack = 0, num_failures = 4 WHERE {at('id', Kind.GIVEN_UP, odd=odd)}",
        f"DELETE FROM queue_submission WHERE {at('id', Kind.NO_LEGACY, odd=odd)}",
        "ANALYZE TABLE queue_submission",
    ]


def target_statements(odd: float) -> list[str]:
    """What gives the target's rows their outcomes, and the ledger what the router and the seam would have kept."""

    def where(*kinds: Kind) -> str:
        return at("l.legacy_id", *kinds, odd=odd)

    correct, score, points = _graded("l.legacy_id")
    wrong = "IF(l.legacy_id MOD 4, 'false', 'true')"
    other_score, other_points = "IF(l.legacy_id MOD 4 = 2, '0.25', '0.5')", "IF(l.legacy_id MOD 4 = 2, 1, 2)"
    graded = f"NOT {where(*_SUPERSEDED_ON_TARGET, Kind.WAITING, Kind.OVERDUE)}"
    detail = (
        "UPDATE submissions_externalgraderdetail d JOIN migration_shim_ledgerentry l"
        " ON l.target_submission_id = d.submission_id SET"
    )
    gone = f"IN (SELECT l.target_submission_id FROM migration_shim_ledgerentry l WHERE {where(Kind.NO_TARGET)})"
    return [
        f"UPDATE migration_shim_ledgerentry SET origin = 'router', legacy_state = '', points_possible = {POINTS}",
        "UPDATE migration_shim_ledgerentry l SET leases = 1, lease_key = MD5(target_submission_id),"
        f" leased_at = arrived_at WHERE {graded}",
        f"UPDATE migration_shim_ledgerentry l SET superseded_at = arrived_at + INTERVAL 170 SECOND"
        f" WHERE {where(*_SUPERSEDED_ON_TARGET)}",
        "UPDATE migration_shim_ledgerentry l SET grader_payload = REPLACE(grader_payload, 'grade.py', 'other.py')"
        f" WHERE {where(Kind.PAYLOAD)}",
        f"{detail} d.status = 'retired', d.status_time = d.created_at + INTERVAL 170 SECOND, d.pullkey = ''"
        f" WHERE {where(*_SUPERSEDED_ON_TARGET)}",
        f"{detail} d.status = 'retired', d.status_time = d.created_at + INTERVAL 25 SECOND, d.pullkey = l.lease_key,"
        f" d.points_possible = {POINTS}, d.grader_reply = {_reply(correct, score)} WHERE {graded}",
        f"{detail} d.grader_reply = {_reply(wrong, score)} WHERE {where(Kind.CORRECTNESS)}",
        f"{detail} d.grader_reply = {_reply(correct, other_score)} WHERE {where(Kind.SCORE)}",
        f"{detail} d.queue_name = l.queue_name WHERE {where(Kind.LEAK)}",
        "INSERT INTO submissions_score (student_item_id, submission_id, points_earned, points_possible, created_at,"
        f" reset) SELECT s.student_item_id, s.id, CASE WHEN {where(Kind.SCORE)} THEN {other_points}"
        f" WHEN {where(Kind.POINTS)} THEN IF({points} = {POINTS}, 3, {points} + 1) ELSE {points} END, {POINTS},"
        " s.created_at, 0 FROM migration_shim_ledgerentry l JOIN submissions_submission s"
        f" ON s.id = l.target_submission_id WHERE {graded}",
        *(
            f"DELETE FROM {table} WHERE {column} {gone}"
            for table, column in (
                ("submissions_score", "submission_id"),
                ("submissions_externalgraderdetail", "submission_id"),
                ("submissions_submission", "id"),
            )
        ),
        "ANALYZE TABLE submissions_externalgraderdetail, submissions_submission, submissions_score,"
        " migration_shim_ledgerentry",
    ]


#: One plain row in a hundred gets a new reply on the target, now. It is days old, so its time is not held against it.
CHANGE = (
    "UPDATE submissions_externalgraderdetail d JOIN migration_shim_ledgerentry l"
    " ON l.target_submission_id = d.submission_id SET l.origin = 'backfill', d.status_time = UTC_TIMESTAMP(6),"
    " d.grader_reply = REPLACE(d.grader_reply, 'was run', 'ran')"
    f" WHERE {_at_places('l.legacy_id', CHANGED)}"
)


#: As if the last comparison were an hour old: what ended without a time of its own is settled by the next run then.
AGE = "UPDATE migration_shim_ledgerentry SET compared_at = compared_at - INTERVAL 1 HOUR"


def extract_statements(legacy: str) -> list[str]:
    """
    The outcomes that both sides have and that can be read, linked and classed ready-made for the libraries.

    The key is a number, because reladiff takes no text. ``legacy`` is the name of legacy's database.
    """
    columns = "identity BIGINT PRIMARY KEY, state VARCHAR(16), correct TINYINT, score DOUBLE, reply TEXT"
    both = (
        f"FROM migration_shim_ledgerentry l JOIN {legacy}.queue_submission q ON q.id = l.legacy_id"
        " JOIN submissions_externalgraderdetail d ON d.submission_id = l.target_submission_id"
        " WHERE q.grader_reply LIKE '{%' AND d.grader_reply IS NOT NULL"
    )
    values = "JSON_VALUE({0}, '$.correct'), JSON_VALUE({0}, '$.score'), {0}"
    statements = [f"DROP TABLE IF EXISTS {', '.join(EXTRACTS)}"]
    statements += [f"CREATE TABLE {name} ({columns})" for name in EXTRACTS]
    for name, column in zip(EXTRACTS, ("q.grader_reply", "d.grader_reply"), strict=True):
        statements.append(f"INSERT INTO {name} SELECT l.id, 'graded', {values.format(column)} {both}")
    return [*statements, f"ANALYZE TABLE {', '.join(EXTRACTS)}"]


def execute(statements: Iterable[str], alias: str = "default") -> None:
    """Run statements, each by itself, without the checks of foreign keys."""
    from MySQLdb.cursors import Cursor

    with cursor_of(alias, Cursor) as cursor:
        cursor.execute("SET autocommit = 1, foreign_key_checks = 0")
        for statement in statements:
            cursor.execute(statement)


@contextlib.contextmanager
def cursor_of(alias: str, kind: type) -> Iterator[Any]:
    """A cursor of a connection of its own, past Django, on which a statement may take as long as it does."""
    import MySQLdb
    from django.db import connections

    given = connections[alias].get_connection_params()
    # Over a million rows a statement takes longer than an LMS may wait for one.
    parameters = {name: given[name] for name in given.keys() - {"isolation_level", "read_timeout", "write_timeout"}}
    connection = MySQLdb.connect(**parameters, cursorclass=kind)
    with contextlib.closing(connection), contextlib.closing(connection.cursor()) as cursor:
        yield cursor


#: The plain statements of the floors, by name: (alias, columns and tables, the key that pages go by).
#: What the app needs of each row to see whether anything has changed.
DRAINED = {
    "legacy": (
        "xqueue",
        "SELECT id, retired, lms_ack, num_failures, pull_time, return_time, grader_id, pullkey, grader_reply"
        " FROM queue_submission",
    ),
    "target": (
        "default",
        "SELECT d.submission_id, d.status, status_time, num_failures, pullkey, queue_name, queue_key,"
        " d.points_possible, grader_reply, student_id, item_id, points_earned FROM submissions_externalgraderdetail d"
        " JOIN submissions_submission s ON s.id = d.submission_id"
        " JOIN submissions_studentitem i ON i.id = s.student_item_id"
        " LEFT JOIN submissions_score p ON p.submission_id = s.id",
    ),
    "ledger": (
        "default",
        "SELECT id, seen, result, queue_name, legacy_state, settled_at, payload_compared_at, authority, move,"
        " legacy_leg, target_leg, legacy_id, target_submission_id, superseded_at, double_authority, lease_key, leases,"
        " echo FROM migration_shim_ledgerentry",
    ),
}
#: What a first run cannot do without: the drain's columns, and all that goes into the comparison of payloads.
READ = {
    "legacy": (
        "xqueue",
        "id",
        "SELECT id, retired, lms_ack, num_failures, arrival_time, pull_time, push_time, return_time, grader_id,"
        " pullkey, grader_reply, lms_callback_url, queue_name, xqueue_header, xqueue_body, s3_keys"
        " FROM queue_submission",
    ),
    "target": (
        "default",
        "d.submission_id",
        "SELECT d.submission_id, d.status, status_time, d.created_at, num_failures, pullkey, queue_name, queue_key,"
        " d.points_possible, grader_reply, student_id, course_id, item_id, points_earned, raw_answer"
        " FROM submissions_externalgraderdetail d JOIN submissions_submission s ON s.id = d.submission_id"
        " JOIN submissions_studentitem i ON i.id = s.student_item_id"
        " LEFT JOIN submissions_score p ON p.submission_id = s.id",
    ),
    "ledger": (
        "default",
        "id",
        "SELECT id, identity, input_key, course_id, item_id, learner, seen, result, queue_name, legacy_state,"
        " settled_at, payload_compared_at, authority, origin, move, legacy_leg, target_leg, legacy_id,"
        " target_submission_id, superseded_at, double_authority, lease_key, leases, leased_at, echo, arrived_at,"
        " copied_at, copy_due, points_possible, raw_header, grader_payload, student_info, extra_body"
        " FROM migration_shim_ledgerentry",
    ),
}
