"""The outbox: a row that cannot be written holds up no other, and none is forgotten."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import timedelta
from unittest import mock

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now
from rest_framework.exceptions import ErrorDetail
from submissions.errors import SubmissionRequestError
from submissions.models import ExternalGraderDetail, Submission, SubmissionFile

from migration_shim import conf, dual_write, repeats
from migration_shim.comparison import linking
from migration_shim.copies import breaker, outbox
from migration_shim.copies import write as copies
from migration_shim.core.errors import PhaseUnreadable
from migration_shim.ledger import attempts
from migration_shim.lms import state
from migration_shim.models import LedgerEntry, LegacySubmission, StoredIntent
from migration_shim.watch import repair
from tests.builders import rows
from tests.builders.attempts import COURSE, attempt, closed_breakers, put_course_in  # noqa: F401
from tests.builders.outbox import drain
from tests.builders.silence import held
from tests.dual_write.test_table import rows as counted

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "xqueue"])


def legs(one):
    entry = one.entry()
    return entry.legacy_leg, entry.target_leg


# One bad thing stops nothing else


def test_a_queue_that_xqueue_refuses_starves_no_other(legacy, shim):
    shim(BREAKER_FAILURES=2)
    put_course_in("live")
    bad = [attempt(queue="nobody-knows-it") for _ in range(6)]
    for one in bad:
        one.send()
    good = attempt()
    good.send()
    with mock.patch.object(
        copies.LegacyClient, "submit", autospec=True, side_effect=copies.LegacyClient.submit
    ) as asked:
        drain()
    assert legs(good) == ("stored", "stored")
    assert not breaker.is_open(copies.REVERSE)
    assert asked.call_count == 2  # one try for the whole queue
    reasons = LedgerEntry.objects.exclude(legacy_reason="").values_list("legacy_leg", "legacy_reason")
    assert {leg for leg, _ in reasons} == {"failed"}
    assert all("nobody-knows-it" in reason for _, reason in reasons)
    owed = LedgerEntry.objects.filter(queue_name="nobody-knows-it", copy_due__gt=now())
    assert owed.count() == 6  # and they are tried again


def test_a_submission_that_is_too_large_for_xqueue_holds_up_none_of_its_queue(legacy, shim):
    put_course_in("live")
    large, good = attempt(), attempt()
    large.send()
    good.send()
    really = copies.LegacyClient.submit

    def submit(client, header, body, files, **kept):
        too_large = kept["correlation"] == large.entry().identity[:16]
        return (1, "unexpected HTTP status code [400]") if too_large else really(client, header, body, files, **kept)

    with mock.patch.object(copies.LegacyClient, "submit", submit):
        drain()
    assert legs(good) == ("stored", "stored")
    assert legs(large) == ("failed", "stored")


@pytest.mark.parametrize("error", [OperationalError(1366, "poison"), RuntimeError("a bug"), ImproperlyConfigured("x")])
def test_a_poison_copy_opens_no_breaker_and_stops_no_other(error, legacy, shim):
    shim(COPIES="deferred", BREAKER_FAILURES=2)
    put_course_in("shadow")
    poison, good = attempt(), attempt()
    poison.send()
    good.send()
    really = copies.write_shadow_of

    def write(identity, settings):
        if identity == poison.entry().identity:
            raise error
        return really(identity, settings)

    with mock.patch.object(copies, "write_shadow_of", write):
        for _ in range(5):
            drain()
    assert legs(good) == ("stored", "stored")
    assert legs(poison) == ("stored", "missing")
    assert not breaker.is_open(copies.SHADOW)
    entry = poison.entry()
    assert entry.tries == 5
    assert entry.copy_due - now() > timedelta(minutes=3)  # it is left alone for longer each time
    assert drain()["shadow_done"] == 1
    assert legs(poison) == ("stored", "stored")


def test_while_xqueue_is_away_one_try_at_a_time_is_made_and_any_answer_ends_that(shim, legacy):
    shim(BREAKER_FAILURES=2, BREAKER_SECONDS=0)
    put_course_in("live")
    sent = [attempt() for _ in range(4)]
    for one in sent:
        one.send()
    with mock.patch.object(copies.LegacyClient, "submit", return_value=(1, "cannot connect to server")):
        outbox.drain(conf.load(), seconds=0.5)
    assert breaker.is_open(copies.REVERSE)
    with mock.patch.object(copies.LegacyClient, "submit", return_value=(1, "Queue 'exu-py1' not found")):
        drain()
    assert not breaker.is_open(copies.REVERSE)
    drain()
    assert {legs(one) for one in sent} == {("stored", "stored")}


def test_the_kill_switch_stops_copies_and_no_supersession(legacy):
    from waffle.testutils import override_switch

    put_course_in("live")
    one, two = attempt(user=51), attempt(user=51, at=now() + timedelta(seconds=30))
    one.submit()
    two.submit()
    with override_switch("migration_shim.kill_switch", active=True):
        done = drain()
    assert (done["supersession"], done["reverse_done"]) == (2, 0)
    assert one.entry().superseded_at is not None
    drain()
    assert legs(two) == ("stored", "stored")
    assert legs(one) == ("none", "stored")  # replaced before it was copied


def test_a_learner_who_cannot_be_asked_about_keeps_no_other_from_being_asked(legacy):
    """A callback may name a user that no database can, and the platform's models may raise anything."""
    put_course_in("live")
    strange = attempt(user=9_999_999_999_999_999_999)
    one, two = attempt(user=61), attempt(user=61, at=now() + timedelta(seconds=30))
    strange.send()
    one.submit()
    two.submit()
    really = state.queued

    def queued(inputs):
        asked = list(inputs)
        if any(int(one.user_id) > 61 for one in asked):
            raise RuntimeError("a field of the platform's")
        return really(asked)

    with mock.patch.object(state, "queued", queued):
        done = drain()
    assert (done["supersession"], done["supersession_failed"]) == (2, 1)
    assert one.entry().superseded_at is not None
    assert legs(two) == ("stored", "stored")
    assert not drain()["supersession_failed"]
    assert strange.entry().supersession_due is None


