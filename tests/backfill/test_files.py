"""Files of imported rows: copied byte for byte out of XQueue's storage or linked, and nothing else is ever opened."""

import json

import pytest
from django.core.files.storage import FileSystemStorage
from django.db import connection
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail, StudentItem, SubmissionFile

from migration_shim.backfill.single import write_shadow_of
from migration_shim.conf import load
from migration_shim.core.data import ExitCode, Leg
from migration_shim.models import LedgerEntry, LegacySubmission
from migration_shim.target import removal
from sandbox import capture
from sandbox.databases import LEGACY_MEDIA, SANDBOX_DIR
from tests.builders import rows
from tests.builders.rows import fresh  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
KEY = "0123456789abcdef0123456789abcdef"
GONE = "f" * 32
LMS_MEDIA = SANDBOX_DIR / "media" / "lms"
SECRET = b"not a learner's file"


@pytest.fixture(autouse=True)
def storage():
    """XQueue's storage of one queue with one file; what the test adds goes with it."""
    folder = LEGACY_MEDIA / rows.QUEUE
    folder.mkdir(parents=True, exist_ok=True)
    made = [folder / KEY, LEGACY_MEDIA / "secret", SANDBOX_DIR / "secret"]
    made[0].write_bytes(b"\x00\xff print()\r\n")
    for path in made[1:]:
        path.write_bytes(SECRET)
    yield folder
    for path in made:
        path.unlink(missing_ok=True)


def files_of(entry: LedgerEntry) -> dict[str, bytes]:
    """The files that a grader of an entry's copy gets, by name."""
    found = SubmissionFile.objects.filter(external_grader__submission_id=entry.target_submission_id)
    return {file.original_filename: file.file.read() for file in found}


def nothing_written() -> bool:
    return not any(model.objects.exists() for model in (LedgerEntry, StudentItem, ExternalGraderDetail, SubmissionFile))


def test_every_captured_file_is_copied_byte_for_byte():
    capture.load_capture(rows.DATA)
    LegacySubmission.objects.filter(s3_keys="{}").delete()
    rows.backfill(history=True)
    captured = {row["id"]: row for row in rows.captured()}
    external = 0
    for entry in LedgerEntry.objects.filter(target_leg=Leg.STORED):
        keys = json.loads(captured[entry.legacy_id]["s3_keys"])
        if "KEY_FOR_EXTERNAL_DICTS" in keys:
            external += 1
            keys = json.loads((rows.DATA / "files" / keys["KEY_FOR_EXTERNAL_DICTS"]).read_bytes())["keys"]
        expected = {name: (rows.DATA / "files" / key).read_bytes() for name, key in keys.items()}
        assert files_of(entry) == expected
    assert external >= 4
    with_files = [row for row in captured.values() if row["s3_keys"] != "{}" and not row["retired"]]
    copied = LedgerEntry.objects.filter(legacy_id__in=[row["id"] for row in with_files], target_leg=Leg.STORED)
    assert copied.count() == len(with_files) > 3


def test_the_grader_of_a_copy_gets_the_files():
    rows.legacy_row(files={"a.py": KEY, "sub dir/b.py": KEY})
    rows.backfill()
    document = rows.Grader().pull(f"{rows.QUEUE}.shadow")
    assert sorted(json.loads(document["xqueue_files"])) == ["a.py", "sub dir/b.py"]


@pytest.mark.parametrize("execute", [False, True])
def test_a_missing_file_leaves_its_row_to_legacy_and_is_named_by_its_key(execute):
    """The plan finds it too. Its key is what an operator can look for; its name is the learner's, and not shown."""
    row = rows.legacy_row(1, files={"a.py": KEY, "secret-name.py": GONE})
    rows.legacy_row(2, files={"a.py": KEY})
    document = rows.backfill(execute=execute)
    assert document.content["reasons"] == {"drain": {"file_missing": 1}}
    assert document.content["files_missing"] == [{"legacy_id": row.pk, "reason": "file_missing", "key": GONE}]
    assert "secret-name" not in json.dumps(document.content)
    assert document.exit_code == ExitCode.LEFT_BEHIND
    assert document.content["classes"]["imported"] == 1
    assert SubmissionFile.objects.count() == execute


