"""The scheduler, on a table of two counters: it finds a planted race, sees who waits, kills, and repeats itself."""

import pytest
from django.db import OperationalError, connection, connections, transaction

from tests.acceptance.interleavings import scheduler
from tests.acceptance.interleavings.conftest import needs_mariadb
from tests.acceptance.interleavings.schedules import every, parsed, written

pytestmark = [needs_mariadb, pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)]
TABLE = "interleavings_counter"


@pytest.fixture(autouse=True)
def counters(stage):
    """Two counters on the target, at zero; both databases are on one server."""
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {TABLE} (name varchar(8) PRIMARY KEY, number integer)")
    yield
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {TABLE}")


def run(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def set_to(number, name="one"):
    run(f"UPDATE {TABLE} SET number = {number} WHERE name = '{name}'")


def value(name="one", lock=""):
    return run(f"SELECT number FROM {TABLE} WHERE name = '{name}' {lock}")[0][0]


def play(stage, works, schedule):
    run(f"DELETE FROM {TABLE}")
    run(f"INSERT INTO {TABLE} VALUES ('one', 0), ('two', 0)")
    return stage.play(works, schedule)


def careless():
    """The planted race: read, then write what was read and one more."""
    set_to(value() + 1)


def careful():
    """The same under a lock, and with a savepoint, which is no step."""
    with transaction.atomic(), transaction.atomic():
        set_to(value(lock="FOR UPDATE") + 1)


def test_a_lost_update_is_found_in_the_schedules_that_lose_it(stage):
    lost = []
    for schedule in every((2, 2)):
        play(stage, (careless, careless), schedule)
        if value() != 2 and not any(turn.dies for turn in schedule):
            lost.append(written(schedule))
    assert lost == ["A1 B A", "B1 A B", "A1 B1 A B", "B1 A1 B A"]


def test_the_wait_for_a_lock_ends_a_turn_and_nothing_is_lost(stage):
    found = play(stage, (careful, careful), parsed("A1 B A"))
    # B has asked for the row that A has locked; it goes on when A has committed.
    assert [played.steps[-1] for played in found] == ["COMMIT", "COMMIT"]
    assert [len(played.steps) for played in found] == [3, 3]
    assert value() == 2
    for schedule in every((3, 3)):
        deaths = sum(played.died for played in play(stage, (careful, careful), schedule))
        assert value() == 2 - deaths, written(schedule)


def test_who_dies_leaves_what_it_has_committed_and_nothing_else(stage):
    cleaned_up = []

    def work():
        set_to(5)
        try:
            with transaction.atomic():
                set_to(6)
                set_to(7, "two")
        except Exception:
            cleaned_up.append("caught")
        finally:
            cleaned_up.append(run("SELECT 1"))

    found = play(stage, (work, lambda: (value(), value("two", lock="FOR UPDATE"))), parsed("A3! B"))
    assert (found[0].died, found[1].result, cleaned_up) == (True, (5, 0), [])
    assert isinstance(found[0].error, scheduler.Killed)
    assert play(stage, (work, careless), parsed("A B"))[0].died is False, "the next player is alive"


def test_who_waits_for_the_dead_goes_on(stage):
    found = play(stage, (careful, careful), parsed("A2 B1 A2! B"))
    assert [played.died for played in found] == [False, False], "A was done with its turns before it could die"
    found = play(stage, (careful, careful), parsed("A2 B1 A0! B"))
    assert [played.died for played in found] == [True, False]
    assert value() == 1


def test_who_waits_for_a_lock_can_die_of_it(stage):
    found = play(stage, (careful, careful), parsed("A1 B1! A"))
    assert [played.died for played in found] == [False, True]
    assert value() == 1


def test_a_deadlock_is_left_to_the_database(stage):
    def both(first, second):
        with transaction.atomic():
            value(first, lock="FOR UPDATE")
            value(second, lock="FOR UPDATE")
            set_to(1, first)

    found = play(stage, (lambda: both("one", "two"), lambda: both("two", "one")), parsed("A1 B A"))
    assert sorted(type(played.error) for played in found if played.error) == [OperationalError]


def test_a_request_is_a_step_and_what_it_does_elsewhere_is_none(stage):
    def post():
        scheduler.step("POST")
        with scheduler.elsewhere():
            careful()
        scheduler.step("answered")

    found = play(stage, (post, careless), parsed("A1 B A"))
    assert found[0].steps == ["POST", "answered"]
    assert value() == 2


def test_both_databases_and_the_ends_of_transactions_are_steps(stage):
    def work():
        for alias in scheduler.ALIASES:
            with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
                cursor.execute("SELECT 1")
        with transaction.atomic():
            transaction.set_rollback(True)

    found = play(stage, (work, careless), parsed("A B"))
    assert found[0].steps == ["default: SELECT 1", "COMMIT", "xqueue: SELECT 1", "COMMIT", "ROLLBACK"]


def test_the_same_schedule_is_the_same_run(stage):
    for schedule in every((3, 2)):
        runs = []
        for _ in range(3):
            found = play(stage, (careful, careless), schedule)
            runs.append(([(played.steps, played.died, repr(played.error)) for played in found], value()))
        assert runs[0] == runs[1] == runs[2], written(schedule)
