"""
The ways of writing legacy rows that ``backfill.py`` compares, one a process: ``python import_ways.py WAY ...``.

The databases are those that the environment names, chosen and filled by backfill.py.
"""

import argparse
import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

TARGET = ("submissions_studentitem", "submissions_submission", "submissions_externalgraderdetail")
LEDGER = ("migration_shim_ledgerentry",)
OURS = (*TARGET, *LEDGER, "migration_shim_checkpoint", "migration_shim_run")
BATCH = 1000  # of the other ways; this backfill chooses its own

BACKFILL = "this backfill, ledger and checkpoint included"
PUBLIC_API = "create_external_grader_detail, row by row"
NAIVE = "naive bulk_create with IN look-ups"
EXECUTEMANY = "raw executemany"
LOAD_DATA = "LOAD DATA of target and ledger"
LOAD_TARGET = "LOAD DATA of the target only"


def main() -> int:
    """Run one way and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("way")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--api-rows", type=int)
    parser.add_argument("--files", type=Path)
    options = parser.parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    import django

    django.setup()
    ways: dict[str, Callable[[argparse.Namespace], int]] = {
        BACKFILL: backfill,
        PUBLIC_API: public_api,
        NAIVE: naive,
        EXECUTEMANY: executemany,
        LOAD_DATA: lambda options: load_data(options.files, (*TARGET, *LEDGER)),
        LOAD_TARGET: lambda options: load_data(options.files, TARGET),
    }
    with counted_statements() as statements:
        started, cpu = time.perf_counter(), time.process_time()
        rows = ways[options.way](options)
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    result = {
        "rows": rows,
        "rows_per_second": round(rows / seconds),
        "seconds": round(seconds, 2),
        "statements_a_row": round(statements[0] / rows, 4),
        "client_cpu": round(cpu, 2),
        "peak_mb": peak_mb(),
    }
    print(json.dumps(result))
    return 0


def peak_mb() -> float:
    """The most memory this process has had. ``ru_maxrss`` would count what its parent had when it was started."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return round(int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024, 1)


@contextlib.contextmanager
def counted_statements() -> Iterator[list[int]]:
    """How many statements go through Django's connections; ``executemany`` sends its own, counted by their size."""
    from django.db import connections

    number = [0]

    def count(execute: Callable, sql: str, params: object, many: bool, context: dict) -> object:
        number[0] += 1
        return execute(sql, params, many, context)

    with connections["default"].execute_wrapper(count), connections["xqueue"].execute_wrapper(count):
        yield number


def backfill(options: argparse.Namespace) -> int:
    """The product, as the command runs it."""
    from migration_shim.backfill import request, run

    document = run.run(request.Request(execute=True), lambda done, total: None)
    written = document.content["written"]
    if written != options.rows:
        raise RuntimeError(f"{written} of {options.rows} rows were written: {document.content}")
    return written


def parsed(limit: int) -> Iterator[tuple[dict, object, dict]]:
    """(student item, answer, detail) of each legacy row, out of keyset pages: what the other ways have to read too."""
    from django.db import connections

    last = 0
    statement = (
        "SELECT id, xqueue_header, xqueue_body, arrival_time FROM queue_submission"
        " WHERE retired = 0 AND id > %s ORDER BY id LIMIT %s"
    )
    with connections["xqueue"].cursor() as cursor:
        while last < limit:
            cursor.execute(statement, [last, min(BATCH, limit - last)])
            rows = cursor.fetchall()
            if not rows:
                return
            for row_id, header, body, arrived in rows:
                last = row_id
                yield submission(json.loads(header), json.loads(body), arrived.replace(tzinfo=UTC))


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

    number = min(options.api_rows, options.rows)
    for item, answer, detail in parsed(number):
        del detail["created_at"], detail["status_time"]
        create_external_grader_detail(item, answer, **detail)
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
        batch.append(submission(json.loads(row.xqueue_header), json.loads(row.xqueue_body), row.arrival_time))
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

    for number, (item, answer, detail) in enumerate(parsed(options.rows), start=1):
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


if __name__ == "__main__":
    sys.exit(main())
