"""A round: every step does its part, none holds up another, and it may be killed, stopped, repeated and raced."""

import contextlib
import json
import os
import signal
import threading
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.db import OperationalError, connections
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail, get_storage
from waffle.models import Switch

from migration_shim import api, tasks, toggles
from migration_shim.backfill import unfinished
from migration_shim.backfill.give_back import run as give_back
from migration_shim.backfill.handoff import run as handoff
from migration_shim.backfill.request import Mode, Request
from migration_shim.copies import publish
from migration_shim.copies import write as copies
from migration_shim.core.data import ExitCode
from migration_shim.core.errors import LegacyNotWritable, RunLocked
from migration_shim.ledger import site_courses
from migration_shim.models import CoursePhase, LedgerEntry, LegacySubmission, Run
from migration_shim.reports import terminal
from migration_shim.retention import purge, user_retirement
from migration_shim.runs import records as runs
from migration_shim.runs.control import Control
from migration_shim.watch import repair
from migration_shim.watch import round as watch
from tests.builders import live_courses as world
from tests.builders import rows
from tests.builders import slow_commands as processes
from tests.builders.rows import COURSE
from tests.schemas import validate

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
shared = pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)
SHADOWED, BACK, OTHER = ("course-v1:ExU+SHADOW+1", "course-v1:ExU+BACK+1", "course-v1:ExU+OTHER+1")


class Killed(BaseException):
    """What a kill is to the code: nothing below it catches this."""


def die(*args, **kwargs):
    raise Killed


def hand_off_and_die(monkeypatch, fenced):
    """A handoff that is killed with its row held, before or after it fenced legacy's."""
    original = handoff.fence

    def dying(*args):
        if fenced:
            original(*args)
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(handoff, "fence", dying)
        handoff.run(Request(mode=Mode.HANDOFF, execute=True), rows.ignore)
    Run.objects.all().delete()


def held(monkeypatch, course=COURSE, user=7, *, fenced=True):
    """A row that a killed handoff has left; the course is live."""
    world.stand("live", course)
    row = rows.legacy_row(user, course=course)
    hand_off_and_die(monkeypatch, fenced)
    assert LedgerEntry.objects.get(course_id=course).move == ("fenced" if fenced else "held")
    return row


def returning(monkeypatch, course=BACK, user=8):
    """A return that was killed between the target's fence and legacy's row; the course is in legacy."""
    world.stand("live", course)
    entry = world.live(user, course=course)
    world.stand("legacy", course)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("migration_shim.backfill.give_back.steps._write", die)
        give_back.run(Request(mode=Mode.RETURN, courses=frozenset([course]), execute=True), rows.ignore)
    Run.objects.all().delete()
    entry.refresh_from_db()
    assert entry.move == "returning"
    return entry


def owed_shadow(course=SHADOWED, user=9):
    """A submission of a course in shadow whose copy got lost."""
    world.stand("shadow", course)
    row = rows.legacy_row(user, course=course)
    rows.backfill(courses=frozenset([course]))
    entry = LedgerEntry.objects.get(legacy_id=row.pk)
    ExternalGraderDetail.objects.get(submission_id=entry.target_submission_id).submission.delete()
    LedgerEntry.objects.filter(pk=entry.pk).update(
        target_leg="missing", target_submission_id=None, created_at=now() - timedelta(hours=1)
    )
    return row


# What a killed command has left


def test_a_held_row_is_finished_step_by_step(monkeypatch):
    row = held(monkeypatch)
    moves, counts = [], []
    for _ in range(2):
        course = world.course_of(world.watch())
        counts.append(course["handoff"])
        moves.append(LedgerEntry.objects.get().move)
    assert moves == ["released", "watched"]
    assert counts == [{"released": 1}, {"watched": 1}]
    assert world.course_of(world.watch())["handoff"] == {}
    row.refresh_from_db()
    assert row.retired
    assert ExternalGraderDetail.objects.get().queue_name == rows.QUEUE