def test_of_each_learner_only_the_problem_that_was_submitted_is_read(legacy):
    put_course_in("live")
    sent = [attempt(user=user, problem=problem * 32) for user, problem in ((62, "a"), (63, "b"))]
    for one in sent:
        one.submit()
    for user, problem in ((62, "b"), (63, "a")):
        attempt(user=user, problem=problem * 32).save()
    with CaptureQueriesContext(connection) as queries:
        assert len(attempts.queued(LedgerEntry.objects.all())) == 2
    (read,) = [query["sql"] for query in queries if "courseware_studentmodule" in query["sql"]]
    with connection.cursor() as cursor:
        cursor.execute(read)
        assert len(cursor.fetchall()) == 2


def test_copies_that_can_never_be_written_keep_no_forgotten_one_waiting(legacy, shim, monkeypatch):
    """XQueue has taken the first two for other problems' older attempts; the last is as the release before left it."""
    shim(COPIES="deferred", PRESENCE_GRACE_SECONDS=0)
    put_course_in("shadow")
    never = [attempt(), attempt()]
    forgotten = attempt()
    for one in (*never, forgotten):
        one.send()
    LedgerEntry.objects.update(copy_due=None)
    monkeypatch.setattr(repair, "PAGE", 1)
    really = copies.write_shadow_of

    def write(identity, settings):
        return "collided" if identity in [one.entry().identity for one in never] else really(identity, settings)

    with mock.patch.object(copies, "write_shadow_of", write):
        for _ in range(60):  # one of three a round
            if legs(forgotten) == ("stored", "stored"):
                break
            repair.drain(conf.load(), lambda: None)
    assert legs(forgotten) == ("stored", "stored")


@pytest.mark.parametrize(("residue", "reason"), [("[", "residue_not_json"), ("[" * 60 + "]" * 60, "residue_too_deep")])
def test_a_body_that_cannot_be_made_again_is_owed_no_longer(residue, reason, legacy):
    """As it was taken before there was a limit of depth."""
    put_course_in("live")
    one = attempt()
    one.submit()
    LedgerEntry.objects.update(extra_body=residue)
    drain()
    entry = one.entry()
    assert (entry.legacy_leg, entry.legacy_reason, entry.copy_due) == ("failed", reason, None)
    assert repair.write_owed_reverse_shadows(COURSE, conf.load(), lambda: None) == {"owed": 0, "started": 0}


# What is sent again


def a_refusal(**values):
    """A submission that legacy refused in shadow; the course is in live by now."""
    put_course_in("shadow")
    one = attempt(**values)
    with mock.patch("migration_shim.dual_write._to_legacy", return_value=(1, "unexpected HTTP status code [500]")):
        assert one.send()[0] == 1
    put_course_in("live")
    return one


def test_a_refusal_in_shadow_that_is_sent_again_in_live_is_stored_on_the_target(legacy):
    one = a_refusal()
    assert one.send() == (0, "")
    assert counted()[1] == 1
    entry = one.entry()
    assert (entry.phase, entry.authority, entry.target_leg, entry.legacy_reason) == ("live", "target", "stored", "")
    drain()
    assert legs(one) == ("stored", "stored")
    assert one.send() == (0, "")
    assert counted()[1] == LedgerEntry.objects.count() == 1


