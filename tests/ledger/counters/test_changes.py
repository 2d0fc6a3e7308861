"""One transaction changes entries and counters together: whatever is stored, restated or taken back."""

import contextlib
from datetime import timedelta

import pytest
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from migration_shim.comparison import results
from migration_shim.comparison.candidates import Fingerprints
from migration_shim.core.buckets import bucket_id, facts_of
from migration_shim.core.data import GRAVE, Comparison, DivergenceClass, Outcome, PairStatus, Reply, ReplyKind, State
from migration_shim.core.errors import ShimError
from migration_shim.core.histograms import Bin
from migration_shim.cutover import cures
from migration_shim.db import retry
from migration_shim.ledger import buckets, counts, known_differences, recount
from migration_shim.ledger.buckets import Changes, counted
from migration_shim.models import Bucket, Histogram, KnownDifference, LedgerEntry
from tests.builders import rows
from tests.builders.rows import COURSE, fresh, usage_key  # noqa: F401
from tests.ledger.counters.oracle import assert_counters_equal_counts, complaints
from tests.ledger.counters.test_facts import PAIR

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
HORIZON = timedelta(minutes=7)
FACTS = facts_of(PAIR)
PLACE = Bin(COURSE, "q", "legacy", None, "style", "share")
REPLIES = (
    None,
    Reply(kind=ReplyKind.VALID, correct=True, score=1.0),
    Reply(kind=ReplyKind.VALID, correct=False, score=0.35),
    Reply(kind=ReplyKind.VALID, correct=True, score=3.0),
    Reply(kind=ReplyKind.INVALID),
    Reply(kind=ReplyKind.RAISES),
)
STATES = [state for state in State if state not in (State.GONE, State.LOST)]


def bare(number=3):
    """Entries that nobody has compared."""
    values = {"result": "none", "graded_pair": False, "target_graded_at": None, "payload_compared_at": None}
    for index in range(number):
        rows.entries(1, item_id=usage_key("ab"[index % 2]), points_possible=1 + 3 * (index % 2), **values)
    LedgerEntry.objects.update(legacy_seconds=None, target_seconds=None, compared_at=None)


def store(entry, status, classes=(), legacy=None, target=None):
    """What a reconcile has found of an entry."""
    one = Outcome(state=State.MISSING, arrived_at=entry.arrived_at) if legacy is None else legacy
    other = Outcome(state=State.MISSING, arrived_at=entry.arrived_at) if target is None else target
    result = Comparison(status=status, divergences=dict.fromkeys(classes, "text"))
    found = results.PairResult(
        entry=entry, result=result, legacy=one, target=other, seen=Fingerprints("x", "", ""), payload_at=now()
    )
    results.store_results([found], known_differences.of_course(COURSE, now()), now(), HORIZON)


outcomes = st.builds(
    lambda state, reply, took: (state, reply if state is State.GRADED else None, took),
    st.sampled_from(STATES),
    st.sampled_from(REPLIES),
    st.sampled_from([-2, 0, 20, 5000]),
)
grave = st.sampled_from(sorted(GRAVE))
ordinary = st.sampled_from(sorted(set(DivergenceClass) - GRAVE))
steps = st.one_of(
    st.tuples(
        st.just("store"),
        st.integers(0, 2),
        st.sampled_from(list(PairStatus)),
        st.sets(st.sampled_from(list(DivergenceClass)), max_size=3),
        outcomes,
        outcomes,
    ),
    st.tuples(st.just("register"), ordinary),
    st.tuples(st.just("withdraw")),
    st.tuples(st.just("apply")),
    st.tuples(st.just("cure"), grave),
    st.tuples(st.just("learner"), st.integers(0, 2), st.sampled_from(["", "comparable", "no_answer"])),
    st.tuples(st.just("twin"), st.integers(0, 2), st.sampled_from([None, True, False])),
    st.tuples(st.just("purge"), st.integers(0, 2)),
)


