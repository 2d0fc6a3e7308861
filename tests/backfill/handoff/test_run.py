"""``xqueue_backfill --mode handoff``: which rows move, what the plan says, and what becomes of them on both sides."""

import os
import signal
import time
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.core.files.base import ContentFile
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail, SubmissionFile
from waffle.models import Switch

from migration_shim import api, conf, toggles
from migration_shim.backfill.handoff import run as handoff
from migration_shim.backfill.request import Mode, Request
from migration_shim.core.data import ExitCode, Move, Phase
from migration_shim.core.errors import LegacyNotWritable, Malformed
from migration_shim.core.phases import flags_of
from migration_shim.core.wire import parse_callback, parse_header
from migration_shim.legacy import files
from migration_shim.models import LedgerEntry, LegacySubmission, WatcherLogin
from migration_shim.reports import terminal
from migration_shim.runs import control
from sandbox import capture
from tests.builders import handing_off as world
from tests.builders import rows
from tests.builders.rows import fresh  # noqa: F401
from tests.schemas import validate

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])


@pytest.mark.parametrize("phase", list(Phase))
def test_rows_move_where_the_target_is_authoritative(shim, phase):
    rows.in_phase(phase)
    toggles.force_flags(rows.COURSE, *flags_of(phase))
    row = world.submitted()
    content = world.run().content
    if phase in (Phase.LIVE, Phase.COMPLETE):
        assert (content["released"], content["classes"]["imported"]) == (1, 1)
        assert LegacySubmission.objects.get(pk=row.pk).retired
    else:
        assert (content["released"], content["reasons"]) == (0, {"out_of_scope": {f"phase_{phase}": 1}})
        assert not LegacySubmission.objects.get(pk=row.pk).retired


def test_a_course_that_was_taken_back_is_not_moved_whatever_the_record_says(shim):
    rows.in_phase("live")
    toggles.force_flags(rows.COURSE, False, False)
    world.submitted()
    assert world.run().content["reasons"] == {"out_of_scope": {"phase_legacy": 1}}


def test_a_plan_writes_nothing_and_says_what_would_be_done(live, shim):
    world.submitted(1)
    world.submitted(2, pull_time=now() + timedelta(minutes=1), pullkey="k")
    world.submitted(3, queue="pushed")
    shim(PUSH_QUEUES=["pushed"])
    plan = world.run(execute=False)
    assert plan.content["classes"] | {"imported": 1, "drain": 2} == plan.content["classes"]
    assert plan.content["reasons"]["drain"] == {"push_queue": 1, "under_live_pull": 1}
    assert plan.content["queues"] == [
        {"queue": rows.QUEUE, "move": 1, "drain": 1, "other": 0, "pull_seen": True},
        {"queue": "pushed", "move": 0, "drain": 1, "other": 0, "pull_seen": False},
    ]
    assert f"Pause legacy's graders of {rows.QUEUE}" in plan.content["advice"][0]
    assert plan.exit_code == ExitCode.LEFT_BEHIND
    assert not LedgerEntry.objects.exists()
    assert not ExternalGraderDetail.objects.exists()
    assert not LegacySubmission.objects.filter(retired=True).exists()
    printed = terminal.render(validate(plan.content))
    assert "1 would move, 1 left to legacy, 0 other; pulled just now by legacy's graders" in printed
    done = world.run()
    assert done.content["classes"] == plan.content["classes"]
    assert "released" in terminal.render(validate(done.content))


def test_every_captured_row_has_one_class_and_a_second_run_moves_nothing(live):
    capture.load_capture(rows.DATA)
    for course in set(_courses()):
        rows.in_phase("complete", course)
        toggles.force_flags(course, False, True)
    first = world.run().content
    assert sum(first["classes"].values()) == first["read"] == 118
    assert first["released"] == first["classes"]["imported"] > 90
    assert first["held"] == first["dropped"] == first["double_authority"] == 0
    assert sum(world.leftovers().values()) == 0
    for name, reasons in first["reasons"].items():
        assert sum(reasons.values()) <= first["classes"][name]
    state = world.end_state()
    second = world.run().content
    assert second["classes"]["imported"] == second["released"] == 0
    assert world.end_state() == state
    entries = LedgerEntry.objects.filter(move=Move.WATCHED)
    for entry in entries:
        detail = ExternalGraderDetail.objects.get(submission_id=entry.target_submission_id)
        assert detail.status_time == entry.arrived_at == LegacySubmission.objects.get(pk=entry.legacy_id).arrival_time


