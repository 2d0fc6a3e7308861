"""
Rows of ``queue_submission`` as CAPA makes them and XQueue leaves them, in any number, the same each time.

A header of about 240 characters, a body of about 1,500, answers of 0.3 to 3 KB (short ones more often). A course's rows
come in bursts of ``BURST``; what a row is depends on its place in its burst alone (``kind``), so that a statement can
find all rows of a kind by their ids, and everybody knows how many there are.
"""

from __future__ import annotations

import enum
import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from django.db import connections

COURSES, PROBLEMS = 20, 10
BURST = 400
#: The first attempts of a burst; the rest are new attempts of its first learners, 170 s later.
FIRST_ATTEMPTS = 340
START = datetime(2026, 11, 20, 8, tzinfo=UTC)
STEP = timedelta(milliseconds=500)
#: One row in so many has its body's keys in another order than CAPA's: other senders write them so.
OTHER_ORDER = 10
COLUMNS = (
    *("id", "requester_id", "lms_callback_url", "queue_name", "xqueue_header", "xqueue_body", "s3_keys", "s3_urls"),
    *("arrival_time", "pull_time", "return_time", "grader_id", "pullkey", "grader_reply", "num_failures", "lms_ack"),
    "retired",
)
_LINE = "    total = sum(value * weight for value, weight in pairs)  # line {}: naïve, but it works\n"
_REPLY = '{"correct": false, "score": 0, "msg": "<p>no</p>"}'


class Kind(enum.Enum):
    """What a row is, and what its copy will be to a comparison."""

    PLAIN = "plain"
    RESUBMITTED = "a newer attempt of a learner"
    REPLACED_QUEUED = "superseded before anybody pulled it"
    REPLACED_PULLED = "superseded after it was pulled"
    GRADED_BEFORE = "graded, and resubmitted later"
    REPLACED_ON_TARGET = "graded on legacy, superseded on the target"
    COLLIDED = "retired for the problem's second input"
    SECOND_INPUT = "a problem's second input"
    WITH_FILE = "with a file"
    # The odd ones, each of a share that can be chosen.
    CORRECTNESS = "the two sides differ in correctness"
    SCORE = "the two sides differ in score"
    POINTS = "the target's stored points are off"
    INVALID_REPLY = "legacy's reply is malformed"
    PAYLOAD = "the payloads differ"
    NO_TARGET = "missing on the target"
    NO_LEGACY = "missing on legacy"
    WAITING = "waiting on both sides"
    OVERDUE = "graded on legacy only, long ago"
    GIVEN_UP = "given up by legacy, graded on the target"
    LEAK = "its copy stands in a queue without the fence"
    MALFORMED = "a body that is no JSON"
    OTHER_DISPATCH = "Matlab's plot, which stays on legacy"


_USUAL = (
    (range(44), Kind.REPLACED_QUEUED),
    (range(44, 52), Kind.REPLACED_PULLED),
    (range(52, 56), Kind.GRADED_BEFORE),
    (range(56, 60), Kind.REPLACED_ON_TARGET),
    (range(100, 140, 2), Kind.COLLIDED),
    (range(101, 140, 2), Kind.SECOND_INPUT),
    (range(140, 141), Kind.WITH_FILE),
    (range(FIRST_ATTEMPTS, BURST), Kind.RESUBMITTED),
)
ODD = tuple(kind for kind in Kind if kind not in {Kind.PLAIN, *(kind for _, kind in _USUAL)})
_FIRST_ODD = 150
#: Places of plain rows whatever the share of odd ones: the rows that change between two runs, one in a hundred.
CHANGED = range(330, 334)
MOST_ODD = (CHANGED.start - _FIRST_ODD) * 100 / BURST / len(ODD)
#: What XQueue has retired before anybody graded it; and what it has retired in all before the newest rows are graded.
UNGRADED = (Kind.REPLACED_QUEUED, Kind.REPLACED_PULLED, Kind.COLLIDED)
RETIRED = (*UNGRADED, Kind.GRADED_BEFORE, Kind.REPLACED_ON_TARGET)
#: The fewest rows in which every course has its share.
LEAST = COURSES * BURST


def places(odd: float = 1.0) -> dict[Kind, list[int]]:
    """
    The places of each kind in a burst, by kind; ``odd`` is the share of each odd kind in percent.

    Raises:
        ValueError: there is no room for so many.
    """
    if not 0 <= odd <= MOST_ODD:
        raise ValueError(f"the share of an odd kind is from 0 to {MOST_ODD:.2f} percent")
    found: dict[Kind, list[int]] = {kind: [] for kind in Kind}
    for where, kind in _USUAL:
        found[kind] += where
    each = round(odd * BURST / 100)
    for number, kind in enumerate(ODD):
        found[kind] += range(_FIRST_ODD + number * each, _FIRST_ODD + (number + 1) * each)
    taken = {place for each in found.values() for place in each}
    found[Kind.PLAIN] += (place for place in range(BURST) if place not in taken)
    return found


