"""Contents stored before the transaction: copied and read back, linked where it can be, and discarded unless named."""

import sys
import types
import uuid

import pytest
from django.core.files.storage import FileSystemStorage, default_storage
from django.db import transaction
from submissions.models import SubmissionFile

from migration_shim.backfill import files
from migration_shim.conf import ShimSettings
from migration_shim.core.data import LegacyRow
from migration_shim.core.errors import FileUnavailable
from migration_shim.legacy import files as legacy_files
from migration_shim.legacy import rows as legacy_rows
from migration_shim.target import file_storage
from tests.backfill import buckets
from tests.backfill.buckets import Bucket, OtherBucket
from tests.builders import rows
from tests.builders.rows import fresh  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
SETTINGS = ShimSettings(legacy_file_limit=100, legacy_row_limit=150)
QUEUE = f"{rows.QUEUE}.shadow"


@pytest.fixture(autouse=True)
def s3(monkeypatch):
    """Botocore is at hand, edx-submissions' storage is the bucket ``lms``, and all buckets are empty."""
    monkeypatch.setitem(sys.modules, "botocore.exceptions", types.SimpleNamespace(ClientError=buckets.ClientError))
    storage = Bucket("lms")
    monkeypatch.setattr(file_storage, "get_storage", lambda: storage)
    buckets.OBJECTS.clear()
    yield storage
    buckets.OBJECTS.clear()


def a_row(**named: str) -> LegacyRow:
    """A legacy row with these files, storage key by name."""
    pk = rows.legacy_row(files={name.replace("_", "."): key for name, key in named.items()}).pk
    return legacy_rows.by_id([pk])[pk]


def wanted(row: LegacyRow) -> files.WantedFiles:
    return files.WantedFiles(row=row, keys=legacy_files.file_keys(row, None), queue_name=QUEUE)


def name_them(stored: list[file_storage.StoredFile]) -> None:
    """Write the rows that name stored files."""
    for file in stored:
        SubmissionFile.objects.create(uuid=file.uuid, file=file.stored_name, original_filename=file.original_name)


def in_lms() -> dict[str, bytes]:
    """What edx-submissions' bucket holds."""
    return {name: data for (bucket, name), data in buckets.OBJECTS.items() if bucket == "lms"}


def test_files_are_copied_under_the_queue_they_go_to_and_stay_when_rows_name_them():
    row = a_row(a_py=buckets.put("xq", rows.QUEUE, b"one"), b_py=buckets.put("xq", rows.QUEUE, b"two"))
    with files.stored([wanted(row)], Bucket("xq"), SETTINGS) as stored, transaction.atomic():
        assert not stored.failed
        name_them(stored.files[row.id])
    named = {file.original_filename: file.file.name for file in SubmissionFile.objects.all()}
    assert {name: in_lms()[place] for name, place in named.items()} == {"a.py": b"one", "b.py": b"two"}
    assert len(in_lms()) == 2
    for file in SubmissionFile.objects.all():
        assert file.file.name == f"{QUEUE}/{file.uuid}"