def _courses():
    for row in rows.captured():
        try:
            yield parse_callback(parse_header(row["xqueue_header"]).callback_url).course_id
        except Malformed:
            continue


def test_what_a_shadow_backfill_has_imported_moves_under_its_own_entry(live):
    made = [world.submitted(user) for user in range(1, 6)]
    rows.backfill()
    ids = list(LedgerEntry.objects.order_by("legacy_id").values_list("pk", flat=True))
    assert world.run().content["released"] == 5
    assert list(LedgerEntry.objects.order_by("legacy_id").values_list("pk", flat=True)) == ids
    for _ in made:
        assert world.grade_on_target() == 1
    assert world.deliveries() == {(user, True): 1 for user in range(1, 6)}


def test_a_handoff_of_a_scope_leaves_the_rest(live):
    world.submitted(1)
    other = world.submitted(2, queue="exu-alg2")
    content = world.run(queues=frozenset([rows.QUEUE])).content
    assert content["reasons"]["out_of_scope"] == {"other_queue": 1}
    assert not LegacySubmission.objects.get(pk=other.pk).retired
    assert world.run(courses=frozenset(["course-v1:a+b+c"])).content["released"] == 0
    assert world.run(courses=frozenset([rows.COURSE])).content["released"] == 1


def test_sampling_leaves_nobody_behind(live, shim):
    shim(SAMPLE_PERCENT={"*": 0})
    world.submitted()
    assert world.run().content["released"] == 1


def test_files_go_with_the_row(live):
    key = "0123456789abcdef0123456789abcdef"
    files.legacy_storage(conf.load()).save(f"{rows.QUEUE}/{key}", ContentFile(b"print(1)\n"))
    row = world.submitted(answer="", files={"a.py": key})
    assert world.run().content["released"] == 1
    file = SubmissionFile.objects.get()
    assert (file.original_filename, file.file.read()) == ("a.py", b"print(1)\n")
    assert file.external_grader.submission_id == LedgerEntry.objects.get(legacy_id=row.pk).target_submission_id


@pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)
def test_the_files_of_a_dropped_row_go_too(live):
    key = "0123456789abcdef0123456789abcdee"
    files.legacy_storage(conf.load()).save(f"{rows.QUEUE}/{key}", ContentFile(b"print(1)\n"))
    world.submitted(answer="", files={"a.py": key})
    xqueue = world.xqueue()
    read, seen = xqueue.read(world.QUEUE), []

    def bring_back(done, total):
        seen.extend(SubmissionFile.objects.all())
        xqueue.hand_out(read)

    world.run(progress=lambda *numbers: seen or bring_back(*numbers))
    (file,) = seen
    assert not SubmissionFile.objects.filter(pk=file.pk).exists()
    assert not file.file.storage.exists(file.file.name)


def test_a_missing_file_leaves_the_row_with_legacy(live):
    row = world.submitted(answer="", files={"a.py": "f" * 32})
    content = world.run().content
    assert content["reasons"]["drain"] == {"file_missing": 1}
    assert not LegacySubmission.objects.get(pk=row.pk).retired


def test_a_queue_name_without_room_for_the_suffix_stays(live):
    world.submitted(queue="q" * 125)
    assert world.run().content["reasons"]["drain"] == {"queue_name_too_long": 1}


def test_payloads_that_upstreams_endpoint_would_cut_stay_while_watchers_poll_it(live):
    world.submitted(1)
    world.submitted(2, payload='{"grader": "g.py", "lang": "de"}')
    WatcherLogin.objects.create(address="10.0.0.1")
    content = world.run().content
    assert (content["released"], content["reasons"]["drain"]) == (1, {"payload_needs_the_seam": 1})
    WatcherLogin.objects.update(last_seen_at=now() - timedelta(days=2))
    assert world.run().content["released"] == 1


