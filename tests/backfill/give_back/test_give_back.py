"""Return: in-flight rows of the target go back to legacy, and nothing else is touched."""

import hashlib
import json
from contextlib import contextmanager
from datetime import timedelta

import jsonschema
import pytest
from django.db import DataError, connection, connections
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail, Score
from waffle.testutils import override_switch

from migration_shim.backfill.give_back import steps as give_back_steps
from migration_shim.core.data import ExitCode
from migration_shim.core.errors import LegacyNotWritable, RunLocked
from migration_shim.legacy import give_back as legacy
from migration_shim.legacy import primary, privileges, writes
from migration_shim.models import LedgerEntry, LegacySubmission, Run
from migration_shim.toggles import KILL_SWITCH
from tests.builders import rows
from tests.builders.in_flight import (
    counts,
    detail_of,
    expire_lease,
    give_back_all,
    hand_off,
    live,
    queued,
    send_live,
    use_storage,
    xqueue_submit,
)
from tests.builders.rows import PROJECT_ROOT

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
#: Two problems of one learner whose callbacks are equal in their first 128 characters.
SAME_CALLBACK = ("a" * 32, "a" * 31 + "b")


@pytest.mark.parametrize("move", ["released", "watched"])
def test_a_row_that_was_handed_off_is_revived(move):
    row = rows.legacy_row(pull_time=now() - timedelta(hours=1), num_failures=1, grader_reply="x")
    before = LegacySubmission.objects.filter(pk=row.pk).values().get()
    entry = hand_off(row)
    LedgerEntry.objects.filter(pk=entry.pk).update(move=move)

    document = give_back_all()

    assert counts(document) == {"imported revived": 1}
    assert (document.content["written"], document.exit_code) == (1, ExitCode.OK)
    after = LegacySubmission.objects.filter(pk=row.pk).values().get()
    assert after == before | {"pull_time": None, "pullkey": "", "grader_id": ""}
    assert LegacySubmission.objects.count() == 1
    assert detail_of(entry).status == "retired"
    entry.refresh_from_db()
    said = {name: getattr(entry, name) for name in ("move", "authority", "legacy_leg", "target_leg", "target_reason")}
    assert said == {
        "move": "returned",
        "authority": "legacy",
        "legacy_leg": "stored",
        "target_leg": "none",
        "target_reason": "returned",
    }
    assert (entry.legacy_id, entry.target_submission_id) == (row.pk, None)
    assert entry.real_submission_id is not None


def test_a_row_that_only_the_target_had_is_inserted_as_xqueue_would_have_stored_it():
    entry = live(answer="print('ä')\r\n")
    body = rows.legacy_row(answer="print('ä')\r\n").xqueue_body
    LegacySubmission.objects.all().delete()

    document = give_back_all()

    assert counts(document) == {"imported inserted": 1}
    row = LegacySubmission.objects.values().get()
    pk = row.pop("id")
    url = json.loads(entry.raw_header)["lms_callback_url"]
    assert len(url) > 128
    assert json.loads(row.pop("xqueue_body"))["student_response"] == json.loads(body)["student_response"]
    assert row == {
        "requester_id": "migration_shim",
        "lms_callback_url": url[:128],
        "queue_name": rows.QUEUE,
        "xqueue_header": entry.raw_header,
        "s3_keys": "{}",
        "s3_urls": "{}",
        "arrival_time": entry.arrived_at,
        "pull_time": None,
        "push_time": None,
        "return_time": None,
        "grader_id": "",
        "pullkey": "",
        "grader_reply": "",
        "num_failures": 0,
        "lms_ack": False,
        "retired": False,
    }
    entry.refresh_from_db()
    assert (entry.legacy_id, entry.authority, entry.move) == (pk, "legacy", "returned")


