"""
What the tests of the use cases start from: legacy rows, their copies, graded pairs, a grader at the target's endpoint.

Legacy rows are written through the model on the alias ``xqueue``, as a running XQueue would have left them. Import
``fresh`` into a test module to give each of its tests empty caches and no legacy rows.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.cache import cache
from django.db import connection
from django.db.models import F
from django.test import Client
from django.utils.timezone import now
from django.utils.version import get_version_tuple
from edx_django_utils.cache import RequestCache
from model_bakery import baker
from submissions.models import ExternalGraderDetail, Score

from migration_shim import api, toggles
from migration_shim.core.data import Document, Leg, Origin, PairStatus, Phase
from migration_shim.core.phases import flags_of
from migration_shim.ledger import permits
from migration_shim.models import CoursePhase, Divergence, LedgerEntry, LegacySubmission, Run
from sandbox.databases import PROJECT_ROOT
from sandbox.lms import capa
from tests.commands import manage  # noqa: F401  (rows.manage)

COURSE = "course-v1:ExU+PY1+2026"
QUEUE = "exu-py1"
PAYLOAD = '{"grader": "py1/square/grade.py"}'
RIGHT = '{"correct": true, "score": 1, "msg": "<p>ok</p>"}'
WRONG = '{"correct": false, "score": 0, "msg": "<p>no</p>"}'
DATA = PROJECT_ROOT / "sandbox" / "data"
MANAGE = [sys.executable, str(PROJECT_ROOT / "sandbox" / "manage.py")]
HOST = {"HTTP_HOST": "courses.example.edu", "HTTP_X_FORWARDED_PROTO": "https"}


@pytest.fixture(autouse=True)
def fresh(legacy_rows):
    """No legacy rows and empty caches; a test that rolls back leaves what django-waffle has cached."""
    cache.clear()
    RequestCache.clear_all_namespaces()
    toggles._refused.clear()
    yield
    cache.clear()
    RequestCache.clear_all_namespaces()


def captured() -> list[dict[str, Any]]:
    """The rows of sandbox/data, as captured."""
    with (DATA / "queue_submission.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def usage_key(problem: str, course: str = COURSE) -> str:
    """The usage key of a problem of a course."""
    return f"{course.replace('course-v1:', 'block-v1:')}+type@problem+block@{problem}"


def anonymous_id(user: int) -> str:
    """The learner's global anonymous id: 32 hexadecimal digits."""
    return f"{user:032x}"


def header(user: int, problem: str, key: str, course: str = COURSE, queue: str = QUEUE) -> str:
    """An ``xqueue_header`` as CAPA makes it."""
    url = f"https://courses.example.edu/courses/{course}/xqueue/{user}/{usage_key(problem, course)}/score_update"
    return json.dumps({"lms_callback_url": url, "lms_key": key, "queue_name": queue})


def body(user: int, answer: Any, time: str, payload: str | None = PAYLOAD, seed: Any = 1, **extra: Any) -> str:
    """An ``xqueue_body`` as CAPA makes it."""
    info = {"anonymous_student_id": anonymous_id(user), "submission_time": time, "random_seed": seed}
    return json.dumps({"grader_payload": payload, "student_info": json.dumps(info), "student_response": answer} | extra)


def legacy_row(
    user: int = 7,
    *,
    problem: str = "a" * 32,
    course: str = COURSE,
    queue: str = QUEUE,
    answer: Any = "x = 1\n",
    payload: str | None = PAYLOAD,
    seed: Any = 1,
    response: int = 2,
    age: timedelta = timedelta(hours=1),
    files: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
    **columns: Any,
) -> LegacySubmission:
    """
    One queued row of ``queue_submission`` of the learner ``user``; ``columns`` overwrite what would be stored.

    ``response`` picks the input of the problem, ``age`` is how long ago the row arrived.
    """
    arrived = now() - age
    time = arrived.strftime("%Y%m%d%H%M%S")
    answer_id = f"{capa.html_id(usage_key(problem, course))}_{response}_1"
    key = capa.make_key(user, time, anonymous_id(user), answer_id)
    text = header(user, problem, key, course, queue)
    values = {
        "requester_id": "10.20.0.11",
        "lms_callback_url": json.loads(text)["lms_callback_url"][:128],
        "queue_name": queue,
        "xqueue_header": text,
        "xqueue_body": body(user, answer, time, payload, seed, **(extra or {})),
        "s3_keys": json.dumps(dict(files or {})),
        "s3_urls": "{}",
        "arrival_time": arrived,
        "grader_id": "",
        "pullkey": "",
        "grader_reply": "",
    }
    return baker.make(LegacySubmission, **(values | columns))