def take(step, ids):
    """One step of whatever changes what an entry is counted by."""
    name, *rest = step
    if name == "store":
        index, status, classes, *sides = rest
        entry = LedgerEntry.objects.get(pk=ids[index])
        one, other = (
            Outcome(
                state=state,
                reply=reply,
                arrived_at=entry.arrived_at,
                returned_at=entry.arrived_at + timedelta(seconds=took) if state is State.GRADED else None,
            )
            for state, reply, took in sides
        )
        store(entry, PairStatus.DIVERGED if classes else status, classes, one, other)
    elif name == "register":
        known_differences.add(*rest, reason="r", owner="ada", days=1)
    elif name == "withdraw":
        KnownDifference.objects.filter(withdrawn_at=None).update(withdrawn_at=now())
    elif name == "apply":
        known_differences.apply(COURSE, now())
    elif name == "cure":
        with contextlib.suppress(ShimError):  # there is nothing of it
            cures.cure(rest[0], course_id=COURSE, reason="r", by="ada")
    else:
        values = {
            "learner": lambda: {"learner_said": rest[1], "learner_correct": True, "learner_score": 1.0},
            "twin": lambda: {"twin_submission_id": 5, "twin_agrees": rest[1]},
            "purge": lambda: {"purged_at": now(), "learner_correct": None, "learner_score": None},
        }[name]()
        with counted([ids[rest[0]]]):
            LedgerEntry.objects.filter(pk=ids[rest[0]]).update(**values)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(steps, max_size=12))
def test_counters_equal_counts_after_any_steps(db, steps):
    with transaction.atomic():
        rows.in_phase("shadow")
        bare()
        ids = list(LedgerEntry.objects.order_by("pk").values_list("pk", flat=True))
        for step in steps:
            take(step, ids)
            assert_counters_equal_counts(exact=True)
        assert recount.difference(COURSE).number == 0
        transaction.set_rollback(True)


def test_the_way_there_and_back_leaves_nothing():
    bare(1)
    entry = LedgerEntry.objects.get()
    graded = Outcome(state=State.GRADED, reply=REPLIES[1], arrived_at=entry.arrived_at, returned_at=entry.arrived_at)
    store(entry, PairStatus.EQUAL, legacy=graded, target=graded)
    first = {pk: number for pk, number in Bucket.objects.values_list("id", "number") if number}
    store(LedgerEntry.objects.get(), PairStatus.DIVERGED, [DivergenceClass.SCORE], graded, graded)
    assert {pk for pk, number in Bucket.objects.values_list("id", "number") if number} != set(first)
    store(LedgerEntry.objects.get(), PairStatus.EQUAL, legacy=graded, target=graded)
    assert {pk: number for pk, number in Bucket.objects.values_list("id", "number") if number} == first
    assert complaints(exact=True) == []


@pytest.mark.by_hand
def test_one_statement_a_table_in_the_order_of_ids_and_none_for_nothing():
    changes = Changes()
    for index in range(9):
        changes.add(FACTS._replace(item_id=str(index)))
        changes.place([PLACE._replace(bin=str(index))])
    changes.leave(changes.add(FACTS), 1)  # in and out: nothing has changed
    changes.place([PLACE])
    changes.place([PLACE], -1)
    with CaptureQueriesContext(connection) as queries:
        changes.write()
    assert len(queries) == 2
    assert (Bucket.objects.count(), Histogram.objects.count()) == (9, 9)
    sql = queries[0]["sql"]
    places = [sql.index(str(pk)) for pk in sorted(Bucket.objects.values_list("id", flat=True))]
    assert places == sorted(places)
    with CaptureQueriesContext(connection) as queries:
        changes.write()  # what was written is not written again
    assert len(queries) == 0


@pytest.mark.by_hand
def test_a_bucket_that_is_there_is_added_to():
    for _ in range(2):
        changes = Changes()
        changes.add(FACTS, 1000)
        changes.write()
    changes.leave(bucket_id(FACTS), 1)
    changes.write()
    assert list(Bucket.objects.values_list("id", "number", "course_id")) == [(bucket_id(FACTS), 1999, FACTS.course_id)]
    assert [facts for facts, number in counts.bucketed(FACTS.course_id)] == [FACTS]


@pytest.mark.by_hand
def test_more_rows_than_one_statement_takes():
    changes = Changes()
    for index in range(buckets.AT_ONCE * 2 + 1):
        changes.add(FACTS._replace(item_id=str(index)))
    with CaptureQueriesContext(connection) as queries:
        changes.write()
    assert len(queries) == 3
    assert Bucket.objects.count() == buckets.AT_ONCE * 2 + 1


