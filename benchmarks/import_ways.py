"""
The ways of writing legacy rows: this backfill, what else one might write, and the floor.

The databases are those that the environment names. What each has to write is known from the rows (``legacy_rows``).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import expected, names
from benchmarks.legacy_rows import counts

TARGET = ("submissions_studentitem", "submissions_submission", "submissions_externalgraderdetail")
LEDGER = ("migration_shim_ledgerentry",)
#: All that a backfill writes.
OURS = (*TARGET, "submissions_submissionfile", *LEDGER)
BATCH = 1000  # of the other ways; this backfill chooses its own


def backfill(options: argparse.Namespace) -> dict[str, Any]:
    """The product, as the command runs it. With ``opened`` every row is in flight, superseded ones too."""
    from migration_shim import api

    request = api.BackfillRequest(execute=True)
    content = api.backfill(request, lambda done, total: None).content
    wanted = expected.of_import(options.rows, options.odd)
    if options.opened:
        kinds = counts(options.rows, options.odd)
        wanted["imported"] = kinds.total() - sum(kinds[kind] for kind in expected.LEFT_OUT)
    found = {name: count for name, count in content["classes"].items() if count}
    wrong = "" if found == wanted and content["complete"] else f"{found}, not {wanted}"
    return {"pairs": content["written"], "wrong": wrong}


def _counted(way: Callable[[argparse.Namespace], int], at_most: str = "") -> Callable:
    """A way that says how many rows it has written, with that number looked at."""

    def run(options: argparse.Namespace) -> dict[str, Any]:
        written, wanted = way(options), expected.of_import(options.rows, options.odd)["imported"]
        if at_most:
            wanted = min(wanted, getattr(options, at_most))
        return {"pairs": written, "wrong": "" if written == wanted else f"{written} rows written, not {wanted}"}

    return run


def parsed(limit: int | None = None) -> Iterator[tuple[dict, object, dict]]:
    """(student item, answer, detail) of each legacy row, out of keyset pages: what the other ways have to read too."""
    from django.db import connections

    last = number = 0
    statement = (
        "SELECT id, xqueue_header, xqueue_body, arrival_time FROM queue_submission"
        " WHERE retired = 0 AND id > %s ORDER BY id LIMIT %s"
    )
    with connections["xqueue"].cursor() as cursor:
        while True:
            cursor.execute(statement, [last, BATCH])
            rows = cursor.fetchall()
            if not rows:
                return
            for row_id, header, body, arrived in rows:
                last = row_id
                if "score_update" not in header:
                    continue
                try:
                    found = submission(json.loads(header), json.loads(body), arrived.replace(tzinfo=UTC))
                except ValueError:
                    continue
                if number == limit:
                    return
                number += 1
                yield found


def submission(header: dict, body: dict, arrived: datetime) -> tuple[dict, object, dict]:
    """Where a row goes and what it holds, without any of the checks of the product."""
    info, found = (
        json.loads(body["student_info"]),
        re.search(r"/courses/(.+)/xqueue/\d+/(.+)/", header["lms_callback_url"]),
    )
    item = {
        "student_id": "shadow:" + info["anonymous_student_id"],
        "course_id": "shadow:" + found[1],
        "item_id": "shadow:" + found[2],
        "item_type": "problem",
    }
    detail = {
        "queue_name": header["queue_name"] + ".shadow",
        "queue_key": header["lms_key"],
        "grader_file_name": json.loads(body["grader_payload"])["grader"],
        "created_at": arrived,
        "status_time": arrived,
    }
    return item, body["student_response"], detail


def public_api(options: argparse.Namespace) -> int:
    """What a loop over the public API costs; arrival times are left as they come out."""
    from submissions.api import create_external_grader_detail

    number = 0
    for item, answer, detail in parsed(options.api_rows):
        del detail["created_at"], detail["status_time"]
        create_external_grader_detail(item, answer, **detail)
        number += 1
    return number


def naive(options: argparse.Namespace) -> int:
    """What a first try with the ORM looks like: every row an instance, ``iterator()``, and ``IN`` for what is there."""
    from submissions.models import ExternalGraderDetail, StudentItem, Submission

    from migration_shim.models import LegacySubmission

    number = 0
    batch: list[tuple[dict, object, dict]] = []

    def write() -> None:
        items = {(item["course_id"], item["student_id"], item["item_id"]): StudentItem(**item) for item, *_ in batch}
        courses, students, problems = (set(names) for names in zip(*items, strict=True))
        there = StudentItem.objects.filter(course_id__in=courses, student_id__in=students, item_id__in=problems)
        found = {(item.course_id, item.student_id, item.item_id): item for item in there}
        StudentItem.objects.bulk_create(item for key, item in items.items() if key not in found)
        items |= found
        submissions = [
            Submission(
                student_item=items[item["course_id"], item["student_id"], item["item_id"]],
                answer=answer,
                attempt_number=1,
            )
            for item, answer, _ in batch
        ]
        Submission.objects.bulk_create(submissions)
        ExternalGraderDetail.objects.bulk_create(
            ExternalGraderDetail(submission=made, **detail)
            for made, (*_, detail) in zip(submissions, batch, strict=True)
        )

    for row in LegacySubmission.objects.using("xqueue").filter(retired=False).order_by("id").iterator(BATCH):
        if "score_update" not in row.xqueue_header:
            continue
        try:
            batch.append(submission(json.loads(row.xqueue_header), json.loads(row.xqueue_body), row.arrival_time))
        except ValueError:
            continue
        number += 1
        if len(batch) == BATCH:
            write()
            batch.clear()
    if batch:
        write()
    return number


def executemany(options: argparse.Namespace) -> int:
    """Raw SQL with ids of its own choice, no look-ups, no ledger, a transaction a batch: fast, and safe for nobody."""
    import uuid

    from django.db import connection, transaction

    statements = (
        "INSERT INTO submissions_studentitem (id, student_id, course_id, item_id, item_type)"
        " VALUES (%s, %s, %s, %s, %s)",
        "INSERT INTO submissions_submission (id, uuid, student_item_id, attempt_number, submitted_at, created_at,"
        " raw_answer, status) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        "INSERT INTO submissions_externalgraderdetail (submission_id, queue_name, queue_key, grader_file_name,"
        " points_possible, status, num_failures, created_at, status_time)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
    )
    # mysqlclient makes one statement of many rows only where every value is a placeholder.
    names = ("queue_name", "queue_key", "grader_file_name")
    rows: tuple[list, list, list] = ([], [], [])
    number, started = 0, datetime.now(UTC).replace(tzinfo=None)

    def write() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            for statement, values in zip(statements, rows, strict=True):
                cursor.executemany(statement, values)
                values.clear()

    for number, (item, answer, detail) in enumerate(parsed(), start=1):
        arrived = detail["created_at"].replace(tzinfo=None)
        rows[0].append((number, *item.values()))
        rows[1].append((number, uuid.uuid4().hex, number, 1, started, started, json.dumps(answer), "A"))
        rows[2].append((number, *(detail[name] for name in names), 1, "pending", 0, arrived, arrived))
        if number % BATCH == 0:
            write()
    if rows[0]:
        write()
    return number


def load_data(directory: Path, tables: tuple[str, ...]) -> int:
    """The floor: ready-made files, no reading, no parsing, one statement a table, one transaction."""
    import MySQLdb
    from django.db import connection

    parameters = connection.get_connection_params() | {"local_infile": 1}
    parameters.pop("isolation_level", None)
    server = MySQLdb.connect(**parameters)
    rows = 0
    with contextlib.closing(server), server.cursor() as cursor:
        for name in tables:
            cursor.execute(f"LOAD DATA LOCAL INFILE '{directory / name}' INTO TABLE {name} CHARACTER SET utf8mb4")
            rows = cursor.rowcount
        server.commit()
    return rows


WAYS = {
    names.IMPORT: backfill,
    names.PUBLIC_API: _counted(public_api, at_most="api_rows"),
    names.NAIVE: _counted(naive),
    names.EXECUTEMANY: _counted(executemany),
    names.LOAD_TARGET: _counted(lambda options: load_data(options.files, TARGET)),
    names.LOAD_DATA: _counted(lambda options: load_data(options.files, (*TARGET, *LEDGER))),
}
