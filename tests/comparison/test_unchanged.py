"""A course in which nothing has changed: what is open is not compared again, and few statements are made."""

import gc
from datetime import timedelta

import pytest
from django.db import connection, connections, reset_queries
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from migration_shim import api
from migration_shim.comparison import candidates, link_position
from migration_shim.comparison.score_styles import ScoreStyles
from migration_shim.core.data import Grading
from migration_shim.legacy import rows as legacy_rows
from migration_shim.models import LedgerEntry, Run
from migration_shim.runs import isolated
from tests.builders import changes, rows
from tests.builders.rows import COURSE, QUEUE, WRONG, fresh  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
DAYS = timedelta(days=2)
RULES = candidates.Rules.of("basis", {})
#: A pair without an end on either side, and one that only legacy has graded, long ago.
OPEN = {"waiting": lambda row: None, "overdue": lambda row: changes.legacy_graded(row, ago=timedelta(days=1))}
#: Statements of a run over one course of which one submission waits, one is overdue and one differs, on the LMS's
#: database and on XQueue's. Those of the connection itself and of the throttle are not among them. Three ask for the
#: kill switch.
OURS, THEIRS = 36, 7


def made(case, user=7):
    row = rows.legacy_row(user, age=DAYS)
    rows.backfill()
    LedgerEntry.objects.update(origin="router")
    OPEN[case](row)
    return row


@pytest.fixture
def compared(monkeypatch):
    """The ids that each scan has compared."""
    found, changed = [], candidates.changed
    monkeypatch.setattr(candidates, "changed", lambda page: found.append(changed(page)) or found[-1])
    return found


@pytest.mark.parametrize("case", OPEN)
def test_what_is_open_is_compared_again_when_a_row_of_it_changes(case, compared):
    row = made(case)
    pk = LedgerEntry.objects.get().pk
    for _ in range(3):
        content = rows.reconcile()[0].content
        assert (content["looked_at"], content[case]) == (1, 1)
    assert [ids for ids in compared if ids] == [[pk]]
    del compared[:]
    changes.target_graded(row, WRONG)
    if case == "waiting":
        changes.legacy_graded(row)
    assert rows.reconcile()[0].content["diverged"] == 1
    assert compared[0] == [pk]


@pytest.mark.parametrize("case", OPEN)
def test_what_waits_is_compared_again_when_legacy_alone_has_an_answer(case, compared):
    row = made(case)
    rows.reconcile()
    changes.legacy_graded(row, ago=timedelta(minutes=1))
    content = rows.reconcile()[0].content
    assert (content["waiting"], content["overdue"]) == (1, 0)
    del compared[:]
    rows.reconcile()
    assert [ids for ids in compared if ids] == [[LedgerEntry.objects.get().pk]]  # a while later it would be overdue


ANYTHING = (
    {"copy_due": now()},
    {"superseded_at": now()},
    {"move": "held"},
    {"target_state": "pulled"},
    {"target_state": "missing"},
    {"payload_compared_at": None},
    {"legacy_state": "given_up"},
    {"seen": "of other rules"},
)


def stands(**options):
    read = candidates.snapshot_reader(RULES, **{"echo": False, "patient": [], **options})
    return [snapshot.stands for snapshot in read("l.id > %s", [0])]


@pytest.mark.parametrize(
    ("case", "columns"),
    [(case, columns) for case in OPEN for columns in ANYTHING]
    + [("waiting", {"legacy_state": "graded"}), ("waiting", {"legacy_state": "missing"})],
)
def test_what_is_open_is_compared_each_time_where_more_than_its_rows_tells(case, columns):
    made(case)
    rows.reconcile()
    pk = LedgerEntry.objects.get().pk

    def again(**columns):
        LedgerEntry.objects.update(**columns)
        LedgerEntry.objects.update(**{**candidates.fingerprints_now([pk], RULES)[pk]._asdict(), **columns})
        return stands()

    assert again() == [1]
    with changes.undone():
        assert again(**columns) == [0]


def test_what_is_overdue_stands_only_where_no_slow_grader_could_excuse_it():
    made("overdue")
    rows.reconcile()
    pk = LedgerEntry.objects.get().pk
    LedgerEntry.objects.update(**candidates.fingerprints_now([pk], RULES)[pk]._asdict())
    assert stands() == stands(patient=["another"]) == [1]
    assert stands(patient=None) == stands(patient=[QUEUE]) == stands(patient=["another", QUEUE]) == [0]
    assert stands(echo=True) == [0]


def test_what_is_overdue_is_in_time_again_once_the_queue_is_known_to_be_slow(monkeypatch):
    made("overdue")
    assert [rows.reconcile()[0].content["overdue"] for _ in range(2)] == [1, 1]
    usual = {QUEUE: timedelta(days=1)}
    monkeypatch.setattr(ScoreStyles, "learnt", classmethod(lambda cls, course_id, before: cls({}, usual)))
    assert rows.reconcile()[0].content["waiting"] == 1


def test_a_slow_queue_is_one_of_which_twice_the_usual_time_is_more_than_the_limit():
    hour = timedelta(hours=1)
    styles = ScoreStyles({}, {"b": hour, "a": hour, "c": hour / 2})
    assert styles.slower_than(hour) == ["a", "b"]


