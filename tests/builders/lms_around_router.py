"""The world around the router: learners in an LMS, XQueue, time; and what became of each submission, from outside."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from urllib.parse import urlsplit

from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.db import connections, transaction
from django.db.models import F
from django.test import Client
from edx_django_utils.cache import RequestCache
from submissions.models import ExternalGraderDetail
from waffle.models import Switch

from migration_shim.copies import breaker
from migration_shim.core.data import Authority
from migration_shim.models import LegacySubmission
from sandbox.lms import capa, grading
from sandbox.lms.courseware.models import StudentModule
from sandbox.lms.models import LearnerEffect
from tests.builders import rows
from tests.builders.replies import TOLD
from tests.builders.xqueue import XQueue

COURSE, QUEUE = rows.COURSE, rows.QUEUE
SHADOW, REVERSE = f"{QUEUE}.shadow", f"{QUEUE}.reverse"
USERS = (7, 8)
# With one digit of a user id XQueue's column keeps 19 digits of the problem: the first two are one to XQueue.
PROBLEMS = ("a" * 32, "a" * 31 + "b", "c" * 32)
# Far longer than an example takes, so that only the machine lets time pass.
HOLD, LEASE = timedelta(minutes=10), timedelta(minutes=30)
LEASE_LIMIT = 3
HAND_OUT_LIMIT = 4
# Children first: both databases check references.
TABLES = (
    *("migration_shim_bucket", "migration_shim_histogram", "migration_shim_divergence"),
    *("submissions_submissionfile", "submissions_scoreannotation", "submissions_scoresummary", "submissions_score"),
    *("submissions_externalgraderdetail", "submissions_submission", "submissions_studentitem"),
    *("migration_shim_ledgerentry", "migration_shim_coursephase", "migration_shim_phasechange"),
    *("migration_shim_checkpoint", "migration_shim_run", "migration_shim_flagoverride"),
    *("sandbox_lms_learnereffect", "courseware_studentmodule", "sandbox_lms_legacycallback"),
)


@dataclass(kw_only=True, eq=False)
class Sent:
    """
    One submission of one input.

    ``authority`` is None when the door refused it; ``outcome`` is what its learner got: graded, told (that it could not
    be graded), wiped (CAPA: "Invalid grader reply"), or nothing so far. ``replaced`` is set by a newer attempt.
    """

    user: int
    problem: str
    number: int
    request: capa.QueueRequest
    authority: Authority | None = None
    outcome: str = ""
    replaced: bool = False

    @property
    def input(self) -> tuple[int, str, int]:
        """The learner, the problem and the input of it."""
        return self.user, self.problem, self.number

    @cached_property
    def identity(self) -> str:
        """The ledger's name for it, made here again."""
        url = json.loads(self.request.header)["lms_callback_url"]
        parts = json.dumps([url, self.request.key, QUEUE, self.request.body])
        return hashlib.sha256(parts.encode("ascii")).hexdigest()


@dataclass(kw_only=True)
class Seen:
    """What learners noticed of one step: the keys that CAPA stopped to wait for, and every effect."""

    applied: set[str] = field(default_factory=set)
    told: set[str] = field(default_factory=set)
    wiped: set[str] = field(default_factory=set)
    effects: list[LearnerEffect] = field(default_factory=list)


