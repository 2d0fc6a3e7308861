"""What a verdict is made of while counters and entries are in motion: it never says less than there is."""

from datetime import UTC, datetime, time, timedelta

import pytest
from django.db import connection, reset_queries
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from migration_shim.core.data import PairStatus, Verdict
from migration_shim.cutover import gate
from migration_shim.ledger import counts, recount
from migration_shim.ledger.buckets import counted, take_in
from migration_shim.models import Bucket, LedgerEntry, Run
from tests.builders import rows
from tests.builders.rows import COURSE, clean_course, fresh  # noqa: F401
from tests.ledger.counters.oracle import assert_counters_equal_counts, forget_counters

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])


def ids(**which):
    return list(LedgerEntry.objects.filter(**which).order_by("pk").values_list("pk", flat=True))


def queue():
    (found,) = gate.evaluate_course(COURSE)[1].queues
    return found


@pytest.mark.parametrize("inside", [0, 3, 6, 10])
def test_pairs_from_before_a_step_back_are_told_by_their_hour_in_buckets_and_out_of_them(inside, monkeypatch):
    """Alike in all that a bucket knows, some are in it and some are loose: each is told apart once."""
    noon = datetime.combine(now().astimezone(UTC).date(), time(12), UTC) - timedelta(days=1)
    rows.in_phase("shadow")
    rows.entries(4, target_graded_at=noon - timedelta(hours=1), arrived_at=noon - timedelta(hours=2))
    rows.entries(6, target_graded_at=noon + timedelta(hours=1), arrived_at=noon - timedelta(hours=2))
    monkeypatch.setattr("migration_shim.cutover.evidence._taken_back_at", lambda course_id: noon)
    take_in(ids()[:inside])
    assert (queue().before, queue().by_graders) == (4, 6)
    newest_first = ids()[::-1][:inside]
    forget_counters()
    take_in(newest_first)
    assert (queue().before, queue().by_graders) == (4, 6)


@pytest.mark.parametrize("ended", [False, True])
def test_what_a_reconcile_takes_in_between_two_reads_is_not_missed(ended, clean, monkeypatch):
    """Read loose after its bucket was read, it would be in neither: then there is no verdict on it."""
    rows.entries(20, result=PairStatus.DIVERGED, divergences="score")
    real, started = counts.buckets, []

    def buckets(course_id):
        found = real(course_id)
        if not started:
            started.append(rows.reconciled() if ended else Run.objects.create(kind="reconcile", scope=COURSE))
            take_in(ids())
        return found

    assert gate.evaluate_course(COURSE)[0].verdict is not Verdict.PASS
    monkeypatch.setattr(counts, "buckets", buckets)
    result, found = gate.evaluate_course(COURSE)
    assert found.diverged == 20 or not found.reconcile_complete
    assert result.verdict is not Verdict.PASS


def test_a_reconcile_of_the_release_before_is_no_evidence_once_there_are_counters(clean):
    """It changes results and no counters: what it has found is in no bucket until a run of this release counts it."""
    before, _ = clean
    del before.document["counters_differed"]
    before.save()
    assert gate.evaluate_course(COURSE)[0].verdict is Verdict.PASS  # as after an upgrade: all is loose
    take_in(ids())
    rows.reconciled()
    assert gate.evaluate_course(COURSE)[0].verdict is Verdict.PASS
    LedgerEntry.objects.filter(pk__in=ids()[:20]).update(result=PairStatus.OVERDUE, graded_pair=False)
    Run.objects.filter(pk=rows.reconciled().pk).update(document=before.document)
    assert gate.evaluate_course(COURSE)[0].verdict is not Verdict.PASS
    forget_counters()
    assert gate.evaluate_course(COURSE)[1].overdue == 20


def test_a_bucket_whose_row_is_gone_is_made_anew_after_an_entry_has_left_it():
    rows.in_phase("shadow")
    rows.entries(5)
    take_in(ids())
    Bucket.objects.all().delete()
    with counted(ids()[:1]):
        LedgerEntry.objects.filter(pk=ids()[0]).update(result=PairStatus.DIVERGED)
    assert recount.mend(COURSE) > 0
    assert recount.difference(COURSE).number == 0
    assert sum(number for _, number in counts.facts(COURSE)) == 5
    assert_counters_equal_counts(exact=True)


def test_the_first_reconcile_after_one_without_counters_is_a_full_one(clean):
    """Whatever the version says: else what was settled before would stay loose, and be read by every count."""
    rows.reconcile(full=True)
    last = Run.objects.filter(kind="reconcile").latest("pk")
    for document, full in ((last.document, False), (dict(last.document), True)):
        if full:
            del document["counters_differed"]
        Run.objects.filter(pk=last.pk).update(document=document)
        content, _ = rows.reconcile()
        assert content.content["courses"][0]["full"] is full
        last = Run.objects.filter(kind="reconcile").latest("pk")


def test_a_verdict_reads_each_table_of_counters_once(clean):
    rows.entries(3, result=PairStatus.DIVERGED, divergences="score")
    take_in(ids())
    reset_queries()
    with CaptureQueriesContext(connection) as context:
        gate.evaluate_course(COURSE)
    read = [query["sql"] for query in context.captured_queries]
    for table in ("migration_shim_bucket", "migration_shim_histogram"):
        assert sum(f"FROM {table}" in sql.replace('"', "").replace("`", "") for sql in read) == 1, table
