"""Every class of difference, from rows as the two systems leave them."""

import json
from datetime import timedelta

import pytest
from django.core.files.base import ContentFile
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail, Score, StudentItem, Submission, SubmissionFile

from migration_shim import api
from migration_shim.backfill.give_back import run as give_back
from migration_shim.backfill.request import Mode, Request
from migration_shim.comparison import legacy_outcomes, payloads, scan
from migration_shim.core.data import DivergenceClass, Leg, PairStatus
from migration_shim.core.scoring import read_reply, same_score
from migration_shim.models import Divergence, LedgerEntry, LegacySubmission
from sandbox import capture
from tests.builders import changes, handing_off, rows
from tests.builders import live_courses as watching
from tests.builders.rows import RIGHT, WRONG, fresh  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
HOUR = timedelta(hours=1)


def pair(user=7, legacy=RIGHT, target=None, ago=HOUR, **columns):
    row = rows.legacy_row(user, age=timedelta(hours=3), **columns)
    rows.backfill()
    changes.both_graded(row, legacy, target, ago=ago)
    return row


def found(**options):
    """The classes that a reconcile finds, each with its text."""
    rows.reconcile(full=True, **options)
    return dict(Divergence.objects.order_by("klass").values_list("klass", "what"))


def out_of(points, score, stored):
    """A pair graded with a score, out of so many points, of which the target has stored so many."""
    row = pair(legacy=json.dumps({"correct": True, "score": score, "msg": "<p>m</p>"}))
    LedgerEntry.objects.update(points_possible=points)
    ExternalGraderDetail.objects.update(points_possible=points)
    Score.objects.update(points_earned=stored, points_possible=points)
    return row


# Stored points, by the rule of edx-submissions 4.0.2: the score times the maximum, rounded half to even

POINTS = {
    "exact": (10, 0.5, 5, set(), ""),
    "rounded down": (10, 0.25, 2, set(), "rounding"),
    "rounded to nothing": (1, 0.5, 0, set(), "rounding"),
    "points taken for a share": (10, 7, 70, {"scale"}, ""),
    "more than there is": (10, 12, 120, {"out_of_range"}, ""),
    "not what the rule gives": (10, 0.5, 6, {"stored_points"}, ""),
}


@pytest.mark.parametrize(("points", "score", "stored", "classes", "known"), POINTS.values(), ids=POINTS)
def test_stored_points(points, score, stored, classes, known):
    out_of(points, score, stored)
    assert set(found()) == classes
    entry = LedgerEntry.objects.get()
    assert entry.result == (PairStatus.DIVERGED if classes else PairStatus.EQUAL)
    assert entry.known == known
    document = rows.reconcile()[0].content
    assert document["known_differences"] == ({known: 1} if known else {})


def test_a_grade_without_a_score_is_lost():
    pair()
    Score.objects.all().delete()
    assert found() == {"lost": "graded on target, but it holds no score"}


# Payload

FIELDS = {
    "answer": (lambda entry: Submission.objects.update(answer="x = 2\n"), "payload", "student_response"),
    "payload": (
        lambda entry: _keep(entry, grader_payload='{"grader": "other.py"}'),
        "payload",
        "grader_payload.grader",
    ),
    "no payload": (lambda entry: _keep(entry, grader_payload=None), "payload", "grader_payload"),
    "seed": (lambda entry: _info(entry, random_seed=2), "payload", "student_info.random_seed"),
    "time": (lambda entry: _info(entry, submission_time="2026"), "payload", "student_info.submission_time"),
    "an extra key": (lambda entry: _keep(entry, extra_body='{"token": "t"}'), "payload", "token"),
    "learner": (lambda entry: _info(entry, anonymous_student_id="0" * 32), "identity", "anonymous_student_id"),
}


def _keep(entry, **columns):
    LedgerEntry.objects.filter(pk=entry.pk).update(**columns)


def _info(entry, **changed):
    _keep(entry, student_info=json.dumps(json.loads(entry.student_info) | changed))