class World:
    """One LMS with its learners, one XQueue, and the clients of their graders. ``fault`` is what is broken now."""

    def __init__(self, client: Client) -> None:
        """``client`` is logged in as a grader of the target."""
        self.client = client
        self.reset()

    def reset(self) -> None:
        """Begin again: no submission anywhere, no flag, everything works."""
        for alias, tables in (("default", TABLES), ("xqueue", ("queue_submission",))):
            with connections[alias].cursor() as cursor:
                for table in tables:
                    cursor.execute(f"DELETE FROM {table}")
        cache.clear()
        self.switch(False)
        breaker.reset()
        self.xqueue = XQueue({QUEUE, REVERSE}, LEASE, self._post)
        self.fault = ""
        self.sent: list[Sent] = []
        #: Rows that edx-submissions' own endpoint has failed for good; it tells no learner.
        self.failed_upstream: set[int] = set()
        self._time = datetime(2026, 11, 22, 9, 0, 0, tzinfo=UTC)

    def switch(self, on: bool) -> None:
        """Turn the kill switch on or off; django-waffle hears of it."""
        Switch.objects.update_or_create(name="migration_shim.kill_switch", defaults={"active": on})
        RequestCache.clear_all_namespaces()

    def _post(self, header: str, reply: str) -> int:
        """XQueue's POST to the callback URL of a header, whichever of the LMS's views that is."""
        path = urlsplit(json.loads(header)["lms_callback_url"]).path
        return self.client.post(path, {"xqueue_header": header, "xqueue_body": reply}).status_code

    def attempt(self, user: int, problem: str, number: int) -> Sent:
        """What CAPA makes of one input. Every one is a minute after the last: CAPA makes learners wait 5 seconds."""
        self._time += timedelta(minutes=1)
        usage_key = rows.usage_key(problem)
        request = capa.make_request(
            answer_id=f"{capa.html_id(usage_key)}_{number}_1",
            response=f"x = {len(self.sent)}\n",
            grader_payload=rows.PAYLOAD,
            callback=capa.callback_url("https://courses.example.edu", COURSE, user, usage_key),
            queue_name=QUEUE,
            user_id=user,
            anonymous_id=rows.anonymous_id(user),
            seed=len(self.sent),
            now=self._time,
        )
        sent = Sent(user=user, problem=problem, number=number, request=request)
        for older in self.sent:
            older.replaced |= older.input == sent.input
        self.sent.append(sent)
        return sent

    @transaction.atomic
    def save(self, user: int, problem: str, entries: dict[str, dict]) -> None:
        """CAPA's save, once the door has answered for every input of the submission (sandbox/lms/views.py)."""
        state = grading.locked_state(get_user_model()(pk=user), COURSE, rows.usage_key(problem))
        state.store(state.correct_map | entries, attempts=state.attempts + 1)
        grading.publish(state, state.student, grading.Source.SUBMIT, matched=None)
        state.save()

    def by_key(self, key: str) -> Sent:
        """The submission with this lms_key."""
        return next(sent for sent in self.sent if sent.request.key == key)

    def by_identity(self, identity: str) -> Sent:
        """The submission with this identity."""
        return next(sent for sent in self.sent if sent.identity == identity)

    @contextmanager
    def observed(self) -> Iterator[Seen]:
        """Watch what learners notice of the block, and write the outcome of their submissions down."""
        seen, before, last = Seen(), _waiting(), last_effect()
        yield seen
        seen.effects = list(LearnerEffect.objects.filter(id__gt=last))
        after = _waiting()
        for key in before.keys() - after.keys():
            user, usage_key, answer_id = before[key]
            message = StudentModule.find(user, usage_key).correct_map[answer_id]["msg"]
            kind = {capa.INVALID_REPLY: "wiped", TOLD: "told"}.get(message, "applied")
            getattr(seen, kind).add(key)
            sent = self.by_key(key)
            assert not sent.outcome, f"a queuekey was used twice: {sent.outcome}, then {kind}"
            sent.outcome = {"applied": "graded"}.get(kind, kind)


def _waiting() -> dict[str, tuple[int, str, str]]:
    """The keys that CAPA waits for, with learner, problem and input."""
    return {
        entry["queuestate"]["key"]: (state.student_id, state.usage_key, answer_id)
        for state in StudentModule.objects.all()
        for answer_id, entry in state.correct_map.items()
        if entry["queuestate"]
    }


def last_effect() -> int:
    """The id of the newest effect on a learner."""
    return LearnerEffect.objects.order_by("-id").values_list("id", flat=True).first() or 0


def pass_time(time: timedelta) -> None:
    """Let time pass for whatever waits, by making it older."""
    ExternalGraderDetail.objects.update(status_time=F("status_time") - time, created_at=F("created_at") - time)
    columns = ("arrival_time", "pull_time", "return_time")
    LegacySubmission.objects.update(**{column: F(column) - time for column in columns})