def whole(number: int) -> int:
    """The least number of whole bursts, in rows, that holds ``number`` rows."""
    return -(-number // BURST) * BURST


def counts(number: int, odd: float = 1.0) -> Counter[Kind]:
    """How many rows of each kind ``rows`` gives."""
    return Counter({kind: len(found) * (whole(number) // BURST) for kind, found in places(odd).items()})


def rows(number: int, odd: float = 1.0) -> Iterator[tuple]:
    """At least so many rows, in whole bursts, with the values of ``COLUMNS``, oldest first."""
    chance = random.Random(2026)
    kinds = {place: kind for kind, found in places(odd).items() for place in found}
    for index in range(whole(number)):
        yield _row(index, kinds[index % BURST], chance)


def _row(index: int, kind: Kind, chance: random.Random) -> tuple:
    burst, place = divmod(index, BURST)
    course_number, turn = burst % COURSES, burst // COURSES
    course = f"course-v1:ExU+BENCH{course_number:02}+2026"
    attempt = turn * FIRST_ATTEMPTS + (place - FIRST_ATTEMPTS if kind is Kind.RESUBMITTED else place)
    # Problems by turns; the last one has two inputs, and the learner who sends both has sent nothing else for it.
    problem_number, input_number, user = attempt % (PROBLEMS - 1), 2, 100_000 + attempt
    if kind in (Kind.COLLIDED, Kind.SECOND_INPUT):
        problem_number, input_number = PROBLEMS - 1, 3 if kind is Kind.SECOND_INPUT else 2
        user = 100_000 + attempt - (kind is Kind.SECOND_INPUT)
    problem = hashlib.md5(f"{course} {problem_number}".encode()).hexdigest()
    usage_key = f"{course.replace('course-v1:', 'block-v1:')}+type@problem+block@{problem}"
    learner = hashlib.md5(f"learner {user}".encode()).hexdigest()
    arrived = START + STEP * index
    moment = arrived.strftime("%Y%m%d%H%M%S")
    key = hashlib.md5(f"{user}{moment}{learner}{problem}_{input_number}_1".encode()).hexdigest()
    dispatch = "ungraded_response" if kind is Kind.OTHER_DISPATCH else "score_update"
    url = f"https://courses.example.edu/courses/{course}/xqueue/{user}/{usage_key}/{dispatch}"
    queue = f"exu-bench{course_number:02}"
    header = json.dumps({"lms_callback_url": url, "lms_key": key, "queue_name": queue})
    payload = {"grader": f"bench{course_number:02}/{problem}/grade.py", "hint": "x" * 40}
    info = {"anonymous_student_id": learner, "submission_time": moment, "random_seed": index % 100}
    answer = "" if kind is Kind.WITH_FILE else _answer(chance, index)
    parts = {"grader_payload": json.dumps(payload), "student_info": json.dumps(info), "student_response": answer}
    if index % OTHER_ORDER == OTHER_ORDER - 1:
        parts = {name: parts[name] for name in ("student_info", "grader_payload", "student_response")}
    body = json.dumps(parts)
    if kind is Kind.MALFORMED:
        body = body[:-2]
    files = file_of(index) if kind is Kind.WITH_FILE else ""
    graded = kind in RETIRED and kind not in UNGRADED
    pulled = graded or kind is Kind.REPLACED_PULLED
    return (
        *(index + 1, "10.20.0.11", url[:128], queue, header, body),
        json.dumps({"notes.py": files} if files else {}),
        json.dumps({"notes.py": f"https://files.example.edu/xqueue/{queue}/{files}"} if files else {}),
        arrived.replace(tzinfo=None),
        _later(arrived, 5) if pulled else None,
        _later(arrived, 20) if graded else None,
        *("10.20.4.7" if pulled else "", hashlib.md5(key.encode()).hexdigest() if pulled else ""),
        *(_REPLY if graded else "", 0, graded, kind in RETIRED),
    )


def _later(moment: datetime, seconds: int) -> datetime:
    return (moment + timedelta(seconds=seconds)).replace(tzinfo=None)


def file_of(index: int) -> str:
    """The storage key of a row's file."""
    return hashlib.md5(f"file {index}".encode()).hexdigest()


def _answer(chance: random.Random, index: int) -> str:
    size = int(300 * 10 ** chance.random())
    lines = size // len(_LINE) + 1
    return f"# attempt {index}\n" + "".join(_LINE.format(number) for number in range(lines))[:size]


def load(number: int, odd: float = 1.0) -> None:
    """Write the rows into the empty table on the alias ``xqueue``, and their files into XQueue's storage."""
    from sandbox.databases import LEGACY_MEDIA

    names, marks = ", ".join(COLUMNS), ", ".join(["%s"] * len(COLUMNS))
    statement = f"INSERT INTO queue_submission ({names}) VALUES ({marks})"
    chunk: list[tuple] = []
    with connections["xqueue"].cursor() as cursor:
        for row in rows(number, odd):
            chunk.append(row)
            if row[6] != "{}":
                path = LEGACY_MEDIA / row[3] / json.loads(row[6])["notes.py"]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"# the file of row {row[0]}\n", encoding="utf-8")
            if len(chunk) == 1000:
                cursor.executemany(statement, chunk)
                chunk.clear()
        if chunk:
            cursor.executemany(statement, chunk)
