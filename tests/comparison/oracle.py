"""
What a reconcile should count, said in SQL over the two systems' own tables. Nothing of the app is imported here.

The rows of both databases are copied into one in memory, as they are, and judged there by what CAPA and edx-submissions
4.0.2 are known to do. Of the app it takes one thing: which two rows are one submission.
"""

import json
import sqlite3
from typing import Any

from django.db import connections

_LEGACY = (
    "SELECT id, retired, lms_ack, num_failures, grader_reply, xqueue_header, xqueue_body,"
    " return_time IS NOT NULL FROM queue_submission"
)
_TARGET = """
    SELECT d.submission_id, d.status, d.grader_reply, d.points_possible,
           (SELECT s.points_earned FROM submissions_score s WHERE s.submission_id = d.submission_id
            ORDER BY s.id DESC LIMIT 1),
           i.item_id, i.student_id
    FROM submissions_externalgraderdetail d
    JOIN submissions_submission b ON b.id = d.submission_id
    JOIN submissions_studentitem i ON i.id = b.student_item_id
"""
_PAIRS = "SELECT id, course_id, legacy_id, target_submission_id FROM migration_shim_ledgerentry"
_REPLIES = """
    CREATE VIEW {side}_reply AS
    SELECT id, CASE
        WHEN NOT json_valid(reply) OR json_type(reply) <> 'object' THEN 'invalid'
        WHEN json_type(reply, '$.correct') IS NULL OR json_type(reply, '$.score') IS NULL
             OR json_type(reply, '$.msg') IS NULL THEN 'invalid'
        WHEN json_type(reply, '$.msg') <> 'text' THEN 'raises'
        WHEN plain(json_extract(reply, '$.msg')) = 0 THEN 'invalid'
        WHEN json_type(reply, '$.score') NOT IN ('integer', 'real', 'true', 'false') THEN 'raises'
        ELSE 'valid' END AS kind,
        CASE WHEN json_valid(reply) THEN truth(reply) END AS correct,
        CASE WHEN json_valid(reply) AND json_type(reply) = 'object'
             THEN max(CAST(json_extract(reply, '$.score') AS REAL), 0.0) END AS score
    FROM {side}
"""
_JUDGED = """
    SELECT p.course, p.entry,
        CASE
        WHEN l.retired = 1 AND l.acked = 0 AND l.failures >= 4 THEN 'given up'
        WHEN l.retired = 0 AND t.status IN ('pending', 'pulled', 'retry') THEN 'open'
        WHEN l.retired = 0 OR t.status IN ('pending', 'pulled', 'retry') THEN 'open'
        WHEN t.status = 'failed' THEN 'state'
        WHEN lr.kind <> tr.kind THEN 'correctness'
        WHEN lr.kind = 'valid' AND (lr.correct <> tr.correct OR lr.score <> tr.score)
            THEN trim(CASE WHEN lr.correct <> tr.correct THEN 'correctness' ELSE '' END
                 || CASE WHEN lr.correct <> tr.correct AND lr.score <> tr.score THEN ',' ELSE '' END
                 || CASE WHEN lr.score <> tr.score THEN 'score' ELSE '' END)
        ELSE '' END AS outcome,
        CASE
        WHEN t.status <> 'retired' OR l.retired = 0 OR tr.kind <> 'valid' THEN ''
        WHEN t.stored IS NULL THEN 'lost'
        WHEN tr.score > 1 AND t.possible = 1 THEN 'out_of_range'
        WHEN t.stored <> tr.score * t.possible AND abs(t.stored - tr.score * t.possible) <= 0.5 THEN 'rounding'
        ELSE '' END AS points,
        instr(replace(l.header, ';_', '/'), replace(t.item, 'shadow:', '')) = 0
            OR instr(l.body, replace(t.student, 'shadow:', '')) = 0 AS other,
        l.retired AND l.acked AND l.returned AND t.reply IS NOT NULL AS graded
    FROM pairs p JOIN legacy l ON l.id = p.legacy_id JOIN target t ON t.id = p.target_id
    JOIN legacy_reply lr ON lr.id = l.id JOIN target_reply tr ON tr.id = t.id
"""
_COUNTS = """
    SELECT course, count(*), sum(NOT other AND outcome = 'open'),
           sum(NOT other AND outcome = '' AND points IN ('', 'rounding')),
           sum(NOT other AND outcome = '' AND points = 'rounding'),
           sum(other OR outcome NOT IN ('', 'open') OR points IN ('lost', 'out_of_range')),
           sum(outcome LIKE '%correctness%'), sum(outcome LIKE '%score%'), sum(outcome = 'state'),
           sum(points = 'out_of_range'), sum(other)
    FROM judged GROUP BY course ORDER BY course
"""
NAMES = (
    "compared",
    "open",
    "equal",
    "rounding",
    "diverged",
    "correctness",
    "score",
    "state",
    "out_of_range",
    "identity",
)


#: The classes that are judged here; of the others nothing is said.
CLASSES = frozenset({"correctness", "score", "state", "out_of_range", "lost", "identity"})


def counts() -> dict[str, dict[str, int]]:
    """The counts of every course, by the names of ``NAMES``."""
    return {course: dict(zip(NAMES, rest, strict=True)) for course, *rest in _judged().execute(_COUNTS)}


def classes() -> dict[int, set[str]]:
    """Of the pairs that graders of both sides have replied to, by entry: those of ``CLASSES`` that it differs in."""
    found = _judged().execute(
        "SELECT entry, outcome, points, CASE WHEN other THEN 'identity' ELSE '' END FROM judged WHERE graded"
    )
    return {entry: CLASSES & set(",".join(said).split(",")) for entry, *said in found}


def _judged() -> sqlite3.Connection:
    """Both databases in one, with what is said of every pair."""
    here = sqlite3.connect(":memory:")
    here.create_function("plain", 1, _plain)
    here.create_function("truth", 1, _truth)
    here.execute("CREATE TABLE legacy (id, retired, acked, failures, reply, header, body, returned)")
    here.execute("CREATE TABLE target (id, status, reply, possible, stored, item, student)")
    here.execute("CREATE TABLE pairs (entry, course, legacy_id, target_id)")
    for alias, sql, table, width in (
        ("xqueue", _LEGACY, "legacy", 8),
        ("default", _TARGET, "target", 7),
        ("default", _PAIRS, "pairs", 4),
    ):
        with connections[alias].cursor() as cursor:
            cursor.execute(sql)
            here.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * width)})", cursor.fetchall())
    for side in ("legacy", "target"):
        here.execute(_REPLIES.format(side=side))
    here.execute(f"CREATE TABLE judged AS {_JUDGED}")
    return here


def _plain(message: str) -> int:
    """Whether a message is one that XML can hold."""
    odd = [letter for letter in message if letter < " " and letter not in "\t\n\r\0\f"]
    return int(bool(message.strip("\0")) and not odd and not {"\ufffe", "\uffff"} & set(message))


def _truth(reply: str) -> Any:
    """The truth value of ``correct``, which JSON alone does not have."""
    value = json.loads(reply)
    return int(bool(value.get("correct"))) if isinstance(value, dict) else None