def test_a_row_that_was_not_fenced_yet_stays_with_legacy(monkeypatch):
    row = held(monkeypatch, fenced=False)
    assert world.course_of(world.watch())["handoff"] == {"dropped": 1}
    row.refresh_from_db()
    assert not row.retired
    assert not ExternalGraderDetail.objects.exists()


def test_a_row_on_its_way_back_gets_there(monkeypatch):
    entry = returning(monkeypatch)
    assert not LegacySubmission.objects.exists()
    course = world.course_of(world.watch(), BACK)
    assert course["return"] == {"inserted": 1}
    assert LegacySubmission.objects.get().xqueue_header == entry.raw_header
    assert world.course_of(world.watch(BACK), BACK)["return"] == {}


@pytest.mark.parametrize("make", [held, returning])
def test_the_kill_switch_stops_neither(make, monkeypatch):
    make(monkeypatch)
    Switch.objects.create(name="migration_shim.kill_switch", active=True)
    cache.clear()  # django-waffle empties it on commit
    content = validate(world.watch())
    assert content["kill_switch"]
    (course,) = content["courses"]
    assert {**course["handoff"], **course["return"]} in ({"released": 1}, {"inserted": 1})
    assert "The kill switch is on" in terminal.render(content)


def test_one_row_that_cannot_be_finished_holds_up_no_other(monkeypatch):
    held(monkeypatch)
    rows.legacy_row(8)
    with monkeypatch.context() as patch:
        patch.setattr(unfinished.handoff_finish, "finish", lambda *args: unfinished.handoff_finish.Done.WAITING)
        hand_off_and_die(monkeypatch, True)
    first = LedgerEntry.objects.order_by("id").first()
    original = unfinished.handoff_finish.finish

    def finish(entry, *args):
        if entry.pk == first.pk:
            raise LegacyNotWritable
        return original(entry, *args)

    monkeypatch.setattr(unfinished.handoff_finish, "finish", finish)
    document = world.round_of()
    course = world.course_of(document.content)
    assert course["handoff"] == {"failed_LegacyNotWritable": 1, "released": 1}
    monkeypatch.setattr(unfinished, "FAILED_LIMIT", 1)
    document = world.round_of()
    assert document.content["problems"][0]["step"] == "handoff"
    assert document.exit_code & ExitCode.ERROR


# Copies that are owed


def test_a_lost_shadow_is_written(monkeypatch):
    owed_shadow()
    content = validate(world.watch())
    assert content["outbox"] == {"shadow_done": 1}
    assert LedgerEntry.objects.get().target_leg == "stored"
    assert validate(world.watch())["outbox"] == {}
    assert "Owed by the outbox: 1 shadow_done" in terminal.render(content)


def test_a_shadow_is_owed_in_whatever_phase_its_course_is_by_now():
    owed_shadow()
    world.stand("legacy", SHADOWED)
    assert world.watch()["outbox"] == {"shadow_done": 1}
    assert LedgerEntry.objects.get().target_leg == "stored"


def test_a_missing_reverse_shadow_is_written_here(monkeypatch):
    world.stand("live")
    entry = world.live()
    monkeypatch.setattr(copies.LegacyClient, "submit", lambda *args, **options: (0, "queued"))
    assert world.course_of(world.watch())["reverse"] == {"owed": 1, "started": 1}
    entry.refresh_from_db()
    assert entry.legacy_leg == "stored"


def test_an_open_breaker_leaves_them_to_a_later_round(monkeypatch, shim):
    """XQueue is down: after so many failures nobody waits for it again in this round."""
    shim(BREAKER_FAILURES=2)
    world.stand("live")
    for user in range(1, 6):
        world.live(user)
    assert world.course_of(world.watch())["reverse"] == {"owed": 5, "started": 2}
    assert LedgerEntry.objects.filter(legacy_leg="failed").count() == 2


