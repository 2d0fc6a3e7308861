"""Each bound broken by real rows: found by a round, said, signalled; and what is not one is not said."""

import logging
from datetime import timedelta

import pytest
from django.db import OperationalError
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail, StudentItem

from migration_shim.core.data import ExitCode
from migration_shim.models import LedgerEntry, LegacySubmission
from migration_shim.reports import terminal
from migration_shim.signals import course_out_of_bounds
from tests.builders import live_courses as world
from tests.builders import rows
from tests.builders.live_courses import LONG
from tests.builders.rows import COURSE, QUEUE
from tests.schemas import validate

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])


def shadowed(user=7, **options):
    """A legacy row of a course in shadow, with its shadow."""
    row = rows.legacy_row(user, **options)
    rows.backfill()
    return row


def leaking_shadow():
    world.stand("shadow")
    shadowed()
    StudentItem.objects.update(student_id=rows.anonymous_id(7))


def leaking_reverse_shadow():
    world.stand("live")
    world.pair(8)
    rows.legacy_row(7, queue=world.REVERSE)


def double_authority():
    world.stand("live")
    world.pair(7)
    LedgerEntry.objects.update(double_authority=True)


def lost():
    world.stand("shadow")
    shadowed()
    rows.reconcile()
    LegacySubmission.objects.all().delete()


def overdue_on_the_target():
    world.stand("live")
    entry = world.live()
    world.reverse(entry, **rows.graded())
    # Somebody else's result of a moment ago: the queue is not stuck.
    world.grade_target(world.live(8, problem="b" * 32, age=timedelta(minutes=1)), ago=timedelta(0))


def overdue_reverse_shadow():
    world.stand("live")
    entry = world.live()
    world.reverse(entry)
    world.grade_target(entry)


def missing_reverse_shadow():
    world.stand("live")
    world.grade_target(world.live())


def overdue_shadow():
    world.stand("shadow")
    row = shadowed(age=LONG)
    rows.change([row], **rows.graded(ago=timedelta(minutes=100)))


def diverging():
    world.stand("live")
    for user in range(1, 4):
        world.pair(user, legacy=rows.RIGHT, target=rows.WRONG)


def failing_for_good():
    """The target stores no grade: that is how it fails where graders answer well."""
    world.stand("live")
    for user in range(1, 4):
        entry = world.live(user)
        world.reverse(entry, **rows.graded())
        ExternalGraderDetail.objects.filter(submission_id=entry.target_submission_id).update(
            status="failed", status_time=now() - timedelta(minutes=30)
        )


def stuck_queue():
    world.stand("live")
    world.live()


def stuck_shadows():
    world.stand("shadow")
    shadowed()
    LedgerEntry.objects.update(created_at=now() - LONG)


def stuck_after_the_way_back():
    world.stand("live")
    world.live()
    world.stand("legacy")


PLANTED = {
    # how a course gets there: the bounds that it is out of, and whether that is the target's failure
    leaking_shadow: (["fence_leak"], True),
    leaking_reverse_shadow: (["fence_leak"], False),
    double_authority: (["double_authority"], False),
    lost: (["lost"], False),
    overdue_on_the_target: (["overdue"], False),  # one row is no failure of the target's
    overdue_reverse_shadow: (["copies_overdue"], False),
    missing_reverse_shadow: (["copies_overdue"], False),
    overdue_shadow: (["copies_overdue"], False),
    diverging: (["divergence", "divergence"], False),  # the course and its problem; too few pairs to move for
    failing_for_good: (["divergence", "divergence", "failed"], False),
    stuck_queue: (["copies_overdue", "stuck_queue"], True),
    stuck_shadows: (["stuck_queue"], False),
    stuck_after_the_way_back: (["stuck_queue"], False),
}


