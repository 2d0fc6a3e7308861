"""What is dropped, what is kept, and what still works afterwards: comparing, reporting, a late reply, a return."""

import os
import uuid
from datetime import timedelta

import pytest
from django.core.files.base import ContentFile
from django.db import transaction
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail, SubmissionFile, get_storage

from migration_shim import api, conf
from migration_shim.backfill.handoff import run as handoff
from migration_shim.backfill.request import Mode, Request
from migration_shim.copies import write as copies
from migration_shim.models import LedgerEntry, StoredIntent
from migration_shim.reports import terminal
from migration_shim.retention import purge
from migration_shim.target import file_storage, orphaned_files, transitions
from tests.builders import changes, rows
from tests.builders import live_courses as world
from tests.builders.rows import COURSE, QUEUE
from tests.schemas import validate

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
OLD = timedelta(days=31)
RESIDUE = ("raw_header", "grader_payload", "student_info", "extra_body")
GONE = ("", None, "", "")


def residue():
    """The residue of every entry, by learner's number."""
    found = LedgerEntry.objects.values_list("learner", *RESIDUE)
    return {int(learner, 16): tuple(rest) for learner, *rest in found}


def settled_pairs(number=3):
    """Graded pairs of a course in shadow, compared, and settled a month ago."""
    world.stand("shadow")
    pairs = rows.graded_pairs(number, problems=1)
    rows.reconcile()
    LedgerEntry.objects.update(settled_at=now() - OLD)
    return pairs


def purged(**options):
    """A round that purges; what it says of that."""
    return validate(world.watch(purge=True, **options))["purge"]


def test_a_plan_counts_and_writes_nothing():
    settled_pairs()
    before = residue()
    content = validate(world.watch())
    counts = {name: content["purge"][name] for name in ("executed", "found", "dropped", "kept")}
    assert counts == {"executed": False, "found": 3, "dropped": 3, "kept": {}}
    assert content["purge"]["ledger"]["with_residue"] == 3
    assert residue() == before
    assert "Residue: 3 to drop (--purge does it)" in terminal.render(content)


@pytest.mark.parametrize("how", ["option", "setting"])
def test_residue_is_dropped_once_it_is_old_enough(how, shim):
    settled_pairs()
    LedgerEntry.objects.filter(learner=rows.anonymous_id(100)).update(settled_at=now() - timedelta(days=29))
    shim(WATCH_PURGE=how == "setting")
    content = validate(world.watch(purge=how == "option"))
    assert content["purge"]["dropped"] == 2
    assert "Residue: 2 dropped" in terminal.render(content)
    found = residue()
    assert found[100] != GONE
    assert found[101] == found[102] == GONE
    assert content["purge"]["ledger"] | {"oldest_settled_at": ""} == {
        "entries": 3,
        "with_residue": 1,
        "oldest_settled_at": "",
    }
    assert purged()["found"] == 0


def test_what_was_compared_stays_as_it_was():
    """Every count, result, divergence and sample of a full reconcile and of the gate, before and after."""
    world.stand("shadow")
    pairs = rows.graded_pairs(4, problems=1)
    rows.change(pairs[:1], **rows.graded(rows.WRONG))
    submission = changes.detail_of(pairs[1]).submission
    submission.answer = "another answer"
    submission.save()
    rows.reconcile()
    before, found_before = rows.reconcile(full=True)
    kept = changes.stored()
    assert before.content["classes"]["payload"] == 1
    LedgerEntry.objects.update(settled_at=now() - OLD)
    assert purged()["dropped"] == 4
    after, found_after = rows.reconcile(full=True)
    assert changes.stored() == kept
    assert found_after == found_before
    for name in ("of", "compared", "equal", "diverged", "classes", "payloads_compared", "cohorts", "latency"):
        assert after.content[name] == before.content[name], name
    report = api.diff_report(after.content, found_after)
    assert report is not None
    assert set(residue().values()) == {GONE}


def live_pending():
    world.stand("live")
    world.reverse(world.live())


def returned_not_yet():
    world.stand("live")
    world.live()
    LedgerEntry.objects.update(move="returning")