@pytest.mark.parametrize("execute", [False, True])
def test_a_missing_external_document_leaves_its_row_to_legacy_and_is_named_by_its_key(execute):
    """In its own course too, where a row of which nothing is known would be out of scope."""
    row = rows.legacy_row(files={"KEY_FOR_EXTERNAL_DICTS": GONE})
    content = rows.backfill(courses=frozenset([rows.COURSE]), execute=execute).content
    assert content["reasons"] == {"malformed": {"file_names_unreadable": 1}}
    assert content["files_missing"] == [{"legacy_id": row.pk, "reason": "file_names_unreadable", "key": GONE}]
    assert rows.backfill(courses=frozenset(["course-v1:a+b+c"]), execute=execute).content["files_missing"] == []


def test_the_plan_stores_nothing():
    rows.legacy_row(files={"a.py": KEY})
    before = {path for path in LMS_MEDIA.rglob("*") if path.is_file()}
    assert rows.backfill(execute=False).content["classes"]["imported"] == 1
    assert {path for path in LMS_MEDIA.rglob("*") if path.is_file()} == before
    assert nothing_written()


# --- where both systems keep their files in one place -------------------------------------------------------------


@pytest.fixture
def shared(settings):
    """XQueue's storage is edx-submissions' own; the path of a file that XQueue has put there."""
    storage = {"BACKEND": f"{FileSystemStorage.__module__}.FileSystemStorage", "OPTIONS": {"location": str(LMS_MEDIA)}}
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"LEGACY_STORAGE": storage}
    path = LMS_MEDIA / rows.QUEUE / KEY
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"shared")
    yield path
    path.unlink(missing_ok=True)


def in_lms_media() -> set[str]:
    return {str(path.relative_to(LMS_MEDIA)) for path in LMS_MEDIA.rglob("*") if path.is_file()}


def test_in_one_place_files_are_linked_and_the_grader_gets_them(shared):
    before = in_lms_media()
    rows.legacy_row(files={"a.py": KEY})
    assert rows.backfill().content["written"] == 1
    assert in_lms_media() == before
    assert files_of(LedgerEntry.objects.get()) == {"a.py": b"shared"}
    document = rows.Grader().pull(f"{rows.QUEUE}.shadow")
    assert json.loads(document["xqueue_files"])["a.py"].endswith(f"/{rows.QUEUE}/{KEY}")


def test_removing_shadows_leaves_what_they_were_linked_to(shared):
    rows.legacy_row(1, files={"a.py": KEY})
    rows.backfill()
    before = in_lms_media()
    assert removal.remove_shadows(rows.COURSE, rows.ignore) == 1
    assert not SubmissionFile.objects.exists()
    assert in_lms_media() == before and shared.read_bytes() == b"shared"


def test_a_row_that_is_not_written_after_all_leaves_what_it_would_have_been_linked_to(shared):
    row = rows.legacy_row(files={"a.py": KEY, "n" * 300: KEY})
    assert rows.backfill().content["reasons"] == {"drain": {"file_name_too_long": 1}}
    rows.change([row], s3_keys=json.dumps({"a.py": KEY, "gone.py": GONE}))
    assert rows.backfill().content["reasons"] == {"drain": {"file_missing": 1}}
    assert nothing_written() and shared.read_bytes() == b"shared"


def test_a_copy_that_reads_back_as_something_else_leaves_its_row_to_legacy(monkeypatch):
    before = in_lms_media()
    save = FileSystemStorage.save

    def spoilt(storage, name, content, max_length=None):
        saved = save(storage, name, content, max_length)
        (LMS_MEDIA / saved).write_bytes(b"spoilt")
        return saved

    monkeypatch.setattr(FileSystemStorage, "save", spoilt)
    rows.legacy_row(files={"a.py": KEY})
    assert rows.backfill().content["reasons"] == {"drain": {"target_refused_checksum": 1}}
    assert nothing_written() and in_lms_media() == before


# --- no storage inside a transaction, or under a lock ------------------------------------------------------------


@pytest.fixture
def touched(monkeypatch):
    """How many transactions were open, beside the test's own, whenever a storage was read or written."""
    found, outer = [], len(connection.savepoint_ids)
    for name in ("open", "save"):
        real = getattr(FileSystemStorage, name)

        def watched(storage, *args, real=real, **kwargs):
            found.append(len(connection.savepoint_ids) - outer)
            return real(storage, *args, **kwargs)

        monkeypatch.setattr(FileSystemStorage, name, watched)
    return found


