"""Loading captured rows: every column as captured, never twice, numbering goes on."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from sandbox import capture
from sandbox.databases import LEGACY_MEDIA, PROJECT_ROOT

pytestmark = pytest.mark.django_db(transaction=True, databases=["xqueue"])

DATA = PROJECT_ROOT / "sandbox" / "data"
ROWS = [json.loads(line) for line in (DATA / capture.ROWS_FILE).open(encoding="utf-8")]


@pytest.fixture
def write_capture(tmp_path):
    """Write a capture of some rows, without files unless given, and return its directory."""

    def write(*rows, files=None):
        text = "".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows)
        (tmp_path / capture.ROWS_FILE).write_text(text, encoding="utf-8")
        (tmp_path / "files").mkdir(exist_ok=True)
        for key, content in (files or {}).items():
            (tmp_path / "files" / key).write_bytes(content)
        return tmp_path

    return write


def as_captured(row):
    """Bring a row read from the database into the captured form."""
    for name in capture.TIMES & row.keys():
        if row[name] is not None:
            row[name] = datetime.fromisoformat(str(row[name])).replace(tzinfo=UTC).isoformat(timespec="microseconds")
    return row


def test_every_column_of_every_row_is_as_captured(rows):
    counts = capture.load_capture(DATA)
    assert counts == capture.CaptureCounts(rows=391, files=71, rows_present=0)
    assert [as_captured(row) for row in rows.all()] == ROWS


def test_every_stored_file_lies_where_its_row_says(rows):
    capture.load_capture(DATA)
    loaded = {path.relative_to(LEGACY_MEDIA) for path in LEGACY_MEDIA.rglob("*") if path.is_file()}
    expected = set()
    for row in ROWS:
        keys = json.loads(row["s3_keys"])
        if "KEY_FOR_EXTERNAL_DICTS" in keys:
            document = DATA / "files" / keys["KEY_FOR_EXTERNAL_DICTS"]
            expected.add(Path(row["queue_name"], document.name))
            keys = json.loads(document.read_text())["keys"]
        expected |= {Path(row["queue_name"], key) for key in keys.values()}
    assert loaded == expected
    assert {path.name for path in loaded} == {path.name for path in (DATA / "files").iterdir()}
    assert all((LEGACY_MEDIA / path).read_bytes() == (DATA / "files" / path.name).read_bytes() for path in loaded)


def test_a_second_load_writes_nothing_and_keeps_what_happened_since(rows):
    capture.load_capture(DATA)
    rows.change(ROWS[0]["id"], num_failures=77)
    before = rows.all()
    assert capture.load_capture(DATA) == capture.CaptureCounts(rows=0, files=0, rows_present=391)
    assert rows.all() == before


def test_numbering_goes_on_after_the_highest_loaded_id(client_of_xqueue, rows):
    capture.load_capture(DATA)
    client_of_xqueue.submit(callback="https://courses.example.edu/new")
    assert rows.all()[-1]["id"] > ROWS[-1]["id"]
    assert len(rows.all()) == 392


def test_loaded_rows_can_be_pulled_with_their_files(client_of_xqueue, rows):
    with_document = next(
        r for r in ROWS if "EXTERNAL" in r["s3_keys"] and r["queue_name"] == "exu-alg2" and not r["retired"]
    )
    capture.load_capture(DATA)
    for row in rows.all():
        rows.change(row["id"], retired=row["id"] != with_document["id"])
    payload = client_of_xqueue.pull("exu-alg2")
    assert json.loads(payload["xqueue_header"])["submission_id"] == with_document["id"]
    assert payload["xqueue_body"] == with_document["xqueue_body"]
    urls = json.loads(payload["xqueue_files"])
    assert urls and all(url.startswith("https://files.example.edu/xqueue/exu-alg2/") for url in urls.values())


def test_a_batch_boundary_loses_no_row(rows, write_capture, monkeypatch):
    plain = [row for row in ROWS if row["s3_keys"] == "{}"][:5]
    monkeypatch.setattr(capture, "BATCH_ROWS", 2)
    assert capture.load_capture(write_capture(*plain)).rows == 5
    assert [row["id"] for row in rows.all()] == [row["id"] for row in plain]


def test_an_id_of_another_submission_is_refused(rows, write_capture):
    plain = next(row for row in ROWS if row["s3_keys"] == "{}")
    capture.load_capture(write_capture(plain))
    with pytest.raises(capture.CaptureError, match=f"id {plain['id']} is taken"):
        capture.load_capture(write_capture(plain | {"xqueue_header": "{}"}))
    assert rows.one()["xqueue_header"] == plain["xqueue_header"]


def test_a_directory_without_rows_is_refused(tmp_path):
    with pytest.raises(capture.CaptureError, match=r"has no queue_submission\.jsonl"):
        capture.load_capture(tmp_path)


@pytest.mark.parametrize("line", ["not JSON\n", "[]\n", "{}\n", json.dumps(ROWS[0] | {"extra": 1}) + "\n"])
def test_a_line_that_is_no_row_is_named(rows, write_capture, line):
    with pytest.raises(capture.CaptureError, match="line 1"):
        capture.load_capture(write_capture(line))


def test_a_missing_file_is_named_and_its_row_not_loaded(rows, write_capture):
    with_files = next(row for row in ROWS if row["s3_keys"] != "{}" and "EXTERNAL" not in row["s3_keys"])
    with pytest.raises(capture.CaptureError, match=f"row {with_files['id']}: its stored file"):
        capture.load_capture(write_capture(with_files))
    assert rows.all() == []


def test_the_command_prints_counts(rows, capsys):
    call_command("load_capture", str(DATA))
    assert capsys.readouterr().out == "391 rows inserted, 0 were there already, 71 files copied\n"
    call_command("load_capture", str(DATA), format="json")
    assert json.loads(capsys.readouterr().out) == {
        "schema": "migration_shim.load_capture/1",
        "rows": 0,
        "files": 0,
        "rows_present": 391,
    }


def test_the_command_ends_with_an_error_for_a_wrong_directory(tmp_path):
    with pytest.raises(CommandError, match="has no"):
        call_command("load_capture", str(tmp_path))


# The data themselves


def test_the_part_stays_small_and_has_what_its_readme_promises():
    assert sum(path.stat().st_size for path in DATA.rglob("*")) < 1_000_000
    clean = [row for row in ROWS if row["queue_name"] == "exu-py1"]
    assert sum(not row["retired"] for row in clean) == 74
    assert sum(row["lms_ack"] for row in clean) == 80
    assert sum(row["queue_name"] == "exu-misc" for row in ROWS) == 45
    assert {row["num_failures"] for row in ROWS} == {0, 1, 2, 3, 4}
