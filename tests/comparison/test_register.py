"""The register of known differences and the overrides, as the gate and every document see them, without a reconcile."""

from datetime import timedelta
from unittest import mock

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from migration_shim import api
from migration_shim.comparison import candidates
from migration_shim.core.data import DivergenceClass, PairStatus
from migration_shim.core.errors import ShimError
from migration_shim.ledger import known_differences
from migration_shim.models import Divergence, GateOverride, KnownDifference, LedgerEntry, Run
from tests.builders import changes, rows
from tests.builders.rows import COURSE, RIGHT, WRONG, clean_course, entries, fresh, usage_key  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
B = usage_key("b")


def register(klass=DivergenceClass.STATE, days=3, **scope):
    known_differences.add(klass, reason="understood", owner="ada", days=days, **scope)
    return KnownDifference.objects.latest("pk")


def verdict():
    return api.gate(COURSE).content["verdict"]


@pytest.fixture
def spoilt(clean):
    """A course that would pass, but for two divergences of a deterministic class in one problem."""
    entries(2, item_id=B, result=PairStatus.DIVERGED, divergences="state")
    assert verdict() == "FAIL"


def test_what_is_registered_does_not_count_and_is_counted(spoilt):
    entry = register(course_id=COURSE, item_id=B)
    content = api.gate(COURSE).content
    assert content["verdict"] == "PASS"
    assert [problem["known"] for problem in content["evidence"]["problems"]] == [0, 2]
    assert "2 known differences are counted, and not held against the course" in content["notes"]
    [shown] = content["register"]
    assert (shown["id"], shown["covers"], shown["owner"], shown["state"]) == (entry.pk, 2, "ada", "in force")
    assert KnownDifference.objects.get().hits == 2


ENDS = {
    "expired": lambda entry: KnownDifference.objects.update(expires_at=now()),
    "withdrawn": lambda entry: known_differences.withdraw(entry.pk),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_what_has_ended_bites_again_at_the_next_verdict(spoilt, end):
    entry = register()
    assert verdict() == "PASS"
    end(entry)
    runs = Run.objects.filter(kind="reconcile").count()
    assert verdict() == "FAIL"
    assert Run.objects.filter(kind="reconcile").count() == runs
    assert set(LedgerEntry.objects.filter(item_id=B).values_list("result", "known")) == {("diverged", "")}


@pytest.mark.parametrize(
    "scope",
    [
        {"course_id": "course-v1:ExU+OTHER+1"},
        {"item_id": usage_key("c")},
        {"queue_name": "other"},
        {"klass": DivergenceClass.SCORE},
    ],
    ids=str,
)
def test_what_is_out_of_its_scope_is_not_covered(spoilt, scope):
    register(**scope)
    assert verdict() == "FAIL"


def test_an_entry_of_which_one_difference_is_covered_still_diverges(clean):
    entries(1, item_id=B, result=PairStatus.DIVERGED, divergences="score,state")
    register(DivergenceClass.SCORE)
    assert verdict() == "FAIL"
    assert LedgerEntry.objects.get(item_id=B).result == PairStatus.DIVERGED
    register(DivergenceClass.STATE)
    assert verdict() == "PASS"
    assert LedgerEntry.objects.get(item_id=B).result == PairStatus.KNOWN


@pytest.mark.parametrize("klass", sorted(known_differences.NOT_EXCUSABLE))
def test_a_broken_promise_is_not_to_be_excused(clean, klass):
    with pytest.raises(ShimError):
        register(klass)
    KnownDifference.objects.create(klass=klass, reason="by hand", owner="eve", expires_at=now() + timedelta(days=1))
    entries(1, item_id=B, result=PairStatus.DIVERGED, divergences=klass)
    assert verdict() == "FAIL"


def test_a_reconcile_applies_the_register_and_a_second_one_writes_nothing():
    row = rows.legacy_row(age=timedelta(hours=3))
    rows.backfill()
    changes.both_graded(row, RIGHT, WRONG, ago=timedelta(hours=1))
    for klass in (DivergenceClass.CORRECTNESS, DivergenceClass.SCORE):
        register(klass)
    document, found = rows.reconcile()
    numbers = sorted(KnownDifference.objects.values_list("pk", flat=True))
    assert document.content["diverged"] == 0
    assert document.content["known_differences"] == {f"register {numbers[0]}, {numbers[1]}": 1}
    assert sorted(item["known"] for item in found) == numbers
    course = document.content["courses"][0]
    assert [item["covers"] for item in course["register"]] == [1, 1]
    before = changes.stored(), LedgerEntry.objects.get().compared_at
    LedgerEntry.objects.update(settled_at=None)
    rows.reconcile()
    assert (changes.stored(), LedgerEntry.objects.get().compared_at) == before
    KnownDifference.objects.update(withdrawn_at=now())
    assert rows.reconcile()[0].content["diverged"] == 1
    assert set(Divergence.objects.values_list("known", flat=True)) == {None}


def test_a_reconcile_reads_the_register_before_it_compares_and_once_more_when_it_has():
    """The second time for what was withdrawn meanwhile; its document says what was applied."""
    made = [rows.legacy_row(user) for user in (7, 8)]
    rows.backfill()
    for row in made:
        changes.both_graded(row, RIGHT, WRONG)
    both = [register(klass) for klass in (DivergenceClass.CORRECTNESS, DivergenceClass.SCORE)]
    with CaptureQueriesContext(connection) as captured:
        document, _ = rows.reconcile()
    assert document.content["known_differences"] == {f"register {both[0].pk}, {both[1].pk}": 2}
    assert [shown["covers"] for shown in document.content["courses"][0]["register"]] == [2, 2]
    table = KnownDifference._meta.db_table
    read = [query for query in captured if query["sql"].startswith("SELECT") and f"FROM {table} " in query["sql"]]
    assert len(read) == 2
    settle = candidates.settle

    def meanwhile(*arguments):
        known_differences.withdraw(both[0].pk)
        return settle(*arguments)

    with mock.patch.object(candidates, "settle", meanwhile):
        document, _ = rows.reconcile(full=True)
    assert (document.content["known_differences"], document.content["diverged"]) == ({}, 2)
    assert [shown["state"] for shown in document.content["courses"][0]["register"]] == ["withdrawn", "in force"]


def test_an_override_is_beside_the_verdict_in_every_document_and_changes_it_not(clean):
    LedgerEntry.objects.all()[:1].get().delete()
    GateOverride.objects.create(
        course_id=COURSE,
        step_to="live",
        reason="exam on Friday",
        signed_by="ops",
        expires_at=now() + timedelta(hours=1),
        verdict="INCONCLUSIVE",
    )
    content = api.gate(COURSE).content
    assert content["verdict"] == "INCONCLUSIVE"
    assert [item["signed_by"] for item in content["overrides"]] == ["ops"]
    assert any("override by ops" in note for note in content["notes"])
    document = rows.reconcile()[0].content["courses"][0]
    assert [item["reason"] for item in document["overrides"]] == ["exam on Friday"]
    GateOverride.objects.update(proposal=True)  # nobody has seconded it
    content = api.gate(COURSE).content
    assert content["overrides"] == []
    assert not any("override" in note for note in content["notes"])
