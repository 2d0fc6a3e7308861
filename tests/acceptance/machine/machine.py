"""
The state machine: a course on its way, its learners, its operator, and the graders of both systems.

The target is the real edx-submissions, behind the watcher seam and its own endpoint; legacy is a real table with
XQueue's rules (``xqueue.py``) and XQueue's losses, which are counted as XQueue's.
"""

import json
import sys
from datetime import timedelta

from django.utils.timezone import now
from edx_django_utils.cache import RequestCache
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)
from submissions.models import ExternalGraderDetail

from migration_shim import toggles
from migration_shim.api import queue_interface
from migration_shim.conf import load
from migration_shim.copies import breaker
from migration_shim.core.data import Authority, Leg, Phase
from migration_shim.core.phases import flags_of
from migration_shim.dual_write import COPY_NEEDS
from migration_shim.models import LedgerEntry, LegacySubmission
from migration_shim.watch import repair
from sandbox.lms import capa
from tests.acceptance.machine import checks, statuses
from tests.builders import outbox, rows
from tests.builders.lms_around_router import (
    COURSE,
    HOLD,
    LEASE,
    PROBLEMS,
    QUEUE,
    REVERSE,
    SHADOW,
    USERS,
    Sent,
    World,
    last_effect,
    pass_time,
)
from tests.builders.replies import BAD, GOOD, RIGHT
from tests.ledger.counters.oracle import assert_counters_equal_counts

SEAM, UPSTREAM = "/migration_shim/xqueue", "/xqueue"
TARGET_QUEUES, LEGACY_QUEUES = (QUEUE, SHADOW), (QUEUE, REVERSE)
MOMENT = timedelta(seconds=1)
# What is broken while a submission is made: the authoritative system, the copy's, the broker; or the authoritative
# system has used up the door's time.
FAULTS = st.sampled_from(["", "", "", "authority", "copy", "task lost", "hurry"])
replies = st.sampled_from(GOOD + BAD)
# What a grader does with what it has pulled: answers at once, or keeps it (it is slow, or has died).
at_once = st.one_of(st.none(), replies)
waits = st.sampled_from([HOLD, HOLD, LEASE, None])
places = st.integers(0, 7)
STARTS = (
    (Phase.SHADOW,),
    (Phase.LEGACY, Phase.SHADOW, Phase.LIVE),
    (Phase.SHADOW, Phase.LIVE),
    (Phase.SHADOW, Phase.LIVE, Phase.LEGACY),
    (Phase.SHADOW, Phase.LIVE, Phase.COMPLETE),
)


