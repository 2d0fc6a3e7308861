"""Files of imported rows: copied byte for byte out of XQueue's storage, and nothing else is ever opened."""

import json

import pytest
from django.core.files.storage import FileSystemStorage
from submissions.models import ExternalGraderDetail, StudentItem, SubmissionFile

from migration_shim.data import ExitCode, Leg
from migration_shim.models import LedgerEntry, LegacySubmission
from sandbox import capture
from sandbox.databases import LEGACY_MEDIA, SANDBOX_DIR
from tests import rows
from tests.rows import fresh  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
KEY = "0123456789abcdef0123456789abcdef"
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


def test_a_missing_file_leaves_its_row_to_legacy():
    rows.legacy_row(files={"a.py": KEY, "gone.py": "f" * 32})
    document = rows.backfill()
    assert document.content["reasons"] == {"drain": {"file_missing": 1}}
    assert document.exit_code == ExitCode.LEFT_BEHIND
    assert nothing_written()


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
