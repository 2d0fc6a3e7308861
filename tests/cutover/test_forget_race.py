"""A record that is removed just as its course begins: nothing is lost, and nobody gets an error."""

import os
import select
from threading import Thread

import pytest
from django.db import connection, transaction

from migration_shim import api, toggles
from migration_shim.core.data import ExitCode, Phase
from migration_shim.core.phases import flags_of
from migration_shim.cutover import forget as forgetting
from migration_shim.ledger import permits
from migration_shim.models import CoursePhase, PhaseChange, Run
from tests.builders import outbox, rows
from tests.builders.routed_course import (  # noqa: F401
    COURSE,
    course,
    holdings,
    send,
    submission,
    xqueue_of_load,
)
from tests.cutover.forks import at_once

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)
SECONDS = 60


class Turn:
    """What lets one process wait for another."""

    def __init__(self):
        self._reader, self._writer = os.pipe()

    def comes(self):
        os.write(self._writer, b"x")

    def wait(self, seconds=SECONDS):
        """Whether it came in time."""
        return bool(select.select([self._reader], [], [], seconds)[0])


def forget():
    return forgetting.forget(COURSE, reason="r", user="ada", execute=True).content["executed"]


def step():
    how = {"reason": "r", "execute": True, "user": "ada", "login": None}
    return api.cutover(COURSE, Phase.SHADOW, **how).content["executed"]


def by_hand():
    toggles.force_flags(COURSE, *flags_of(Phase.SHADOW))


def in_between(monkeypatch, other):
    """
    The record is removed by one process; ``other`` is done by another between its look at the course and its commit,
    or as soon as the database lets it.
    """
    looked, done = Turn(), Turn()
    reasons = forgetting._reasons

    def look(course_id):
        found = list(reasons(course_id))
        looked.comes()
        done.wait(1)
        return iter(found)

    def beside():
        assert looked.wait()
        try:
            return other()
        finally:
            done.comes()

    with monkeypatch.context() as patch:
        patch.setattr(forgetting, "_reasons", look)
        return at_once([forget, beside])


def whole(phase):
    """The course is on record in this phase, its log says so, and its flags agree."""
    record = CoursePhase.objects.get(course_id=COURSE)
    toggles.new_work_cycle()
    decision = toggles.phase_of(COURSE)
    assert (record.phase, decision.phase, decision.drift) == (phase, phase, False)
    assert PhaseChange.objects.latest("id").step_to == phase
    assert api.audit([COURSE]).content["whole"]
    return True


@pytest.mark.usefixtures("course")
def test_a_submission_that_comes_in_between_has_its_record_and_its_shadow(monkeypatch):
    """Somebody has just turned the flag on by hand."""
    rows.in_phase("legacy")

    def submit():
        by_hand()
        return [send(submission(number))[0] for number in (1, 2)]

    removed, answers = in_between(monkeypatch, submit)
    assert (removed, answers) == (True, [0, 0])
    assert whole("shadow")
    found = holdings()
    assert len(found.legacy_live) == len(found.ledger) == 2
    outbox.drain()
    assert sorted(holdings().shadows) == sorted(f"shadow:{submission(number).identity}" for number in (1, 2))
    assert rows.reconcile()[0].exit_code == ExitCode.OK


def test_a_step_that_comes_in_between_is_taken(monkeypatch):
    rows.in_phase("legacy")
    assert in_between(monkeypatch, step) == [True, True]
    assert whole("shadow")
    assert PhaseChange.objects.count() == 1


def test_a_gate_that_comes_in_between_is_asked_all_the_same(monkeypatch):
    rows.in_phase("legacy")
    removed, verdict = in_between(monkeypatch, lambda: int(api.gate(COURSE).exit_code))
    assert (removed, verdict) == (True, ExitCode.DIFFERENCES | ExitCode.STALE)
    assert CoursePhase.objects.get(course_id=COURSE).phase == "legacy"


@pytest.mark.skipif(connection.vendor != "mysql", reason="SQLite lets nobody write beside a transaction that has read")
def test_a_record_is_made_again_though_the_callers_transaction_still_sees_the_one_that_was_removed():
    """Under REPEATABLE READ a look finds the old one for as long as the transaction lasts."""
    rows.in_phase("legacy")
    seen, removed = Turn(), Turn()

    def submit():
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        with transaction.atomic():
            before = CoursePhase.objects.get(course_id=COURSE).pk
            seen.comes()
            assert removed.wait()
            return permits.locked(COURSE).pk != before

    def remove():
        assert seen.wait()
        found = forget()
        removed.comes()
        return found

    assert at_once([submit, remove]) == [True, True]
    assert CoursePhase.objects.count() == 1


@pytest.mark.usefixtures("course")
@pytest.mark.parametrize("number", range(8))
def test_whichever_comes_first_all_that_was_done_is_there(number):
    """Without a director: a removal, a step or a flag, a gate and learners, all at once."""
    rows.in_phase("legacy")
    begins = step if number % 2 else by_hand
    found = at_once(
        [
            forget,
            lambda: [begins(), send(submission(1))[0]][1],
            lambda: int(api.gate(COURSE).exit_code),
            lambda: [send(submission(learner))[0] for learner in (2, 3)],
        ]
    )
    removed, one, verdict, others = found
    assert (one, others) == (0, [0, 0])
    assert removed in (True, False)
    assert verdict == ExitCode.DIFFERENCES | ExitCode.STALE
    toggles.new_work_cycle()
    toggles.phase_of(COURSE)  # as the next submission does
    assert whole("shadow")
    assert PhaseChange.objects.count() == 1
    assert len(holdings().legacy_live) == 3
    assert len(holdings().ledger) >= 1
    assert Run.objects.filter(kind="forget", finished_at=None).count() == 0


@pytest.mark.skipif(connection.vendor != "mysql", reason="SQLite has no isolation levels")
@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ"])
def test_a_record_that_only_the_past_of_a_transaction_has_is_made_again(isolation):
    """An LMS's request has read it, it is removed, and the request asks for its lock: once, and not for ever."""
    rows.in_phase("legacy")

    def remove():
        CoursePhase.objects.all().delete()
        connection.close()

    asked = []

    def count(execute, *statement):
        asked.append(statement[0])
        assert len(asked) < 10, asked[-2:]
        return execute(*statement)

    with connection.cursor() as cursor:
        cursor.execute(f"SET SESSION TRANSACTION ISOLATION LEVEL {isolation}")
    try:
        with transaction.atomic():
            assert CoursePhase.objects.get().phase == "legacy"
            other = Thread(target=remove)
            other.start()
            other.join(SECONDS)
            with connection.execute_wrapper(count):
                assert permits.locked(COURSE).course_id == COURSE
    finally:
        connection.close()
    assert CoursePhase.objects.get().course_id == COURSE
