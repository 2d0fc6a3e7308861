"""Learners who wait for grades of the target, graders that give them, and time that passes."""

import json
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail

from migration_shim import api, conf
from migration_shim.models import Divergence, LedgerEntry
from migration_shim.target import leases, results
from sandbox.lms import capa
from sandbox.lms.courseware.models import StudentModule
from sandbox.lms.models import AnonymousUserId, LearnerEffect
from tests.builders import live_courses as world
from tests.builders import rows
from tests.builders.outbox import save_queue_state
from tests.builders.rows import COURSE, QUEUE, RIGHT, usage_key

PROBLEM = "a" * 32
AGO = timedelta(hours=1)


def learner(user: int) -> Any:
    """A learner with the anonymous id that CAPA sends."""
    found, _ = get_user_model().objects.get_or_create(pk=user, defaults={"username": f"learner{user}"})
    AnonymousUserId.objects.get_or_create(anonymous_user_id=rows.anonymous_id(user), defaults={"user": found})
    return found


def save(entry: LedgerEntry, user: int = 7, *, response: int = 2, at: Any = None) -> None:
    """CAPA's save after the door has returned: the learner waits for this submission."""
    answer_id = f"{entry.item_id.rpartition('@')[2]}_{response}_1"
    save_queue_state(learner(user), COURSE, entry.item_id, answer_id, key_of(entry))
    change_state(user, entry.item_id, last_submission_time=(at or entry.arrived_at).strftime("%Y-%m-%dT%H:%M:%SZ"))


def key_of(entry: LedgerEntry) -> str:
    """The key of a submission."""
    return json.loads(entry.raw_header)["lms_key"]


def waiting(user: int = 7, age: timedelta = 2 * AGO, **options: Any) -> LedgerEntry:
    """A submission of ``live`` whose learner waits for it; its reverse shadow is no matter."""
    entry = world.live(user, age=age, **options)
    LedgerEntry.objects.filter(pk=entry.pk).update(supersession_due=None, copy_due=None)
    save(entry, user, response=options.get("response", 2))
    return entry


def grade(entry: LedgerEntry, reply: str = RIGHT, ago: timedelta = AGO) -> None:
    """The target's grader answers through the seam; so long ago."""
    settings = conf.load()
    lease, _ = leases.lease_next(QUEUE, settings)
    assert lease.detail.submission_id == entry.target_submission_id
    result = results.Result(submission_id=lease.detail.submission_id, key=lease.detail.pullkey, reply=reply)
    assert results.store(result, settings) == "stored"
    ended(entry, ago)


def ended(entry: LedgerEntry, ago: timedelta = AGO) -> None:
    """Let a row have come to its end so long ago."""
    ExternalGraderDetail.objects.filter(submission_id=entry.target_submission_id).update(status_time=now() - ago)


def module(user: int = 7, item_id: str | None = None) -> StudentModule:
    """A learner's state."""
    return StudentModule.objects.get(student_id=user, module_state_key=item_id or usage_key(PROBLEM))


def change_state(user: int = 7, item_id: str | None = None, **values: Any) -> None:
    """Change a learner's state under CAPA's feet."""
    found = module(user, item_id)
    StudentModule.objects.filter(pk=found.pk).update(state=json.dumps(json.loads(found.state) | values))


def write_state(text: str | None, user: int = 7) -> None:
    """Put any text where a learner's state should be."""
    StudentModule.objects.filter(student_id=user).update(state=text)


def has(user: int = 7, response: int = 2) -> Any:
    """What the learner sees: None while waiting, else the points."""
    entry = module(user).correct_map[f"{PROBLEM}_{response}_1"]
    return None if entry["queuestate"] else entry["npoints"]


def is_queued(user: int = 7) -> bool:
    """Whether the learner waits."""
    return capa.is_queued(module(user).correct_map)


def published(user: int = 7) -> list[bool]:
    """Every delivery of a grade, and whether its key was waited for."""
    effects = LearnerEffect.objects.filter(kind=LearnerEffect.Kind.GRADE_PUBLISHED, user_id=user).order_by("pk")
    return [json.loads(detail)["matched"] for detail in effects.values_list("detail", flat=True)]


def round_of_the_watch() -> dict[str, Any]:
    """A round; what it says of the course. What was tried before is long ago."""
    long_ago = now() - AGO
    LedgerEntry.objects.filter(delivery_tried_at__isnull=False).update(delivery_tried_at=long_ago)
    return world.course_of(world.watch(COURSE))


def undelivered(course: dict[str, Any]) -> list[tuple[int, str]]:
    """The breaches of this kind."""
    return [(item["rows"], item["text"]) for item in course["breaches"] if item["bound"] == "undelivered"]


def on_record() -> list[str]:
    """What the divergences of this class say."""
    return list(Divergence.objects.filter(klass="undelivered", cured_at=None).values_list("what", flat=True))


def reconciled(**options: Any) -> dict[str, Any]:
    """What a comparison says of the learners."""
    return rows.reconcile(**options)[0].content["courses"][0]["learners"]


def gate() -> dict[str, Any]:
    """The gate's document."""
    return api.gate(COURSE).content