def released_just_now():
    world.stand("live")
    world.pair(7)
    LedgerEntry.objects.update(move="released")


def reverse_owed():
    world.stand("live")
    world.pair(7)
    LedgerEntry.objects.update(legacy_leg="failed", legacy_reason="refused: no")


def shadow_owed():
    world.stand("shadow")
    rows.graded_pairs(1)
    LedgerEntry.objects.update(target_leg="failed")


def history_to_echo():
    world.stand("shadow")
    rows.legacy_row(**rows.graded())
    rows.backfill(history=True)


def failed_for_good():
    world.stand("live")
    world.pair(7)
    ExternalGraderDetail.objects.update(status="failed")


def twin_in_flight():
    world.stand("shadow")
    rows.graded_pairs(1)
    rows.legacy_row(8)
    rows.backfill()
    twin = LedgerEntry.objects.get(learner=rows.anonymous_id(8))
    LedgerEntry.objects.exclude(pk=twin.pk).update(twin_submission_id=twin.target_submission_id)
    twin.delete()


def set_aside_shadow_in_flight():
    world.stand("live")
    world.pair(7)
    other = world.live(8, problem="b" * 32)
    LedgerEntry.objects.exclude(pk=other.pk).update(shadow_submission_id=other.target_submission_id)
    other.delete()


NEEDED = {
    live_pending: "unfinished_on_target",
    returned_not_yet: "on_its_way",
    released_just_now: "on_its_way",
    reverse_owed: "copy_owed",
    shadow_owed: "copy_owed",
    history_to_echo: "unfinished_on_target",
    failed_for_good: "failed_on_target",
    twin_in_flight: "unfinished_on_target",
    set_aside_shadow_in_flight: "unfinished_on_target",
}


@pytest.mark.parametrize("make", NEEDED, ids=lambda make: make.__name__)
def test_what_somebody_may_still_ask_for_is_kept(make):
    """Whatever a reconcile has said of it: the entry is called settled here, and is older than the age."""
    make()
    LedgerEntry.objects.update(settled_at=now() - OLD)
    before = residue()
    found = purge.purge(conf.load(), execute=True, check=lambda: None)
    assert (found.found, found.dropped, dict(found.kept)) == (1, 0, {NEEDED[make]: 1})
    assert residue() == before
    assert all(value[0] for value in before.values())


def test_a_handoff_that_begins_meanwhile_keeps_its_residue():
    settled_pairs(1)
    due = LedgerEntry.objects.filter(purged_at=None)
    LedgerEntry.objects.update(move="held")
    assert purge._drop(due) == 0
    assert set(residue().values()) != {GONE}


@pytest.mark.by_hand
def test_no_copy_is_made_out_of_an_entry_without_residue():
    """An operator frees a settled row by hand, on either side: half a submission reaches no grader."""
    (row,) = settled_pairs(1)
    purged()
    rows.change([row], retired=False, pull_time=None, return_time=None, lms_ack=False, grader_reply="", pullkey="")
    LedgerEntry.objects.update(target_leg="missing", settled_at=None)
    entry = LedgerEntry.objects.get()
    assert rows.backfill().content["classes"]["present"] == 1
    assert copies.write_shadow(entry.identity) == "present"
    LedgerEntry.objects.update(legacy_leg="missing", authority="target")
    assert copies.write_reverse(entry.identity) == "nothing to do"


def test_a_row_freed_by_hand_is_handed_off_whole():
    (row,) = settled_pairs(1)
    before = residue()
    purged()
    world.stand("live")
    rows.change([row], retired=False, pull_time=None, return_time=None, lms_ack=False, grader_reply="", pullkey="")
    document = handoff.run(Request(mode=Mode.HANDOFF, execute=True), rows.ignore)
    assert document.content["released"] == 1
    assert residue() == before
    assert LedgerEntry.objects.get().purged_at is None


# Retirement


def counts_of(course=COURSE):
    """All that a full reconcile counts."""
    content = rows.reconcile(course, full=True)[0].content
    return {name: content[name] for name in ("of", "compared", "equal", "diverged", "waiting", "overdue", "classes")}


