"""The one step back: only when the target has failed, when it is asked for, and onto an XQueue that answers."""

from datetime import timedelta

import pytest
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail, StudentItem

from migration_shim import toggles
from migration_shim.core.data import ExitCode
from migration_shim.models import CoursePhase, PhaseChange
from migration_shim.reports import terminal
from sandbox.network import free_port
from tests.builders import live_courses as world
from tests.builders import rows
from tests.builders.rows import COURSE
from tests.builders.xqueue_server import recording_lms, start_xqueue, xqueue_server  # noqa: F401
from tests.schemas import validate

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
shared = pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)


@pytest.fixture
def answering(shim, xqueue_server):  # noqa: F811
    """XQueue answers, and the watch may step back."""
    shim(LEGACY_URL=xqueue_server.url, WATCH_STEP_BACK=True)
    return shim


def stuck(user=7):
    """The target's graders are gone; a learner waits."""
    entry = world.live(user)
    world.reverse(entry, **rows.graded())
    return entry


@shared
def test_a_course_that_the_target_fails_is_stepped_back_once(answering):
    world.stand("live")
    stuck()
    document = world.round_of()
    course = world.course_of(validate(document.content))
    assert document.exit_code == ExitCode.DIFFERENCES, document.content["problems"]
    assert (course["stepped_back"], course["phase"]) == (True, "legacy")
    assert (world.phase_of(), toggles.flags_for(COURSE)) == ("legacy", (False, False))
    change = PhaseChange.objects.get()
    assert (change.step_from, change.step_to, change.changed_by) == ("live", "legacy", "xqueue_watch")
    assert "queue exu-py1 on target: 1 submission waits" in change.reason
    # What is in flight stays with the target's graders until an operator decides; the way back is said.
    assert document.content["next"] == [f"xqueue_backfill --mode return --course {COURSE} --execute"]
    assert ExternalGraderDetail.objects.get().status == "pending"
    assert "STEPPED BACK to legacy" in terminal.render(document.content)
    again = world.watch()
    assert not world.course_of(again)["stepped_back"]
    assert again["next"] == document.content["next"]
    assert PhaseChange.objects.count() == 1


@shared
def test_the_same_evidence_steps_no_course_back_twice(answering):
    answering(GATE_MIN_PAIRS_PER_PROBLEM=4)
    world.stand("live")
    stuck()
    for user in range(20, 24):
        world.pair(user, target=rows.WRONG)
    assert world.course_of(world.watch())["stepped_back"]
    world.stand("live", since=timedelta(0))  # an operator has mended it, as far as he knows
    course = world.course_of(world.watch())
    assert (course["breaches"], course["stepped_back"], world.phase_of()) == ([], False, "live")
    entry = stuck(8)
    CoursePhase.objects.update(since=entry.arrived_at - timedelta(seconds=1))
    assert world.course_of(world.watch())["stepped_back"]


@shared
@pytest.mark.parametrize("phase", ["live", "complete"])
def test_divergence_moves_a_course_only_on_enough_pairs(answering, phase):
    answering(GATE_MIN_PAIRS_PER_PROBLEM=4)
    world.stand("live")
    for user in range(1, 4):
        world.pair(user, target=rows.WRONG)
    world.stand(phase)
    course = world.course_of(world.watch())
    assert {breach["bound"] for breach in course["breaches"]} == {"divergence"}
    assert not course["stepped_back"]
    world.stand("live")
    world.pair(20, target=rows.WRONG)
    world.stand(phase)
    assert world.course_of(world.watch())["stepped_back"]


@shared
def test_overdue_rows_move_a_course_above_the_limit(answering):
    answering(WATCH_OVERDUE_LIMIT=2)
    world.stand("live")
    world.pair(1)
    world.grade_target(world.live(2), ago=timedelta(0))  # the queue gives results
    stuck(3)
    stuck(4)
    course = world.course_of(world.watch())
    assert ("overdue", False) in [(breach["bound"], breach["target_failed"]) for breach in course["breaches"]]
    assert not course["stepped_back"]
    stuck(5)
    assert world.course_of(world.watch())["stepped_back"]


