"""Legacy rows for the tests of the core: invented ones, and the captured ones of sandbox/data."""

import functools
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

from migration_shim.core.classification import parse_row
from migration_shim.core.data import LegacyRow

DATA = Path(__file__).parents[2] / "sandbox" / "data"
COURSE = "course-v1:ExU+PY1+2026"
BLOCK = "2dbfc989e430f3f666f0cb108c49bd4b"
USAGE = f"block-v1:ExU+PY1+2026+type@problem+block@{BLOCK}"
LEARNER = "cafe1b3b73d49907bd901eacd552484d"
USER = 21493
SINK = f"https://courses.example.edu/migration_shim/sink/{'0' * 31}f/"
NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def callback_url(course=COURSE, item=USAGE, user=USER, dispatch="score_update", root="https://courses.example.edu"):
    return f"{root}/courses/{course}/xqueue/{user}/{item}/{dispatch}"


def key_of(answer_id, time="20261122120000", learner=LEARNER, user=USER):
    """The lms_key that CAPA makes."""
    return hashlib.md5(f"{user}{time}{learner}{answer_id}".encode("latin-1")).hexdigest()


def header(url=None, key=None, queue="exu-py1", **more):
    content = {
        "lms_callback_url": callback_url() if url is None else url,
        "lms_key": key_of(f"{BLOCK}_2_1") if key is None else key,
        "queue_name": queue,
    }
    return json.dumps(content | more)


def body(answer="print(1)", learner=LEARNER, time="20261122120000", **more):
    info = {"anonymous_student_id": learner, "submission_time": time, "random_seed": 1}
    content = {
        "grader_payload": '{"grader": "ps1/grade.py"}',
        "student_info": json.dumps(info),
        "student_response": answer,
    }
    return json.dumps(content | more)


def row(**columns):
    """A queued row; the truncated callback is that of its header."""
    raw = columns.get("xqueue_header", header())
    try:
        url = json.loads(raw)["lms_callback_url"][:128]
    except (ValueError, TypeError, KeyError):
        url = ""
    return LegacyRow(
        **{
            "id": 1,
            "requester_id": "lms",
            "lms_callback_url": url,
            "queue_name": "exu-py1",
            "xqueue_header": raw,
            "xqueue_body": body(),
            "s3_keys": "",
            "s3_urls": "",
            "arrival_time": NOON,
            "pull_time": None,
            "push_time": None,
            "return_time": None,
            "grader_id": "",
            "pullkey": "",
            "grader_reply": "",
            "num_failures": 0,
            "lms_ack": False,
            "retired": False,
        }
        | columns
    )


def parsed(file_names=(), **columns):
    return parse_row(row(**columns), file_names)


@functools.cache
def captured():
    """The captured rows, as (columns as captured, LegacyRow, names of its files)."""
    rows = []
    for line in (DATA / "queue_submission.jsonl").read_text().splitlines():
        columns = json.loads(line)
        times = {
            name: datetime.fromisoformat(columns[name]) if columns[name] else None
            for name in ("arrival_time", "pull_time", "push_time", "return_time")
        }
        flags = {name: bool(columns[name]) for name in ("lms_ack", "retired")}
        keys = json.loads(columns["s3_keys"] or "{}")
        if "KEY_FOR_EXTERNAL_DICTS" in keys:
            keys = json.loads((DATA / "files" / keys["KEY_FOR_EXTERNAL_DICTS"]).read_text())["keys"]
        rows.append((columns, LegacyRow(**columns | times | flags), tuple(keys)))
    return rows