def test_a_plan_writes_nothing_and_says_what_would_be_done():
    entries = [hand_off(rows.legacy_row(1)), live(2), hand_off(rows.legacy_row(3, age=timedelta(hours=2)))]
    rows.legacy_row(3)  # a newer attempt
    before = list(LegacySubmission.objects.order_by("id").values())

    document = give_back_all(execute=False)

    assert counts(document) == {"imported revived": 1, "imported inserted": 1, "superseded": 1}
    assert document.content["written"] == 0
    assert list(LegacySubmission.objects.order_by("id").values()) == before
    assert {detail_of(entry).status for entry in entries} == {"pending"}
    assert set(LedgerEntry.objects.values_list("move", flat=True)) == {"watched", "none"}
    assert counts(give_back_all()) == counts(document)
    assert counts(give_back_all()) == {}


def test_problems_with_one_truncated_callback_come_back_side_by_side():
    """XQueue's own submit would retire each of them for the next."""
    entries = [live(problem=problem) for problem in SAME_CALLBACK]
    entries += [live(response=3), hand_off(rows.legacy_row(problem="a" * 30 + "cc"))]

    assert counts(give_back_all()) == {"imported inserted": 3, "imported revived": 1}

    assert len({row.lms_callback_url for row in LegacySubmission.objects.all()}) == 1
    assert all(len(queued(entry.raw_header)) == 1 for entry in entries)


def test_a_newer_attempt_on_legacy_supersedes_only_its_own_input():
    old = live(answer="old")
    sibling, other = live(response=3), live(problem="a" * 31 + "b")
    newer = xqueue_submit(answer="new", age=timedelta(minutes=1))

    assert counts(give_back_all()) == {"superseded": 1, "imported inserted": 2}

    old.refresh_from_db()
    assert old.superseded_at is not None
    assert (old.move, detail_of(old).status) == ("none", "retired")
    assert queued(old.raw_header) == []
    assert [row.pk for row in queued(newer.xqueue_header)] == [newer.pk]
    assert len(queued(sibling.raw_header)) == len(queued(other.raw_header)) == 1


@pytest.mark.parametrize("what", ["graded", "retired"])
def test_a_newer_attempt_counts_whatever_became_of_it(what):
    entry = hand_off(rows.legacy_row(answer="old"))
    newer = rows.legacy_row(answer="new", age=timedelta(minutes=1))
    rows.change([newer], **(rows.graded() if what == "graded" else {"retired": True}))
    assert counts(give_back_all()) == {"superseded": 1}
    assert queued(entry.raw_header) == []


def test_an_older_attempt_on_legacy_is_left_as_it_is():
    older = rows.legacy_row(answer="old", age=timedelta(hours=5))
    entry = live(answer="new")
    LegacySubmission.objects.filter(pk=older.pk).update(retired=False)
    assert counts(give_back_all()) == {"imported inserted": 1}
    assert len(queued(entry.raw_header)) == 1
    assert len(queued(older.xqueue_header)) == 1


def test_the_lms_clock_says_which_attempt_is_newer():
    """Arrival times are of two clocks: XQueue's may be ahead."""
    entry = live(answer="new", age=timedelta(minutes=10))
    older = rows.legacy_row(answer="old", age=timedelta(hours=5))
    rows.change([older], arrival_time=now() + timedelta(hours=1))
    assert counts(give_back_all()) == {"imported inserted": 1}
    assert len(queued(entry.raw_header)) == 1


def test_a_newer_attempt_on_the_ledger_supersedes():
    old, new = live(answer="old"), live(answer="new", age=timedelta(minutes=1))
    # As if the row had been locked when the router wanted to retire it.
    ExternalGraderDetail.objects.filter(submission_id=old.target_submission_id).update(status="pending")
    LedgerEntry.objects.filter(pk=old.pk).update(superseded_at=None)
    assert counts(give_back_all()) == {"superseded": 1, "imported inserted": 1}
    assert queued(old.raw_header) == []
    assert len(queued(new.raw_header)) == 1


def test_a_row_that_the_ledger_calls_superseded_is_not_returned():
    entry = live()
    moment = now() - timedelta(hours=1)
    LedgerEntry.objects.filter(pk=entry.pk).update(superseded_at=moment)
    assert counts(give_back_all()) == {"superseded": 1}
    entry.refresh_from_db()
    assert (entry.superseded_at, detail_of(entry).status) == (moment, "retired")
    assert LegacySubmission.objects.count() == 0


