"""Several at once on a server with row locks: whoever stores, signs, applies or recounts, nothing is counted twice."""

import random
import threading

import pytest
from django.db import InterfaceError, OperationalError, ProgrammingError, connection, connections
from django.utils.timezone import now

from migration_shim.comparison import results
from migration_shim.core.data import DivergenceClass, PairStatus
from migration_shim.ledger import known_differences, recount
from migration_shim.ledger.buckets import Changes, counted
from migration_shim.models import Bucket, LedgerEntry
from tests.builders import rows
from tests.builders.rows import COURSE, fresh  # noqa: F401
from tests.ledger.counters.oracle import assert_counters_equal_counts
from tests.ledger.counters.test_changes import bare, store

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "xqueue"]),
    pytest.mark.skipif(connection.vendor != "mysql", reason="SQLite lets one write at a time"),
]
ENTRIES, ROUNDS = 12, 25


def at_once(*works):
    """Run each in a thread of its own, and raise what any of them raised."""
    errors, ready = [], threading.Barrier(len(works))

    def run(work):
        try:
            ready.wait(10)
            work()
        except BaseException as error:  # said by the test, in its own thread
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads)
    if errors:
        raise errors[0]


def storing_anew(seed):
    """What a reconcile does, over and over: entries get one result and then another."""

    def work():
        dice = random.Random(seed)
        ids = list(LedgerEntry.objects.values_list("pk", flat=True))
        for _ in range(ROUNDS):
            dice.shuffle(ids)
            for pk in ids[:4]:
                classes = dice.sample(["score", "correctness"], dice.randint(0, 2))
                status = PairStatus.DIVERGED if classes else dice.choice([PairStatus.EQUAL, PairStatus.WAITING])
                store(LedgerEntry.objects.get(pk=pk), status, [DivergenceClass(klass) for klass in classes])

    return work


def recounting(found):
    def work():
        for _ in range(ROUNDS * 2):
            found.append(recount.mend(COURSE))

    return work


def applying():
    for _ in range(ROUNDS):
        known_differences.apply(COURSE, now())


def purging():
    ids = list(LedgerEntry.objects.values_list("pk", flat=True))
    for turn in range(ROUNDS):
        with counted(ids):
            LedgerEntry.objects.filter(pk__in=ids).update(purged_at=now() if turn % 2 else None)


def tolerant(work):
    """A deadlock is the caller's to do again; here it is left, with all that it would have done."""

    def once():
        try:
            work()
        except OperationalError as error:
            assert error.args[0] in (1205, 1213), error

    return once


@pytest.fixture
def course():
    rows.in_phase("shadow")
    bare(ENTRIES)
    for entry in LedgerEntry.objects.all():
        store(entry, PairStatus.EQUAL)
    known_differences.add(DivergenceClass.SCORE, reason="r", owner="ada", days=1)


def test_two_reconciles_a_register_a_purge_and_a_recount(course):
    found = []
    at_once(storing_anew(1), storing_anew(2), recounting(found), tolerant(applying), tolerant(purging))
    assert set(found) == {0}, "a recount has seen a difference that was none"
    assert_counters_equal_counts()
    assert recount.difference(COURSE).number == 0


def test_two_recounts_mend_a_difference_once(course):
    bucket = Bucket.objects.exclude(number=0).first()
    Bucket.objects.filter(pk=bucket.pk).update(number=bucket.number + 7)
    found = []
    at_once(*(lambda: found.append(recount.mend(COURSE)) for _ in range(4)))
    assert sorted(found) == [0, 0, 0, 1]
    assert_counters_equal_counts()


@pytest.mark.by_hand
def test_upserts_in_the_order_of_ids_meet_no_deadlock(course):
    """Eight sessions, sixty buckets, each batch in its own order of counting: none is ever a victim."""
    facts = [one for one, _ in _facts()]

    def work(seed):
        def run():
            dice = random.Random(seed)
            for _ in range(40):
                changes = Changes()
                for one in dice.sample(facts, 30):
                    changes.add(one)
                changes.write()

        return run

    at_once(*(work(seed) for seed in range(8)))
    assert sum(Bucket.objects.filter(course_id="c").values_list("number", flat=True)) == 8 * 40 * 30


def _facts():
    from migration_shim.core.buckets import facts_of
    from tests.ledger.counters.test_facts import PAIR

    return [(facts_of(PAIR)._replace(course_id="c", item_id=str(index)), 1) for index in range(60)]


def test_a_worker_that_is_cut_off_leaves_both_or_neither(course, monkeypatch):
    """Its connection ends between the entries and the counters."""
    write = Changes.write

    def cut_off(self):
        if threading.current_thread() is not threading.main_thread():
            connection.connection.close()  # the server rolls back what it has
        write(self)

    monkeypatch.setattr(Changes, "write", cut_off)
    monkeypatch.setattr(results, "on_contention", lambda write: write())
    pk = LedgerEntry.objects.first().pk
    with pytest.raises((OperationalError, InterfaceError, ProgrammingError)):
        at_once(lambda: store(LedgerEntry.objects.get(pk=pk), PairStatus.DIVERGED, [DivergenceClass.SCORE]))
    monkeypatch.setattr(Changes, "write", write)
    assert LedgerEntry.objects.get(pk=pk).result == PairStatus.EQUAL
    assert_counters_equal_counts()