@pytest.mark.parametrize(("change", "klass", "field"), FIELDS.values(), ids=FIELDS)
def test_a_field_that_the_grader_would_get_otherwise(change, klass, field):
    """Before anything is graded: the payload needs no grade."""
    row = rows.legacy_row()
    rows.backfill()
    change(changes.entry_of(row))
    assert found() == {klass: f"differs in {field}"}
    assert LedgerEntry.objects.get().payload_compared_at is not None
    changes.both_graded(row)
    assert found() == {klass: f"differs in {field}"}


def test_equal_payloads_are_compared_before_they_are_graded():
    rows.legacy_row(seed=17, extra={"token": "t"}, payload='{"grader": "g.py", "lang": "de"}')
    rows.backfill()
    document, divergences = rows.reconcile()
    assert divergences == []
    assert (document.content["waiting"], document.content["payloads_compared"]) == (1, 1)


@pytest.mark.parametrize("gone", ["the residue is purged", "legacy's row is gone"])
def test_a_payload_that_differed_still_does_when_it_cannot_be_looked_at_again(gone):
    row = pair()
    _info(changes.entry_of(row), random_seed=2)
    assert set(found()) == {"payload"}
    if gone == "the residue is purged":
        LedgerEntry.objects.update(raw_header="", student_info="", grader_payload="", extra_body="")
    else:
        LegacySubmission.objects.all().delete()
    LedgerEntry.objects.update(seen="not what it was")
    assert set(found()) == {"payload"}


@pytest.fixture
def with_files(tmp_path, settings):
    """A pair whose answer is a file; the row, and its file in XQueue's storage."""
    place = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(tmp_path / "x")}}
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"LEGACY_STORAGE": place}
    settings.MEDIA_ROOT = str(tmp_path / "m")
    key = "ab" * 16
    kept = tmp_path / "x" / rows.QUEUE / key
    kept.parent.mkdir(parents=True)
    kept.write_text("print(1)")
    row = rows.legacy_row(files={"a.py": key}, answer="")
    rows.backfill()
    assert SubmissionFile.objects.count() == 1
    return row, kept


def test_equal_files_are_no_difference_and_are_read_once(with_files, monkeypatch):
    row, _ = with_files
    assert found() == {}
    assert LedgerEntry.objects.get().payload_compared_at is not None
    monkeypatch.setattr(payloads.files, "contents", None)  # who calls it again fails
    changes.both_graded(row)
    assert found() == {}
    assert LedgerEntry.objects.get().result == PairStatus.EQUAL


def test_other_contents_are_a_difference_of_files(with_files):
    row, kept = with_files
    kept.write_text("print(2)")
    assert found() == {"files": "files: 1 with other contents"}
    kept.unlink()
    changes.both_graded(row)
    assert set(found()) == {"files"}  # still, though it cannot be read again


def test_a_file_that_only_the_target_has_is_a_difference():
    row = rows.legacy_row()
    rows.backfill()
    detail = changes.detail_of(row)
    SubmissionFile.objects.create(external_grader=detail, file=ContentFile(b"x", name="b.py"), original_filename="b.py")
    assert found() == {"files": "files: 1 only on target"}


def test_a_file_that_cannot_be_read_leaves_the_payload_open_and_is_tried_again(with_files):
    row, kept = with_files
    kept.rename(kept.with_name("away"))
    changes.both_graded(row, ago=HOUR)
    assert found() == {}
    entry = LedgerEntry.objects.get()
    assert (entry.payload_compared_at, entry.settled_at) == (None, None)
    kept.with_name("away").rename(kept)
    rows.reconcile()  # an incremental one
    assert LedgerEntry.objects.get().payload_compared_at is not None


# Whose, how often, in which order


def test_another_learner_on_the_target_is_a_difference_of_identity():
    row = pair()
    StudentItem.objects.filter(submission=changes.entry_of(row).target_submission_id).update(
        student_id="shadow:" + rows.anonymous_id(9)
    )
    assert set(found()) == {"identity"}


