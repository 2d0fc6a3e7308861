"""What a newer attempt has replaced on both sides takes a short path, and is stored as the rules would store it."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail, Submission

from migration_shim.comparison import candidates, pairs, replaced_pairs
from migration_shim.comparison.score_styles import ScoreStyles
from migration_shim.conf import load
from migration_shim.core import plain_pair
from migration_shim.core.classification import MARK
from migration_shim.core.hosts import Hosts
from migration_shim.legacy import fingerprints as legacy_changing
from migration_shim.models import Bucket, LedgerEntry, LegacySubmission
from tests.builders import changes, rows
from tests.builders.changes import detail_of
from tests.builders.rows import RIGHT, fresh  # noqa: F401
from tests.comparison.test_equal_pairs import PLANTS as OF_EQUAL
from tests.comparison.test_equal_pairs import READ, detail, entry, in_both_ways, legacy

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
HOUR = timedelta(hours=1)


def pair(user=7, **columns):
    """An attempt that a newer one has replaced on both sides, before anybody graded it."""
    row = rows.legacy_row(user, age=timedelta(hours=3))
    rows.backfill()
    LedgerEntry.objects.filter(legacy_id=row.pk).update(origin="router", superseded_at=now() - 2 * HOUR)
    changes.target_superseded(row)
    rows.change([row], **({"retired": True} | columns))
    return row


def left(*made):
    """Those of these pairs that the short path leaves to the rules, after it has stored the others."""
    ids = list(LedgerEntry.objects.filter(legacy_id__in=[row.pk for row in made]).values_list("pk", flat=True))
    job = pairs.ComparisonContext(settings=load(), styles=ScoreStyles({}, {}), register=[])
    return replaced_pairs.store(ids, job, candidates.Rules.of("basis", {}))


def test_what_was_replaced_on_both_sides_takes_the_short_path():
    row = pair()
    assert left(row) == []
    stored = changes.entry_of(row)
    assert (stored.result, stored.graded_pair, stored.legacy_state, stored.target_state) == (
        *("equal", False),
        *("superseded", "superseded"),
    )
    assert stored.settled_at is None and stored.payload_compared_at is not None and stored.room == ""
    assert Bucket.objects.get(pk=stored.bucket_id).number == 1


def reply_after_all(row):
    """A grader that had it pulled answers, and the LMS takes the reply: it may count as graded."""
    legacy(**rows.graded(RIGHT, ago=HOUR))(row)


def in_flight_again(row):
    changes.again(row, arrival_time=now() - timedelta(minutes=10))


PLANTS = {name: plants for name, plants in OF_EQUAL.items() if name in (*replaced_pairs.OF_ENTRY, *plain_pair.CHECKS)}
PLANTS |= {
    "superseded": [entry(superseded_at=None)],
    "retired": [detail(status="pending")],
    "ungraded": [detail(grader_reply=RIGHT)],
    "unanswered": [reply_after_all, legacy(retired=False)],
    "never_failed": [legacy(num_failures=4)],
    "no_legacy_files": OF_EQUAL["no_legacy_files"],
    "none_in_flight": [in_flight_again],
}
CONDITIONS = [
    (module, name)
    for module in (replaced_pairs.OF_ENTRY, legacy_changing.REPLACED, plain_pair.CHECKS)
    for name in module
]
EVERY = [plant for plants in PLANTS.values() for plant in plants]
EVERY += [READ["the real queue"], READ["another course's queue"]]


def planted(plant):
    row = pair()
    plant(row)
    return row


def test_every_condition_has_a_plant():
    assert sorted(PLANTS) == sorted({name for _, name in CONDITIONS})


@pytest.mark.parametrize("plant", EVERY)
def test_what_was_not_plainly_replaced_is_left_to_the_rules(plant):
    row = planted(plant)
    before = changes.stored()
    assert len(left(row)) == 1
    assert changes.stored() == before


@pytest.mark.by_hand  # without the condition an entry is counted as what it is not
@pytest.mark.parametrize(
    ("module", "name", "plant"),
    [
        pytest.param(module, name, plant, id=f"{name}-{number}")
        for module, name in CONDITIONS
        for number, plant in enumerate(PLANTS[name])
    ],
)
def test_each_condition_alone_holds_back_what_it_is_for(module, name, plant, monkeypatch):
    """Without it the pair would be called equal: none is there for nothing, and none stands in for another."""
    row = planted(plant)
    monkeypatch.delitem(module, name)
    assert left(row) == []


@pytest.mark.parametrize("plant", EVERY)
def test_the_rules_say_the_same_of_all_of_them_with_the_short_path_and_without(plant, monkeypatch):
    made = [pair(user=5), planted(plant)]
    assert changes.entry_of(made[0])
    with_it, without = in_both_ways(monkeypatch)
    assert with_it == without


def handed_off(row):
    """A handoff has retired legacy's row, and the mark that it left says no more than that."""
    legacy(grader_id=f"{MARK}5", pullkey="")(row)