def test_an_echo_is_given_to_what_was_overdue_before():
    made("overdue")
    assert rows.reconcile()[0].content["overdue"] == 1
    rows.reconcile(grading=Grading.ECHO)
    assert LedgerEntry.objects.get().echo
    assert rows.reconcile()[0].content["equal"] == 1


def test_what_the_process_holds_is_no_concern_of_the_collector_while_a_run_lasts():
    made("waiting")
    frozen = []
    api.reconcile([COURSE], lambda done, total: frozen.append(gc.get_freeze_count()))
    assert frozen
    assert min(frozen) > 0
    assert gc.get_freeze_count() == 0


# Statements


def a_course():
    """One of each: equal, different, waiting and overdue."""
    for number, reply in enumerate((rows.RIGHT, WRONG)):
        row = rows.legacy_row(number, age=DAYS)
        rows.backfill()
        changes.both_graded(row, rows.RIGHT, reply, ago=timedelta(hours=1))
    for number, case in enumerate(OPEN, start=8):
        made(case, number)
    found = [rows.reconcile()[0].content for _ in range(2)]
    assert [found[1][name] for name in ("equal", "diverged", "waiting", "overdue")] == [1, 1, 1, 1]


def asked(context):
    words = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")
    return [sql for sql in (query["sql"] for query in context.captured_queries) if sql.lstrip("( ").startswith(words)]


def test_a_course_in_which_nothing_has_changed_takes_few_statements():
    a_course()
    reset_queries()
    with CaptureQueriesContext(connections["default"]) as ours, CaptureQueriesContext(connections["xqueue"]) as theirs:
        api.reconcile([COURSE], rows.ignore, None)
    for found, most in zip(map(asked, (ours, theirs)), (OURS, THEIRS), strict=True):
        assert len(found) <= most, "\n".join([str(len(found)), *(sql[:200] for sql in found)])


@pytest.mark.skipif(connection.vendor != "mysql", reason="SQLite does not count the rows that it reads")
def test_what_a_run_reads_does_not_grow_with_the_runs_before_it():
    def read():
        with connection.cursor() as cursor:
            cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%%'")
            return sum(int(number) for _, number in cursor.fetchall())

    def of_one():
        before = read()
        api.reconcile([COURSE], rows.ignore, None)
        return read() - before

    a_course()
    of_one()
    few = of_one()
    Run.objects.bulk_create(Run(kind="reconcile", scope=COURSE, finished_at=now()) for _ in range(500))
    of_one()  # looks for the last complete one behind them
    assert of_one() <= few + 60


def test_without_new_rows_xqueue_is_not_asked_for_its_time(monkeypatch):
    a_course()
    monkeypatch.setattr(legacy_rows, "clock", lambda: pytest.fail("there is nothing to link"))
    rows.reconcile()


def test_a_row_that_waits_for_its_files_is_tried_again_without_new_rows(monkeypatch):
    a_course()
    again, tried = link_position.rows_to_retry, []
    monkeypatch.setattr(link_position, "rows_to_retry", lambda checkpoint: [4711])
    monkeypatch.setattr(link_position, "keep_for_retry", lambda checkpoint, *, unread, done=(): tried.extend(done))
    rows.reconcile()
    assert tried == [4711] and again is not None


@pytest.mark.django_db(transaction=True, databases=["default", "xqueue"])
@pytest.mark.skipif(connection.vendor != "mysql", reason="SQLite's connections in memory are never closed")
def test_a_connection_serves_several_courses_and_an_old_or_broken_one_none(monkeypatch):
    def session():
        with connection.cursor() as cursor:
            cursor.execute("SELECT CONNECTION_ID()")
            return cursor.fetchone()[0]

    def step():
        return isolated.run_step("reconcile", COURSE, session)[0]

    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", 0)
    connection.close()
    first = step()
    assert step() == first
    with connection.cursor() as cursor:  # what a server does that is started anew
        other = connection.copy()
        with other.cursor() as killing:
            killing.execute(f"KILL {first}")
        other.close()
        with pytest.raises(Exception, match=r"gone away|Lost connection|killed"):
            cursor.execute("SELECT 1")
    second = step()
    assert second not in (None, first) and step() == second
    monkeypatch.setattr(isolated, "KEEP_SECONDS", 0.0)
    assert step() not in (None, second)


@pytest.mark.django_db(transaction=True, databases=["default", "xqueue"])
@pytest.mark.skipif(connection.vendor != "mysql", reason="SQLite has no server")
@pytest.mark.parametrize("alias", ["default", "xqueue"])
def test_a_server_started_anew_between_two_courses_costs_neither_its_run(alias, monkeypatch):
    here = connections[alias]

    def session():
        with here.cursor() as cursor:
            cursor.execute("SELECT CONNECTION_ID()")
            return cursor.fetchone()[0]

    monkeypatch.setitem(here.settings_dict, "CONN_MAX_AGE", 0)
    here.close()
    first, _ = isolated.run_step("reconcile", COURSE, session)
    other = here.copy()
    with other.cursor() as killing:
        killing.execute(f"KILL {first}")
    other.close()
    second, said = isolated.run_step("reconcile", COURSE, session)
    here.close()  # whatever has come of it
    assert (said, second not in (None, first)) == ("", True)