def test_two_living_rows_on_legacy_are_duplicates():
    row = rows.legacy_row(age=timedelta(minutes=2))
    rows.backfill()
    changes.again(row, age=timedelta(minutes=2))
    assert found() == {}  # of one minute: XQueue stores the same from two tabs at once twice
    changes.again(row)  # a minute apart they are no tabs at once
    assert found() == {"duplicate": "3 rows on legacy, 1 on target"}


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("over", [False, True])
def test_a_duplicate_is_none_once_the_other_row_is_retired(full, over):
    """The other row is no part of the entry's digest: neither row of the pair itself changes."""
    row = rows.legacy_row(age=timedelta(days=3))
    rows.backfill()
    other = changes.again(row, age=timedelta(days=2))
    assert set(found()) == {"duplicate"}
    own = LegacySubmission.objects.get(pk=LedgerEntry.objects.get().legacy_id)
    if over:  # long ago: it would be settled, and looked at no more
        changes.both_graded(own, ago=timedelta(days=1))
        rows.reconcile()
        LedgerEntry.objects.update(compared_at=now() - timedelta(days=1))
        rows.reconcile()
        assert (LedgerEntry.objects.get().divergences, LedgerEntry.objects.get().settled_at) == ("duplicate", None)
    rows.change([other if own == row else row], retired=True)
    rows.reconcile(full=full)
    assert not Divergence.objects.exists()
    assert LedgerEntry.objects.get().result == (PairStatus.EQUAL if over else PairStatus.WAITING)


def test_a_repeated_row_that_was_retired_is_none():
    row = rows.legacy_row()
    rows.backfill()
    changes.again(row)
    rows.change([row], retired=True)
    assert found() == {}


def test_two_living_rows_on_the_target_are_duplicates():
    row = rows.legacy_row()
    rows.backfill()
    detail = changes.detail_of(row)
    twin = Submission.objects.create(
        student_item=detail.submission.student_item, attempt_number=2, answer="x", submitted_at=now()
    )
    ExternalGraderDetail.objects.create(submission=twin, queue_name=detail.queue_name, queue_key=detail.queue_key)
    assert found() == {"duplicate": "1 rows on legacy, 2 on target"}
    ExternalGraderDetail.objects.filter(submission=twin).update(status="retired", status_time=now())
    assert found() == {}


def test_a_later_attempt_that_was_handed_out_first_is_a_disorder():
    older, newer = (rows.legacy_row(answer=f"x = {age}", age=timedelta(hours=age)) for age in (3, 2))
    rows.backfill()
    changes.target_pulled(newer, ago=timedelta(minutes=50))
    changes.target_pulled(older, ago=timedelta(minutes=40))
    rows.reconcile()
    assert changes.entry_of(older).divergences == "order"
    assert changes.entry_of(newer).divergences == ""


def test_a_row_that_is_with_a_grader_for_much_too_long_is_stuck():
    row = rows.legacy_row(age=timedelta(hours=9))
    rows.backfill()
    changes.target_pulled(row, ago=timedelta(minutes=30))
    assert found() == {}
    changes.target_pulled(row, ago=timedelta(hours=8))
    assert found() == {"stuck": "stuck on target"}


def test_a_target_that_takes_an_hour_longer_is_late(settings):
    row = rows.legacy_row(age=timedelta(hours=3))
    rows.backfill()
    LedgerEntry.objects.update(origin="router")
    changes.legacy_graded(row, ago=timedelta(hours=2, minutes=59))
    changes.target_graded(row, ago=HOUR)
    assert set(found()) == {"latency"}
    assert LedgerEntry.objects.get().legacy_seconds == pytest.approx(60, abs=5)
    assert LedgerEntry.objects.get().target_seconds == pytest.approx(7200, abs=5)


# Missing, gone, lost


def test_a_row_that_legacys_retention_removed_keeps_its_outcome():
    row = pair(legacy=RIGHT, target=WRONG)
    before = found()
    kept = changes.stored()
    LegacySubmission.objects.all().delete()
    assert found() == before
    assert changes.stored() == kept
    assert LedgerEntry.objects.get(pk=entry_id(row)).legacy_state == "graded"


def entry_id(row):
    return LedgerEntry.objects.get(legacy_id=row.pk).pk


