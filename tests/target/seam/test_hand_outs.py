"""Which leases count against a row: those whose grader was heard of again after it had been answered in time."""

import json
from copy import copy
from threading import Event

import pytest
from django.core.management import call_command
from django.test import Client
from submissions.models import ExternalGraderDetail

from migration_shim import api
from migration_shim.conf import load
from migration_shim.core.bounds import Bound
from migration_shim.core.data import ExitCode
from migration_shim.delivery import ungradable
from migration_shim.models import LedgerEntry, Run
from migration_shim.target import leases, seam
from migration_shim.watch import guard
from sandbox.lms.models import LearnerEffect
from tests.builders import rows
from tests.builders.rows import fresh  # noqa: F401
from tests.builders.watchers import COMMITTED, Watcher, account, let_leases_end, real, shadow
from tests.target.seam.test_put_result import in_threads

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])


def lost(watcher, monkeypatch, times):
    """Let every answer come too late for its grader, who polls again at once, so many times; the ids of the rows."""
    found = []
    monkeypatch.setattr(seam.WatcherSeam, "in_time", lambda self, settings: False)
    for _ in range(times):
        document = watcher.pull()
        found.append(document and document["xqueue_header"]["submission_id"])
        let_leases_end()
    monkeypatch.undo()
    return found


def state(sent):
    """Status and failures of its row."""
    return sent.detail.status, sent.detail.num_failures


def test_a_seam_slower_than_its_graders_fails_nobody(watcher, monkeypatch):
    """A watcher gives up after a second and polls again; the rows were leased, and nobody has them."""
    sent = real()
    assert lost(watcher, monkeypatch, 7) == [sent.submission_id] * 7
    assert state(sent) == ("pulled", 0) and sent.entry.leases == 7
    assert LearnerEffect.objects.count() == 0
    assert watcher.grade() == (0, "")
    assert sent.detail.status == "retired"


def test_how_late_is_too_late_is_a_setting(watcher, shim):
    shim(HAND_OUT_SECONDS=0.0000001)
    sent = real()
    for _ in range(7):
        assert watcher.pull() is not None
        let_leases_end()
    assert state(sent) == ("pulled", 0)


def test_a_grader_that_comes_back_without_a_result_counts(watcher):
    sent = real()
    for failures in range(5):
        assert watcher.pull() is not None
        assert sent.detail.num_failures == failures
        let_leases_end()
    assert watcher.pull() is None
    assert state(sent) == ("failed", 5)


def test_a_grader_that_never_comes_back_does_not(shim):
    """It dies with its process, and logs in anew: nobody can tell that from an answer that was lost."""
    account()
    sent = real()
    for _ in range(8):
        assert Watcher().pull() is not None
        let_leases_end()
    assert state(sent) == ("pulled", 0) and sent.entry.leases == 8


def test_sessions_of_one_account_do_not_speak_for_each_other(watcher, settings):
    """Another watcher of the account goes on polling; of the one that was handed the row nothing is heard."""
    settings.PREVENT_CONCURRENT_LOGINS = False
    sent = real()
    assert Watcher().pull() is not None
    for _ in range(3):
        assert watcher.pull() is None
    let_leases_end()
    assert watcher.pull() is not None
    assert state(sent) == ("pulled", 0)
    let_leases_end()
    assert watcher.pull() is not None  # its own lease, and its own next request
    assert state(sent) == ("pulled", 1)


def test_what_was_taken_stays_taken_whatever_the_session_does_next(watcher):
    sent, other = real(age=3), real(age=2)
    first = watcher.pull()["xqueue_header"]
    assert watcher.grade() == (0, "")  # the other one: it goes on with its work
    let_leases_end()
    assert watcher.pull()["xqueue_header"]["submission_id"] == first["submission_id"]
    assert state(sent) == ("pulled", 1) and other.detail.status == "retired"


@COMMITTED
def test_a_request_that_came_before_the_answer_does_not_count(monkeypatch):
    """Its grader has given up while it was served, and polls again: what is then answered in time reaches nobody."""
    account()
    grader, sent = Watcher(), real()
    serving, polled = Event(), Event()
    original = seam._payload

    def payload(lease, request):
        serving.set()
        assert polled.wait(10)
        return original(lease, request)

    monkeypatch.setattr(seam, "_payload", payload)
    again = copy(grader)
    again.client = Client(raise_request_exception=False, **rows.HOST)
    again.client.cookies = grader.client.cookies

    def poll_again():
        assert serving.wait(10)
        empty = again.pull()
        polled.set()
        return empty

    handed_out, nothing = in_threads(grader.pull, poll_again)
    assert handed_out is not None and nothing is None
    monkeypatch.undo()
    assert grader.pull() is None
    let_leases_end()
    assert grader.pull() is not None
    assert state(sent) == ("pulled", 0)


def test_a_row_without_an_entry_ends_after_fifteen(watcher):
    """Nothing is on record of its leases, so each counts, and it is given the longer time."""
    sent = real()
    LedgerEntry.objects.all().delete()
    for _ in range(15):
        assert watcher.pull() is not None
        let_leases_end()
    assert watcher.pull() is None
    assert (sent.detail.status, sent.detail.num_failures) == ("failed", 15)


def test_a_twin_and_a_shadow_are_told_apart_from_rows_that_nobody_knows(watcher):
    shadow()
    assert watcher.pull(f"{rows.QUEUE}.shadow") is not None
    assert LedgerEntry.objects.get().lease_session != ""


def test_a_session_is_not_written_down(watcher):
    real()
    watcher.pull()
    key = watcher.client.session.session_key
    assert key and key not in LedgerEntry.objects.get().lease_session