def newer_attempt(row):
    rows.legacy_row(7, answer="x = 2", age=timedelta(hours=2), retired=True)


def newer_of_another_input(row):
    rows.legacy_row(7, response=3, age=timedelta(hours=2), retired=True)


def late_reply(row):
    """A grader answered after the newer attempt had come, and nobody has told the LMS."""
    legacy(grader_reply=RIGHT, return_time=now() - HOUR)(row)


@pytest.mark.parametrize("plant", [handed_off, newer_attempt, newer_of_another_input, late_reply])
def test_however_legacys_row_was_retired_it_takes_the_short_path_and_the_rules_say_the_same(plant, monkeypatch):
    row = planted(plant)
    assert left(row) == []
    LedgerEntry.objects.update(seen="", payload_compared_at=None, result="none", bucket_id=None)
    Bucket.objects.all().delete()
    with_it, without = in_both_ways(monkeypatch)
    assert with_it == without
    assert changes.entry_of(row).legacy_state == "superseded"


def test_another_lmss_row_is_left_to_the_rules(monkeypatch):
    row = pair()
    monkeypatch.setattr(replaced_pairs.hosts, "known", lambda: Hosts(named=frozenset({"another.example.org"})))
    assert len(left(row)) == 1


def test_what_has_not_changed_is_not_written_and_so_settles():
    row = pair()
    assert left(row) == []
    first = LedgerEntry.objects.values().get(legacy_id=row.pk)
    assert left(row) == []
    assert LedgerEntry.objects.values().get(legacy_id=row.pk) == first
    LedgerEntry.objects.update(compared_at=now() - timedelta(days=2))
    candidates.settle(rows.COURSE, now(), timedelta(hours=1), lambda: None)
    settled_at = changes.entry_of(row).settled_at
    assert settled_at is not None
    assert left(row) == []
    assert changes.entry_of(row).settled_at == settled_at


@pytest.mark.parametrize(
    "columns",
    [
        {"result": "known"},
        {"known": "overdue"},
        {"legacy_state": "graded"},
        {"target_score": 0.5},
        {"graded_pair": True},
        {"target_graded_at": now()},
        {"seen": ""},
        {"legacy_seen": "another"},
        {"target_seen": "another"},
        {"payload_compared_at": None},
    ],
)
def test_what_has_changed_is_written_and_counted_anew(columns):
    row = pair()
    assert left(row) == []
    before = LedgerEntry.objects.values().get(legacy_id=row.pk)
    entry(**columns, settled_at=now())(row)
    assert left(row) == []
    after = LedgerEntry.objects.values().get(legacy_id=row.pk)
    assert after["compared_at"] > before["compared_at"] and after["settled_at"] is None
    own = ("compared_at", "payload_compared_at")
    assert {name: value for name, value in after.items() if name not in own} == {
        name: value for name, value in before.items() if name not in own
    }
    assert Bucket.objects.get(pk=after["bucket_id"]).number == 1


def test_an_entry_that_is_changed_while_it_is_compared_keeps_what_it_has(monkeypatch):
    row = pair()
    real = legacy_changing.plain_rows

    def leased_meanwhile(*args, **options):
        LedgerEntry.objects.update(lease_key="another", leases=2)
        return real(*args, **options)

    monkeypatch.setattr(replaced_pairs.legacy_fingerprints, "plain_rows", leased_meanwhile)
    assert len(left(row)) == 1
    assert changes.entry_of(row).result == "none"


CROWD = 150


def test_a_crowd_is_left_to_the_rules_which_read_it_once():
    row = pair()
    columns = LegacySubmission.objects.filter(pk=row.pk).values()[0] | {"id": None, "retired": True}
    LegacySubmission.objects.bulk_create(
        LegacySubmission(**columns | {"xqueue_header": rows.header(9, "b", f"{number:032x}")})
        for number in range(CROWD)
    )
    assert len(left(row)) == 1


def test_a_learners_crowd_is_left_to_the_rules():
    row = pair()
    own = detail_of(row).submission
    Submission.objects.filter(pk=own.pk).update(attempt_number=CROWD + 2)  # an early attempt is held against any crowd
    Submission.objects.bulk_create(
        Submission(student_item=own.student_item, attempt_number=number, answer="x", submitted_at=now())
        for number in range(2, CROWD + 2)
    )
    for submission in Submission.objects.exclude(pk=own.pk):
        ExternalGraderDetail.objects.create(submission=submission, queue_name="q", queue_key=f"{submission.pk}")
    assert len(left(row)) == 1


def test_a_crowd_of_superseded_attempts_is_not_held_against_itself():
    """Whether an attempt is the newest one is asked for the learner's sake, and the learner of these is asked later."""
    row = pair()
    with CaptureQueriesContext(connection) as seen:
        assert left(row) == []
    assert not any("o.input_key" in query["sql"] for query in seen)
