"""Steps taken at once, in processes of their own: one wins and the others are told, and no log forks or waits."""

import threading
import time

import pytest
from django.db import connection, connections, transaction
from submissions.models import StudentItem

from migration_shim import api, toggles
from migration_shim.core.data import Phase
from migration_shim.core.errors import IllegalStep
from migration_shim.core.phases import flags_of
from migration_shim.ledger import permits
from migration_shim.models import CoursePhase, FlagOverride, GateOverride, PhaseChange
from tests.builders import rows
from tests.builders.overrides import passing, signer, step_past_gate
from tests.builders.rows import COURSE, clean_course, fresh  # noqa: F401
from tests.cutover.forks import at_once

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)
COURSES = [f"course-v1:ExU+C{number}+2026" for number in range(4)]


def step(to, course=COURSE, past_gate=False, **how):
    if past_gate:
        return step_past_gate(course, to, user="ada").content["executed"]
    who = {"reason": "r", "execute": True, "user": "ada", "login": None} | how
    document = api.cutover(course, to, **who)
    return document.content["executed"]


def fits(course=COURSE):
    """Flags, record and log agree, and the log is whole; the phase."""
    toggles.new_work_cycle()
    decision = toggles.phase_of(course)
    assert not decision.drift
    assert toggles.flags_for(course) == flags_of(decision.phase)
    assert PhaseChange.objects.filter(course_id=course).latest("id").step_to == decision.phase
    assert api.audit([course]).content["broken"] == 0
    return decision.phase


@pytest.mark.parametrize("known", [False, True])
def test_of_operators_who_take_the_same_step_one_does_and_the_others_are_told(known):
    if known:
        rows.in_phase("legacy")
    found = at_once([lambda: step(Phase.SHADOW)] * 4)
    assert found.count(True) == 1
    assert [answer for answer in found if answer is not True] == [
        ["IllegalStep", f"{COURSE} is in phase shadow already."]
    ] * 3
    assert fits() is Phase.SHADOW
    assert PhaseChange.objects.count() == 1
    assert FlagOverride.objects.count() == 2


def test_of_operators_who_go_different_ways_each_that_went_was_allowed_to():
    step(Phase.SHADOW)
    step(Phase.LIVE, past_gate=True)
    found = at_once([lambda: step(Phase.LEGACY), lambda: step(Phase.SHADOW)] * 2)
    fits()
    taken = list(PhaseChange.objects.order_by("id").values_list("step_from", "step_to"))[2:]
    assert len(taken) == found.count(True) >= 1
    allowed = {("live", "legacy"), ("live", "shadow"), ("shadow", "legacy"), ("legacy", "shadow")}
    assert set(taken) <= allowed
    assert taken[0][0] == "live"
    assert [before[1] for before in taken[:-1]] == [after[0] for after in taken[1:]]
    assert {answer[0] for answer in found if answer is not True} <= {"IllegalStep"}


def test_courses_that_step_at_once_do_not_disturb_each_other():
    def to_and_fro(course):
        return lambda: [step(to, course) for _ in range(4) for to in (Phase.SHADOW, Phase.LEGACY)]

    found = at_once([to_and_fro(course) for course in COURSES])
    assert found == [[True] * 8] * 4
    for course in COURSES:
        assert fits(course) is Phase.LEGACY
        places = PhaseChange.objects.filter(course_id=course).order_by("id").values_list("position", flat=True)
        assert list(places) == list(range(1, 9))


def test_of_two_overrides_at_once_one_takes_the_step():
    step(Phase.SHADOW)
    signer()
    found = at_once([lambda: step(Phase.LIVE, past_gate=True)] * 4)
    assert found.count(True) == 1
    assert [answer[0] for answer in found if answer is not True] == ["IllegalStep"] * 3
    assert fits() is Phase.LIVE
    assert GateOverride.objects.count() == 1


def test_of_two_that_propose_at_once_neither_takes_the_step_alone(settings):
    """Whoever comes second signs what the first has proposed, if that is another person."""
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"OVERRIDE_NEEDS_SECOND": True}
    step(Phase.SHADOW)
    signer("ada")
    signer("grace")
    found = at_once([lambda: step_past_gate(COURSE, Phase.LIVE, login="ada").content["executed"]] * 2)
    assert found.count(False) == 1 and [one[0] for one in found if one is not False] == ["IllegalStep"]
    assert fits() is Phase.SHADOW
    found = at_once([lambda: step_past_gate(COURSE, Phase.LIVE, login="grace").content["executed"]] * 2)
    assert found.count(True) == 1
    assert fits() is Phase.LIVE
    [override] = GateOverride.objects.all()
    assert (override.signed_by, override.seconded_by) == ("ada", "grace")


