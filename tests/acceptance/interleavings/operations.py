"""
What the app does, as operations that can meet, and the little world in which they do it.

All that knows the app's functions is here: where one moves or changes, this file is what follows it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.db import OperationalError, transaction
from django.db.models import Q
from django.test import Client
from submissions.models import ExternalGraderDetail

from migration_shim import api, conf, toggles
from migration_shim.backfill.handoff import finish as handoff_finish
from migration_shim.backfill.handoff import run as handoff
from migration_shim.backfill.request import Mode, Request
from migration_shim.comparison import linking
from migration_shim.copies import breaker, outbox, retire_replaced
from migration_shim.copies import write as copies
from migration_shim.core.data import DivergenceClass, Document, Grading, Phase
from migration_shim.core.errors import RunLocked, ShimError
from migration_shim.core.identity import digests
from migration_shim.core.phases import flags_of
from migration_shim.core.wire import parse_header
from migration_shim.ledger import attempts, known_differences
from migration_shim.legacy import rows as legacy_rows
from migration_shim.legacy.client import LegacyClient
from migration_shim.models import CoursePhase, LedgerEntry, LegacySubmission
from migration_shim.retention import purge
from migration_shim.runs.control import Control, nothing
from migration_shim.target import leases, results
from migration_shim.watch import repair
from sandbox.lms import capa, grading, receivers
from sandbox.lms.courseware.models import StudentModule
from sandbox.lms.models import AnonymousUserId, LearnerEffect
from tests.acceptance.interleavings import scheduler
from tests.acceptance.interleavings.snapshots import Clock, Snapshot, empty, fingerprint
from tests.builders import rows
from tests.builders.overrides import step_past_gate
from tests.builders.xqueue import XQueue

COURSE, QUEUE, PROBLEM = rows.COURSE, rows.QUEUE, "a" * 32
#: Each learner has one attempt in flight: of one legacy has the row, of the other the target has it (or is owed it).
ON_LEGACY, ON_TARGET = 7, 8
#: Learners who have one row each that both systems have graded: differently; on the target it failed for good.
DIVERGED, FAILED = 9, 10
STEPS = {Phase.LEGACY: Phase.SHADOW, Phase.SHADOW: Phase.LIVE, Phase.LIVE: Phase.COMPLETE, Phase.COMPLETE: Phase.LIVE}
SETTINGS = {
    "HOLD_SECONDS": 0,  # a stalled process may be as late as it likes
    "COPIES": "deferred",
    "GATE_THRESHOLD": 0.9,
    "GATE_MIN_PAIRS_PER_QUEUE": 1,
    "GATE_MIN_PAIRS_PER_PROBLEM": 1,
    "GATE_THIN_SHARE": 0.9,
    "THROTTLE_THREADS_RUNNING": None,
}
#: What routine runs leave behind, and who has looked when.
RECORDS = ("migration_shim_run", "migration_shim_checkpoint")


@dataclass(kw_only=True)
class Attempt:
    """One attempt of a learner at the one input: what CAPA sends, and what the door has answered (None: not yet)."""

    user: int
    request: capa.QueueRequest
    answer: tuple[int, Any] | None = None

    @property
    def entry(self) -> LedgerEntry | None:
        """Its entry in the ledger, which a purge may have left without its header."""
        digest = digests(parse_header(self.request.header), self.request.body, ()).identity
        return LedgerEntry.objects.filter(Q(raw_header=self.request.header) | Q(identity=digest)).first()


class LockingXQueue(XQueue):
    """XQueue, whose ``put_result`` holds its row through the POST to the LMS."""

    def put(self, row_id: int, key: str, reply: str) -> bool:
        with transaction.atomic(using="xqueue"):
            LegacySubmission.objects.select_for_update().get(pk=row_id)
            return super().put(row_id, key, reply)


@dataclass
class World:
    """One course in one phase, with its learners, XQueue, and graders of both systems."""

    phase: Phase
    clock: Clock
    echo: bool = False
    attempts: list[Attempt] = field(default_factory=list)
    #: (lms_key, source) of each reply that the LMS was given.
    delivered: list[tuple[str, str]] = field(default_factory=list)
    watched: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.xqueue = LockingXQueue({QUEUE, f"{QUEUE}.reverse"}, timedelta(minutes=1), self.post)
        self.client = Client(raise_request_exception=False, **rows.HOST)

    # The LMS.

    def post(self, header: str, reply: str) -> int:
        """XQueue posts a reply to the callback of a header: the LMS's, or the sink of a copy."""
        values = json.loads(header)
        path = values["lms_callback_url"].split("/", 3)[3]
        scheduler.step(f"POST /{path.split('/')[0]}")
        with scheduler.elsewhere():
            if not path.startswith("courses/"):
                status = self.client.post(f"/{path}", {"xqueue_header": header, "xqueue_body": reply}).status_code
            else:
                user, usage_key = get_user_model()(pk=int(path.split("/")[-3])), path.split("/")[-2]
                self.delivered.append((values["lms_key"], "callback"))
                grading.deliver(user, COURSE, usage_key, values["lms_key"], reply, LearnerEffect.Source.CALLBACK)
                status = 200
        scheduler.step("answered")
        return status

    def deliver(self, user: Any, course: str, usage_key: str, key: str, reply: str, source: str) -> None:
        """The LMS's receiver of the target's event: what it does is rolled back with the result."""
        transaction.on_commit(lambda: self.delivered.append((key, "event")))
        grading.deliver(user, course, usage_key, key, reply, source)

    def new_attempt(self, user: int) -> Attempt:
        """What CAPA makes of the learner's next attempt; attempts are a minute apart."""
        usage_key = rows.usage_key(PROBLEM)
        request = capa.make_request(
            answer_id=f"{capa.html_id(usage_key)}_2_1",
            response=f"x = {len(self.attempts)}\n",
            grader_payload=rows.PAYLOAD,
            callback=capa.callback_url("https://courses.example.edu", COURSE, user, usage_key),
            queue_name=QUEUE,
            user_id=user,
            anonymous_id=rows.anonymous_id(user),
            seed=1,
            now=self.clock.now() + timedelta(minutes=len(self.attempts) - 60),
        )
        self.attempts.append(Attempt(user=user, request=request))
        return self.attempts[-1]

    def send(self, attempt: Attempt, door: Callable[[str, str], tuple[int, Any]]) -> None:
        """CAPA sends an attempt, and saves its queue state when the door has returned."""
        toggles.new_work_cycle()
        usage_key, user = rows.usage_key(PROBLEM), get_user_model()(pk=attempt.user)
        attempt.answer = door(attempt.request.header, attempt.request.body)
        with transaction.atomic():
            state = grading.locked_state(user, COURSE, usage_key)
            entry = capa.entry_after_sending(attempt.request, *attempt.answer)
            state.store(state.correct_map | {attempt.request.answer_id: entry}, attempts=state.attempts + 1)
            grading.publish(state, user, grading.Source.SUBMIT, matched=None)
            state.save()

    def waits_for(self, user: int) -> str:
        """The key that the learner's state still waits for; empty where it waits for none."""
        state = StudentModule.find(user, rows.usage_key(PROBLEM))
        entries = state.correct_map.values() if state else []
        return next((entry["queuestate"]["key"] for entry in entries if entry.get("queuestate")), "")

    # How a world begins.

    def build(self, *setups: Callable[[World], None]) -> None:
        """Let the app itself make all that is there before the two operations begin; then it can be put back."""
        self.clock.tell_server()
        empty()
        self._fresh()
        for user in (ON_LEGACY, ON_TARGET, DIVERGED, FAILED, 100, 101):
            learner, _ = get_user_model().objects.get_or_create(pk=user, defaults={"username": f"learner{user}"})
            AnonymousUserId.objects.create(user=learner, anonymous_user_id=rows.anonymous_id(user))
        before = {Phase.LEGACY: (Phase.LIVE, Phase.LEGACY)}.get(self.phase, (Phase.SHADOW, self.phase))
        users = (ON_TARGET, ON_LEGACY) if self.phase is Phase.LEGACY else (ON_LEGACY, ON_TARGET)
        for phase, user in zip(before, users, strict=True):
            self.put_course_in(phase)
            self.send(self.new_attempt(user), api.queue_interface().send_to_queue)
            if not (self.phase is Phase.SHADOW and user == ON_TARGET):  # there the copy is owed
                self.work()
        for setup in dict.fromkeys(setups):
            setup(self)
        self.clock.forward(seconds=1)
        self._attempts, self._now, self._snapshot = list(self.attempts), self.clock.now(), Snapshot()
        self._answers = [attempt.answer for attempt in self.attempts]
        self.began = self._now
        self.had_permit = CoursePhase.objects.get(course_id=COURSE).permit

    def put_back(self) -> None:
        """Begin again."""
        self._snapshot.put_back()
        self.clock.set(self._now)
        self._fresh()
        self.attempts[:] = self._attempts
        for attempt, answer in zip(self.attempts, self._answers, strict=True):
            attempt.answer = answer

    def _fresh(self) -> None:
        cache.clear()
        breaker.reset()
        toggles.new_work_cycle()
        self.attempts.clear(), self.delivered.clear()
        self.xqueue.retired_by_itself.clear()
        self.watched = {}

    def put_course_in(self, phase: Phase) -> None:
        """Flags and record both say this phase."""
        rows.enter(phase, since=self.clock.now() - timedelta(days=1))

    def standing(self, user: int) -> Attempt:
        """The attempt that is there before the two operations begin."""
        return next(attempt for attempt in self.attempts if attempt.user == user)

    # How it ends.

    def work(self) -> None:
        """The worker: all that the ledger owes by now."""
        outbox.drain(conf.load())

    def finish(self, rounds: int = 8) -> int:
        """Let time pass, workers, watch and graders work, until nothing changes any more; how many rounds it took."""
        before = ""
        for number in range(rounds):
            self.clock.forward(minutes=15)
            self.work()
            self.grade_everything()
            if self.echo:
                api.reconcile([COURSE], nothing, nothing, grading=Grading.ECHO)
            self.watched = api.watch([COURSE]).content
            now = fingerprint(RECORDS)
            if now == before:
                return number
            before = now
        return rounds

    def grade_everything(self) -> None:
        """Graders of both systems, on every queue that one polls."""
        shadows = [] if self.echo else [f"{QUEUE}.shadow"]
        for queue in (QUEUE, *shadows):
            while (lease := leases.lease_next(queue, conf.load())[0]) is not None:
                self.put_result(lease.detail.submission_id, lease.detail.pullkey)
        for queue in (QUEUE, f"{QUEUE}.reverse"):
            while (row := self.xqueue.read(queue)) is not None:
                self.xqueue.put(row.pk, self.xqueue.hand_out(row), rows.RIGHT)

    def put_result(self, submission_id: int, key: str) -> results.ResultStatus:
        """A grader of the target answers."""
        result = results.Result(submission_id=submission_id, key=key, reply=rows.RIGHT)
        return results.store(result, conf.load())