def test_what_no_row_names_is_deleted_again():
    one, two = a_row(a_py=buckets.put("xq", rows.QUEUE, b"one")), a_row(b_py=buckets.put("xq", rows.QUEUE, b"two"))
    with files.stored([wanted(one), wanted(two)], Bucket("xq"), SETTINGS) as stored:
        assert sorted(in_lms().values()) == [b"one", b"two"]
        name_them(stored.files[one.id])
    assert list(in_lms().values()) == [b"one"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_transaction_that_is_rolled_back_leaves_no_contents(error):
    row = a_row(a_py=buckets.put("xq", rows.QUEUE, b"one"))
    with pytest.raises(error), files.stored([wanted(row)], Bucket("xq"), SETTINGS) as stored, transaction.atomic():
        name_them(stored.files[row.id])
        assert len(in_lms()) == 1
        raise error
    assert not SubmissionFile.objects.exists() and in_lms() == {}


def test_a_row_that_was_committed_before_the_error_keeps_its_contents():
    row = a_row(a_py=buckets.put("xq", rows.QUEUE, b"one"))
    with pytest.raises(RuntimeError), files.stored([wanted(row)], Bucket("xq"), SETTINGS) as stored:
        with transaction.atomic():
            name_them(stored.files[row.id])
        raise RuntimeError
    assert list(in_lms().values()) == [b"one"]


def test_where_the_commit_may_have_been_carried_out_contents_stay(monkeypatch):
    """A connection that was dropped at the commit has not said whether the rows are there."""
    row = a_row(a_py=buckets.put("xq", rows.QUEUE, b"one"))
    with pytest.raises(RuntimeError), files.stored([wanted(row)], Bucket("xq"), SETTINGS):
        monkeypatch.setattr(file_storage, "connection", types.SimpleNamespace(connection=None))
        raise RuntimeError
    assert list(in_lms().values()) == [b"one"]


# --- the same place -----------------------------------------------------------------------------------------------


def test_where_both_systems_share_a_bucket_files_are_linked_and_outlive_everything():
    key = buckets.put("lms", rows.QUEUE, b"one")
    row, before = a_row(a_py=key), dict(buckets.OBJECTS)
    with files.stored([wanted(row)], Bucket("lms"), SETTINGS) as stored:
        name_them(stored.files[row.id])
        assert dict(buckets.OBJECTS) == before
    file = SubmissionFile.objects.get()
    assert (file.file.name, file.original_filename) == (f"{rows.QUEUE}/{key}", "a.py")
    with files.stored([wanted(row)], Bucket("lms"), SETTINGS):
        pass  # not written after all
    with pytest.raises(RuntimeError), files.stored([wanted(row)], Bucket("lms"), SETTINGS):
        raise RuntimeError
    file.delete()
    file_storage.delete([(file.uuid, file.file.name)])
    assert dict(buckets.OBJECTS) == before


def test_a_linked_file_that_is_missing_fails_its_row():
    row = a_row(a_py=buckets.put("lms", rows.QUEUE, b"one"), b_py="f" * 32)
    before = dict(buckets.OBJECTS)
    with files.stored([wanted(row)], Bucket("lms"), SETTINGS) as stored:
        assert (stored.failed[row.id].reason, stored.failed[row.id].name) == ("file_missing", "f" * 32)
        assert stored.files == {}
    assert dict(buckets.OBJECTS) == before


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (Bucket("lms"), True),
        (Bucket("lms2"), False),
        (Bucket("lms", location="xqueue"), False),
        (Bucket("lms", endpoint_url="https://other.example.edu"), False),
        (OtherBucket("lms"), False),
        (Bucket(None), False),
        (FileSystemStorage("/tmp/lms"), False),
    ],
)
def test_only_what_is_surely_the_same_place_is_linked(other, same):
    assert file_storage.is_same_place(other) is same


def test_folders_are_the_same_place_by_their_real_path(tmp_path, monkeypatch):
    (tmp_path / "media").mkdir()
    (tmp_path / "alias").symlink_to(tmp_path / "media")
    monkeypatch.setattr(file_storage, "get_storage", lambda: FileSystemStorage(tmp_path / "media"))
    assert file_storage.is_same_place(FileSystemStorage(tmp_path / "alias"))
    assert not file_storage.is_same_place(FileSystemStorage(tmp_path / "media" / "sub"))
    monkeypatch.setattr(file_storage, "get_storage", lambda: default_storage)  # a lazy proxy
    assert file_storage.is_same_place(FileSystemStorage(default_storage.location))


def test_a_storage_of_which_nothing_is_known_is_nobodys_place(monkeypatch):
    monkeypatch.setattr(file_storage, "get_storage", lambda: Bucket(None))
    assert not file_storage.is_same_place(Bucket(None))


# --- what does not work -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", ["open", "read"])
def test_a_storage_that_answers_with_its_own_errors_fails_the_row_and_no_other(broken):
    row, plain = a_row(a_py=buckets.put("xq", rows.QUEUE, b"one")), a_row()
    with files.stored([wanted(row), wanted(plain)], Bucket("xq", broken=broken), SETTINGS) as stored:
        assert stored.failed.keys() == {row.id}
        assert (stored.failed[row.id].reason, type(stored.failed[row.id])) == ("file_unreadable", FileUnavailable)
    assert in_lms() == {}