def test_a_retired_learner_is_forgotten_and_every_count_stays():
    world.stand("live")
    for user, problem in ((7, "a"), (7, "b"), (8, "a")):
        world.pair(user, problem=problem * 32)
    rows.reconcile()
    LedgerEntry.objects.update(settled_at=now())
    before = counts_of()
    LedgerEntry.objects.update(settled_at=now())
    tokens = list(LedgerEntry.objects.values_list("sink_token", flat=True))
    keys = set(LedgerEntry.objects.filter(learner=rows.anonymous_id(7)).values_list("input_key", flat=True))
    assert api.retire_learner([rows.anonymous_id(7), ""]) == {"entries": 2, "forgotten": 2, "waiting": 0}
    mine = LedgerEntry.objects.exclude(learner=rows.anonymous_id(8))
    assert {entry.learner[:8] for entry in mine} == {"retired:"}
    assert len({entry.learner for entry in mine}) == 1
    assert all(tuple(getattr(entry, name) for name in RESIDUE) == GONE for entry in mine)
    everything = str(list(mine.values()))
    assert not any(secret in everything for secret in (rows.anonymous_id(7), *tokens[:2], *keys))
    other = LedgerEntry.objects.get(learner=rows.anonymous_id(8))
    assert other.raw_header
    assert other.sink_token
    assert counts_of() == before
    assert before["equal"] == 3
    assert api.retire_learner([rows.anonymous_id(7)]) == {"entries": 0, "forgotten": 0, "waiting": 0}


def test_a_submission_in_flight_is_graded_before_its_learner_is_forgotten():
    world.stand("live")
    world.pair(7)
    entry = world.live(7, problem="b" * 32)
    rows.reconcile()
    LedgerEntry.objects.exclude(pk=entry.pk).update(settled_at=now())
    assert api.retire_learner([rows.anonymous_id(7)]) == {"entries": 2, "forgotten": 0, "waiting": 2}
    entry.refresh_from_db()
    assert entry.raw_header
    assert LedgerEntry.objects.exclude(pk=entry.pk).get().raw_header == ""
    assert world.watch()["forgotten"] == 0
    world.reverse(entry, **rows.graded())
    world.grade_target(entry)
    rows.reconcile()
    LedgerEntry.objects.update(settled_at=now())
    content = validate(world.watch())
    assert content["forgotten"] == 2
    assert "2 entries name nobody any more" in terminal.render(content)
    assert not LedgerEntry.objects.filter(learner=rows.anonymous_id(7)).exists()
    assert not LedgerEntry.objects.filter(forget=True).exists()


def test_an_entry_that_never_settles_does_not_keep_its_learner_for_ever():
    world.stand("shadow")
    rows.graded_pairs(1)
    LedgerEntry.objects.update(arrived_at=now() - OLD, settled_at=None)
    learner = LedgerEntry.objects.get().learner
    assert api.retire_learner([learner])["forgotten"] == 1


# Contents without rows


def meant(queue=QUEUE, age=timedelta(days=2)):
    """A content that was stored so long ago for a transaction that never committed."""
    (file,) = file_storage.record_intents(queue, ["a.py"])
    file_storage.save(file, ContentFile(b"x"))
    StoredIntent.objects.filter(pk=file.intent).update(created_at=now() - age)
    return file


@pytest.fixture
def orphans():
    """Contents of every kind; those that nobody needs."""
    world.stand("live")
    world.live(files={"a.py": b"print()"})
    (file,) = SubmissionFile.objects.all()
    assert not StoredIntent.objects.exists()  # struck out by the transaction that named it
    # A row names what is written down, by its uuid or as the place of its file: it is kept, whoever wrote that row.
    by_uuid, by_place = meant(), meant()
    SubmissionFile.objects.create(uuid=by_uuid.uuid, external_grader=file.external_grader, file="elsewhere")
    SubmissionFile.objects.create(external_grader=file.external_grader, file=by_place.stored_name)
    for name in (f"{QUEUE}/{uuid.uuid4()}", f"{QUEUE}.shadow/{uuid.uuid4()}", f"{QUEUE}/{uuid.uuid4().hex}"):
        get_storage().save(name, ContentFile(b"another LMS's, or XQueue's, in a bucket that is shared"))
        os.utime(get_storage().path(name), (0, 0))
    meant(age=timedelta(hours=23))  # its transaction may be at work
    return [meant(queue).stored_name for queue in (QUEUE, f"{QUEUE}.shadow", f"{QUEUE}.echo")]


