"""A return that is cut off anywhere is finished by the next one, and two at once do each row once."""

import itertools
import os
import signal
import threading
from contextlib import ExitStack, contextmanager
from datetime import timedelta

import pytest
from django.db import connection, connections, transaction
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail

from migration_shim import api
from migration_shim.backfill.give_back import run as give_back
from migration_shim.backfill.give_back import steps as give_back_steps
from migration_shim.backfill.request import Mode, Request
from migration_shim.core.data import ExitCode, Move
from migration_shim.legacy import give_back as legacy
from migration_shim.models import LedgerEntry, LegacySubmission, Run
from migration_shim.reports import terminal
from tests.builders import rows
from tests.builders.in_flight import counts, give_back_all, hand_off, live, queued

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)


class Killed(BaseException):
    """What a kill is to the code: nothing below it catches this."""


@contextmanager
def killed_at(number):
    """Kill the process that does statement ``number``, counted over both databases from the first fence on."""
    done = [0]

    def count(execute, sql, params, many, context):
        fences = sql.startswith("UPDATE") and "externalgraderdetail" in sql
        done[0] += done[0] > 0 or fences
        if done[0] == number:
            raise Killed
        return execute(sql, params, many, context)

    with ExitStack() as stack:
        for alias in ("default", "xqueue"):
            stack.enter_context(connections[alias].execute_wrapper(count))
        yield


def some_rows():
    """A row to revive, and one to insert with a file."""
    handed_off = hand_off(rows.legacy_row(1, age=timedelta(hours=3)))
    return handed_off, live(2, uploads={"a.py": b"print()"}, age=timedelta(hours=2))


def check_returned(entries):
    """Every learner waits for one row, on legacy, and nothing is left half done."""
    assert [len(queued(entry.raw_header)) for entry in entries] == [1, 1]
    assert LegacySubmission.objects.count() == 2
    assert list(LedgerEntry.objects.values_list("move", "authority")) == [("returned", "legacy")] * 2
    details = ExternalGraderDetail.objects.values_list("status", "pullkey", "grader_reply")
    assert list(details) == [("retired", "", None)] * 2


def snapshot():
    """A function that brings all rows back to what they are now."""
    models = (LedgerEntry, LegacySubmission, ExternalGraderDetail)
    stored = {model: list(model.objects.all()) for model in models}

    def restore():
        for model, objects in stored.items():
            model.objects.exclude(pk__in=[each.pk for each in objects]).delete()
            columns = [field.name for field in model._meta.concrete_fields if not field.primary_key]
            model.objects.bulk_update(objects, columns)
        Run.objects.all().delete()  # one that was killed while it wrote its end would lock the next out for a while

    return restore


def test_it_may_be_killed_at_any_statement():
    entries = some_rows()
    restore = snapshot()
    cut_off = 0
    for number in itertools.count(1):
        try:
            with killed_at(number):
                give_back_all()
            break  # it came to its end
        except Killed:
            cut_off += LedgerEntry.objects.filter(move="returning").exists()
        Run.objects.all().delete()
        assert give_back_all().exit_code == ExitCode.OK
        check_returned(entries)
        restore()
    check_returned(entries)
    assert counts(give_back_all()) == {}
    assert number > 30
    assert cut_off >= 8  # so often it was between the fence and the end


def killed_between_the_two_last_commits(monkeypatch, entry):
    """Legacy has the row of an entry, and the ledger does not know."""
    default, legacy_alias = connections["default"], connections["xqueue"]
    commit_on_legacy, commit = legacy_alias.commit, default.commit
    due = []

    def note():
        commit_on_legacy()
        if LedgerEntry.objects.filter(pk=entry.pk, move="returned").exists():  # in the open transaction
            due.append(1)

    def die():
        if due:
            default.connection.rollback()
            raise Killed
        commit()

    monkeypatch.setattr(legacy_alias, "commit", note)
    monkeypatch.setattr(default, "commit", die)
    with pytest.raises(Killed):
        give_back_all()
    monkeypatch.undo()
    default.close()
    Run.objects.all().delete()  # a run that was killed locks the next out for a while
    entry.refresh_from_db()
    assert (entry.move, len(queued(entry.raw_header))) == ("returning", 1)


@pytest.mark.parametrize("handed_off", [True, False])
def test_it_may_be_killed_between_the_two_last_commits(monkeypatch, handed_off):
    """The next run finds legacy's row and writes nothing."""
    entry = hand_off(rows.legacy_row(1)) if handed_off else live(1)
    killed_between_the_two_last_commits(monkeypatch, entry)

    document = give_back_all()

    assert counts(document) == {"imported already_there": 1}
    assert document.content["written"] == 0
    assert LegacySubmission.objects.count() == 1
    entry.refresh_from_db()
    assert (entry.move, entry.authority, entry.legacy_id) == ("returned", "legacy", LegacySubmission.objects.get().pk)


@pytest.mark.parametrize("handed_off", [True, False])
def test_what_a_killed_run_has_written_is_retired_if_the_learner_has_replaced_it_since(monkeypatch, handed_off):
    """XQueue took the newer attempt when it saw nothing to retire yet."""
    entry = hand_off(rows.legacy_row(1)) if handed_off else live(1)
    killed_between_the_two_last_commits(monkeypatch, entry)
    newer = rows.legacy_row(1, answer="new", age=timedelta(minutes=1))

    assert counts(give_back_all()) == {"superseded": 1}

    assert LegacySubmission.objects.filter(retired=False).get().pk == newer.pk
    entry.refresh_from_db()
    assert (entry.move, entry.authority, entry.superseded_at is not None) == (Move.RETURNED, "legacy", True)