def test_the_limit_is_kept(live):
    for user in range(1, 4):
        world.submitted(user)
    document = world.run(limit=2)
    assert (document.content["released"], document.content["complete"]) == (2, False)


# What stops it


def test_the_kill_switch_stops_new_holds_and_finishes_what_is_held(live, monkeypatch):
    for user in range(1, 4):
        world.submitted(user)

    def flip(done, total):
        Switch.objects.update_or_create(name="migration_shim.kill_switch", defaults={"active": True})
        cache.clear()  # django-waffle's own would be, by the commit

    document = world.run(batch_size=1, progress=flip)
    assert document.content["stopped_by"] == "kill switch"
    assert (document.content["released"], document.content["held"]) == (1, 0)
    assert LegacySubmission.objects.filter(retired=False).count() == 2
    assert document.exit_code & ExitCode.STOPPED
    assert [entry.move for entry in LedgerEntry.objects.all()] == [Move.WATCHED]


def test_of_its_two_controls_only_that_of_new_holds_obeys_the_kill_switch(live):
    run = handoff._Run(Request(mode=Mode.HANDOFF), conf.load(), control.Control(toggles.stop_reason), rows.ignore)
    Switch.objects.create(name="migration_shim.kill_switch", active=True)
    with pytest.raises(control.Stopped, match="kill switch"):
        run.control.check()
    run.finishing.check()
    with run.control, run.finishing:
        os.kill(os.getpid(), signal.SIGTERM)
        for one in (run.control, run.finishing):
            with pytest.raises(control.Stopped, match="SIGTERM"):
                one.check()


def test_a_signal_stops_it_at_once_and_the_next_run_finishes(live, shim, monkeypatch):
    shim(HANDOFF_SETTLE_SECONDS=30)
    world.submitted()

    def signal(self, seconds, **kind):
        self.signal = "SIGTERM"
        self.check()

    with monkeypatch.context() as patched:
        patched.setattr(control.Control, "sleep", signal)
        document = world.run()
    assert (document.content["held"], document.content["stopped_by"]) == (1, "SIGTERM")
    assert document.exit_code & ExitCode.STOPPED
    assert "HELD: 1 row" in terminal.render(validate(document.content))
    status = validate(api.status([rows.COURSE]).content)
    assert status["courses"][0]["held"]["rows"] == 1
    assert "HELD by a handoff: 1 row" in terminal.render(status)
    shim(HANDOFF_SETTLE_SECONDS=0.01)
    time.sleep(0.05)
    assert world.run().content["released"] == 1


def test_wait_drain_follows_legacy_until_nothing_is_open(live, shim):
    """One row moves when its pull grows old, one is graded by legacy, and the push queue empties itself."""
    shim(PROCESSING_DELAY_SECONDS=2, PUSH_QUEUES=["pushed"])
    stale = world.submitted(1, pull_time=now(), pullkey="k")
    graded = world.submitted(2, pull_time=now(), pullkey="k")
    pushed = world.submitted(3, queue="pushed")
    seen = []

    def legacy(done, total):
        seen.append(done)
        if len(seen) == 1:
            rows.change([graded], **rows.graded())
        if len(seen) == 2:
            rows.change([pushed], **rows.graded())

    content = world.run(wait_drain=True, progress=legacy).content
    assert content["complete"]
    assert content["classes"] | {"imported": 1, "final": 2, "drain": 0} == content["classes"]
    assert sum(content["classes"].values()) == content["read"] == 3
    assert LedgerEntry.objects.get(legacy_id=stale.pk).move == Move.WATCHED


# The alias


def test_a_database_that_may_not_be_written_is_refused_before_anything_is_held(live, monkeypatch):
    def refuse():
        raise LegacyNotWritable("GRANT")

    world.submitted()
    monkeypatch.setattr(handoff.privileges, "check_may_update", refuse)
    with pytest.raises(LegacyNotWritable):
        world.run()
    assert not LedgerEntry.objects.exists()
    assert "--execute would be refused: GRANT" in world.run(execute=False).content["advice"]