ODD = {
    "invalid": "[]",
    "raises": '{"correct": true, "score": null, "msg": "m"}',
    "not a number": '{"correct": true, "score": NaN, "msg": "m"}',
    "infinite": '{"correct": true, "score": 1e999, "msg": "m"}',
    "huge": '{"correct": false, "score": 1e300, "msg": "m"}',
}


@pytest.mark.parametrize("reply", ODD.values(), ids=ODD)
def test_a_strange_reply_is_kept_and_read_again_as_it_was(reply):
    """The databases hold no NaN, and a hostile score must not end the run."""
    row = rows.legacy_row(age=timedelta(hours=3))
    rows.backfill()
    changes.legacy_graded(row, reply, ago=HOUR)
    changes.target_pulled(row)
    ExternalGraderDetail.objects.update(status="retired", grader_reply=reply, status_time=now() - HOUR)
    before = found()
    entry = LedgerEntry.objects.get()
    one, other = read_reply(reply), legacy_outcomes.reply_of_columns(entry.legacy_correct, entry.legacy_score)
    assert (one.kind, one.correct) == (other.kind, other.correct)
    assert same_score(one.score, other.score)
    LegacySubmission.objects.all().delete()
    assert found() == before


def test_an_unretired_row_that_vanishes_is_lost():
    rows.legacy_row()
    rows.backfill()
    rows.reconcile()
    LegacySubmission.objects.all().delete()
    for _ in range(2):
        assert found() == {"lost": "vanished from legacy before it had an outcome"}


@pytest.mark.parametrize("cured", [False, True])
@pytest.mark.parametrize("full", [False, True])
def test_what_is_lost_on_legacy_can_be_stuck_on_the_target_as_well(full, cured, monkeypatch):
    """The loss is an alarm of its own, and its cure ends it; the row with a dead grader waits for an operator."""
    row = rows.legacy_row(age=timedelta(hours=9))
    rows.backfill()
    rows.in_phase("shadow")
    changes.target_pulled(row)
    rows.reconcile()
    LegacySubmission.objects.all().delete()
    assert set(found()) == {"lost"}
    if cured:
        api.cure(DivergenceClass.LOST, course_id=rows.COURSE, reason="sent again", by="ada")
        rows.reconcile()
        assert LedgerEntry.objects.get().result == PairStatus.KNOWN
    later = now() + timedelta(hours=8)  # nothing in either row changes meanwhile
    monkeypatch.setattr(scan, "now", lambda: later)
    rows.reconcile(full=full)
    still = {} if cured else {"lost": "vanished from legacy before it had an outcome"}
    assert dict(Divergence.objects.filter(cured_at=None).values_list("klass", "what")) == still | {
        "stuck": "stuck on target"
    }
    assert LedgerEntry.objects.get().result == PairStatus.DIVERGED


def test_what_was_never_read_is_missing():
    row = rows.legacy_row(age=timedelta(hours=3), **rows.graded(ago=HOUR))
    rows.backfill(history=True)
    LedgerEntry.objects.update(history=False)
    LegacySubmission.objects.all().delete()
    changes.target_pulled(row)
    rows.grade_target()
    for _ in range(2):
        assert found() == {"presence": "missing on legacy"}


def test_what_the_sender_was_told_was_refused_and_legacy_stored():
    row = rows.legacy_row(age=HOUR)
    rows.backfill()
    entry = LedgerEntry.objects.get()
    Submission.objects.filter(pk=entry.target_submission_id).delete()
    _keep(entry, legacy_leg=Leg.FAILED, target_leg=Leg.NONE, target_submission_id=None, legacy_id=None)
    assert set(found()) == {"stored_after_refusal"}
    rows.change([row], **rows.graded())
    rows.reconcile()
    LegacySubmission.objects.all().delete()
    assert set(found()) == {"stored_after_refusal"}


