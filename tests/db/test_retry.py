"""Once more after contention: what is tried again, how often, and what never is."""

import pytest
from django.db import DataError, IntegrityError, InterfaceError, OperationalError, connection, connections, transaction

from migration_shim.core.errors import TargetWriteFailed, Unfit
from migration_shim.db import retry
from migration_shim.db.retry import collision, on_contention

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)

DEADLOCK = OperationalError(1213, "Deadlock found")


def refused(cause, *, passing):
    """As the target's writer says it."""
    error = TargetWriteFailed(type(cause).__name__, passing=passing)
    error.__cause__ = cause
    return error


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    """The pauses between tries, which take no time here."""
    seen = []
    monkeypatch.setattr(retry.time, "sleep", seen.append)
    return seen


class Work:
    """Raises what it is given, one after the other, then succeeds; ``calls`` counts."""

    def __init__(self, *errors):
        self.errors, self.calls = list(errors), 0

    def __call__(self):
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "written"


@pytest.mark.parametrize(
    "error",
    [
        DEADLOCK,
        OperationalError(1205, "Lock wait timeout exceeded"),
        OperationalError("database is locked"),
        OperationalError(2013, "Lost connection to server during query"),
        InterfaceError(0, ""),
        refused(DEADLOCK, passing=True),
    ],
)
def test_contention_is_answered_with_another_try(error, pauses):
    work = Work(error, error, error)
    assert on_contention(work) == "written"
    assert work.calls == 4
    assert [0.1 <= pauses[0] <= 0.2, 0.2 <= pauses[1] <= 0.4, 0.4 <= pauses[2] <= 0.8] == [True] * 3


@pytest.mark.parametrize(
    "error",
    [
        DataError(1406, "Data too long"),
        OperationalError(1366, "Incorrect string value"),
        OperationalError(3988, "Conversion from collation"),
        IntegrityError(1062, "Duplicate entry"),
        TargetWriteFailed("changed", passing=True),
        refused(DataError(1406, "Data too long"), passing=False),
        Unfit("reason", "what the target cannot hold"),
        ValueError("no database's"),
    ],
)
def test_what_does_not_pass_is_raised_at_once(error, pauses):
    work = Work(error)
    with pytest.raises(type(error)):
        on_contention(work)
    assert (work.calls, pauses) == (1, [])


@pytest.mark.parametrize(
    "error",
    [
        IntegrityError(1062, "Duplicate entry"),
        TargetWriteFailed("changed", passing=True),
        refused(IntegrityError(1062, "Duplicate entry"), passing=True),
    ],
)
def test_a_collision_is_tried_again_for_those_who_ask_for_it(error):
    assert on_contention(Work(error), also=collision) == "written"


@pytest.mark.parametrize("tries", [1, 2, 5])
def test_it_ends_with_the_error_of_the_last_try(tries, pauses):
    work = Work(*[DEADLOCK] * 9)
    with pytest.raises(OperationalError):
        on_contention(work, tries=tries)
    assert (work.calls, len(pauses)) == (tries, tries - 1)


@pytest.mark.parametrize("alias", ["default", "xqueue"])
def test_nothing_is_tried_again_inside_a_transaction(alias, pauses):
    """Its beginning is lost with the deadlock: what is done again would be committed without it."""
    work = Work(DEADLOCK)
    with pytest.raises(OperationalError), transaction.atomic(using=alias):
        on_contention(work)
    assert (work.calls, pauses) == (1, [])
    assert not connections[alias].in_atomic_block


def test_a_connection_that_does_not_answer_is_given_up(monkeypatch):
    connection.ensure_connection()
    monkeypatch.setattr(connection, "is_usable", lambda: False)

    def write():
        if connection.connection is not None:
            connection.errors_occurred = True
            raise OperationalError(2006, "Server has gone away")
        return "written"

    assert on_contention(write) == "written"