def test_nothing_is_superseded_where_the_input_is_unknown():
    entry = live(answer="old")
    LedgerEntry.objects.filter(pk=entry.pk).update(input_key="")
    xqueue_submit(answer="new", age=timedelta(minutes=1))
    assert counts(give_back_all()) == {"imported inserted": 1}
    assert len(queued(entry.raw_header)) == 1


def test_a_live_submit_between_the_two_steps_supersedes(monkeypatch):
    first, second = live(answer="old"), live(problem="a" * 31 + "b")
    write = give_back_steps._write
    submitted = []

    def between(*args):
        if not submitted:
            submitted.append(xqueue_submit(answer="new", age=timedelta(seconds=1)))
        return write(*args)

    monkeypatch.setattr(give_back_steps, "_write", between)

    assert counts(give_back_all()) == {"superseded": 1, "imported inserted": 1}
    first.refresh_from_db()
    assert first.superseded_at is not None
    assert (first.move, first.legacy_id) == ("none", None)
    assert queued(first.raw_header) == []
    assert len(queued(submitted[0].xqueue_header)) == len(queued(second.raw_header)) == 1
    assert LegacySubmission.objects.filter(retired=True).count() == 0


@pytest.mark.parametrize("handed_off", [True, False])
def test_a_live_submit_that_slips_in_before_the_commit_supersedes(monkeypatch, handed_off):
    entry = hand_off(rows.legacy_row(answer="old")) if handed_off else live(answer="old")
    sibling = live(response=3, age=timedelta(minutes=30))
    module, name = (writes, "revive") if handed_off else (legacy, "insert")
    original = getattr(module, name)
    submitted = []

    def slips_in(*args):
        if not submitted:
            submitted.append(xqueue_submit(answer="new", age=timedelta(seconds=1)))
        return original(*args)

    monkeypatch.setattr(module, name, slips_in)

    assert counts(give_back_all()) == {"superseded": 1, "imported inserted": 1}
    entry.refresh_from_db()
    assert entry.superseded_at is not None
    assert LegacySubmission.objects.get(pk=entry.legacy_id).retired
    assert queued(entry.raw_header) == []
    assert len(queued(submitted[0].xqueue_header)) == len(queued(sibling.raw_header)) == 1


def test_a_row_under_a_live_lease_waits():
    entry = live()
    grader = rows.Grader()
    grader.pull(rows.QUEUE)

    document = give_back_all()

    assert counts(document) == {"drain under_live_lease": 1}
    assert document.exit_code == ExitCode.LEFT_BEHIND
    assert LegacySubmission.objects.count() == 0
    assert detail_of(entry).status == "pulled"
    expire_lease(entry)
    assert counts(give_back_all()) == {"imported inserted": 1}


def test_a_lease_that_begins_after_the_look_is_respected(monkeypatch):
    entry = live()
    fence = give_back_steps._fence

    def pulled_first(*args):
        ExternalGraderDetail.objects.get(submission_id=entry.target_submission_id).update_status("pulled")
        return fence(*args)

    monkeypatch.setattr(give_back_steps, "_fence", pulled_first)
    assert counts(give_back_all()) == {"drain under_live_lease": 1}
    assert detail_of(entry).pullkey


def test_a_late_result_is_refused_and_leaves_no_score():
    entry = live()
    grader = rows.Grader()
    header = grader.pull(rows.QUEUE)["xqueue_header"]
    expire_lease(entry)
    give_back_all()

    form = {"xqueue_header": header, "xqueue_body": rows.RIGHT}
    upstream = grader.client.post("/xqueue/put_result/", form, **grader._csrf())
    seam = grader.client.post("/migration_shim/xqueue/put_result/", form, **grader._csrf())

    assert upstream.status_code == 403
    assert seam.json() == {"return_code": 1, "content": "Incorrect key for submission"}
    assert not Score.objects.exists()
    assert (detail_of(entry).status, detail_of(entry).grader_reply) == ("retired", None)