def in_a_transaction():
    """A caller's own, as a request's with ATOMIC_REQUESTS."""
    return transaction.atomic()


@pytest.mark.parametrize("files", [(), [("main.py", b"print(1)\n")]], ids=["no files", "a file"])
@pytest.mark.parametrize("around", [nullcontext, in_a_transaction])
@pytest.mark.parametrize("phase", ["live", "complete"])
def test_what_the_target_has_and_is_sent_again_is_stored_once(phase, around, files, legacy):
    """In a caller's transaction, too, and that goes on."""
    put_course_in(phase)
    one = attempt(files=files)
    assert one.send() == (0, "")
    with around():
        assert one.send() == (0, "")
        assert LedgerEntry.objects.count() == ExternalGraderDetail.objects.count() == 1
    assert SubmissionFile.objects.count() == len(files)
    assert not StoredIntent.objects.exists()
    other = attempt()
    with around():
        assert other.send() == (0, "")
        assert other.send() == (0, "")
    assert LedgerEntry.objects.count() == ExternalGraderDetail.objects.count() == 2


@pytest.mark.skipif(connection.vendor != "mysql", reason="SQLite has no isolation levels, and one writer")
@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ"])
def test_what_another_request_has_stored_meanwhile_is_not_refused_in_a_callers_transaction(level, legacy):
    """An answer of 1 would take the key of the stored one from the learner's state, and its grade would be lost."""
    put_course_in("live")
    one = attempt()
    with connection.cursor() as cursor:
        cursor.execute(f"SET SESSION TRANSACTION ISOLATION LEVEL {level}")
    try:
        with transaction.atomic():
            assert not LedgerEntry.objects.exists()  # from here on REPEATABLE READ sees nothing newer
            assert elsewhere(one.send) == (0, "")
            assert one.send() == (0, "")
            assert attempt().send() == (0, "")
    finally:
        connection.close()
    assert LedgerEntry.objects.count() == ExternalGraderDetail.objects.count() == 2