def everything():
    """Every name in the storage."""
    found, folders = [], [""]
    while folders:
        folder = folders.pop()
        below, names = get_storage().listdir(folder)
        folders += [f"{folder}/{name}".lstrip("/") for name in below]
        found += [f"{folder}/{name}".lstrip("/") for name in names]
    return set(found)


def test_contents_without_rows_are_counted_then_removed(orphans):
    before = everything()
    content = validate(world.watch())
    found = {name: content["sweep"][name] for name in ("executed", "ours", "young", "old", "removed")}
    assert found == {"executed": False, "ours": 6, "young": 1, "old": 3, "removed": 0}
    assert everything() == before
    assert "Stored contents without a row: 3, --purge removes them" in terminal.render(content)
    content = validate(world.watch(purge=True))
    assert content["sweep"]["removed"] == 3
    assert before - everything() == set(orphans)
    assert StoredIntent.objects.count() == 1  # the young one's
    assert validate(world.watch(purge=True))["sweep"]["old"] == 0


def test_a_storage_is_never_listed(orphans, monkeypatch):
    def listed(*args):
        raise AssertionError

    monkeypatch.setattr(type(get_storage()), "listdir", listed)
    assert validate(world.watch(purge=True))["sweep"]["removed"] == 3


def test_a_row_that_comes_between_keeps_its_content(orphans, monkeypatch):
    """What was written down is read first, and rows after it."""
    original = orphaned_files._unnamed

    def late(names):
        detail = ExternalGraderDetail.objects.first()
        for key, name in names.items():
            SubmissionFile.objects.get_or_create(
                uuid=key, defaults={"external_grader": detail, "file": name, "original_filename": "late"}
            )
        return original(names)

    monkeypatch.setattr(orphaned_files, "_unnamed", late)
    before = everything()
    world.watch(purge=True)
    assert everything() == before


def test_a_storage_that_does_not_answer_is_said_and_stops_nothing(orphans, monkeypatch):
    def broken(*args):
        raise OSError("no")

    with monkeypatch.context() as patch:
        patch.setattr(type(get_storage()), "delete", broken)
        document = world.round_of(purge=True)
    (problem,) = document.content["problems"]
    assert problem["step"] == "sweep"
    assert "3 contents without rows could not be removed" in problem["said"]
    assert document.content["purge"]["executed"]
    assert validate(world.watch(purge=True))["sweep"]["removed"] == 3  # nothing was forgotten


def test_contents_whose_rows_were_taken_away_are_found_when_the_process_dies_between(monkeypatch):
    """Contents go after the commit that takes their rows away; until then they are written down."""
    world.stand("live")
    world.live(files={"a.py": b"print()"})
    (file,) = SubmissionFile.objects.all()
    detail = file.external_grader
    ExternalGraderDetail.objects.filter(pk=detail.pk).update(queue_name=f"{QUEUE}.held")
    with monkeypatch.context() as patch:
        patch.setattr(transaction, "on_commit", lambda work: None)  # nobody lives to do it
        transitions.drop(detail.submission_id, f"{QUEUE}.held")
    assert file.file.name in everything()
    StoredIntent.objects.update(created_at=now() - timedelta(days=2))
    assert validate(world.watch(purge=True))["sweep"]["removed"] == 1
    assert file.file.name not in everything()


def test_a_plan_looks_at_no_more_than_some(monkeypatch):
    """Where nothing is purged what may be dropped grows for ever, and each round of the watch counts it."""
    monkeypatch.setattr(purge, "PLANNED", 1)
    monkeypatch.setattr(purge, "BATCH", 1)
    settled_pairs()
    content = validate(world.watch())
    assert (content["purge"]["found"], content["purge"]["more"]) == (1, True)
    assert "Residue: at least 1 to drop" in terminal.render(content)
    assert purged()["dropped"] == 3
    assert validate(world.watch())["purge"]["more"] is False