def said(caplog):
    """What the guard has logged."""
    return [record.getMessage() for record in caplog.records if record.name == "migration_shim.watch.guard"]


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_breach_is_found_and_said(plant, caplog):
    plant()
    told = []

    def receiver(**kwargs):
        told.append(kwargs)

    course_out_of_bounds.connect(receiver)
    try:
        with caplog.at_level(logging.ERROR, "migration_shim.watch.guard"):
            document = world.round_of()
    finally:
        course_out_of_bounds.disconnect(receiver)
    content = validate(document.content)
    bounds, failed = PLANTED[plant]
    course = world.course_of(content)
    assert sorted(world.bounds_of(content)) == sorted(bounds), course
    assert any(breach["target_failed"] for breach in course["breaches"]) == failed
    assert bool(course["not_stepped_back"]) == failed
    assert document.exit_code == ExitCode.DIFFERENCES, content["problems"]
    (call,) = told
    assert (call["course_id"], call["phase"], call["stepped_back"]) == (COURSE, course["phase"], False)
    assert call["breaches"] == course["breaches"]
    (line,) = said(caplog)
    assert COURSE in line
    assert all(bound in line for bound in bounds)
    assert not any(rows.anonymous_id(user) in line + str(content) for user in range(1, 9))
    assert "BREACH" in terminal.render(content)


def test_a_course_within_its_bounds_is_quiet(caplog):
    world.stand("live")
    for user in range(1, 4):
        world.pair(user)
    with caplog.at_level(logging.ERROR, "migration_shim.watch.guard"):
        document = world.round_of()
    assert (document.exit_code, world.bounds_of(document.content)) == (ExitCode.OK, [])
    assert world.course_of(document.content)["reconcile"]["equal"] == 3
    assert said(caplog) == []


def test_what_came_before_the_phase_is_not_held_against_it():
    """Pairs that diverged, rows that were overdue and a row that waited, all from before the course was put back."""
    world.stand("live")
    for user in range(1, 4):
        world.pair(user, target=rows.WRONG)
    world.reverse(world.live(5), **rows.graded())
    assert {"divergence", "overdue", "stuck_queue"} <= set(world.bounds_of(world.watch()))
    world.stand("live", since=timedelta(minutes=1))
    assert world.bounds_of(world.watch()) == []


def test_a_row_that_a_handoff_has_just_released_has_not_waited_since_it_arrived():
    world.stand("live")
    entry = world.live()
    LedgerEntry.objects.update(move="watched", moved_at=now() - timedelta(minutes=1), legacy_leg="stored")
    assert "stuck_queue" not in world.bounds_of(world.watch())
    LedgerEntry.objects.filter(pk=entry.pk).update(moved_at=now() - LONG)
    assert "stuck_queue" in world.bounds_of(world.watch())


def test_a_queue_that_gives_results_is_not_stuck():
    world.stand("live")
    world.live()
    world.grade_target(world.live(8, problem="b" * 32), ago=timedelta(minutes=5))
    assert "stuck_queue" not in world.bounds_of(world.watch())
    assert LedgerEntry.objects.filter(queue_name=QUEUE).count() == 2


def test_a_receiver_that_raises_stops_nothing(caplog):
    stuck_queue()

    def broken(**kwargs):
        raise KeyError(rows.anonymous_id(7))

    course_out_of_bounds.connect(broken)
    try:
        document = world.round_of()
    finally:
        course_out_of_bounds.disconnect(broken)
    assert document.exit_code == ExitCode.DIFFERENCES
    assert said(caplog)[-1] == "migration_shim.receiver_failed: the receiver broken failed: KeyError"


def test_a_comparison_that_failed_leaves_the_rest_of_the_guard(monkeypatch):
    """Legacy's database is down: what the ledger knew of it is old, what waits on the target is not."""
    diverging()
    world.live(9, problem="b" * 32)
    monkeypatch.setattr("migration_shim.reconcile.run", lambda *a, **k: (_ for _ in ()).throw(OperationalError("x")))
    document = world.round_of()
    assert document.exit_code == ExitCode.DIFFERENCES | ExitCode.ERROR
    assert document.content["problems"] == [{"step": "reconcile", "course": COURSE, "said": "OperationalError"}]
    course = world.course_of(document.content)
    assert (course["reconcile"], world.bounds_of(document.content)) == (None, ["stuck_queue"])
