"""Captured rows there and back again: what legacy holds in the end is what it held at first."""

import json
import shutil
from collections import Counter

import pytest

from migration_shim import toggles
from migration_shim.backfill import classing
from migration_shim.backfill.handoff import run as handoff
from migration_shim.backfill.request import Mode, Request
from migration_shim.conf import load
from migration_shim.core.data import RowClass
from migration_shim.legacy import files
from migration_shim.legacy import rows as legacy_rows
from migration_shim.models import LedgerEntry, LegacySubmission
from sandbox import capture
from tests.builders import rows
from tests.builders.in_flight import counts, give_back_all, send_live, use_storage

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
EXTERNAL = "KEY_FOR_EXTERNAL_DICTS"
COURSES = (rows.COURSE, "course-v1:ExampleUniversity+DataStructures201+2026_Spring", "course-v1:ExU+ALG2+26T1")


@pytest.fixture
def captured(settings, tmp_path):
    """The unretired captured rows that the target can hold, by id; legacy has all of the capture, files included."""
    store = tmp_path / "captured"
    for row in rows.captured():
        keys = json.loads(row["s3_keys"])
        for key in [*keys.values(), *(external(keys) or {}).values()]:
            (store / row["queue_name"]).mkdir(parents=True, exist_ok=True)
            shutil.copy(rows.DATA / "files" / key, store / row["queue_name"] / key)
    use_storage(settings, store)
    capture.load_capture(rows.DATA)
    page = legacy_rows.page(after=0, unretired_only=True, size=1000)
    source = files.legacy_storage(load())
    classed = classing.class_page(page, classing.policy(load()), source, frozenset())
    importable = {item.parsed.row.id for item in classed if item.decision.row_class is RowClass.IMPORTED}
    found = {row["id"]: row for row in rows.captured() if row["id"] in importable}
    assert len(found) > 95
    return found


def external(keys):
    """The keys out of the external document of a captured row, where it has one."""
    if EXTERNAL not in keys:
        return None
    return json.loads((rows.DATA / "files" / keys[EXTERNAL]).read_bytes())["keys"]


def contents_of(row):
    """The files of a captured row, by name."""
    keys = json.loads(row["s3_keys"])
    keys = external(keys) or keys
    return {name: (rows.DATA / "files" / key).read_bytes() for name, key in keys.items()}


def all_courses(phase, *flags):
    """Every captured course in this phase."""
    for course in COURSES:
        rows.in_phase(phase, course)
        toggles.force_flags(course, *flags)


@pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)
def test_handoff_and_return_leave_the_captured_rows_as_they_were(captured, settings):
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"HANDOFF_SETTLE_SECONDS": 0.01, "PROCESSING_DELAY_SECONDS": 0}
    before = {row["id"]: row for row in LegacySubmission.objects.values()}
    all_courses("live", True, True)
    handoff.run(Request(mode=Mode.HANDOFF, execute=True), rows.ignore)
    moved = set(LedgerEntry.objects.filter(authority="target").values_list("legacy_id", flat=True))
    assert moved <= set(captured)
    assert len(moved) > 95
    assert not LegacySubmission.objects.filter(pk__in=moved, retired=False).exists()
    all_courses("legacy", False, False)

    document = give_back_all()

    assert counts(document) == {"imported revived": len(moved)}
    after = {row["id"]: row for row in LegacySubmission.objects.values()}
    assert after.keys() == before.keys()
    changed = Counter()
    for row_id, row in before.items():
        different = {name for name in row if after[row_id][name] != row[name]}
        changed[frozenset(different)] += 1
        # Where a pull had run out its traces are gone: the row is offered as a fresh one.
        assert different <= ({"pull_time", "pullkey", "grader_id"} if row_id in moved else set())
    assert changed[frozenset()] > len(before) / 2


def test_live_rows_of_the_captured_envelopes_are_inserted_as_they_were(captured, settings, tmp_path):
    """Sent to the target through the router, with legacy empty; then XQueue's table is to hold what it held."""
    LegacySubmission.objects.all().delete()
    sent = {}
    for row in captured.values():
        course = classing.parse_callback(classing.parse_header(row["xqueue_header"]).callback_url).course_id
        sent[row["id"]] = send_live(row["xqueue_header"], row["xqueue_body"], contents_of(row), course)
    LedgerEntry.objects.update(superseded_at=None)
    all_courses("legacy", False, False)
    use_storage(settings, tmp_path / "returned")

    document = give_back_all()

    returned = LegacySubmission.objects.in_bulk()
    found = counts(document)
    assert set(found) <= {"imported inserted", "superseded"}
    assert found["imported inserted"] == len(returned) > 95
    bodies = Counter()
    for entry in LedgerEntry.objects.filter(move="returned"):
        row = next(row for row in captured.values() if row["id"] in sent and sent[row["id"]].pk == entry.pk)
        stored = returned[entry.legacy_id]
        assert stored.xqueue_header == row["xqueue_header"]
        assert (stored.queue_name, stored.lms_callback_url) == (row["queue_name"], row["lms_callback_url"])
        assert json.loads(stored.s3_keys) == json.loads(row["s3_keys"])
        if EXTERNAL not in json.loads(row["s3_keys"]):
            assert json.loads(stored.s3_urls) == json.loads(row["s3_urls"])
        for name, content in contents_of(row).items():
            keys = json.loads(row["s3_keys"])
            key = (external(keys) or keys)[name]
            assert (tmp_path / "returned" / row["queue_name"] / key).read_bytes() == content
        assert json.loads(stored.xqueue_body) == json.loads(row["xqueue_body"])
        bodies[stored.xqueue_body == row["xqueue_body"]] += 1
    assert bodies == {True: len(returned)}