def test_what_cannot_be_returned_is_counted_and_left():
    hidden = live(1)
    LedgerEntry.objects.filter(pk=hidden.pk).delete()
    bare, held, fenced = live(2), live(3), live(4)
    LedgerEntry.objects.filter(pk=bare.pk).update(raw_header="")
    LedgerEntry.objects.filter(pk=held.pk).update(move="held")
    LedgerEntry.objects.filter(pk=fenced.pk).update(move="fenced")
    strange = live(5)
    LedgerEntry.objects.filter(pk=strange.pk).update(authority="legacy")

    document = give_back_all()

    assert counts(document) == {
        "drain no_ledger_entry": 1,
        "drain no_residue": 1,
        "drain handoff_held": 1,
        "drain handoff_fenced": 1,
        "drain not_authoritative": 1,
    }
    assert document.exit_code == ExitCode.LEFT_BEHIND
    assert set(ExternalGraderDetail.objects.values_list("status", flat=True)) == {"pending"}
    assert LegacySubmission.objects.count() == 0


def test_shadows_and_finished_rows_are_not_read():
    rows.legacy_row(1)
    rows.in_phase("shadow")
    rows.backfill()
    live(2)
    ExternalGraderDetail.objects.filter(queue_name=rows.QUEUE).update(status="retired", grader_reply=rows.RIGHT)
    failed = live(3)
    ExternalGraderDetail.objects.filter(submission_id=failed.target_submission_id).update(status="failed")
    assert give_back_all().content["read"] == 0


@pytest.mark.parametrize("phase", ["live", "complete"])
def test_rows_of_a_course_in_which_the_target_is_authoritative_stay(phase):
    entry = live()
    rows.in_phase(phase)
    document = give_back_all()
    assert counts(document) == {f"out_of_scope phase_{phase}": 1}
    assert detail_of(entry).status == "pending"


def test_a_course_in_shadow_gets_its_rows_back_and_the_next_backfill_copies_them():
    entry = live()
    rows.in_phase("shadow")
    assert counts(give_back_all()) == {"imported inserted": 1}
    assert rows.backfill().content["written"] == 1
    entry.refresh_from_db()
    copy = ExternalGraderDetail.objects.get(submission_id=entry.target_submission_id)
    assert (copy.queue_name, copy.status) == (f"{rows.QUEUE}.shadow", "pending")
    assert copy.submission.student_item.student_id.startswith("shadow:")
    assert LedgerEntry.objects.count() == 1
    document, _ = rows.reconcile()
    assert (document.content["fence_leaks"], document.content["double_authority"]) == (0, 0)


@pytest.mark.parametrize("state", ["pending", "retired"])
def test_a_shadow_is_the_copy_again_unless_it_was_retired(state):
    row = rows.legacy_row()
    rows.in_phase("shadow")
    rows.backfill()
    shadow = LedgerEntry.objects.get()
    identity, copy = shadow.identity, shadow.target_submission_id
    shadow.delete()
    entry = hand_off(row, shadow=copy)
    LedgerEntry.objects.filter(pk=entry.pk).update(shadow_lease_key="key", lease_key="other", identity=identity)
    ExternalGraderDetail.objects.filter(submission_id=copy).update(status=state)

    give_back_all()

    entry.refresh_from_db()
    kept = (copy, "stored", "", "key") if state == "pending" else (None, "none", "returned", "")
    assert (entry.target_submission_id, entry.target_leg, entry.target_reason, entry.lease_key) == kept
    assert (entry.shadow_submission_id, entry.shadow_lease_key) == (None, "")