@contextmanager
def in_process(monkeypatch: Any, settings: Any, world: World) -> Any:
    """Let the app meet this world's XQueue, LMS and broker. A request over HTTP is two steps: sent, and answered."""

    def call(client: LegacyClient, path: str, deadline: float | None, files: Any, **form: Any) -> tuple[int, Any]:
        scheduler.step(f"POST {path}")
        with scheduler.elsewhere():
            data = form.get("data", {})
            if path.endswith("/submit/"):
                answer = world.xqueue.submit(data["xqueue_header"], data["xqueue_body"])
            else:
                answer = 0, "0"
        scheduler.step("answered")
        return answer

    settings.MIGRATION_SHIM = {**settings.MIGRATION_SHIM, **SETTINGS}
    if world.echo:
        settings.MIGRATION_SHIM = {**settings.MIGRATION_SHIM, "SIDE_EFFECT_QUEUES": [QUEUE]}
    with monkeypatch.context() as patch:
        patch.setattr(LegacyClient, "_call", call)
        patch.setattr(receivers, "deliver", world.deliver)
        yield


# The operations. Each is made for one schedule: what it needs is looked up before the players begin.


@dataclass(frozen=True, kw_only=True)
class Operation:
    """
    Something that one process does.

    ``phases`` are those in which it makes sense; ``user`` is the learner it is about (None: the other's); ``setup``
    plants what it needs, ``make`` gives the work itself; ``refusals`` are what it may raise. ``echo``: the graders of
    the course have side effects, and nobody polls its shadows; then what ``polls`` does not happen.
    """

    name: str
    phases: tuple[Phase, ...]
    make: Callable[[World, int], Callable[[], Any]]
    user: int | None = None
    setup: Callable[[World], None] = nothing
    refusals: tuple[type[Exception], ...] = ()
    echo: bool = False
    polls: bool = False