def test_an_older_attempt_waits_for_the_newer_ones_grade(monkeypatch):
    """Written now, its reverse shadow would have XQueue retire that of the newer attempt."""
    world.stand("live")
    older = world.live(7, answer="1", age=timedelta(hours=3))
    newer = world.live(7, answer="2")
    # No worker asks the learner's state meanwhile which of them is replaced: on a slow machine its time comes here.
    LedgerEntry.objects.update(superseded_at=None, supersession_due=None)
    row = world.reverse(newer)
    sent = []
    answer = lambda self, header, *args, **options: sent.append(options["correlation"]) or (0, "1")  # noqa: E731
    monkeypatch.setattr(copies.LegacyClient, "submit", answer)
    world.watch()
    assert sent == []
    rows.change([row], **rows.graded())
    world.watch()
    LedgerEntry.objects.filter(copy_due__isnull=False).update(copy_due=now())
    world.watch()
    assert sent == [older.identity[:16]]


# What goes wrong


def test_what_one_course_cannot_do_stops_no_other(monkeypatch):
    held(monkeypatch)
    world.stand("live", OTHER)
    world.live(8, course=OTHER)

    def refused():
        raise LegacyNotWritable("no")

    monkeypatch.setattr(unfinished.privileges, "check_may_update", refused)
    document = world.round_of()
    assert document.content["problems"] == [
        {"step": "handoff", "course": COURSE, "said": "LegacyNotWritable: no"},
    ]
    assert document.exit_code == ExitCode.ERROR | ExitCode.DIFFERENCES
    assert world.course_of(document.content)["reconcile"]["complete"]
    assert "stuck_queue" in world.bounds_of(document.content, OTHER)
    assert f"NOT DONE: handoff of {COURSE}: LegacyNotWritable: no" in terminal.render(document.content)


def test_an_error_that_nobody_knows_is_not_swallowed(monkeypatch):
    """It is said by its type: its text may be anybody's."""
    world.stand("live")

    def broken(*args):
        raise RuntimeError("a bug")

    monkeypatch.setattr("migration_shim.watch.guard.guard", broken)
    document = world.round_of()
    assert document.content["problems"] == [{"step": "guard", "course": COURSE, "said": "RuntimeError"}]
    assert document.exit_code & ExitCode.ERROR
    assert not Run.objects.get(kind="watch").complete


def test_a_round_works_with_legacy_down():
    world.stand("live")
    world.live()
    owed_shadow()

    def down(execute, sql, params, many, context):
        raise OperationalError(2002, "Can't connect to server")

    with connections["xqueue"].execute_wrapper(down):
        document = world.round_of()
    content = validate(document.content)
    assert {problem["step"] for problem in content["problems"]} == {
        "reconcile",
        "learners",
        "shadows",
    }
    (said,) = {problem["said"] for problem in content["problems"]}
    assert said.startswith("xqueue_database_refused: XQueue's database is down or out of reach: ")
    assert [line.split(": ")[0] for line in terminal.render(content).splitlines() if "NOT DONE" in line] == ["NOT DONE"]
    assert "stuck_queue" in world.bounds_of(content)
    assert content["purge"]["executed"] is False
    assert document.exit_code == ExitCode.ERROR | ExitCode.DIFFERENCES
    assert world.round_of().exit_code == ExitCode.DIFFERENCES


def test_a_round_finds_the_courses_of_xqueue_and_says_so_apart_from_its_own_courses():
    rows.legacy_row(1, course="course-v1:ExU+NEW+1", retired=True)
    content = validate(world.watch())
    assert content["courses"] == [] and content["problems"] == []
    assert content["found_in_xqueue"] == {"complete": True, "seeks": 2, "courses": 1, "gone": 0}
    assert site_courses.all_courses() == ["course-v1:ExU+NEW+1"]


def test_a_round_of_named_courses_does_not_look_for_others():
    rows.legacy_row(1, course="course-v1:ExU+NEW+1", retired=True)
    assert watch.run([COURSE]).content["found_in_xqueue"] is None
    assert site_courses.last_look() is None


def test_a_pause_file_keeps_no_guard_from_its_post(shim, tmp_path):
    world.stand("live")
    world.live()
    (tmp_path / "pause").touch()
    shim(PAUSE_FILE=str(tmp_path / "pause"))
    content = validate(world.watch())
    assert "pause file" in content["waiting"]
    assert world.course_of(content)["reconcile"] is None
    assert world.bounds_of(content) == ["stuck_queue"]
    assert "no copy was written: the pause file" in terminal.render(content)


