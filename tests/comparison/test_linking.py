"""Linking: a new legacy row meets its ledger entry by the digests, whenever and in whatever order it is committed."""

import contextlib
import json
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection, connections
from django.utils.timezone import now

from migration_shim import api
from migration_shim.comparison import link_position, linking
from migration_shim.core.data import Leg, Origin, PairStatus, Phase
from migration_shim.core.errors import LegacyReplaced
from migration_shim.legacy import reading
from migration_shim.legacy import rows as legacy_rows
from migration_shim.models import Checkpoint, LedgerEntry, LegacySubmission
from migration_shim.reconcile import keyed_hash
from sandbox.databases import LEGACY_MEDIA
from tests.builders import rows
from tests.builders.rows import COURSE, fresh  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
OTHER = "course-v1:ExU+ALG2+26T1"


def unlinked(*made):
    """Copies of these rows as the router leaves them: it never learns the row's id."""
    rows.backfill()
    LedgerEntry.objects.update(legacy_id=None, origin=Origin.ROUTER)
    return made


def links():
    return dict(LedgerEntry.objects.order_by("id").values_list("learner", "legacy_id"))


def learner(user):
    return rows.anonymous_id(user)


def test_a_row_meets_the_entry_of_its_identity():
    one, two = unlinked(rows.legacy_row(1), rows.legacy_row(2))
    document, found = rows.reconcile()
    assert links() == {learner(1): one.pk, learner(2): two.pk}
    assert found == []
    assert document.content["compared"] == document.content["waiting"] == 2


def test_the_same_key_with_another_answer_is_another_submission():
    """The key has a resolution of one second."""
    at = now() - timedelta(hours=1)
    (one,) = unlinked(rows.legacy_row(1, answer="x = 1", arrival_time=at))
    rows.legacy_row(1, answer="x = 2", arrival_time=at, xqueue_header=one.xqueue_header)
    rows.reconcile()
    assert links() == {learner(1): one.pk}


@pytest.mark.parametrize(("retired", "expected"), [((0, 0), 1), ((1, 0), 1), ((0, 1), 0), ((1, 1), 1)])
def test_of_two_rows_of_one_identity_the_living_one_counts_else_the_newest(retired, expected):
    """A submission that was sent twice: XQueue stores it twice, and retires the first."""
    first = rows.legacy_row(1)
    unlinked()
    same = {"xqueue_header": first.xqueue_header, "xqueue_body": first.xqueue_body}
    second = rows.legacy_row(1, **same)
    for row, value in zip((first, second), retired, strict=True):
        rows.change([row], retired=bool(value))
    rows.reconcile()
    assert links() == {learner(1): (first, second)[expected].pk}
    assert LedgerEntry.objects.count() == 1
    rows.reconcile()
    assert links() == {learner(1): (first, second)[expected].pk}


def test_a_row_that_the_router_left_no_entry_for_is_missed_after_its_grace():
    rows.in_phase("shadow")
    rows.legacy_row(3, age=timedelta(seconds=30))  # the router may be about to write its own entry
    fresh_row = rows.legacy_row(1, age=timedelta(seconds=90))
    old_row = rows.legacy_row(2, age=timedelta(seconds=200))
    document, found = rows.reconcile()
    assert links() == {learner(1): fresh_row.pk, learner(2): old_row.pk}
    entries = LedgerEntry.objects.values_list("origin", "legacy_leg", "target_leg", "phase")
    assert set(entries) == {(Origin.RECONCILE, Leg.STORED, Leg.MISSING, Phase.SHADOW)}
    # Their copies stand in the outbox: they are not missing yet.
    assert (document.content["waiting"], document.content["diverged"]) == (2, 0)
    assert set(LedgerEntry.objects.values_list("result", "known")) == {(PairStatus.WAITING, "owed")}
    assert document.content["known_differences"] == {}
    LedgerEntry.objects.update(copy_due=None)  # given up
    document, found = rows.reconcile()
    assert (document.content["waiting"], document.content["diverged"]) == (1, 1)
    assert {name: number for name, number in document.content["classes"].items() if number} == {"presence": 1}
    assert [(item["legacy_id"], item["class"], item["what"]) for item in found] == [
        (old_row.pk, "presence", "missing on target")
    ]
    assert LedgerEntry.objects.get(learner=learner(2)).result == PairStatus.DIVERGED
    rows.backfill()
    document, found = rows.reconcile()
    assert (document.content["waiting"], found) == (3, [])