EVERY = tuple(Phase)
LEGACY, SHADOW, LIVE, COMPLETE = EVERY
OPERATIONS: dict[str, Operation] = {}


def operation(name: str, phases: tuple[Phase, ...], **more: Any) -> Callable:
    """Register what makes an operation."""

    def register(make: Callable[[World, int], Callable[[], Any]]) -> Callable:
        OPERATIONS[name] = Operation(name=name, phases=phases, make=make, **more)
        return make

    return register


@operation("submit", EVERY)
def _submit(world: World, user: int) -> Callable[[], Any]:
    attempt = world.new_attempt(user)
    return lambda: world.send(attempt, api.queue_interface().send_to_queue)


@operation("supersession", (SHADOW, LIVE, COMPLETE))
def _supersession(world: World, user: int) -> Callable[[], Any]:
    """The worker looks for what an attempt replaces, late: a newer one may be there by now."""
    entry = world.standing(user).entry

    def settle() -> None:
        toggles.new_work_cycle()
        retire_replaced.retire_replaced_attempts(entry, attempts.queued([entry]).get(entry.pk), conf.load())

    return settle


@operation("copy", (SHADOW, LIVE), user=ON_TARGET)
def _copy(world: World, user: int) -> Callable[[], Any]:
    identity = world.standing(ON_TARGET).entry.identity
    return lambda: (copies.write_shadow if world.phase is SHADOW else copies.write_reverse)(identity)