@pytest.mark.parametrize("work", [rows.backfill, rows.reconcile])
def test_pages_are_read_and_files_stored_outside_of_transactions(work, touched):
    capture.load_capture(rows.DATA)
    LegacySubmission.objects.filter(s3_keys="{}").delete()
    work()
    assert len(touched) > 3 and set(touched) == {0}


def owed_entry() -> LedgerEntry:
    """The entry of a row with a file that the router owes a shadow."""
    rows.in_phase("shadow")
    rows.legacy_row(files={"a.py": KEY})
    rows.reconcile()
    entry = LedgerEntry.objects.get()
    assert entry.target_leg == Leg.MISSING
    return entry


def test_a_worker_stores_the_files_of_a_copy_before_it_locks_the_entry(touched):
    entry = owed_entry()
    assert write_shadow_of(entry.identity, load()) == "imported"
    assert touched and set(touched) == {0}
    entry.refresh_from_db()
    assert files_of(entry) == {"a.py": b"\x00\xff print()\r\n"}


def test_a_worker_that_another_was_faster_than_leaves_one_copy_and_one_file(monkeypatch):
    entry, before = owed_entry(), in_lms_media()
    save = FileSystemStorage.save

    def slow(storage, *args, **kwargs):
        saved = save(storage, *args, **kwargs)
        monkeypatch.setattr(FileSystemStorage, "save", save)
        assert write_shadow_of(entry.identity, load()) == "imported"
        return saved

    monkeypatch.setattr(FileSystemStorage, "save", slow)
    assert write_shadow_of(entry.identity, load()) == "present"
    (file,) = SubmissionFile.objects.all()
    assert in_lms_media() - before == {file.file.name}
    assert ExternalGraderDetail.objects.count() == 1


def test_an_attempt_that_was_replaced_while_its_files_were_stored_gets_no_copy(monkeypatch):
    entry, before = owed_entry(), in_lms_media()
    save = FileSystemStorage.save

    def slow(storage, *args, **kwargs):
        LedgerEntry.objects.update(superseded_at=now())
        return save(storage, *args, **kwargs)

    monkeypatch.setattr(FileSystemStorage, "save", slow)
    assert write_shadow_of(entry.identity, load()) == "superseded"
    assert not SubmissionFile.objects.exists() and in_lms_media() == before


def test_a_worker_says_on_the_entry_which_reason_keeps_a_file_away(storage):
    entry = owed_entry()
    (storage / KEY).unlink()
    assert write_shadow_of(entry.identity, load()) == "drain"
    entry.refresh_from_db()
    assert (entry.target_leg, entry.target_reason) == (Leg.FAILED, "file_missing")


def test_a_file_over_the_limit_leaves_its_row_to_legacy(settings, storage):
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"LEGACY_FILE_LIMIT": 10}
    (storage / KEY).write_bytes(b"x" * 11)
    rows.legacy_row(files={"a.py": KEY})
    assert rows.backfill().content["reasons"] == {"drain": {"file_over_limit": 1}}
    assert nothing_written()
    (storage / KEY).write_bytes(b"x" * 10)
    assert rows.backfill().content["written"] == 1


def test_without_a_legacy_storage_rows_with_files_stay(settings):
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"LEGACY_STORAGE": {}}
    rows.legacy_row(1, files={"a.py": KEY})
    other = rows.legacy_row(2)
    assert rows.backfill().content["reasons"] == {"drain": {"no_legacy_storage": 1}}
    assert LedgerEntry.objects.get().legacy_id == other.pk


@pytest.mark.parametrize(
    "key", ["../secret", "../../../secret", "/etc/passwd", f"sub/{KEY}", "..", ".", "", "a\0b", "c:\\x", "~root"]
)
def test_a_key_that_is_not_xqueues_is_not_opened(key, monkeypatch):
    opened = []
    monkeypatch.setattr(FileSystemStorage, "open", lambda self, name, mode="rb": opened.append(name))
    rows.legacy_row(files={"a.py": key})
    assert rows.backfill().content["reasons"] == {"drain": {"file_key_not_a_name": 1}}
    assert opened == []
    assert nothing_written()