def test_rows_of_other_courses_and_of_the_time_before_shadow_are_not_missed():
    rows.in_phase("shadow", since=now() - timedelta(minutes=30))
    rows.in_phase("legacy", OTHER)
    rows.legacy_row(1, age=timedelta(minutes=31))
    rows.legacy_row(2, course=OTHER, age=timedelta(minutes=5))
    rows.legacy_row(3, course="course-v1:No+Phase+1", age=timedelta(minutes=5))
    rows.legacy_row(4, course="course-v1:ExU+py1+2026", age=timedelta(minutes=5))
    inside = rows.legacy_row(5, age=timedelta(minutes=29))
    rows.reconcile()
    assert links() == {learner(5): inside.pk}


def test_a_row_that_cannot_be_read_is_passed_by():
    rows.in_phase("shadow")
    rows.legacy_row(1, xqueue_body="[")
    rows.legacy_row(2, s3_keys="[")
    last = rows.legacy_row(3)
    assert rows.reconcile()[0].content["complete"]
    assert links() == {learner(3): last.pk}


def test_many_ids_are_looked_through_at_once_and_a_few_rows_of_them_linked_at_once(monkeypatch):
    """Where an import has linked nearly all, hardly anything but ids is read; no run stops with rows passed by."""
    monkeypatch.setattr(linking, "IDS", 7)
    monkeypatch.setattr(linking, "PAGE", 2)
    made = unlinked(*(rows.legacy_row(user) for user in range(18)))
    for row in (made[0], *made[7:14], made[17]):  # the second page of ids is linked, and some at either end
        LedgerEntry.objects.filter(learner=learner(made.index(row))).update(legacy_id=row.pk)
    steps, note = [], link_position.note_arrival
    monkeypatch.setattr(
        link_position, "note_arrival", lambda checkpoint, at: steps.append(checkpoint.last_id) or note(checkpoint, at)
    )
    rows.reconcile()
    assert links() == {learner(user): row.pk for user, row in enumerate(made)}
    assert [last - made[0].pk + 1 for last in steps[1:]] == [3, 5, 7, 14, 16]
    assert link_checkpoint() == made[-1].pk


def test_a_linker_that_is_stopped_between_two_pages_goes_on_where_it_was(monkeypatch):
    monkeypatch.setattr(linking, "PAGE", 2)
    made = unlinked(*(rows.legacy_row(user) for user in range(5)))
    read, pages = linking._read, []

    def fails(ids, *rest):
        pages.append(ids)
        if len(pages) == 2:
            raise ArithmeticError
        return read(ids, *rest)

    monkeypatch.setattr(linking, "_read", fails)
    with pytest.raises(ArithmeticError):
        rows.reconcile()
    assert link_checkpoint() == made[1].pk
    rows.reconcile()
    assert [ids[0] for ids in pages] == [made[0].pk, made[2].pk, made[2].pk, made[4].pk]
    assert links() == {learner(user): row.pk for user, row in enumerate(made)}


# Ids do not commit in their order


def test_a_page_that_retention_takes_while_it_is_linked_stops_no_run(monkeypatch):
    def id_pages(**options):
        for page in really(**options):
            LegacySubmission.objects.filter(pk__in=page).delete()
            yield page

    really = legacy_rows.id_pages
    unlinked(rows.legacy_row(1))
    monkeypatch.setattr(legacy_rows, "id_pages", id_pages)
    rows.reconcile()
    assert links() == {learner(1): None}


def link_checkpoint():
    return Checkpoint.objects.get(name="link").last_id