def test_an_error_that_no_storage_is_known_for_is_not_swallowed(monkeypatch):
    monkeypatch.delitem(sys.modules, "botocore.exceptions")
    row = a_row(a_py=buckets.put("xq", rows.QUEUE, b"one"))
    with pytest.raises(buckets.ClientError), files.stored([wanted(row)], Bucket("xq", broken="open"), SETTINGS):
        pass


def test_a_target_that_takes_no_files_fails_the_row(s3):
    s3.broken = "save"
    row = a_row(a_py=buckets.put("xq", rows.QUEUE, b"one"))
    with files.stored([wanted(row)], Bucket("xq"), SETTINGS) as stored:
        assert stored.failed[row.id].reason == "ClientError"


def test_a_copy_that_reads_back_as_something_else_is_not_kept(s3):
    s3.broken = "byte"
    row = a_row(a_py=buckets.put("xq", rows.QUEUE, b"one"))
    with files.stored([wanted(row)], Bucket("xq"), SETTINGS) as stored:
        assert stored.failed[row.id].reason == "checksum"
        assert stored.files == {}
    assert in_lms() == {}


def test_a_copy_that_cannot_be_read_back_is_not_kept(s3):
    s3.broken = "read"
    row = a_row(a_py=buckets.put("xq", rows.QUEUE, b"one"))
    with files.stored([wanted(row)], Bucket("xq"), SETTINGS) as stored:
        assert stored.failed[row.id].reason == "ClientError"
    assert in_lms() == {}


def test_the_second_file_that_is_missing_takes_the_first_one_back():
    row = a_row(a_py=buckets.put("xq", rows.QUEUE, b"one"), b_py="f" * 32)
    with files.stored([wanted(row)], Bucket("xq"), SETTINGS) as stored:
        assert (stored.failed[row.id].reason, stored.failed[row.id].name) == ("file_missing", "f" * 32)
        assert in_lms() == {}


def test_contents_that_will_not_go_are_left_and_said(s3, caplog):
    s3.broken = "delete"
    key = uuid.uuid4()
    file_storage.delete([(key, f"{QUEUE}/{key}")])
    assert "1 stored files without rows could not be deleted" in caplog.text


BOUNDS = {
    "one of the largest": ([100], None),
    "one too large": ([101], "file_over_limit"),
    "the largest sum": ([100, 50], None),
    "too large a sum": ([100, 51], "files_over_limit"),
    "the most": ([1] * 100, None),
    "too many": ([1] * 101, "too_many_files"),
}


@pytest.mark.parametrize("bucket", ["xq", "lms"])
@pytest.mark.parametrize(("sizes", "reason"), BOUNDS.values(), ids=BOUNDS.keys())
def test_sizes_and_number_are_bounded_when_copied_linked_and_planned(bucket, sizes, reason, monkeypatch):
    row = a_row(
        **{f"f{number}_py": buckets.put(bucket, rows.QUEUE, b"x" * size) for number, size in enumerate(sizes[:2])}
    )
    keys = legacy_files.file_keys(row, None)
    keys |= {f"more {number}": next(iter(keys.values())) for number in range(len(sizes) - len(keys))}
    with files.stored([files.WantedFiles(row=row, keys=keys, queue_name=QUEUE)], Bucket(bucket), SETTINGS) as stored:
        assert [error.reason for error in stored.failed.values()] == ([reason] if reason else [])
    if reason is None:
        legacy_files.check(row, keys, Bucket(bucket), SETTINGS)
    else:
        with pytest.raises(FileUnavailable, match=reason):
            legacy_files.check(row, keys, Bucket(bucket), SETTINGS)


def test_a_check_reads_no_contents():
    row = a_row(a_py=buckets.put("xq", rows.QUEUE, b"one"))
    legacy_files.check(row, legacy_files.file_keys(row, None), Bucket("xq", broken="read"), SETTINGS)
    with pytest.raises(FileUnavailable, match="file_unreadable"):
        legacy_files.check(row, legacy_files.file_keys(row, None), Bucket("xq", broken="open"), SETTINGS)
    gone = a_row(a_py="f" * 32)
    with pytest.raises(FileUnavailable, match="file_missing: " + "f" * 32):
        legacy_files.check(gone, legacy_files.file_keys(gone, None), Bucket("xq"), SETTINGS)