def test_scope_by_course_queue_and_limit():
    other = "course-v1:ExU+ALG2+26T1"
    first = live(1, age=timedelta(hours=3))
    second = live(2, queue="other", age=timedelta(hours=2))
    third = live(3, age=timedelta(hours=1))
    assert give_back_all(courses=frozenset([other])).content["read"] == 0
    assert give_back_all(queues=frozenset([rows.QUEUE.upper()])).content["read"] == 0
    assert counts(give_back_all(queues=frozenset(["other"]))) == {"imported inserted": 1}
    assert len(queued(second.raw_header)) == 1
    document = give_back_all(courses=frozenset([rows.COURSE]), limit=1)
    assert counts(document) == {"imported inserted": 1}
    assert (document.content["complete"], document.content["left"]) == (False, 1)
    assert (len(queued(first.raw_header)), len(queued(third.raw_header))) == (1, 0)
    assert counts(give_back_all(batch_size=1)) == {"imported inserted": 1}


def test_the_kill_switch_does_not_stop_it_and_a_second_return_does():
    live()
    with override_switch(KILL_SWITCH.name, active=True):
        assert counts(give_back_all(execute=False)) == {"imported inserted": 1}
        Run.objects.create(kind="backfill", scope="return")
        with pytest.raises(RunLocked):
            give_back_all()
        Run.objects.all().delete()
        assert counts(give_back_all()) == {"imported inserted": 1}


def test_a_row_that_is_back_on_legacy_by_itself_is_not_touched():
    """A stalled pull may undo a handoff; then only the ledger has to learn of it."""
    row = rows.legacy_row()
    hand_off(row)
    rows.change([row], retired=False, pullkey="k", grader_id="10.20.4.7", pull_time=now())
    before = LegacySubmission.objects.values().get()
    assert counts(give_back_all()) == {"imported already_there": 1}
    assert LegacySubmission.objects.values().get() == before
    assert LedgerEntry.objects.get().authority == "legacy"


def test_a_handed_off_row_that_legacy_has_deleted_is_inserted_again():
    entry = hand_off(rows.legacy_row())
    LegacySubmission.objects.all().delete()
    assert counts(give_back_all()) == {"imported inserted": 1}
    assert len(queued(entry.raw_header)) == 1


def test_a_reverse_shadow_stays_a_copy():
    entry = live()
    sink = rows.legacy_row(xqueue_header=json.dumps({"lms_callback_url": "https://x/sink/" + "0" * 32 + "/"}))
    LedgerEntry.objects.filter(pk=entry.pk).update(legacy_id=sink.pk, sink_token="0" * 32)
    before = LegacySubmission.objects.filter(pk=sink.pk).values().get()
    assert counts(give_back_all()) == {"imported inserted": 1}
    assert LegacySubmission.objects.filter(pk=sink.pk).values().get() == before
    entry.refresh_from_db()
    assert (entry.legacy_id, entry.sink_token) == (queued(entry.raw_header)[0].pk, "0" * 32)


def test_files_are_stored_as_xqueue_stores_them(tmp_path):
    uploads = {"b.py": b"print()\r\n\xff", "a é.txt": b""}
    entry = live(uploads=uploads)
    assert counts(give_back_all()) == {"imported inserted": 1}
    row = LegacySubmission.objects.get()
    expected = {name: hashlib.md5((entry.raw_header + name).encode()).hexdigest() for name in uploads}
    assert json.loads(row.s3_keys) == expected
    assert list(json.loads(row.s3_keys)) == ["b.py", "a é.txt"]
    urls = {name: f"https://files.example.edu/xqueue/{rows.QUEUE}/{key}" for name, key in expected.items()}
    assert json.loads(row.s3_urls) == urls
    for name, key in expected.items():
        assert (tmp_path / rows.QUEUE / key).read_bytes() == uploads[name]


def test_many_files_go_into_an_external_document(tmp_path):
    uploads = {f"file_{number:02}.py": str(number).encode() for number in range(15)}
    entry = live(uploads=uploads)
    give_back_all()
    row = LegacySubmission.objects.get()
    key = hashlib.md5((entry.raw_header + json.dumps(list(uploads))).encode()).hexdigest()
    assert json.loads(row.s3_keys) == {"KEY_FOR_EXTERNAL_DICTS": key}
    assert json.loads(row.s3_urls) == {"URL_FOR_EXTERNAL_DICTS": f"https://files.example.edu/xqueue/{rows.QUEUE}/{key}"}
    document = json.loads((tmp_path / rows.QUEUE / key).read_bytes())
    assert list(document["keys"]) == list(document["files"]) == list(uploads)
    for name, stored in document["keys"].items():
        assert (tmp_path / rows.QUEUE / stored).read_bytes() == uploads[name]
        assert document["files"][name].endswith(f"/{rows.QUEUE}/{stored}")