def test_echo_grading_leases_for_no_session():
    detail = shadow()
    assert leases.lease_one(detail.submission_id, load())
    entry = LedgerEntry.objects.get()
    assert (entry.lease_session, entry.lease_taken) == ("", False)


# --- fifteen ------------------------------------------------------------------------------------------------------


def handed_out(sent, times):
    """Make a row one that was handed out so many times."""
    LedgerEntry.objects.filter(pk=sent.entry.pk).update(leases=times)
    ExternalGraderDetail.objects.filter(submission_id=sent.submission_id).update(status="pulled", pullkey="k")


def test_fifteen_leases_without_a_result_are_an_alarm_and_fourteen_are_not():
    few, many, again, done, failed = (real() for _ in range(5))
    handed_out(few, 14)
    for sent in (many, again, done, failed):
        handed_out(sent, 15)
    ExternalGraderDetail.objects.filter(submission_id=again.submission_id).update(status="retry", pullkey="")
    ExternalGraderDetail.objects.filter(submission_id=done.submission_id).update(status="retired")
    ExternalGraderDetail.objects.filter(submission_id=failed.submission_id).update(status="failed")
    assert ungradable.rows([rows.COURSE], load()) == {rows.COURSE: [many.submission_id, again.submission_id]}


def test_they_go_on_being_offered():
    account()
    sent = real()
    for _ in range(17):
        assert Watcher().pull()["xqueue_header"]["submission_id"] == sent.submission_id
        let_leases_end()


def test_status_and_watch_name_it_with_the_command_that_ends_it(shim):
    rows.in_phase("live")
    sent = real()
    handed_out(sent, 15)
    course = api.status([rows.COURSE]).content["courses"][0]
    assert course["handed_out_in_vain"] == 1
    (found,) = [item for item in course["attention"] if item["what"] == "handed_out_in_vain"]
    command = f"xqueue_fail --course {rows.COURSE} --reason TEXT"
    assert found["commands"] == [command]
    guarded = guard.guard(rows.COURSE, load(), None)
    assert [breach["bound"] for breach in guarded["breaches"]] == [Bound.HANDED_OUT_IN_VAIN]
    assert guarded["next"] == [command]
    assert not guarded["stepped_back"]


def test_what_has_failed_for_good_is_a_bound_for_a_day(shim):
    sent, old, copy = real(), real(), shadow()
    for submission_id in (sent.submission_id, old.submission_id, copy.submission_id):
        ExternalGraderDetail.objects.filter(submission_id=submission_id).update(status="failed")
    ExternalGraderDetail.objects.update(status_time=rows.now())
    ExternalGraderDetail.objects.filter(submission_id=old.submission_id).update(
        status_time=rows.now() - rows.timedelta(hours=25)
    )
    (breach,) = guard.guard(rows.COURSE, load(), None)["breaches"]
    assert (breach["bound"], breach["rows"], breach["target_failed"]) == (Bound.FAILED, 1, False)


# --- the command --------------------------------------------------------------------------------------------------


def test_the_command_plans_and_then_fails_the_row_and_tells_its_learner(capsys):
    sent, other = real(), real()
    handed_out(sent, 15)
    handed_out(other, 3)
    call_command("xqueue_fail", course=rows.COURSE, reason="its grader is killed", format="json")
    plan = json.loads(capsys.readouterr().out)
    assert (plan["executed"], [row["submission"] for row in plan["rows"]]) == (False, [sent.submission_id])
    assert sent.detail.status == "pulled"
    call_command("xqueue_fail", course=rows.COURSE, reason="its grader is killed", format="json", execute=True)
    done = json.loads(capsys.readouterr().out)
    assert (done["executed"], done["failed"]) == (True, 1)
    record = Run.objects.get(kind="fail")
    assert (record.complete, record.document["reason"], record.document["failed"]) == (True, "its grader is killed", 1)
    assert (sent.detail.status, sent.detail.pullkey, other.detail.status) == ("failed", "", "pulled")
    assert LearnerEffect.objects.filter(kind="grade_published").count() == 1
    call_command("xqueue_fail", course=rows.COURSE, reason="again", format="json", execute=True)
    assert json.loads(capsys.readouterr().out)["rows"] == []


def test_the_command_fails_a_row_that_is_named_however_often_it_was_handed_out():
    sent, foreign = real(), real(course="course-v1:ExU+OTHER+1")
    ids = [sent.submission_id, foreign.submission_id]
    document = ungradable.fail(rows.COURSE, ids, reason="r", user="ada", execute=True)
    assert document.exit_code == ExitCode.LEFT_BEHIND  # one of them is not the course's
    content = document.content
    assert [row["submission"] for row in content["rows"]] == [sent.submission_id]
    assert content["not_found"] == [foreign.submission_id]
    assert (sent.detail.status, foreign.detail.status) == ("failed", "pending")


def test_the_command_leaves_what_has_a_result_by_now(watcher, monkeypatch):
    sent = real()
    handed_out(sent, 15)
    ExternalGraderDetail.objects.filter(submission_id=sent.submission_id).update(status="pending", pullkey="")
    watcher.pull()
    found = ungradable.fail(rows.COURSE, [], reason="r", user="ada", execute=False).content["rows"]
    assert found
    monkeypatch.setattr(ungradable, "_found", lambda *args: found)
    ExternalGraderDetail.objects.update(status="retired")
    assert ungradable.fail(rows.COURSE, [], reason="r", user="ada", execute=True).content["failed"] == 0
    assert sent.detail.status == "retired"
