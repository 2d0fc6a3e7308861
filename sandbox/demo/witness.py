"""What the databases say. Plain SQL and the LMS stand-in's own records: nothing here asks the code under test."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from urllib.parse import unquote

from django.db import connections

from sandbox.demo.stage import Attempt, Problem
from sandbox.lms.courseware.models import StudentModule
from sandbox.lms.models import LearnerEffect


def problems_of(course_id: str) -> list[Problem]:
    """The problems of a course as its captured rows name them, one for each payload and seed."""
    found = {}
    marker = f"/courses/{course_id}/xqueue/"
    for header, body in _legacy("SELECT xqueue_header, xqueue_body FROM queue_submission ORDER BY id"):
        url = _callback(header)
        if marker not in url:
            continue
        fields = json.loads(body)
        payload = fields.get("grader_payload")
        seed = json.loads(fields["student_info"]).get("random_seed", 1)
        usage_key = url.split("/xqueue/")[1].split("/")[1]
        if isinstance(payload, str):
            queue = json.loads(header)["queue_name"]
            found[usage_key, payload, seed] = Problem(
                course_id=course_id, usage_key=usage_key, queue=queue, grader_payload=payload, seed=seed
            )
    return list(found.values())


def in_flight_keys(course_id: str) -> list[tuple[int, str, str]]:
    """(user id, usage key, lms_key) of every unretired legacy row of a course."""
    rows = _legacy("SELECT xqueue_header FROM queue_submission WHERE retired = 0")
    parts = [(_callback(header).split("/xqueue/"), json.loads(header)["lms_key"]) for (header,) in rows]
    marker = f"/courses/{course_id}"
    return [
        (int(url[1].split("/")[0]), url[1].split("/")[1], key)
        for url, key in parts
        if len(url) == 2 and url[0].endswith(marker)
    ]


def unretired(course_id: str) -> int:
    """How many legacy rows of a course are in flight."""
    return len(in_flight_keys(course_id))


def learners_fingerprint() -> str:
    """A digest of everything that a learner, a teacher or another platform can see: every state and every effect."""
    digest = hashlib.sha256()
    for row in StudentModule.objects.order_by("id").values_list("id", "state", "grade", "max_grade", "modified"):
        digest.update(repr(row).encode())
    for row in LearnerEffect.objects.order_by("id").values_list("id", "kind", "source", "detail"):
        digest.update(repr(row).encode())
    return digest.hexdigest()


def grades(attempts: Iterable[Attempt]) -> dict[Attempt, Counter[str]]:
    """How often a grade whose queuekey matched was published for each attempt's problem, by what delivered it."""
    published = LearnerEffect.objects.filter(kind=LearnerEffect.Kind.GRADE_PUBLISHED)
    found = {}
    for attempt in attempts:
        rows = published.filter(user_id=attempt.user_id, usage_key=attempt.problem.usage_key)
        found[attempt] = Counter(row.source for row in rows if json.loads(row.detail)["matched"])
    return found


def still_queued(attempts: Iterable[Attempt]) -> int:
    """How many of these learners still wait for a grade."""
    states = (StudentModule.find(attempt.user_id, attempt.problem.usage_key) for attempt in attempts)
    return sum(any(entry["queuestate"] for entry in state.correct_map.values()) for state in states if state)


def wiped() -> int:
    """How many results an invalid reply reset."""
    return LearnerEffect.objects.filter(kind=LearnerEffect.Kind.REPLY_WIPED).count()


def target_rows(queue: str) -> Counter[str]:
    """The rows of one queue on the target, by status."""
    return Counter(_target("SELECT status FROM submissions_externalgraderdetail WHERE queue_name = %s", queue))


def unfenced_shadows(queue: str) -> int:
    """Rows of a shadow queue whose StudentItem lacks one half of the fence."""
    found = _target(
        "SELECT i.id FROM submissions_externalgraderdetail d "
        "JOIN submissions_submission s ON s.id = d.submission_id "
        "JOIN submissions_studentitem i ON i.id = s.student_item_id "
        "WHERE d.queue_name = %s AND NOT (i.student_id LIKE 'shadow:%%' AND i.item_id LIKE 'shadow:%%')",
        queue,
    )
    return len(found)


def half_fenced(course_id: str) -> list[int]:
    """The runbook's query for StudentItems that carry one half of the fence only."""
    return _target(
        "SELECT id FROM submissions_studentitem WHERE course_id IN (%s, %s)"
        " AND (student_id LIKE 'shadow:%%' OR item_id LIKE 'shadow:%%' OR course_id LIKE 'shadow:%%')"
        " AND NOT (student_id LIKE 'shadow:%%' AND item_id LIKE 'shadow:%%')",
        course_id,
        f"shadow:{course_id}",
    )


def real_scores(course_id: str) -> int:
    """Scores under real identities of a course: each is a grade that edx-submissions gave for real."""
    found = _target(
        "SELECT c.id FROM submissions_score c JOIN submissions_studentitem i ON i.id = c.student_item_id "
        "WHERE i.course_id = %s AND i.student_id NOT LIKE 'shadow:%%'",
        course_id,
    )
    return len(found)


def _callback(header: str) -> str:
    """The callback URL with the letters that it was made from: Django's reverse() quotes those outside ASCII."""
    return unquote(json.loads(header)["lms_callback_url"])


def _legacy(sql: str, *parameters: str) -> list[tuple]:
    with connections["xqueue"].cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall()


def _target(sql: str, *parameters: str) -> list:
    with connections["default"].cursor() as cursor:
        cursor.execute(sql, parameters)
        return [row[0] for row in cursor.fetchall()]