def graded(reply: str = RIGHT, ago: timedelta = timedelta(minutes=50)) -> dict[str, Any]:
    """The columns of a row that was graded and acknowledged so long ago."""
    returned = now() - ago
    return {
        "pull_time": returned,
        "return_time": returned,
        "grader_id": "10.20.4.7",
        "pullkey": "0123456789abcdef0123456789abcdef",
        "grader_reply": reply,
        "lms_ack": True,
        "retired": True,
    }


def change(rows: Iterable[LegacySubmission], **columns: Any) -> None:
    """Change stored rows, as XQueue would."""
    LegacySubmission.objects.filter(pk__in=[row.pk for row in rows]).update(**columns)


def grade_target(reply: str = RIGHT, **which: Any) -> int:
    """Let every row of the target that ``which`` selects be graded with this reply; how many there were."""
    details = ExternalGraderDetail.objects.filter(**which)
    for detail in details.select_related("submission"):
        score = points(reply, detail.points_possible)
        if score is not None:
            baker.make(
                Score,
                submission=detail.submission,
                student_item_id=detail.submission.student_item_id,
                points_earned=score,
                points_possible=detail.points_possible,
            )
    ids = list(details.values_list("submission_id", flat=True))
    LedgerEntry.objects.filter(target_submission_id__in=ids, leases=0).update(leases=1)
    return details.update(status="retired", grader_reply=reply, status_time=F("status_time") + timedelta(seconds=30))


def points(reply: str, possible: int) -> int | None:
    """
    What the installed edx-submissions stores for a reply: by 4.0.2's rule a share of the maximum, half to even; before
    it whole points, as they come.
    """
    try:
        score = json.loads(reply)["score"]
        if get_version_tuple(version("edx-submissions")) < (4, 0, 2):
            return int(score) if not isinstance(score, bool) and score >= 0 and score == int(score) else None
        return round(float(score) * possible) if score >= 0 else None
    except (ValueError, TypeError, KeyError):
        return None


def backfill(*, execute: bool = True, progress: Any = None, **options: Any) -> Document:
    """Run a backfill through the api; everything is in its scope unless ``options`` say otherwise."""
    wanted = {
        "courses": None,
        "queues": None,
        "history": False,
        "per_problem": 200,
        "batch_size": 200,
        "limit": None,
        "restart": False,
        "unsampled": False,
    }
    return api.backfill(api.BackfillRequest(execute=execute, **(wanted | options)), progress or ignore)


def reconcile(*courses: str, **options: Any) -> tuple[Document, list[dict[str, Any]]]:
    """Run a reconcile through the api; the document, and every divergence."""
    found: list[dict[str, Any]] = []
    return api.reconcile(list(courses or (COURSE,)), ignore, found.append, **options), found


def ignore(done: int, total: int) -> None:
    """Take no notice of the progress."""


def in_phase(phase: str, course: str = COURSE, since: datetime | None = None) -> CoursePhase:
    """Put a course on record as being in a phase; its flags stay as they are."""
    since = since or now() - timedelta(days=1)
    return CoursePhase.objects.update_or_create(course_id=course, defaults={"phase": phase, "since": since})[0]


def enter(phase: str, course: str = COURSE, since: datetime | None = None) -> None:
    """Put a course into a phase: on record, and by its flags."""
    in_phase(phase, course, since)
    toggles.force_flags(course, *flags_of(Phase(phase)))


def permitted(step: str, course: str = COURSE, lasts: timedelta = timedelta(hours=1)) -> CoursePhase:
    """Give a course a permit that rests on what there is now."""
    record, _ = CoursePhase.objects.get_or_create(course_id=course)
    permits.grant(record, Phase(step), now() + lasts)
    return record


def preflighted(course: str = COURSE) -> Run:
    """Put a preflight without findings on record."""
    return Run.objects.create(
        kind="preflight", scope=course, finished_at=now(), complete=True, document={"findings": []}
    )


def graded_pairs(number: int, course: str = COURSE, problems: int = 2) -> list[LegacySubmission]:
    """So many submissions of a course with a copy, all of them graded alike on both sides; their legacy rows."""
    rows = [
        legacy_row(100 + index, course=course, problem=f"{index % problems:032x}", answer=f"x = {index}\n")
        for index in range(number)
    ]
    backfill(courses=frozenset([course]))
    LedgerEntry.objects.filter(course_id=course).update(origin=Origin.ROUTER)  # both sides got them in the same moment
    change(rows, **graded())
    grade_target(submission__student_item__course_id=f"shadow:{course}", status="pending")
    return rows