def test_a_lower_id_that_commits_later_is_not_skipped():
    rows.in_phase("shadow", since=now() - timedelta(days=1))
    settled = rows.legacy_row(1, age=timedelta(minutes=10))
    late_id = settled.pk + 1
    young = rows.legacy_row(2, id=late_id + 1, age=timedelta(seconds=20))
    rows.reconcile()
    assert link_checkpoint() == settled.pk
    late = rows.legacy_row(3, id=late_id, age=timedelta(seconds=25))
    rows.reconcile()
    assert link_checkpoint() == settled.pk
    assert set(links()) == {learner(1)}  # of the others the router may be about to write entries
    rows.change([young, late], arrival_time=now() - timedelta(seconds=70))
    rows.reconcile()
    assert set(links()) == {learner(1), learner(2), learner(3)}
    assert link_checkpoint() == young.pk


def test_the_checkpoint_follows_what_is_older_than_the_overlap(settings):
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"OVERLAP_SECONDS": 10}
    made = [rows.legacy_row(user, age=timedelta(seconds=20)) for user in range(3)]
    rows.reconcile()
    assert link_checkpoint() == made[-1].pk
    young = rows.legacy_row(4, age=timedelta(seconds=1))
    rows.reconcile()
    assert link_checkpoint() == made[-1].pk
    LedgerEntry.objects.all().delete()
    rows.in_phase("shadow")
    rows.change([young], arrival_time=now() - timedelta(seconds=11))
    rows.reconcile()
    assert links() == {learner(4): young.pk}  # the older ones were read, and are not read again


def test_a_row_from_the_future_holds_nobody_up_but_itself():
    """A clock that ran ahead when the row came."""
    before = rows.legacy_row(1, age=timedelta(minutes=5))
    rows.legacy_row(2, age=-timedelta(hours=5))
    rows.legacy_row(3, age=timedelta(minutes=3))
    rows.reconcile()
    assert link_checkpoint() == before.pk


# Rows that cannot be read for now

DOCUMENT = "d" * 32


@pytest.fixture
def outside():
    """A document of file names in XQueue's storage, which can be taken away and put back."""
    path = LEGACY_MEDIA / rows.QUEUE / DOCUMENT
    path.parent.mkdir(parents=True, exist_ok=True)

    def put(there):
        path.unlink(missing_ok=True)
        if there:
            path.write_text(json.dumps({"files": {}, "keys": {"a.py": "e" * 32}}))

    yield put
    put(False)


def with_document(user, **columns):
    return rows.legacy_row(user, files={"KEY_FOR_EXTERNAL_DICTS": DOCUMENT}, **columns)


def test_a_row_whose_file_names_are_unreadable_for_a_moment_is_linked_when_they_are_there_again(outside):
    rows.in_phase("shadow")
    outside(False)
    row = with_document(1)
    after = rows.legacy_row(2)
    rows.reconcile()
    assert links() == {learner(2): after.pk}
    assert link_checkpoint() == after.pk  # nobody waits for it
    rows.reconcile()
    assert links() == {learner(2): after.pk}
    outside(True)
    rows.reconcile()
    assert links() == {learner(1): row.pk, learner(2): after.pk}
    assert Checkpoint.objects.get(name="link").counts == {"again": {}}


def test_names_that_will_never_be_readable_are_not_tried_again():
    rows.in_phase("shadow")
    rows.legacy_row(1, s3_keys="{no json")
    rows.reconcile()
    assert Checkpoint.objects.get(name="link").counts == {"again": {}}


def test_what_is_tried_again_is_bounded_in_time_and_number_and_a_dead_storage_is_not_asked_for_each(
    outside, monkeypatch, caplog
):
    rows.in_phase("shadow")
    outside(False)
    for user in range(6):
        with_document(user)
    monkeypatch.setattr(link_position, "AGAIN", 5)
    rows.reconcile()
    assert "1 legacy rows stay unlinked" in caplog.text
    asked, real = [], reading.read_for_now
    monkeypatch.setattr(reading, "read_for_now", lambda row, storage: asked.append(row.id) or real(row, storage))
    monkeypatch.setattr(link_position, "GIVE_UP", 3)
    rows.reconcile()
    assert len(asked) == 3
    monkeypatch.setattr(link_position, "AGAIN_FOR", timedelta(0))
    rows.reconcile()
    assert "5 legacy rows stay unlinked" in caplog.text
    assert Checkpoint.objects.get(name="link").counts == {"again": {}}