def test_an_override_waits_for_a_reconcile_that_stores_a_leak_and_is_refused():
    if connection.vendor == "sqlite":
        pytest.skip("SQLite's transactions here begin with the lock: nobody steps beside one")
    step(Phase.SHADOW)
    signer()
    request, answers = passing(COURSE, Phase.LIVE), []
    asked = threading.Event()

    def override():
        asked.set()
        try:
            answers.append(step(Phase.LIVE, override=request, login="ada"))
        except IllegalStep as error:
            answers.append(str(error))

    with transaction.atomic():
        permits.lock([COURSE])  # as whoever stores a leak does
        CoursePhase.objects.filter(course_id=COURSE).update(fence_leaks=1)
        stepping = threading.Thread(target=elsewhere, args=(override,))
        stepping.start()
        assert asked.wait(60)
        stepping.join(2)
        assert stepping.is_alive()  # it waits for the lock
    stepping.join(60)
    [answer] = answers
    assert "1 fence leak " in str(answer) and "no override passes that" in answer
    assert fits() is Phase.SHADOW
    assert not GateOverride.objects.exists()


def test_an_override_beside_a_reconcile_that_finds_a_leak_is_refused_whichever_comes_first():
    step(Phase.SHADOW)
    signer()
    rows.legacy_row(1)
    rows.backfill(execute=True)
    StudentItem.objects.update(student_id=rows.anonymous_id(1))  # half a fence, which a step sees by itself
    found = at_once([lambda: step(Phase.LIVE, past_gate=True), lambda: bool(rows.reconcile())])
    assert found[1] is True
    assert found[0][0] == "IllegalStep" and "fence leak" in found[0][1]
    assert fits() is Phase.SHADOW


def test_submissions_beside_a_cutover_write_nothing_into_the_log():
    """They read the flags and the record apart, and the step may come between the two."""

    def submissions():
        for _ in range(150):
            toggles.new_work_cycle()
            toggles.phase_of(COURSE)
        return True

    def operator():
        return [step(to) for _ in range(4) for to in (Phase.SHADOW, Phase.LEGACY)]

    found = at_once([submissions, submissions, operator])
    assert found == [True, True, [True] * 8]
    assert set(PhaseChange.objects.values_list("changed_by", flat=True)) == {"ada"}
    assert fits() is Phase.LEGACY


def test_flags_that_a_request_has_read_before_the_step_do_not_undo_it():
    step(Phase.SHADOW)
    toggles.new_work_cycle()
    assert toggles.flags_for(COURSE) == (True, False)  # kept for the rest of the request
    assert at_once([lambda: step(Phase.LIVE, past_gate=True)]) == [True]
    assert toggles.flags_for(COURSE) == (True, False)
    assert toggles.phase_of(COURSE).phase is Phase.LIVE
    assert fits() is Phase.LIVE
    assert PhaseChange.objects.count() == 2


@pytest.mark.parametrize("steps", [[Phase.LIVE], [Phase.LEGACY]])
def test_a_submission_in_a_transaction_that_began_before_the_step_does_not_undo_it(steps):
    """It sees flags that nobody has recorded yet; meanwhile they are recorded, and an operator goes on from there."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite's transactions here begin with the lock: nobody steps beside one")
    rows.in_phase("legacy")
    toggles.force_flags(COURSE, True, False)
    with connection.cursor() as cursor:  # Django asks for read committed; an LMS may be told otherwise
        cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    with transaction.atomic():
        toggles.new_work_cycle()
        assert toggles.flags_for(COURSE) == (True, False)  # what the transaction sees from here on
        stepped = threading.Thread(target=elsewhere, args=(lambda: [step(to, past_gate=True) for to in steps],))
        stepped.start()
        stepped.join()
        toggles.new_work_cycle()
        assert toggles.phase_of(COURSE).phase is steps[-1]
    connection.close()
    assert fits() is steps[-1]
    log = list(PhaseChange.objects.order_by("id").values_list("changed_by", "step_to"))
    assert log == [("flag", "shadow"), *(("ada", to) for to in steps)]


def elsewhere(action):
    try:
        action()
    finally:
        connections.close_all()


@pytest.mark.parametrize(
    ("flags", "permitted", "phase"),
    [((False, False), None, Phase.LEGACY), ((True, True), "live", Phase.SHADOW), ((True, True), None, Phase.SHADOW)],
)
def test_a_submission_waits_for_nobody(flags, permitted, phase):
    """Somebody holds the course's row: towards legacy the flags are obeyed, what the target gains from has to wait."""
    if not connection.features.has_select_for_update_nowait:
        pytest.skip("this database has no lock that one row could be held by")
    step(Phase.SHADOW)
    toggles.force_flags(COURSE, *flags)
    if permitted:
        rows.permitted(permitted)
    held, done = threading.Event(), threading.Event()

    def hold():
        with transaction.atomic():
            CoursePhase.objects.select_for_update().get(course_id=COURSE)
            held.set()
            done.wait(60)

    holder = threading.Thread(target=elsewhere, args=(hold,))
    holder.start()
    assert held.wait(60)
    started = time.monotonic()
    toggles.new_work_cycle()
    decision = toggles.phase_of(COURSE)
    seconds = time.monotonic() - started
    done.set()
    holder.join()
    assert decision.phase is phase
    assert seconds < 20  # InnoDB's patience with a lock is 50
    assert PhaseChange.objects.count() == 1
    toggles.new_work_cycle()
    asked = toggles.phase_of(COURSE).phase
    assert asked is (Phase.LIVE if permitted else phase)
    assert PhaseChange.objects.count() == (1 if asked is Phase.SHADOW else 2)
    assert api.audit([COURSE]).content["broken"] == 0