def test_another_file_under_the_key_is_never_written_over(tmp_path):
    entry = live(uploads={"a.py": b"mine"})
    key = hashlib.md5((entry.raw_header + "a.py").encode()).hexdigest()
    (tmp_path / rows.QUEUE).mkdir()
    (tmp_path / rows.QUEUE / key).write_bytes(b"min")  # half a file of a crash, or another row's
    give_back_all()
    used = json.loads(LegacySubmission.objects.get().s3_keys)["a.py"]
    assert used != key
    assert used.isalnum()
    assert (tmp_path / rows.QUEUE / key).read_bytes() == b"min"
    assert (tmp_path / rows.QUEUE / used).read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"base_url": "/media/"}, "file_url_unknown"),
        ({"base_url": None}, "file_url_unknown"),
        ({"location": "/dev/null/nothing"}, "legacy_storage_failed"),
        (None, "no_legacy_storage"),
    ],
)
def test_without_a_usable_storage_rows_with_files_stay(settings, tmp_path, options, reason):
    with_files, without = live(1, uploads={"a.py": b"x"}), live(2)
    if options is None:
        settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"LEGACY_STORAGE": {}}
    else:
        use_storage(settings, tmp_path, **options)
    assert counts(give_back_all()) == {f"drain {reason}": 1, "imported inserted": 1}
    assert detail_of(with_files).status == "pending"
    assert queued(with_files.raw_header) == []
    assert len(queued(without.raw_header)) == 1


def test_a_file_that_the_target_has_lost_keeps_its_row_there():
    entry = live(uploads={"a.py": b"x"})
    file = detail_of(entry).files.get()
    file.file.storage.delete(file.file.name)
    assert counts(give_back_all()) == {"drain target_file_missing": 1}
    assert detail_of(entry).status == "pending"


def test_a_queue_that_xqueue_does_not_know_keeps_its_rows(monkeypatch):
    asked = []

    def queue_length(self, name):
        asked.append(name)
        return (0, 3) if name == rows.QUEUE else (1, "Valid queue names are: exu-py1")

    monkeypatch.setattr(legacy.LegacyClient, "queue_length", queue_length)
    for user, queue in ((1, "mistyped"), (2, rows.QUEUE), (3, rows.QUEUE)):
        live(user, queue=queue)
    assert counts(give_back_all()) == {"drain queue_unknown_to_legacy": 1, "imported inserted": 2}
    assert sorted(asked) == [rows.QUEUE, "mistyped"]


def test_a_body_that_capa_did_not_write_is_found_again_by_its_digest():
    row = rows.legacy_row()
    body = json.dumps(json.loads(row.xqueue_body), sort_keys=True, indent=1)
    LegacySubmission.objects.all().delete()
    entry = send_live(row.xqueue_header, body)
    rows.in_phase("shadow")
    give_back_all()
    returned = LegacySubmission.objects.get()
    assert returned.xqueue_body != body
    assert json.loads(returned.xqueue_body) == json.loads(body)
    rows.reconcile()
    rows.backfill()
    assert LedgerEntry.objects.get().pk == entry.pk


def test_a_body_whose_digest_another_entry_has_stays():
    entry, other = live(1, age=timedelta(hours=2)), live(2)
    LedgerEntry.objects.filter(pk=entry.pk).update(identity="e" * 64)
    LedgerEntry.objects.filter(pk=other.pk).update(identity=entry.identity)
    assert counts(give_back_all()) == {"drain identity_taken": 1, "imported inserted": 1}
    assert detail_of(entry).status == "pending"
    other.refresh_from_db()
    assert other.identity not in (entry.identity, "e" * 64)