def test_only_courses_with_something_to_watch_over_are():
    world.stand("legacy", BACK)
    world.stand("shadow", SHADOWED)
    rows.entries(1, course_id=OTHER)  # not settled
    rows.entries(1, course_id=BACK, settled_at=now())
    assert [course["course"] for course in world.watch()["courses"]] == [OTHER, SHADOWED]
    assert [course["course"] for course in world.watch(BACK)["courses"]] == [BACK]


# Killed, stopped, raced

STEPS = {
    "handoff": (unfinished, "finish_handoff"),
    "return": (unfinished, "finish_return"),
    "reconcile": (watch.reconcile, "run"),
    "guard": (watch.guard, "guard"),
    "reverse": (repair, "write_owed_reverse_shadows"),
    "shadows": (repair, "write_owed_shadows"),
    "forget": (user_retirement, "forget_due"),
    "purge": (purge, "purge"),
    "sweep": (watch.orphaned_files, "sweep"),
    "runs": (purge, "prune_runs"),
}


def everything(monkeypatch):
    """Work for every step."""
    held(monkeypatch)
    world.live(10, problem="b" * 32, files={"a.py": b"print()"})
    returning(monkeypatch)
    owed_shadow()
    old = now() - timedelta(days=60)
    rows.entries(2, settled_at=old, raw_header="{}", item_id=rows.usage_key("c"), compared_at=old, seen="x")
    LedgerEntry.objects.filter(item_id=rows.usage_key("c")).update(course_id=OTHER)
    retired = LedgerEntry.objects.filter(course_id=OTHER).order_by("id").first()
    api.retire_learner([retired.learner])
    LedgerEntry.objects.filter(pk=retired.pk).update(learner=retired.learner, forget=True, purged_at=None)


def end_state():
    """All that rounds are to bring about, without numbers and times."""
    entries = LedgerEntry.objects.order_by("identity").values_list(
        *("identity", "move", "authority", "legacy_leg", "target_leg", "learner", "raw_header", "result", "divergences")
    )
    details = ExternalGraderDetail.objects.values_list("queue_name", "status", "submission__student_item__student_id")
    legacy = LegacySubmission.objects.values_list("xqueue_header", "retired", "pullkey")
    return list(entries), sorted(details), sorted(legacy), sorted(get_storage().listdir(rows.QUEUE)[1])


@pytest.fixture(name="quiet")
def no_xqueue(monkeypatch, shim):
    """Reverse shadows get nowhere, the same each time."""
    shim(WATCH_PURGE=True, BREAKER_FAILURES=1000)
    monkeypatch.setattr(publish, "broker", None)


@pytest.mark.usefixtures("quiet")
def test_rounds_killed_after_every_step_are_made_up_for(monkeypatch):
    """Ten rounds, each killed one step later than the one before; then some that nobody kills."""
    everything(monkeypatch)
    for module, name in STEPS.values():
        original = getattr(module, name)

        def killed(*args, original=original, **kwargs):
            original(*args, **kwargs)
            raise Killed

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(module, name, killed)
            world.watch()
        # As a kill leaves them: nobody wrote their ends, and their signs of life grow old.
        long_ago = now() - runs.HEARTBEAT_LIMIT - timedelta(seconds=1)
        Run.objects.filter(kind="watch").update(finished_at=None, heartbeat_at=long_ago)
    document = world.round_of()
    assert not document.content["problems"]
    entries, details, legacy, files = end_state()
    assert sorted(entry[1] for entry in entries) == ["none", "none", "none", "none", "returned", "watched"]
    assert [entry[6] for entry in entries[:2]] == ["", ""]
    assert entries[0][5].startswith("retired:")
    assert sorted(status for _, status, _ in details) == ["pending", "pending", "pending", "retired"]
    assert [retired for _, retired, _ in legacy].count(False) == 2  # the one that came back, and the shadowed one
    assert len(files) == 1
    world.watch()
    assert end_state() == (entries, details, legacy, files)


