"""
Rows of ``queue_submission`` of realistic size, in any number, the same each time.

A header of about 240 characters, a body of about 1,500, answers of 0.3 to 3 KB (short ones more often), one attempt
of a learner at a problem: of those in flight XQueue keeps the newest only. Keys are CAPA's, so that their inputs are
recovered as in real rows.
"""

import hashlib
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from django.db import connections

COURSES, PROBLEMS = 20, 10
LEARNERS = 6_000
COLUMNS = (
    "id",
    "requester_id",
    "lms_callback_url",
    "queue_name",
    "xqueue_header",
    "xqueue_body",
    "s3_keys",
    "s3_urls",
    "arrival_time",
    "grader_id",
    "pullkey",
    "grader_reply",
    "num_failures",
    "lms_ack",
    "retired",
)
_LINE = "    total = sum(value * weight for value, weight in pairs)  # line {}: naïve, but it works\n"


def rows(number: int) -> Iterator[tuple]:
    """So many rows with the values of ``COLUMNS``, oldest first; at most courses x problems x learners."""
    if number > COURSES * PROBLEMS * LEARNERS:
        raise ValueError("there are not so many attempts")
    chance = random.Random(2026)
    start = datetime(2026, 11, 20, 8, tzinfo=UTC)
    for index in range(number):
        user = 100_000 + index % LEARNERS
        place = index // LEARNERS
        course = f"course-v1:ExU+BENCH{place % COURSES:02}+2026"
        problem = hashlib.md5(f"{place}".encode()).hexdigest()
        usage_key = f"{course.replace('course-v1:', 'block-v1:')}+type@problem+block@{problem}"
        learner = hashlib.md5(f"learner {user}".encode()).hexdigest()
        arrived = start + timedelta(milliseconds=100 * index)
        moment = arrived.strftime("%Y%m%d%H%M%S")
        key = hashlib.md5(f"{user}{moment}{learner}{problem}_2_1".encode()).hexdigest()
        url = f"https://courses.example.edu/courses/{course}/xqueue/{user}/{usage_key}/score_update"
        queue = f"exu-bench{place % COURSES:02}"
        header = json.dumps({"lms_callback_url": url, "lms_key": key, "queue_name": queue})
        info = {"anonymous_student_id": learner, "submission_time": moment, "random_seed": index % 100}
        payload = {"grader": f"bench{place % COURSES:02}/{problem}/grade.py", "hint": "x" * 40}
        body = json.dumps(
            {
                "student_info": json.dumps(info),
                "grader_payload": json.dumps(payload),
                "student_response": _answer(chance, index),
            }
        )
        yield (
            index + 1,
            "10.20.0.11",
            url[:128],
            queue,
            header,
            body,
            "{}",
            "{}",
            arrived.replace(tzinfo=None),
            "",
            "",
            "",
            0,
            False,
            False,
        )


def _answer(chance: random.Random, index: int) -> str:
    size = int(300 * 10 ** chance.random())
    lines = size // len(_LINE) + 1
    return f"# attempt {index}\n" + "".join(_LINE.format(number) for number in range(lines))[:size]


def load(number: int) -> None:
    """Write so many rows into the empty table on the alias ``xqueue``."""
    names, places = ", ".join(COLUMNS), ", ".join(["%s"] * len(COLUMNS))
    statement = f"INSERT INTO queue_submission ({names}) VALUES ({places})"
    chunk: list[tuple] = []
    with connections["xqueue"].cursor() as cursor:
        for row in rows(number):
            chunk.append(row)
            if len(chunk) == 1000:
                cursor.executemany(statement, chunk)
                chunk.clear()
        if chunk:
            cursor.executemany(statement, chunk)
