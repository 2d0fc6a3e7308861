"""Counters that do not say what the ledger says: found, said, set right, and no step is taken on them."""

from collections import Counter

import pytest
from django.db.models import F

from migration_shim import api, toggles
from migration_shim.core.data import ExitCode, Phase
from migration_shim.core.histograms import Kind
from migration_shim.ledger import counts, recount
from migration_shim.models import Bucket, Histogram, LedgerEntry, Run
from tests.builders import changes, rows
from tests.builders.overrides import step_past_gate
from tests.builders.rows import COURSE, clean_course, fresh  # noqa: F401
from tests.ledger.counters.oracle import assert_counters_equal_counts, forget_counters
from tests.schemas import validate

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])


@pytest.fixture
def compared():
    """Some pairs of a course in shadow, equal ones and others, after a reconcile."""
    rows.in_phase("shadow")
    toggles.force_flags(COURSE, True, False)
    made = rows.graded_pairs(8)
    for row, reply in zip(made, (changes.WRONG, changes.HALF, changes.INVALID), strict=False):
        changes.target_graded(row, reply)
    rows.reconcile(full=True)


def known():
    kinds = list(Kind)
    bins = Counter(dict(counts.bins(COURSE, *kinds)))
    return Counter(dict(counts.facts(COURSE))), bins, api.gate(COURSE).content["evidence"]["problems"]


def test_loose_entries_count_as_they_do_in_their_buckets(compared):
    """As after an upgrade, before the first reconcile: nothing is in a bucket, and every count is what it was."""
    assert LedgerEntry.objects.filter(bucket_id=None).count() == 0
    before = known()
    forget_counters()
    assert known() == before
    assert sum(before[0].values()) == 8


def test_the_first_reconcile_gives_every_entry_its_bucket(compared):
    forget_counters()
    rows.reconcile()
    assert LedgerEntry.objects.filter(bucket_id=None).count() == 8  # nothing has changed, and it has not looked
    rows.reconcile(full=True)
    assert LedgerEntry.objects.filter(bucket_id=None).count() == 0
    assert_counters_equal_counts(exact=True)


PLANTED = {
    "too many": lambda: Bucket.objects.filter(pk=Bucket.objects.exclude(number=0).first().pk).update(number=99),
    "below nothing": lambda: Bucket.objects.update(number=F("number") - 5),
    "a bucket is gone": lambda: Bucket.objects.exclude(number=0).first().delete(),
    "all are gone": lambda: Bucket.objects.all().delete(),
    "an entry is gone": lambda: LedgerEntry.objects.filter(result="equal").first().delete(),
    "a histogram is gone": lambda: Histogram.objects.filter(kind="target_seconds").delete(),
    "a bin is too full": lambda: Histogram.objects.filter(
        pk=Histogram.objects.filter(kind="confusion").first().pk
    ).update(number=F("number") + 1),
}


@pytest.mark.parametrize("plant", PLANTED)
def test_a_difference_is_found_said_and_set_right_by_a_full_reconcile(compared, plant, caplog):
    PLANTED[plant]()
    assert recount.difference(COURSE).number > 0
    document, _ = rows.reconcile(full=True)
    (course,) = validate(document.content)["courses"]
    assert course["counters_differed"] > 0
    assert f"of {COURSE} differed from its ledger" in caplog.text
    assert recount.difference(COURSE).number == 0
    assert_counters_equal_counts(exact=True)
    (status,) = validate(api.status([COURSE]).content)["courses"]
    assert status["counters_differed"] == course["counters_differed"]
    assert "counters_differ" in [item["what"] for item in status["attention"]]


def test_it_is_said_until_a_full_reconcile_finds_none(compared):
    PLANTED["too many"]()
    for full, said in ((True, True), (False, True), (True, False)):
        rows.reconcile(full=full)
        (status,) = api.status([COURSE]).content["courses"]
        assert bool(status["counters_differed"]) is said


def test_where_all_is_well_nothing_is_said_and_empty_counters_are_removed(compared, caplog):
    Bucket.objects.create(
        id=5, course_id=COURSE, number=0, flags=0, arrived_on="2026-11-30", **dict.fromkeys(("queue_name",), "q")
    )
    assert recount.mend(COURSE) == 0
    assert not Bucket.objects.filter(pk=5).exists()
    assert "differed" not in caplog.text


def test_no_step_forward_is_taken_on_counters_that_differ_whoever_signs(clean):
    toggles.force_flags(COURSE, True, False)
    rows.entries(1)
    wanted = {"reason": "r", "execute": True, "user": "ada", "login": None}
    LedgerEntry.objects.filter(pk=LedgerEntry.objects.latest("pk").pk).update(bucket_id=77)
    preflights = Run.objects.filter(kind="preflight")
    for override in (False, True):
        preflights.update(complete=not override)  # without one the gate is not open, and there is something to pass
        document = step_past_gate(COURSE, Phase.LIVE) if override else api.cutover(COURSE, Phase.LIVE, **wanted)
        assert document.exit_code & ExitCode.DIFFERENCES
        assert not document.content["executed"]
        assert any("counters differ from the ledger" in reason for reason in document.content["reasons"])
    LedgerEntry.objects.filter(bucket_id=77).update(bucket_id=None)
    preflights.update(complete=True)
    assert api.cutover(COURSE, Phase.LIVE, **wanted).content["executed"]


def test_the_way_back_does_not_ask(compared):
    PLANTED["all are gone"]()
    wanted = {"reason": "r", "execute": True, "user": "ada", "login": None}
    assert api.cutover(COURSE, Phase.LEGACY, **wanted).content["executed"]
    recount.mend(COURSE)


def test_there_are_never_more_buckets_than_pairs_and_few_for_many(compared):
    recount.mend(COURSE)
    one = Bucket.objects.count()
    assert one <= LedgerEntry.objects.count()
    rows.reconcile()
    assert Bucket.objects.count() == one
    made = rows.graded_pairs(40)  # the same problems, on the same day, graded alike
    rows.reconcile(full=True)
    recount.mend(COURSE)
    assert len(made) == 40
    assert Bucket.objects.count() <= one + 2