@pytest.mark.parametrize("queue", ["..", "../..", "a/b", "/etc", ".hidden"])
def test_a_queue_whose_name_is_a_path_is_not_opened(queue, monkeypatch):
    opened = []
    monkeypatch.setattr(FileSystemStorage, "open", lambda self, name, mode="rb": opened.append(name))
    rows.legacy_row(queue=queue, files={"a.py": "secret"})
    assert rows.backfill().content["classes"]["drain"] == 1
    assert opened == []
    assert nothing_written()


@pytest.mark.parametrize(
    "document",
    [
        b"\xff",
        b"[1]",
        b'{"files": {}}',
        b'{"keys": {"a.py": 1}}',
        b'{"keys": {"a.py": "../secret"}}',
        b'{"keys": {"a.py": "' + KEY.encode() + b'", "b.py": "/etc/passwd"}}',
        b"[" * 100_000,
        b" " * (1024 * 1024 + 1),
    ],
)
def test_a_hostile_external_document_leaves_its_row_to_legacy(document, storage):
    (storage / KEY).write_bytes(document)
    rows.legacy_row(1, files={"KEY_FOR_EXTERNAL_DICTS": KEY})
    other = rows.legacy_row(2)
    content = rows.backfill().content
    assert content["classes"]["imported"] == 1
    assert content["classes"]["drain"] + content["classes"]["malformed"] == 1
    assert LedgerEntry.objects.get().legacy_id == other.pk


@pytest.mark.parametrize("name", ["KEY_FOR_EXTERNAL_DICTS", "URL_FOR_EXTERNAL_DICTS"])
def test_a_learners_file_that_is_called_like_an_external_document_is_a_file(name, storage):
    """Or it would be the learner's word which files of the queue are handed to the grader."""
    (storage / KEY).write_bytes(json.dumps({"keys": {"a.py": GONE}, "files": {}}).encode())
    rows.legacy_row(files={name: KEY}, s3_urls=json.dumps({name: f"https://files.example.edu/{rows.QUEUE}/{KEY}"}))
    assert rows.backfill().content["written"] == 1
    assert files_of(LedgerEntry.objects.get()) == {name: (storage / KEY).read_bytes()}


@pytest.mark.parametrize("key", ["../secret", "/etc/passwd"])
def test_a_hostile_key_of_an_external_document_is_not_opened(key, monkeypatch):
    opened = []
    monkeypatch.setattr(FileSystemStorage, "open", lambda self, name, mode="rb": opened.append(name))
    rows.legacy_row(files={"KEY_FOR_EXTERNAL_DICTS": key})
    assert rows.backfill().content["written"] == 0
    assert opened == []


@pytest.mark.parametrize(
    "name", ["../../escape.py", "/etc/escape.py", "..", "", "a\0b.py", "ü\U0001d4b3.py", "n" * 300 + ".py"]
)
def test_a_hostile_file_name_stays_a_name(name):
    """The name is the learner's: it may cost the copy, but it never stops the run and never becomes a path."""
    rows.legacy_row(1, files={name: KEY})
    other = rows.legacy_row(2)
    content = rows.backfill().content
    assert content["classes"]["imported"] + content["classes"]["drain"] == content["read"] == 2
    assert LedgerEntry.objects.filter(legacy_id=other.pk, target_leg=Leg.STORED).exists()
    for file in SubmissionFile.objects.all():
        assert file.original_filename == name
        assert file.file.name.startswith(f"{rows.QUEUE}.shadow/")
    assert not [path for path in SANDBOX_DIR.rglob("escape.py*") if "media/lms" not in str(path)]


def test_nothing_of_a_file_is_fetched_by_its_url(monkeypatch):
    """XQueue's stored URLs may name any host: they are data, and never followed."""
    monkeypatch.setattr("requests.Session.request", lambda *args, **kwargs: pytest.fail("a URL was fetched"))
    rows.legacy_row(files={"a.py": KEY}, s3_urls='{"a.py": "http://169.254.169.254/latest/meta-data"}')
    assert rows.backfill().content["written"] == 1
    assert files_of(LedgerEntry.objects.get()) == {"a.py": b"\x00\xff print()\r\n"}