# A table that was made anew


def made_anew():
    """XQueue's table, made anew and in use: another learner's row has an id that was read."""
    LegacySubmission.objects.all().delete()
    return rows.legacy_row(9, id=1, age=timedelta(minutes=2))


def test_a_table_that_was_made_anew_is_noticed_and_read_from_its_first_row_once_an_operator_says_so():
    rows.in_phase("shadow")
    one, two = rows.legacy_row(1, id=1), rows.legacy_row(2, id=2)
    rows.backfill()
    rows.change([two], **rows.graded())
    rows.reconcile()
    new = made_anew()
    with pytest.raises(LegacyReplaced, match="--relink"):
        rows.reconcile()
    assert links() == {learner(1): 1, learner(2): 2}

    call_command("xqueue_reconcile", "--course", COURSE, "--relink")
    assert links() == {learner(1): -one.pk, learner(2): -two.pk, learner(9): new.pk}
    document, found = rows.reconcile()
    assert [(item["learner"], item["class"]) for item in found if item["class"] == "lost"] == [
        (keyed_hash(learner(1)), "lost")
    ]
    assert document.content["complete"]


def test_relinking_a_table_that_is_the_same_changes_nothing():
    rows.in_phase("shadow")
    made = [rows.legacy_row(1), rows.legacy_row(2)]
    rows.backfill()
    rows.reconcile()
    before = list(LedgerEntry.objects.order_by("id").values("legacy_id", "result", "divergences"))
    assert api.relink() == 0
    rows.reconcile()
    assert list(LedgerEntry.objects.order_by("id").values("legacy_id", "result", "divergences")) == before
    assert link_checkpoint() == made[-1].pk


@pytest.mark.parametrize("keep", [0, 1])
def test_retention_is_no_new_table(keep):
    rows.in_phase("shadow")
    for user in range(3):
        rows.legacy_row(user, age=timedelta(hours=5 - user))
    rows.reconcile()
    last = LegacySubmission.objects.order_by("-id")[0].pk
    LegacySubmission.objects.exclude(pk__in=[last] * keep).delete()
    rows.reconcile()
    late = rows.legacy_row(7, id=last + 5, age=timedelta(minutes=2))
    rows.reconcile()
    assert links()[learner(7)] == late.pk


def test_rows_that_retention_takes_while_they_are_read_are_passed_over(monkeypatch):
    unlinked(rows.legacy_row(1))

    def gone(*arguments, **options):
        LegacySubmission.objects.all().delete()
        return select(*arguments, **options)

    select = linking.bulk.select
    monkeypatch.setattr(linking.bulk, "select", gone)
    rows.reconcile()
    assert links() == {learner(1): None}


@pytest.mark.skipif(connection.vendor != "mysql", reason="SQLite has no locks of gaps")
@pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)
def test_no_submission_waits_for_rows_that_have_no_entry_to_be_linked(monkeypatch):
    """Under REPEATABLE READ too: a lock of an identity that is not there would be one of all that is near it."""
    rows.legacy_row(1)
    rows.backfill()
    rows.legacy_row(2, course=OTHER)
    entry = LedgerEntry.objects.values().get() | {"id": None, "identity": "f" * 64}
    other, linked = connections["default"].copy("other"), linking._link_page

    def submit(*arguments):
        with contextlib.closing(other), other.cursor() as cursor:
            cursor.execute("SET innodb_lock_wait_timeout = 1")
            names = ", ".join(f"`{name}`" for name in entry)
            cursor.execute(
                f"INSERT INTO {LedgerEntry._meta.db_table} ({names}) VALUES ({', '.join(['%s'] * len(entry))})",
                [value.replace(tzinfo=None) if hasattr(value, "tzinfo") else value for value in entry.values()],
            )
        return linked(*arguments)

    monkeypatch.setattr(linking, "_link_page", submit)
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    try:
        rows.reconcile()
    finally:
        connection.close()
    assert LedgerEntry.objects.count() == 2