@pytest.mark.parametrize("step", ["return", "guard", "shadows", "sweep"])
def test_a_signal_ends_a_round_between_two_steps(step, monkeypatch):
    world.stand("shadow")
    owed_shadow()
    module, name = STEPS[step]
    original = getattr(module, name)

    def interrupted(*args, **kwargs):
        answer = original(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGTERM)
        return answer

    monkeypatch.setattr(module, name, interrupted)
    document = world.round_of()
    content = validate(document.content)
    assert (content["complete"], content["stopped_by"]) == (False, "SIGTERM")
    assert document.exit_code & ExitCode.STOPPED
    assert not Run.objects.filter(kind="watch").get().complete
    assert "stopped by SIGTERM" in terminal.render(content)
    assert (content["purge"] is None) == (step != "sweep")


def test_a_signal_reaches_every_run_that_waits():
    with Control(toggles.stop_reason) as outer, Control(toggles.stop_reason) as inner:
        os.kill(os.getpid(), signal.SIGTERM)
        assert (outer.signal, inner.signal) == ("SIGTERM", "SIGTERM")


@shared
def test_of_two_watches_one_is_told(monkeypatch):
    world.stand("live")
    inside, leave = threading.Event(), threading.Event()
    original = unfinished.finish_handoff

    def slow(*args):
        inside.set()
        assert leave.wait(60)
        return original(*args)

    monkeypatch.setattr(unfinished, "finish_handoff", slow)
    answers = []

    def work():
        try:
            answers.append(world.round_of())
        finally:
            connections.close_all()

    first = threading.Thread(target=work)
    first.start()
    try:
        assert inside.wait(60)
        with pytest.raises(RunLocked):
            world.watch()
        with pytest.raises(CommandError) as refused:
            call_command("xqueue_watch", "--once")
        assert refused.value.returncode == ExitCode.LOCKED
        assert tasks.watch() == "another watch is at work"
    finally:
        leave.set()
        first.join()
    assert answers[0].exit_code == ExitCode.OK
    assert tasks.watch() == "exit code 0"
    assert Run.objects.filter(kind="watch").count() == 2


# The command


def test_once_prints_one_document_and_exits_with_its_code(capsys):
    world.stand("live")
    world.live()
    call_command("xqueue_watch", "--once", "--course", COURSE, "--format", "json")
    content = validate(json.loads(capsys.readouterr().out))
    assert world.bounds_of(content) == ["copies_overdue", "stuck_queue"]


@shared
def test_a_loop_prints_a_document_a_round_until_a_signal_ends_it():
    world.stand("shadow")
    process = processes.start("xqueue_watch", "--every", "1", "--format", "json")
    try:
        processes.wait_until(lambda: Run.objects.filter(kind="watch").exclude(finished_at=None).count() >= 2)
        CoursePhase.objects.update(phase="legacy")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    assert process.returncode == ExitCode.STOPPED, err
    documents, decoder = [], json.JSONDecoder()
    while out.strip():
        content, end = decoder.raw_decode(out.strip())
        documents.append(validate(content))
        out = out.strip()[end:]
    assert len(documents) >= 2
    assert all(not document["problems"] for document in documents)


# Records of runs


def test_records_of_routine_runs_do_not_pile_up():
    world.stand("shadow")
    old = now() - timedelta(days=2)
    for complete in (True, *[False] * 30):
        Run.objects.create(kind="reconcile", scope=COURSE, finished_at=old, complete=complete, document={})
    kept = Run.objects.filter(complete=True).get()
    permitted = Run.objects.create(kind="gate", scope=COURSE, finished_at=old)
    named = Run.objects.filter(complete=False).earliest("id")
    CoursePhase.objects.update(permit_run=named)
    assert purge.prune_runs(now() - timedelta(hours=1)) == 9
    assert Run.objects.filter(pk__in=[kept.pk, permitted.pk, named.pk]).count() == 3
    assert purge.prune_runs(now() - timedelta(hours=1)) == 0
    assert Run.objects.filter(kind="reconcile").count() == purge.RUNS_KEPT + 2