def test_what_is_cut_off_before_its_commit_has_changed_nothing(monkeypatch):
    """A worker that dies between what it stores and what it counts, and is done again."""
    bare(1)
    write = Changes.write

    def dies(self):
        write(self)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Changes, "write", dies)
        with pytest.raises(KeyboardInterrupt), transaction.atomic():
            store(LedgerEntry.objects.get(), PairStatus.EQUAL)
    assert (LedgerEntry.objects.get().bucket_id, Bucket.objects.count()) == (None, 0)
    store(LedgerEntry.objects.get(), PairStatus.EQUAL)
    assert_counters_equal_counts(exact=True)
    assert sum(number for _, number in counts.facts(COURSE)) == 1


@pytest.mark.django_db(transaction=True, databases=["default", "xqueue"])
def test_after_a_deadlock_everything_is_counted_once(monkeypatch):
    bare(2)
    write, failed = Changes.write, []

    def deadlock(self):
        write(self)
        if not failed:
            failed.append(True)
            raise OperationalError(1213, "Deadlock found")

    monkeypatch.setattr(Changes, "write", deadlock)
    monkeypatch.setattr(retry.time, "sleep", lambda seconds: None)
    store(LedgerEntry.objects.first(), PairStatus.EQUAL)
    assert failed
    assert_counters_equal_counts(exact=True)


def test_an_entry_that_is_removed_inside_is_counted_no_more():
    bare(1)
    store(LedgerEntry.objects.get(), PairStatus.EQUAL)
    pk = LedgerEntry.objects.get().pk
    with counted([pk]):
        LedgerEntry.objects.filter(pk=pk).delete()
    assert counts.facts(COURSE) == []
    assert_counters_equal_counts()


def test_a_loose_entry_stays_loose():
    bare(1)
    pk = LedgerEntry.objects.get().pk
    with CaptureQueriesContext(connection) as queries, counted([pk]):
        LedgerEntry.objects.filter(pk=pk).update(learner_said="no_answer")
    assert LedgerEntry.objects.get().bucket_id is None
    assert not any("bucket" in query["sql"].split("WHERE")[0].split("FROM")[-1] for query in queries)
    assert not Bucket.objects.exists()


def test_what_a_register_covers_and_what_it_does_not_any_more_is_counted():
    bare(2)
    for entry in LedgerEntry.objects.all():
        store(entry, PairStatus.DIVERGED, [DivergenceClass.SCORE])
    known_differences.add(DivergenceClass.SCORE, reason="r", owner="ada", days=1)
    for result in (PairStatus.KNOWN, PairStatus.DIVERGED):
        known_differences.apply(COURSE, now())
        assert {facts.result for facts, _ in counts.bucketed(COURSE)} == {result}
        assert_counters_equal_counts(exact=True)
        KnownDifference.objects.update(withdrawn_at=now())


def test_where_the_register_says_what_it_said_no_entry_is_read():
    bare(2)
    store(LedgerEntry.objects.first(), PairStatus.DIVERGED, [DivergenceClass.SCORE])
    store(LedgerEntry.objects.last(), PairStatus.EQUAL)
    known_differences.add(DivergenceClass.SCORE, reason="r", owner="ada", days=1)
    known_differences.apply(COURSE, now())
    with CaptureQueriesContext(connection) as queries:
        known_differences.apply(COURSE, now())
    read = [query["sql"] for query in queries if "ledgerentry" in query["sql"]]
    assert all("bucket_id" in sql and "IS NULL" in sql for sql in read if "DISTINCT" not in sql), read


@pytest.mark.parametrize("klass", [DivergenceClass.LOST, DivergenceClass.DOUBLE_AUTHORITY])
def test_what_is_signed_for_is_counted(klass):
    rows.in_phase("shadow")
    bare(2)
    store(LedgerEntry.objects.first(), PairStatus.DIVERGED, [klass, DivergenceClass.SCORE])
    store(LedgerEntry.objects.last(), PairStatus.DIVERGED, [klass])
    cures.cure(klass, course_id=COURSE, reason="r", by="ada")
    assert_counters_equal_counts(exact=True)
    assert sorted(facts.differences for facts, _ in counts.bucketed(COURSE)) == ["", "score"]