def elsewhere(call):
    """What a call gives in another thread, with a connection of its own."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        given = pool.submit(call).result()
        pool.submit(connections.close_all).result()
    return given


@pytest.mark.parametrize("around", [nullcontext, in_a_transaction])
@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ"])
def test_one_submission_that_comes_four_times_at_once_is_stored_once(level, around, legacy):
    """Each writes all of it, meets the others at the StudentItem or at the entry, and is told that it is held."""
    put_course_in("live")
    one, together = attempt(), threading.Barrier(4)

    def send(number):
        if connection.vendor == "mysql":
            with connection.cursor() as cursor:
                cursor.execute(f"SET SESSION TRANSACTION ISOLATION LEVEL {level}")
        try:
            together.wait(30)
            with around():
                return one.send()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(max_workers=4) as pool:
        assert list(pool.map(send, range(4))) == [(0, "")] * 4
    assert LedgerEntry.objects.count() == ExternalGraderDetail.objects.count() == Submission.objects.count() == 1
    assert one.entry().target_submission_id == Submission.objects.get().pk


@pytest.mark.parametrize("around", [nullcontext, in_a_transaction])
def test_a_refusal_that_is_sent_again_inside_a_callers_transaction_is_stored(around, legacy):
    one = a_refusal()
    with around():
        assert one.send() == (0, "")
    assert (one.entry().authority, one.entry().target_leg) == ("target", "stored")
    assert ExternalGraderDetail.objects.count() == LedgerEntry.objects.count() == 1


@pytest.mark.skipif(connection.vendor != "mysql", reason="SQLite locks no row")
@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ"])
@pytest.mark.parametrize("around", [nullcontext, in_a_transaction])
@pytest.mark.parametrize("files", [(), [("main.py", b"print(1)\n")]], ids=["no files", "a file"])
def test_a_refusal_that_others_send_again_at_the_same_moment_is_not_told_of_as_failed(
    files, around, level, stored, legacy
):
    """While another session has its entry locked a try says nothing; the next one comes when that session has ended."""
    if stored and around is in_a_transaction and level == "REPEATABLE READ" and not connection.mysql_is_mariadb:
        pytest.skip("MySQL keeps the end of StudentItem's table locked for the request that waits, until it has ended")
    one = a_refusal(files=files)
    locked, over = threading.Event(), threading.Event()

    def hold():
        """Another session at work on it; it ends while this one waits."""
        try:
            with transaction.atomic():
                LedgerEntry.objects.select_for_update().get(pk=one.entry().pk)
                locked.set()
                over.wait(30)
            return one.send() if stored else None
        finally:
            connections.close_all()

    with ThreadPoolExecutor(max_workers=1) as pool:
        other = pool.submit(hold)
        assert locked.wait(30)
        pauses = []

        def pause(seconds):
            pauses.append(seconds)
            over.set()
            assert other.result(30) == ((0, "") if stored else None)

        with connection.cursor() as cursor:
            cursor.execute(f"SET SESSION TRANSACTION ISOLATION LEVEL {level}")
        with mock.patch.object(repeats.time, "sleep", pause):
            try:
                with around():
                    assert one.send() == (0, "")
            finally:
                over.set()
                connection.close()
    assert 0 < pauses[0] <= 0.1
    assert (one.entry().authority, one.entry().target_leg) == ("target", "stored")
    assert ExternalGraderDetail.objects.count() == Submission.objects.count() == LedgerEntry.objects.count() == 1


@pytest.mark.skipif(connection.vendor != "mysql", reason="SQLite locks no row")
@pytest.mark.parametrize("around", [nullcontext, in_a_transaction])
def test_a_refusal_whose_other_sends_do_not_end_keeps_the_learners_attempt(around, legacy):
    """An answer of 1 would be saved over the key of what the other one stores."""
    one = a_refusal()
    with (
        held("default", f"SELECT id FROM {LedgerEntry._meta.db_table} WHERE id = %s FOR UPDATE", one.entry().pk),
        mock.patch.object(repeats.time, "sleep"),
        pytest.raises(PhaseUnreadable),
        around(),
    ):
        one.send()
    assert not ExternalGraderDetail.objects.exists()
    assert one.send() == (0, "")


@pytest.mark.skipif(connection.vendor != "mysql", reason="SQLite has one writer")
@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ"])
def test_a_refusal_that_is_sent_again_by_several_requests_at_once_is_stored_once(level, legacy):
    """Each in a transaction that is open until its answer is saved. Of a deadlock's victim the whole request fails."""
    put_course_in("live")
    learner = attempt()
    assert learner.send() == (0, "")  # first attempts at a problem meet before, at the StudentItem
    for number in range(4):
        one, together = a_refusal(user=learner.user, answer=f"y = {number}\n"), threading.Barrier(3)

        def send(_, one=one, together=together):
            with connection.cursor() as cursor:
                cursor.execute(f"SET SESSION TRANSACTION ISOLATION LEVEL {level}")
            try:
                together.wait(30)
                with in_a_transaction():
                    return one.send()
            except PhaseUnreadable:
                return None
            finally:
                connections.close_all()

        with ThreadPoolExecutor(max_workers=3) as pool:
            told = list(pool.map(send, range(3)))
        assert (0, "") in told and set(told) <= {(0, ""), None}
        assert Submission.objects.count() == ExternalGraderDetail.objects.count() == number + 2


def test_what_legacy_holds_and_the_target_cannot_is_not_refused_when_it_is_sent_again(legacy):
    put_course_in("shadow")
    one = attempt(answer="x" * 150_000)
    assert one.send()[0] == 0
    put_course_in("live")
    assert one.send() == (0, "")
    assert attempt(answer="x" * 150_000).send()[0] == 1


def test_a_copy_owed_twice_leaves_the_callers_transaction_whole(legacy, shim):
    """A site's own tests run what follows a commit within a transaction of theirs."""
    shim(COPIES="deferred")
    put_course_in("shadow")
    one = attempt()
    assert one.send()[0] == 0
    with transaction.atomic(), mock.patch.object(transaction, "on_commit", lambda function: function()):
        assert one.send()[0] == 0
        assert LedgerEntry.objects.count() == 1
    assert one.entry().target_leg == "missing"


def test_a_refusal_that_legacy_had_stored_after_all_is_retired_there(legacy):
    """The sender was told that it failed; only the target may grade it now."""
    put_course_in("shadow")
    one = attempt()
    with mock.patch.object(dual_write, "_to_legacy", return_value=(1, "failed to read from the server")):
        one.send()
    put_course_in("legacy")
    one.send()
    put_course_in("live")
    assert one.submit() == (0, "")
    drain()
    own = LegacySubmission.objects.get(queue_name=rows.QUEUE)
    assert own.retired
    assert ExternalGraderDetail.objects.get().status == "pending"