def entries(number: int, **fields: Any) -> None:
    """So many entries of graded pairs that are equal, unless ``fields`` say otherwise."""
    start = LedgerEntry.objects.count()
    moment = now()
    values = {
        "course_id": COURSE,
        "item_id": usage_key("a"),
        "queue_name": QUEUE,
        "phase": "shadow",
        "authority": "legacy",
        "origin": "router",
        "legacy_leg": Leg.STORED,
        "target_leg": Leg.STORED,
        "result": PairStatus.EQUAL,
        "graded_pair": True,
        "arrived_at": moment,
        "compared_at": moment,
        "payload_compared_at": moment,
        "leases": 1,
        "legacy_seconds": 20,
        "target_seconds": 30,
        "target_graded_at": moment,
    } | fields
    if not number:
        return
    LedgerEntry.objects.create(identity=f"{start:064x}", group="g", learner=anonymous_id(0), **values)
    _copies_of_entry(start, number)
    if classes := [name for name in values.get("divergences", "").split(",") if name]:
        Divergence.objects.bulk_create(
            Divergence(entry=entry, course_id=entry.course_id, klass=klass, what="text")
            for entry in LedgerEntry.objects.filter(identity__gte=f"{start:064x}")
            for klass in classes
        )


def _copies_of_entry(start: int, number: int) -> None:
    """
    Copy the entry whose identity is ``start``, for other learners, until there are ``number`` of it.

    In the database: hundreds of model instances a test, with all their columns, are a third of a second each time.
    """
    digits = "LPAD(LOWER(HEX({})), {}, '0')" if connection.vendor == "mysql" else "PRINTF('%%0{1}x', {0})"
    computed = {"identity": digits.format(f"n.i + {start}", 64), "learner": digits.format("n.i", 32)}
    names = [field.column for field in LedgerEntry._meta.concrete_fields if not field.primary_key]
    into, values = (
        ", ".join(map(connection.ops.quote_name, names)),
        ", ".join(computed.get(n, f"e.{connection.ops.quote_name(n)}") for n in names),
    )
    table = LedgerEntry._meta.db_table
    with connection.cursor() as cursor:
        for first in range(1, number, 500):  # MariaDB ends a recursion after a thousand rounds
            cursor.execute(
                f"INSERT INTO {table} ({into})"
                " WITH RECURSIVE n(i) AS (SELECT %s UNION ALL SELECT i + 1 FROM n WHERE i + 1 < %s)"
                f" SELECT {values} FROM n, {table} e WHERE e.identity = %s",
                [first, min(first + 500, number), f"{start:064x}"],
            )


def reconciled(**fields: Any) -> Run:
    """A reconcile on record, complete and without leaks unless ``fields`` say otherwise."""
    document = {"fence_leaks": 0, "double_authority": 0, "learners": {"applies": True}, "counters_differed": 0}
    values = {"complete": True, "finished_at": now(), "document": document | fields.pop("document", {})}
    return Run.objects.create(kind="reconcile", scope=COURSE, **(values | fields))


@pytest.fixture(name="clean")
def clean_course() -> tuple[Run, Run]:
    """All that a course in shadow needs for a PASS, and not a pair more."""
    in_phase("shadow")
    entries(449)
    return reconciled(), preflighted()


class Grader:
    """A pull grader at edx-submissions' own endpoints, with cookies and CSRF as the official watcher has them."""

    def __init__(self) -> None:
        user = get_user_model().objects.create_user("grader", password="pw")
        user.groups.add(Group.objects.get_or_create(name="xqueue")[0])
        self.client = Client(enforce_csrf_checks=True, raise_request_exception=False, **HOST)
        self.client.get("/xqueue/login/")
        account = {"username": "grader", "password": "pw"}
        assert self.client.post("/xqueue/login/", account, **self._csrf()).status_code == 200

    def _csrf(self) -> dict[str, str]:
        # Before 4.0.1 a GET of the login is refused, and the token comes with the login itself.
        cookie = self.client.cookies.get("csrftoken")
        token = {"HTTP_X_CSRFTOKEN": cookie.value} if cookie else {}
        return token | {"HTTP_REFERER": "https://courses.example.edu"}

    def pull(self, queue: str) -> dict[str, Any]:
        """Pull one submission; the document that the grader gets, with the header to answer with."""
        reply = self.client.get("/xqueue/get_submission/", {"queue_name": queue}).json()
        assert reply["return_code"] == 0, reply["content"]
        return json.loads(reply["content"])

    def grade(self, queue: str, reply: str) -> int:
        """Pull one submission and post a reply; the status that put_result answers."""
        form = {"xqueue_header": self.pull(queue)["xqueue_header"], "xqueue_body": reply}
        return self.client.post("/xqueue/put_result/", form, **self._csrf()).status_code