@operation("worker", EVERY)
def _worker(world: World, user: int) -> Callable[[], Any]:
    """A worker does what the ledger owes by then."""
    return lambda: outbox.drain(conf.load())


def _queue(world: World) -> str:
    return f"{QUEUE}.shadow" if world.phase is SHADOW else QUEUE


def _leased(world: World) -> None:
    """A grader has had the row for longer than a lease."""
    leases.lease_next(_queue(world), conf.load())
    world.clock.forward(seconds=conf.load().lease_seconds + 60)


@operation("hand-out", EVERY, user=ON_TARGET, polls=True)
def _hand_out(world: World, user: int) -> Callable[[], Any]:
    return lambda: leases.lease_next(_queue(world), conf.load())


@operation("put_result", EVERY, user=ON_TARGET, setup=_leased, polls=True)
def _put_result(world: World, user: int) -> Callable[[], Any]:
    row = ExternalGraderDetail.objects.get(queue_name=_queue(world), status="pulled")
    return lambda: world.put_result(row.submission_id, row.pullkey)


def _cutover(to: Phase, past_gate: bool = False, **how: Any) -> Document:
    if past_gate:
        return step_past_gate(COURSE, to)
    return api.cutover(COURSE, to, reason="r", execute=True, user="ada", login=None, **how)


def _evidence(world: World) -> None:
    """Two pairs that were graded alike, compared, and a preflight: the gate passes."""
    if world.phase is SHADOW:
        rows.graded_pairs(2, problems=1)
        rows.preflighted()
        api.reconcile([COURSE], nothing, nothing)


def _permitted(world: World) -> None:
    _evidence(world)
    if world.phase is SHADOW:
        api.gate(COURSE)