@shared
def test_reverse_shadows_alone_never_move_a_course(answering):
    """XQueue's graders are down, or it lost rows: its own failure is no reason to give it the learners."""
    answering(WATCH_OVERDUE_LIMIT=0)
    world.stand("live")
    for user in range(1, 7):
        entry = world.live(user)
        if user % 2:
            world.reverse(entry)
        world.grade_target(entry, ago=timedelta(minutes=100))
    course = world.course_of(world.watch())
    (breach,) = course["breaches"]
    assert (breach["bound"], breach["rows"], breach["target_failed"]) == ("copies_overdue", 6, False)
    assert (course["stepped_back"], course["not_stepped_back"], world.phase_of()) == (False, "", "live")
    assert not PhaseChange.objects.exists()


@shared
def test_a_leak_ends_the_copies_and_the_same_leak_ends_them_once(answering):
    world.stand("shadow")
    for user in (7, 8):
        rows.legacy_row(user)
    rows.backfill()
    StudentItem.objects.filter(student_id__endswith="7").update(student_id=rows.anonymous_id(7))
    assert world.course_of(world.watch())["stepped_back"]
    assert "could reach a learner's grade" in PhaseChange.objects.get().reason
    world.stand("shadow", since=timedelta(0))
    course = world.course_of(world.watch())
    assert ([breach["bound"] for breach in course["breaches"]], course["stepped_back"]) == (["fence_leak"], False)
    StudentItem.objects.filter(student_id__endswith="8").update(student_id=rows.anonymous_id(8))
    assert world.course_of(world.watch())["stepped_back"]


REFUSALS = {
    "nobody listens": ({"LEGACY_URL": f"http://127.0.0.1:{free_port()}"}, "cannot connect to server"),
    "no login": ({"LEGACY_PASSWORD": "wrong"}, "Incorrect login credentials"),
    "not asked for": ({"WATCH_STEP_BACK": False}, "WATCH_STEP_BACK is off"),
}


@shared
@pytest.mark.parametrize(("change", "said"), REFUSALS.values(), ids=REFUSALS)
def test_a_course_stays_where_legacy_does_not_answer(answering, change, said):
    world.stand("live")
    stuck()
    answering(**change)
    document = world.round_of()
    course = world.course_of(document.content)
    assert (course["stepped_back"], world.phase_of()) == (False, "live")
    assert said in course["not_stepped_back"]
    assert document.exit_code == ExitCode.DIFFERENCES, document.content["problems"]
    assert document.content["next"] == []  # nothing goes back to legacy while the target is authoritative
    assert not PhaseChange.objects.exists()


@shared
def test_a_course_stays_where_xqueue_does_not_know_one_of_its_queues(answering):
    world.stand("live")
    stuck()
    world.live(8, queue="no-such-queue", problem="b" * 32, age=timedelta(minutes=1))
    course = world.course_of(world.watch())
    assert not course["stepped_back"]
    assert "queue no-such-queue" in course["not_stepped_back"]


@shared
def test_a_course_that_somebody_moves_meanwhile_is_left_alone(answering, monkeypatch):
    world.stand("live")
    stuck()

    def refusal(client, queue):
        CoursePhase.objects.update(since=now())
        return ""

    monkeypatch.setattr("migration_shim.legacy.client.LegacyClient.refusal", refusal)
    course = world.course_of(world.watch())
    assert course["not_stepped_back"] == "somebody has moved the course meanwhile"
    assert not PhaseChange.objects.exists()


@shared
def test_a_step_is_recorded_whole_or_not_at_all(answering, monkeypatch):
    """Killed at the end of the step: flags, log and the guard's memory are of before, and the next round takes it."""
    world.stand("live")
    stuck()

    class Killed(BaseException):
        pass

    def killed(*args, **kwargs):
        raise Killed

    monkeypatch.setattr("migration_shim.watch.step_back.Checkpoint.objects.update_or_create", killed)
    with pytest.raises(Killed):
        world.watch()
    assert (world.phase_of(), world.recorded()) == ("live", "live")
    assert not PhaseChange.objects.exists()
    monkeypatch.undo()
    assert world.course_of(world.watch())["stepped_back"]