def test_what_was_fenced_is_finished_whatever_the_phase_is_by_now(monkeypatch):
    entry = live()

    def die(*args):
        raise Killed

    monkeypatch.setattr(give_back_steps, "_write", die)
    with pytest.raises(Killed):
        give_back_all()
    monkeypatch.undo()
    assert LedgerEntry.objects.get().move == "returning"
    rows.in_phase("live")
    assert counts(give_back_all(execute=False)) == {"imported inserted": 1}
    assert LegacySubmission.objects.count() == 0
    assert counts(give_back_all(courses=frozenset([rows.COURSE]))) == {"imported inserted": 1}
    assert len(queued(entry.raw_header)) == 1


def test_a_session_that_has_lost_its_lock_commits_nothing_on_legacy(monkeypatch):
    """Its last statement on the target comes before legacy's commit."""
    if connection.vendor != "mysql":
        pytest.skip("SQLite has no server that can drop a connection")
    live()
    insert = legacy.insert
    dropped = []

    def drops_the_target(*args):
        row_id = insert(*args)
        if not dropped:
            dropped.append(connections["default"].connection.thread_id())
            with connections["xqueue"].cursor() as cursor:
                cursor.execute(f"KILL {dropped[0]}")
        return row_id

    monkeypatch.setattr(legacy, "insert", drops_the_target)
    give_back_all()
    assert dropped
    assert LegacySubmission.objects.count() == 1
    assert LedgerEntry.objects.get().move == "returned"


def at_once(*works):
    """Do these in threads of their own, at once; what each returned or raised."""
    begin, answers = threading.Barrier(len(works)), [None] * len(works)

    def run(index):
        begin.wait()
        try:
            answers[index] = works[index]()
        except BaseException as error:
            answers[index] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return answers


def test_two_returns_at_once_do_each_row_once():
    number = 20
    entries = [live(user) if user % 2 else hand_off(rows.legacy_row(user)) for user in range(1, number + 1)]
    scopes = [{}, {"courses": frozenset([rows.COURSE])}, {"queues": frozenset([rows.QUEUE])}]

    documents = at_once(*(lambda scope=scope: give_back_all(**scope) for scope in scopes))

    assert LegacySubmission.objects.count() == number
    assert sum(document.content["written"] for document in documents) == number
    assert all(len(queued(entry.raw_header)) == 1 for entry in entries)
    assert set(LedgerEntry.objects.values_list("move", "authority")) == {("returned", "legacy")}


def test_two_returns_that_finish_the_same_row_write_it_once(monkeypatch):
    """Both have seen that legacy has no row; the second to get the entry finds that it is returned."""
    live()
    write, both = give_back_steps._write, threading.Barrier(2)

    def meet(*args):
        both.wait(20)
        return write(*args)

    def die(*args):
        raise Killed

    monkeypatch.setattr(give_back_steps, "_write", die)
    with pytest.raises(Killed):
        give_back_all()
    monkeypatch.setattr(give_back_steps, "_write", meet)
    answers = at_once(give_back_all, lambda: give_back_all(courses=frozenset([rows.COURSE])))
    found = sorted(tuple(counts(document)) for document in answers)
    assert found == [("imported inserted",), ("present returned_by_another_run",)]
    assert LegacySubmission.objects.count() == 1


def test_a_row_whose_result_is_being_stored_is_left(monkeypatch):
    if connection.vendor != "mysql":
        pytest.skip("SQLite has no row locks")
    entry = live()
    held, release = threading.Event(), threading.Event()

    def grader():
        with transaction.atomic():
            ExternalGraderDetail.objects.select_for_update().get(submission_id=entry.target_submission_id)
            held.set()
            release.wait(30)

    def back():
        held.wait(30)
        try:
            return give_back_all()
        finally:
            release.set()

    document = at_once(grader, back)[1]
    assert counts(document) == {"drain result_being_stored": 1}
    assert LegacySubmission.objects.count() == 0
    assert counts(give_back_all()) == {"imported inserted": 1}


def test_a_signal_stops_it_between_two_batches_and_it_is_resumed():
    entries = [live(user) for user in range(1, 4)]
    seen = []

    def progress(done, total):
        seen.append((done, total))
        if done == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    document = give_back.run(Request(mode=Mode.RETURN, execute=True, batch_size=1), progress)
    assert document.exit_code == ExitCode.STOPPED
    assert (document.content["stopped_by"], document.content["complete"]) == ("SIGTERM", False)
    assert seen == [(1, 3)]
    assert counts(give_back_all()) == {"imported inserted": 2}
    assert all(len(queued(entry.raw_header)) == 1 for entry in entries)


def test_status_shows_what_an_interrupted_return_has_left_between_the_systems():
    rows.in_phase("legacy")
    moment = now() - timedelta(minutes=3)
    rows.entries(2, move=Move.RETURNING, moved_at=moment)
    status = api.status([rows.COURSE]).content
    assert status["courses"][0]["returning"]["rows"] == 2
    assert 170 < status["courses"][0]["returning"]["oldest_seconds"] < 200
    assert "RETURNING to legacy: 2 rows" in terminal.render(status)