@operation("step forward", EVERY, setup=_evidence, refusals=(ShimError,))
def _step_forward(world: World, user: int) -> Callable[[], Any]:
    return lambda: _cutover(STEPS[world.phase], past_gate=world.phase is LIVE)


@operation("step back", (SHADOW, LIVE, COMPLETE), refusals=(ShimError,))
def _step_back(world: World, user: int) -> Callable[[], Any]:
    return lambda: _cutover(LEGACY)


@operation("flag flip", EVERY, setup=_permitted)
def _flip(world: World, user: int) -> Callable[[], Any]:
    def flip() -> None:
        toggles.force_flags(COURSE, *flags_of(STEPS[world.phase]))
        toggles.phase_of(COURSE)

    return flip


def _handoff(world: World, steps: int) -> None:
    """The next steps of a handoff: hold and fence, then settle, then the last look. Each time its time has come."""
    if not steps:
        request = Request(mode=Mode.HANDOFF, execute=True)
        handoff._Run(request, conf.load(), Control(toggles.stop_reason, settings=conf.load()), rows.ignore)._walk()
        return
    later = legacy_rows.clock() + timedelta(hours=1)
    for entry in handoff_finish.on_the_way().order_by("id"):
        handoff_finish.finish(entry, conf.load(), later)


def _held(world: World) -> None:
    _handoff(world, 0)


def _released(world: World) -> None:
    _handoff(world, 0)
    _handoff(world, 1)


for _name, _setup, _done in (("hold", nothing, 0), ("settle", _held, 1), ("last look", _released, 2)):
    operation(f"handoff, {_name}", (LIVE, COMPLETE), user=ON_LEGACY, setup=_setup)(
        lambda world, user, done=_done: lambda: _handoff(world, done)
    )


@operation("return", (LEGACY,), user=ON_TARGET, refusals=(ShimError,))
def _return(world: World, user: int) -> Callable[[], Any]:
    return lambda: api.backfill(Request(mode=Mode.RETURN, execute=True), rows.ignore)


@operation("backfill", (SHADOW,), user=ON_TARGET, refusals=(ShimError,))
def _backfill(world: World, user: int) -> Callable[[], Any]:
    return lambda: api.backfill(Request(courses=frozenset([COURSE]), execute=True), rows.ignore)


@operation("reconcile", (SHADOW, LIVE, COMPLETE), refusals=(RunLocked,))
def _reconcile(world: World, user: int) -> Callable[[], Any]:
    return lambda: api.reconcile([COURSE], nothing, nothing)


def _pair_that_differs(user: int, reply: str) -> None:
    """One more pair, graded a minute ago: differently."""
    row = rows.legacy_row(user)
    rows.backfill(courses=frozenset([COURSE]))
    rows.change([row], **rows.graded(ago=timedelta(minutes=1)))
    rows.grade_target(reply, submission_id=LedgerEntry.objects.get(legacy_id=row.pk).target_submission_id)


def _diverged(world: World) -> None:
    """A pair is on record as differing in its score; since then it has come to differ in more."""
    _pair_that_differs(DIVERGED, '{"correct": true, "score": 0.4, "msg": "<p>partly</p>"}')
    api.reconcile([COURSE], nothing, nothing)
    entry = LedgerEntry.objects.get(learner=rows.anonymous_id(DIVERGED))
    ExternalGraderDetail.objects.filter(submission_id=entry.target_submission_id).update(grader_reply=rows.WRONG)


@operation("register", (SHADOW,), setup=_diverged)
def _register(world: World, user: int) -> Callable[[], Any]:
    """Somebody registers a difference, and what is on record is brought in line with it."""

    def register() -> None:
        known_differences.add(DivergenceClass.SCORE, reason="r", owner="ada", days=9)
        known_differences.apply(COURSE, world.clock.now())

    return register


@operation("gate", (SHADOW, LIVE), setup=_permitted, refusals=(RunLocked,))
def _gate(world: World, user: int) -> Callable[[], Any]:
    return lambda: api.gate(COURSE)