class Migration(RuleBasedStateMachine):
    """A course on its way, with everybody who has a hand in it."""

    world: World
    settings: object

    held = Bundle("rows that graders hold from the watcher seam")
    stray = Bundle("rows that a watcher holds from edx-submissions' own endpoint")
    pulled = Bundle("rows that graders hold from legacy")
    read = Bundle("rows that legacy has read and not handed out yet")

    #: Whether a walk ends with a reconcile. Under Hypothesis that takes longer than the walk.
    reconciles = True

    def __init__(self):
        super().__init__()
        self.world.reset()
        self.phase, self.permit, self.kill_switch = Phase.LEGACY, None, False
        self.effects, self.line = last_effect(), statuses.changes(0)[1]
        self.keys: set[str] = set()
        self.open_target: list[str] = []
        self.open_legacy: list[str] = []

    @initialize(copies=st.sampled_from(["inline", "deferred"]), phases=st.sampled_from(STARTS))
    def start(self, copies, phases):
        """A submission in every phase on the way to where the example begins."""
        self.settings.MIGRATION_SHIM = {**self.settings.MIGRATION_SHIM, "COPIES": copies}
        for place, phase in enumerate(phases):
            if phase is not self.phase:
                self.operate(phase, permit=True)
            self.submit(USERS[0], PROBLEMS[place % 3], (2,), like=None, fault="")

    # The operator.

    @rule(
        to=st.sampled_from(["next", "next", "next", "on", "off", *Phase]), permit=st.sampled_from([True, True, False])
    )
    def operate(self, to, permit):
        """The kill switch, or both flags by hand, with or without the gate's permit; the next request decides."""
        order = list(Phase)
        if to in ("on", "off"):
            self.kill_switch = to == "on"
            self.world.switch(self.kill_switch)
            return
        to = order[(order.index(self.phase) + 1) % len(order)] if to == "next" else to
        if permit:
            rows.permitted(to)
            self.permit = to
        toggles.force_flags(COURSE, *flags_of(to))
        back = to.authority is Authority.LEGACY or (self.phase, to) == (Phase.COMPLETE, Phase.LIVE)
        forth = order.index(to) == order.index(self.phase) + 1 and self.permit is to
        if to is not self.phase and (back or forth):
            self.phase, self.permit = to, None
        assert toggles.phase_of(COURSE).phase is self.phase

    @precondition(lambda self: self.open_legacy)
    @rule(size=st.sampled_from([1, 200]))
    def backfill(self, size):
        breaker.reset()
        before = ExternalGraderDetail.objects.count()
        content = rows.backfill(batch_size=size).content
        assert sum(content["classes"].values()) == content["read"]
        assert ExternalGraderDetail.objects.count() == before + content["written"]
        if self.kill_switch:
            assert content["written"] == 0
            return
        for row in LegacySubmission.objects.filter(retired=False, queue_name=QUEUE):
            identity = self.world.by_key(json.loads(row.xqueue_header)["lms_key"]).identity
            assert LedgerEntry.objects.get(identity=identity).target_leg == Leg.STORED, "in flight, and no shadow"

    # The learners.

    @rule(
        user=st.sampled_from(USERS),
        problem=st.sampled_from(PROBLEMS),
        numbers=st.sampled_from([(2,), (3,), (2, 3)]),
        like=st.one_of(places, st.none()),
        fault=FAULTS,
    )
    def submit(self, user, problem, numbers, like, fault):
        """CAPA: every input through the door, then the queue state. ``like`` picks an earlier one to try again."""
        if like is not None and self.world.sent:
            user, problem, number = self.world.sent[-1 - like % len(self.world.sent)].input
            numbers = (number,)
        authority = self.phase.authority
        other = next(system for system in Authority if system is not authority)
        fault = {"authority": f"{authority.value} down", "copy": f"{other.value} down"}.get(fault, fault)
        self.world.fault, self.world.xqueue.down = fault, fault == "legacy down"
        entries, made, copies = {}, [], self._copies()
        for number in numbers:
            sent = self.world.attempt(user, problem, number)
            with self.world.observed() as seen:
                error, message = self._send(sent)
            assert not seen.effects
            entries[sent.request.answer_id] = capa.entry_after_sending(sent.request, error, message)
            made.append(sent)
        self.world.save(user, problem, entries)
        self._work(made, copies, fault)
        self.world.fault, self.world.xqueue.down = "", False
        self.effects = last_effect()

    def _send(self, sent: Sent):
        RequestCache.clear_all_namespaces()  # a request of its own
        authority = self.phase.authority
        down = self.world.fault == f"{authority.value} down"
        others, copies = self._in_flight_of_others([sent]), self._copies()
        door = queue_interface(seconds=COPY_NEEDS / 2 if self.world.fault == "hurry" else None)
        error, message = door.send_to_queue(sent.request.header, sent.request.body)
        assert bool(error) == down
        sent.authority = None if down else authority
        assert self._in_flight_of_others([sent]) == others, "another input's row was superseded"
        if down or self.kill_switch or self.phase is not Phase.SHADOW:
            assert self._copies() == copies
        return error, message

    def _work(self, made: list[Sent], copies: int, fault: str) -> None:
        """What a worker does once CAPA has saved, or, where its task is lost, the watch."""
        others = self._in_flight_of_others(made)
        if fault == "task lost":
            repair.drain(load(), lambda: None)
        outbox.drain()
        # What was owed from before may have been written as well.
        for before, after in zip(others, self._in_flight_of_others(made), strict=True):
            assert set(before) <= set(after), "another input's row was superseded"
        accepted = [sent for sent in made if sent.authority is not None]
        for sent in accepted:
            self._no_older(sent)
        if self.kill_switch:
            assert self._copies() == copies
        elif self.phase in (Phase.SHADOW, Phase.LIVE) and not fault and not self._paused():
            assert self._copies() >= copies + len(accepted), "no copy"

    def _paused(self) -> bool:
        return breaker.is_open("shadow") or breaker.is_open("reverse")

    def _in_flight_of_others(self, made: list[Sent]) -> list:
        """The rows in flight of every other input; legacy's without those that XQueue has retired by itself."""
        inputs = [sent.input for sent in made]
        others = [one for one in self.world.sent if one.input not in inputs]
        entries = LedgerEntry.objects.filter(identity__in=[one.identity for one in others])
        ids = entries.exclude(target_submission_id=None).values("target_submission_id")
        target = ExternalGraderDetail.objects.filter(status__in=checks.IN_FLIGHT, submission_id__in=ids)
        headers = [one.request.header for one in others if one.authority is Authority.LEGACY]
        legacy = LegacySubmission.objects.filter(xqueue_header__in=headers)
        kept = [row.pk for row in legacy if not row.retired or row.pk in self.world.xqueue.retired_by_itself]
        return [sorted(target.values_list("pk", "status", "pullkey")), sorted(kept)]

    def _no_older(self, sent: Sent) -> None:
        """What the submission replaces is in flight on no side, and no grader's reply to it will be taken."""
        older = [one for one in self.world.sent if one.input == sent.input and one is not sent]
        entries = LedgerEntry.objects.filter(identity__in=[one.identity for one in older])
        ids = entries.exclude(target_submission_id=None).values("target_submission_id")
        assert not ExternalGraderDetail.objects.filter(status__in=checks.IN_FLIGHT, submission_id__in=ids).exists()
        headers = [one.request.header for one in older]
        assert not LegacySubmission.objects.filter(retired=False, xqueue_header__in=headers).exists()

    def _copies(self) -> int:
        shadows = ExternalGraderDetail.objects.filter(queue_name=SHADOW).count()
        return shadows + LegacySubmission.objects.filter(queue_name=REVERSE).count()

    # Graders of the target.

    @precondition(lambda self: self.open_target)
    @rule(target=held, place=places, wait=waits, reply=at_once, times=st.sampled_from([1, 2]))
    def pull(self, place, wait, reply, times):
        """A pull, some time after the last one: whoever holds a row for longer than a lease has died, or is late."""
        if wait is not None:
            pass_time(wait + MOMENT)
        lease = self._pull(_one(self.open_target, place))
        if lease is None:
            return multiple()
        for _ in range(times if reply else 0):
            self._put(lease, reply)
        return lease

    def _pull(self, queue):
        """Pull once from the seam; what comes must be what is due, under a key that nobody ever had."""
        due, failing = checks.next_row(checks.details(queue_name=queue), now())
        with self.world.observed() as seen:
            reply = self.world.client.get(f"{SEAM}/get_submission/", {"queue_name": queue}).json()
        failed = [self._sent(row_id) for row_id in failing]
        assert ExternalGraderDetail.objects.filter(submission_id__in=failing, status="failed").count() == len(failing)
        self._only(seen, [sent for sent in failed if sent.authority is Authority.TARGET])
        assert not (seen.applied or seen.wiped)
        if due is None:
            assert reply == {"return_code": 1, "content": f"Queue '{queue}' is empty"}
            return None
        assert reply["return_code"] == 0
        payload = json.loads(reply["content"])
        header = json.loads(payload["xqueue_header"])
        assert header["submission_id"] == due
        assert json.loads(payload["xqueue_body"]) == json.loads(self._sent(due).request.body)
        assert header["submission_key"] not in self.keys, "a pullkey was handed out twice"
        entry = LedgerEntry.objects.get(target_submission_id=due)
        assert entry.lease_key == header["submission_key"]
        return header

    def _sent(self, submission_id) -> Sent:
        return self.world.by_identity(LedgerEntry.objects.get(target_submission_id=submission_id).identity)

    def _only(self, seen, allowed: list[Sent]) -> None:
        """Learners noticed nothing but what these submissions, each on its authoritative side, may bring them."""
        assert seen.applied | seen.told <= {sent.request.key for sent in allowed}, "graded by somebody else"
        problems = {(sent.user, rows.usage_key(sent.problem)) for sent in allowed}
        for effect in seen.effects:
            assert (effect.user_id, effect.usage_key) in problems, "an effect on a learner that a copy may not have"
        matched = [effect for effect in seen.effects if json.loads(effect.detail).get("matched")]
        assert len(matched) == len(seen.applied | seen.told)
        self.effects = last_effect()

    @rule(header=held, reply=replies, times=st.sampled_from([1, 2]))
    def put(self, header, reply, times):
        """A result: on time, late, or once more, for a row that was held at some time."""
        for _ in range(times):
            self._put(header, reply)

    def _put(self, header, reply):
        row, sent = ExternalGraderDetail.objects.get(submission_id=header["submission_id"]), None
        sent = self._sent(row.submission_id)
        real = sent.authority is Authority.TARGET
        before = _target()
        with self.world.observed() as seen:
            form = {"xqueue_header": json.dumps(header), "xqueue_body": reply.text}
            answer = self.world.client.post(f"{SEAM}/put_result/", form).json()
        self._only(seen, [sent] if real else [])
        mine = bool(row.pullkey) and row.pullkey == header["submission_key"]
        if row.status != "pulled" or not mine:
            repeated = mine and row.status == "retired" and row.grader_reply == reply.text
            assert answer["return_code"] == (0 if repeated else 1)
            assert _target() == before and not seen.effects, "a late or repeated result changed something"
            return
        assert answer["return_code"] == 0
        failures = row.num_failures
        row.refresh_from_db()
        stored = reply.real if real else reply.shadow
        expected = "retired" if stored else "retry" if failures + 1 < 5 else "failed"
        assert (row.status, row.num_failures) == (expected, failures + (not stored))
        assert row.grader_reply == (reply.text if stored else None)
        assert not seen.wiped or (real and stored and reply.wipes)
        assert not seen.told or expected == "failed"

    @precondition(lambda self: self.open_target)
    @rule(place=places, reply=st.one_of(st.none(), st.sampled_from(BAD)))
    def again_and_again(self, place, reply):
        """Graders that die of the same row, or fail on it, time and again: it ends, and the queue goes on."""
        queue = _one(self.open_target, place)
        for _ in range(5):
            pass_time(LEASE + MOMENT)
            header = self._pull(queue)
            if header is not None and reply is not None:
                self._put(header, reply)

    @precondition(lambda self: self.open_target)
    @rule(target=stray, place=places)
    def stray_pull(self, place):
        """A watcher that was left on edx-submissions' own endpoint."""
        queue = _one(self.open_target, place)
        with self.world.observed() as seen:
            reply = self.world.client.get(f"{UPSTREAM}/get_submission/", {"queue_name": queue}).json()
        assert not seen.effects
        return multiple() if reply["return_code"] else json.loads(json.loads(reply["content"])["xqueue_header"])

    @rule(header=stray, reply=replies)
    def stray_put(self, header, reply):
        sent = self._sent(header["submission_id"])
        with self.world.observed() as seen:
            form = {"xqueue_header": json.dumps(header), "xqueue_body": reply.text}
            self.world.client.post(f"{UPSTREAM}/put_result/", form)
        self._only(seen, [sent] if sent.authority is Authority.TARGET else [])
        if ExternalGraderDetail.objects.get(submission_id=header["submission_id"]).status == "failed":
            self.world.failed_upstream.add(header["submission_id"])

    # Graders of legacy.

    @precondition(lambda self: self.open_legacy)
    @rule(target=read, place=places)
    def legacy_reads(self, place):
        """XQueue reads a row without a lock, and hands it out later: what is written in between is lost."""
        row = self.world.xqueue.read(_one(self.open_legacy, place))
        return multiple() if row is None else row

    @rule(target=pulled, row=consumes(read))
    def legacy_hands_out(self, row):
        return row.pk, self.world.xqueue.hand_out(row)

    @precondition(lambda self: self.open_legacy)
    @rule(target=pulled, place=places, reply=at_once)
    def legacy_pull(self, place, reply):
        row = self.world.xqueue.read(_one(self.open_legacy, place))
        if row is None:
            return multiple()
        lease = row.pk, self.world.xqueue.hand_out(row)
        if reply is not None:
            self._legacy_put(lease, reply)
        return lease

    @rule(lease=pulled, reply=replies)
    def legacy_put(self, lease, reply):
        self._legacy_put(lease, reply)

    def _legacy_put(self, lease, reply):
        header = json.loads(LegacySubmission.objects.get(pk=lease[0]).xqueue_header)
        copy = "/sink/" in header["lms_callback_url"]
        target = _target()
        with self.world.observed() as seen:
            self.world.xqueue.put(*lease, reply.text)
        self._only(seen, [] if copy else [self.world.by_key(header["lms_key"])])
        assert not seen.told
        assert _target() == target, "a result on legacy changed the target"

    # What holds always.

    @invariant()
    def learners_noticed_nothing_else(self):
        assert last_effect() == self.effects, "an effect on a learner that no grader's result has had"

    @invariant()
    def both_sides_agree(self):
        checks.both_sides(self.world)
        self.open_target = _queues(ExternalGraderDetail.objects.filter(status__in=checks.IN_FLIGHT))
        self.open_legacy = _queues(LegacySubmission.objects.filter(retired=False))

    @invariant()
    def every_status_was_reached_as_edx_submissions_allows(self):
        changes, self.line = statuses.changes(self.line)
        for change in changes:
            assert statuses.valid(change), f"{change.before} -> {change.after}"
            if change.after[1] != change.before[1] and change.after[1]:
                assert change.after[1] not in self.keys, "a pullkey came back"
                self.keys.add(change.after[1])

    def teardown(self):
        """All graders work again, on both sides: nothing stays behind, and every learner has an answer."""
        if sys.exception() is None:  # a step has failed, and its own failure is to be told
            self.drain()
            checks.nobody_lost(self.world)
            if self.reconciles:
                self.reconcile()

    def reconcile(self):
        """A comparison of all that has happened: it counts every entry, and its counters equal counts."""
        self.world.switch(False)  # it stops a reconcile
        assert rows.reconcile()[0].content["complete"]
        assert_counters_equal_counts(exact=True)
        assert LedgerEntry.objects.filter(bucket_id=None).count() == 0

    def drain(self):
        pass_time(LEASE + MOMENT)
        for queue in TARGET_QUEUES:
            waiting = ExternalGraderDetail.objects.filter(queue_name=queue, status__in=checks.IN_FLIGHT)
            for _ in range(waiting.count()):
                if header := self._pull(queue):
                    self._put(header, RIGHT)
            assert not waiting.exists(), "a blocked queue"
        for queue in LEGACY_QUEUES:
            waiting = LegacySubmission.objects.filter(queue_name=queue, retired=False)
            for _ in range(waiting.count()):
                row = self.world.xqueue.read(queue)
                self._legacy_put((row.pk, self.world.xqueue.hand_out(row)), RIGHT)
            assert not waiting.exists(), "a blocked queue on legacy"
        self.learners_noticed_nothing_else()
        self.both_sides_agree()
        self.every_status_was_reached_as_edx_submissions_allows()


def _queues(waiting) -> list[str]:
    return sorted(waiting.order_by().values_list("queue_name", flat=True).distinct())


def _one(queues: list[str], place: int) -> str:
    return queues[place % len(queues)]


def _target() -> list[tuple]:
    """All that a result may change on the target."""
    columns = ("pk", "status", "status_time", "pullkey", "grader_reply", "num_failures")
    details = ExternalGraderDetail.objects.order_by("pk").values_list(*columns)
    return [*details, *LedgerEntry.objects.order_by("pk").values_list("pk", "lease_key", "superseded_at")]