@pytest.mark.parametrize("phase", ["live", "shadow"])
def test_two_first_attempts_at_once_are_both_stored(phase, legacy):
    """edx-submissions' serializer refuses the second: its look for the item came before the first one's commit."""
    detail = ErrorDetail("The fields student_id, course_id must make a unique set.", code="unique")
    taken = SubmissionRequestError(field_errors={"non_field_errors": [detail]})
    really, refused = dual_write.writer.create_external_grader_detail, []

    def create(*args, **options):
        if not refused:
            refused.append(1)
            raise taken
        return really(*args, **options)

    put_course_in(phase)
    one = attempt()
    with mock.patch.object(dual_write.writer, "create_external_grader_detail", create):
        assert one.send()[0] == 0
        drain()
    assert refused
    assert one.entry().target_leg == "stored"


# The linker and the router


def aged(seconds):
    LegacySubmission.objects.update(arrival_time=now() - timedelta(seconds=seconds))


def test_the_linker_leaves_a_row_to_the_router_for_a_while(legacy):
    put_course_in("legacy")
    one = attempt()
    one.send()
    put_course_in("shadow")
    rows.reconcile()
    assert one.entry() is None
    aged(61)
    rows.reconcile()
    entry = one.entry()
    assert (entry.origin, entry.target_leg) == ("reconcile", "missing")
    assert entry.copy_due is not None
    drain()
    assert one.entry().target_leg == "stored"


def test_the_router_takes_over_an_entry_of_the_linkers(legacy, shim):
    """Legacy was slow to answer, and the linker was there first: that is no repeat."""
    shim(COPIES="deferred")
    put_course_in("shadow")
    one = attempt()
    really = dual_write._to_legacy

    def slow(*args, **options):
        answer = really(*args, **options)
        aged(61)
        rows.reconcile()
        LedgerEntry.objects.update(copy_due=None, supersession_due=None)
        return answer

    with mock.patch.object(dual_write, "_to_legacy", slow):
        assert one.send()[0] == 0
    entry = LedgerEntry.objects.get()
    assert (entry.origin, entry.legacy_leg, entry.target_leg) == ("router", "stored", "missing")
    assert None not in (entry.copy_due, entry.supersession_due, entry.legacy_id)
    drain()
    assert one.entry().target_leg == "stored"
    assert counted()[2] == 1


def test_the_linker_survives_a_router_that_is_quicker(legacy, monkeypatch):
    put_course_in("legacy")
    one, other = attempt(), attempt()
    one.send()
    other.send()
    aged(61)
    put_course_in("shadow")
    really, done = linking.ledger_entries.new_entry, []

    def late(envelope, *args, **options):
        entry = really(envelope, *args, **options)
        if not done:
            done.append(1)
            LedgerEntry.objects.create(**{name: getattr(entry, name) for name in COPIED})
        return entry

    monkeypatch.setattr(linking.ledger_entries, "new_entry", late)
    assert rows.reconcile()[0].content["complete"]
    assert LedgerEntry.objects.count() == 2
    assert LedgerEntry.objects.filter(legacy_id=None).count() == 0


@pytest.mark.skipif(connection.vendor != "mysql", reason="SQLite has no isolation levels, and one writer")
@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ"])
def test_no_learner_waits_for_the_linker(level, legacy, monkeypatch):
    """Not even where a read that locks would lock what is not there: an entry of a row that has none."""
    put_course_in("legacy")
    attempt().send()
    put_course_in("live")
    really, given = linking._link_page, []

    def impatient():
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION innodb_lock_wait_timeout = 1")
        return attempt().send()

    def link_page(page, *rest):
        if page:
            given.append(elsewhere(impatient))
        return really(page, *rest)

    monkeypatch.setattr(linking, "_link_page", link_page)
    with connection.cursor() as cursor:
        cursor.execute(f"SET SESSION TRANSACTION ISOLATION LEVEL {level}")
    try:
        rows.reconcile()
    finally:
        connection.close()
    assert given == [(0, "")]


COPIED = (
    *("identity", "group", "course_id", "item_id", "input_key", "learner", "queue_name", "raw_header", "student_info"),
    *("phase", "authority", "arrived_at", "legacy_leg", "target_leg"),
)


# In legacy


def test_in_legacy_an_entry_is_written_only_for_an_older_attempt_on_the_target(legacy):
    put_course_in("live")
    one = attempt(user=61)
    one.submit()
    put_course_in("legacy")
    attempt(user=62).submit()
    assert LedgerEntry.objects.count() == 1
    two = attempt(user=61, at=now() + timedelta(seconds=30))
    assert two.submit()[0] == 0
    assert legs(two) == ("stored", "none")
    drain()
    assert one.entry().superseded_at is not None
    attempt(user=61, at=now() + timedelta(seconds=60)).submit()
    assert LedgerEntry.objects.count() == 2  # nothing of it is on the target any more