def _worse(world: World) -> None:
    """A permit is there; since then the target has failed for good what legacy has graded."""
    _permitted(world)
    _pair_that_differs(FAILED, rows.WRONG)
    entry = LedgerEntry.objects.get(learner=rows.anonymous_id(FAILED))
    failed = ExternalGraderDetail.objects.filter(submission_id=entry.target_submission_id)
    failed.update(status="failed", grader_reply=None, num_failures=5)


@operation("reconcile that fails", (SHADOW,), setup=_worse, refusals=(RunLocked,))
def _reconcile_that_fails(world: World, user: int) -> Callable[[], Any]:
    return lambda: api.reconcile([COURSE], nothing, nothing)


@operation("override", (SHADOW,), refusals=(ShimError,))
def _override(world: World, user: int) -> Callable[[], Any]:
    return lambda: _cutover(LIVE, past_gate=True)


@operation("watch", EVERY, refusals=(RunLocked,))
def _watch(world: World, user: int) -> Callable[[], Any]:
    return lambda: api.watch([COURSE])


def _settled(world: World) -> None:
    """Everything was settled long ago."""
    LedgerEntry.objects.update(settled_at=world.clock.now() - timedelta(days=60))


@operation("purge", EVERY, setup=_settled)
def _purge(world: World, user: int) -> Callable[[], Any]:
    return lambda: purge.purge(conf.load(), execute=True, check=nothing)


def _ungraded_history(world: World) -> None:
    """Legacy has graded a row whose shadow nobody will grade."""
    row = LegacySubmission.objects.get(xqueue_header=world.standing(ON_LEGACY).request.header)
    world.xqueue.put(row.pk, world.xqueue.hand_out(row), rows.RIGHT)
    world.delivered.clear()


@operation("echo", (SHADOW,), user=ON_LEGACY, setup=_ungraded_history, refusals=(RunLocked,), echo=True)
def _echo(world: World, user: int) -> Callable[[], Any]:
    return lambda: api.reconcile([COURSE], nothing, nothing, grading=Grading.ECHO)


@operation("link", (SHADOW,), user=ON_LEGACY)
def _link(world: World, user: int) -> Callable[[], Any]:
    return lambda: linking.link_new_rows(conf.load(), Control(toggles.stop_reason, settings=conf.load()))


@operation("repair", (SHADOW, LIVE), user=ON_TARGET, refusals=(RunLocked,))
def _repair(world: World, user: int) -> Callable[[], Any]:
    if world.phase is SHADOW:
        return lambda: repair.write_owed_shadows([COURSE], conf.load(), nothing)
    return lambda: repair.write_owed_reverse_shadows(COURSE, conf.load(), nothing)


@operation("XQueue's submit", (LEGACY, SHADOW), user=ON_LEGACY)
def _xqueue_submit(world: World, user: int) -> Callable[[], Any]:
    """A process of the LMS that does not have the shim yet."""
    attempt = world.new_attempt(user)
    return lambda: world.send(attempt, world.xqueue.submit)


@operation("XQueue's pull", EVERY, user=ON_LEGACY)
def _xqueue_pull(world: World, user: int) -> Callable[[], Any]:
    def pull() -> None:
        if (row := world.xqueue.read(QUEUE)) is not None:
            world.xqueue.hand_out(row)

    return pull


def _pulled(world: World) -> None:
    """A grader of legacy has had the row for longer than the processing delay."""
    header = world.standing(ON_LEGACY).request.header
    world.xqueue.hand_out(LegacySubmission.objects.get(xqueue_header=header))
    world.clock.forward(minutes=3)


# Its own submit and put_result deadlock on its index of ``retired`` now and then: the grader gets a 500, and the row is
# handed out again.
@operation("XQueue's put_result", EVERY, user=ON_LEGACY, setup=_pulled, refusals=(OperationalError,))
def _xqueue_put(world: World, user: int) -> Callable[[], Any]:
    row = LegacySubmission.objects.get(xqueue_header=world.standing(ON_LEGACY).request.header)
    return lambda: world.xqueue.put(row.pk, row.pullkey, rows.RIGHT)