@pytest.mark.parametrize("move", ["backfill", "handoff", "handoff and return"])
def test_that_it_was_refused_is_not_forgotten_when_it_gets_a_copy_or_is_moved(move, settings):
    """XQueue was frozen: learners were told that it had failed, and it had stored what they had sent."""
    now_at_once = {"HANDOFF_SETTLE_SECONDS": 0.02, "PROCESSING_DELAY_SECONDS": 0.04}
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | now_at_once | {"LEGACY_URL": "http://127.0.0.1:9"}
    row = rows.legacy_row(age=HOUR)
    rows.backfill()
    Submission.objects.all().delete()
    refused = {"legacy_leg": Leg.FAILED, "legacy_reason": "refused", "legacy_id": None}
    _keep(LedgerEntry.objects.get(), **refused, target_leg=Leg.NONE, target_submission_id=None)
    if move == "backfill":
        assert rows.backfill().content["written"] == 1
        rows.grade_target()
    else:
        watching.stand("live")
        assert handing_off.run().content["released"] == 1
        watching.stand("legacy")
        if move == "handoff and return":
            returned = give_back.run(Request(mode=Mode.RETURN, execute=True), rows.ignore)
            assert returned.content["written"] == 1
    rows.change([row], **rows.graded())
    entry = LedgerEntry.objects.get()
    assert (entry.legacy_leg, entry.legacy_reason, entry.legacy_id) == ("stored", "refused", row.pk)
    assert legacy_outcomes.was_refused(entry) is (move != "handoff")  # which is the target's now
    if move == "backfill":
        assert found() == {}
        assert LedgerEntry.objects.get().known == "stored_after_refusal"
    if move == "handoff and return":
        assert set(found()) == {"stored_after_refusal"}


def test_what_was_refused_and_not_stored_is_no_pair():
    rows.legacy_row(age=HOUR)
    rows.backfill()
    entry = LedgerEntry.objects.get()
    LegacySubmission.objects.all().delete()
    _keep(entry, legacy_leg=Leg.FAILED, target_leg=Leg.NONE, target_submission_id=None, legacy_id=None)
    assert found() == {}
    assert LedgerEntry.objects.get().result == PairStatus.NONE


# Superseded on one side, moved, and both at once


def test_what_the_target_alone_superseded_for_a_newer_attempt_is_known():
    older = rows.legacy_row(answer="x = 1", age=timedelta(hours=3))
    rows.legacy_row(answer="x = 2", age=timedelta(hours=2))
    rows.backfill()
    changes.target_superseded(older)
    changes.legacy_graded(older, ago=timedelta(hours=2, minutes=30))
    rows.reconcile()
    entry = changes.entry_of(older)
    assert (entry.result, entry.known) == (PairStatus.KNOWN, "superseded_on_target_only")


def test_what_the_target_alone_superseded_for_nothing_is_a_difference_in_state():
    row = rows.legacy_row()
    rows.backfill()
    changes.target_superseded(row)
    changes.legacy_graded(row)
    assert found() == {"state": "legacy graded, target superseded"}


def test_a_row_that_a_handoff_moved_is_known_and_one_that_is_alive_on_both_is_an_alarm():
    row = pair()
    LedgerEntry.objects.update(authority="target", move="watched")
    item = StudentItem.objects.get(submission=changes.entry_of(row).target_submission_id)
    StudentItem.objects.update(student_id=item.student_id[7:], item_id=item.item_id[7:])
    rows.change([row], grader_reply="", lms_ack=False, pullkey="", grader_id=f"migration_shim:{entry_id(row)}")
    rows.change([row], return_time=None, pull_time=None)
    assert found() == {}
    assert LedgerEntry.objects.get().known == "moved_from_legacy"
    LedgerEntry.objects.update(move="returning")  # legacy has it again on purpose, and the ledger will say so
    rows.change([row], retired=False)
    assert found() == {}
    LedgerEntry.objects.update(move="watched")
    assert set(found()) == {"double_authority"}


def test_a_row_handed_out_by_the_other_endpoint_got_another_payload():
    row = rows.legacy_row()
    rows.backfill()
    changes.target_pulled(row)
    LedgerEntry.objects.update(lease_key="")
    assert set(found()) == {"payload"}
    changes.target_pulled(row)  # leased anew by the seam
    assert found() == {}


def test_every_class_is_in_every_document():
    capture.load_capture(rows.DATA)
    rows.backfill()
    content = rows.reconcile()[0].content
    assert list(content["courses"][0]["classes"]) == list(DivergenceClass)