def test_a_row_that_legacy_refuses_does_not_stop_the_others_and_many_do(monkeypatch):
    entries = [live(user, age=timedelta(hours=9 - user)) for user in range(1, 7)]
    insert, bad = legacy.insert, {entries[0].raw_header}

    def refusing(item, *args):
        if item.header in bad:
            raise DataError(1366, "Incorrect string value")
        return insert(item, *args)

    monkeypatch.setattr(legacy, "insert", refusing)
    assert counts(give_back_all(limit=2)) == {"drain refused_DataError": 1, "imported inserted": 1}
    assert counts(give_back_all(limit=1)) == {"drain refused_DataError": 1}
    bad |= {entry.raw_header for entry in entries}
    with pytest.raises(DataError):
        give_back_all()
    # One that was fenced before, and two more: the run has not fenced all of them for nothing.
    assert LedgerEntry.objects.filter(move="returning").count() == 3
    bad.clear()
    assert counts(give_back_all()) == {"imported inserted": 5}
    assert all(len(queued(entry.raw_header)) == 1 for entry in entries)


def test_the_document_fits_its_schema():
    live(1)
    schema = json.loads((PROJECT_ROOT / "docs/reference/schemas/xqueue_backfill-1.json").read_text())
    for options in ({"execute": False}, {}):
        jsonschema.validate(give_back_all(**options).content, schema)


def test_a_replica_is_refused_before_anything_is_fenced(monkeypatch):
    entry = live()
    if connection.vendor != "mysql":
        pytest.skip("SQLite has no replicas")
    monkeypatch.setattr(primary, "why_not_primary", lambda: ("a replica", ""))
    with pytest.raises(LegacyNotWritable, match="primary"):
        give_back_all()
    (advice,) = give_back_all(execute=False).content["advice"]
    assert advice.startswith("--execute would be refused: The database behind the alias 'xqueue' is a replica.")
    assert detail_of(entry).status == "pending"


@contextmanager
def as_account(alias, account):
    """Let the alias log in as another account."""
    given = {name: alias.settings_dict[name] for name in ("USER", "PASSWORD")}
    alias.close()
    alias.settings_dict |= {"USER": account, "PASSWORD": "pw"}
    try:
        yield
    finally:
        alias.close()
        alias.settings_dict |= given


@pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)
@pytest.mark.parametrize(
    ("grants", "enough"),
    [
        ("SELECT, UPDATE (retired, pullkey)", False),
        ("SELECT, UPDATE", False),
        ("SELECT, INSERT", False),
        ("SELECT, INSERT, UPDATE (retired, pull_time, pullkey)", False),
        ("SELECT, INSERT, UPDATE (retired, pull_time, pullkey, grader_id)", True),
    ],
)
def test_the_grants_are_probed(grants, enough):
    alias = connections["xqueue"]
    if alias.vendor != "mysql":
        pytest.skip("SQLite has no accounts")
    database = alias.settings_dict["NAME"]
    account = f"shim_{hashlib.md5(str(database).encode()).hexdigest()[:12]}"
    with alias.cursor() as cursor:
        cursor.execute(f"DROP USER IF EXISTS '{account}'@'%'")
        cursor.execute(f"CREATE USER '{account}'@'%' IDENTIFIED BY 'pw'")
        cursor.execute(f"GRANT {grants} ON `{database}`.queue_submission TO '{account}'@'%'")
    try:
        with as_account(alias, account):
            if enough:
                privileges.probe_write()
            else:
                with pytest.raises(LegacyNotWritable) as refusal:
                    privileges.probe_write()
                statement = str(refusal.value).partition("run: ")[2]
        if not enough:
            with alias.cursor() as cursor:
                cursor.execute(statement)  # what it says is what helps
            with as_account(alias, account):
                privileges.probe_write()
    finally:
        with alias.cursor() as cursor:
            cursor.execute(f"DROP USER '{account}'@'%'")
    assert LegacySubmission.objects.count() == 0
