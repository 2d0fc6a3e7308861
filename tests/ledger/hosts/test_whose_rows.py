"""Rows of another LMS on the same XQueue, with the same course ids: nothing of ours touches or counts them."""

import json
from types import SimpleNamespace

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError
from submissions.models import ExternalGraderDetail

from migration_shim import api, toggles
from migration_shim.core.data import ExitCode, Grading, Phase, Whose
from migration_shim.cutover import impact
from migration_shim.legacy import by_callback, open_rows
from migration_shim.legacy import rows as legacy_rows
from migration_shim.models import LedgerEntry, LegacySubmission, Run
from migration_shim.reports import terminal
from tests.builders import handing_off as handoff
from tests.builders import other_lms as world
from tests.builders import rows
from tests.builders.overrides import passing, signer
from tests.builders.rows import COURSE, clean_course, fresh  # noqa: F401
from tests.schemas import validate

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "xqueue"])
FOREIGN, UNKNOWN = "other_lms", "unknown_lms"


@pytest.fixture(params=[FOREIGN, UNKNOWN])
def reason(request, settings):
    """The other LMS is named in the settings, or nobody has said whose it is."""
    if request.param == FOREIGN:
        world.named(settings, FOREIGN_CALLBACK_HOSTS=[world.STAGING])
    return request.param


@pytest.fixture
def live(settings):
    """A course in live, and a handoff that settles at once."""
    quick = {"HANDOFF_SETTLE_SECONDS": 0.04, "PROCESSING_DELAY_SECONDS": 0.08, "HOLD_SECONDS": 0}
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | quick
    rows.in_phase("live")
    toggles.force_flags(COURSE, True, True)


def as_stored(row):
    """All columns of a legacy row."""
    return LegacySubmission.objects.filter(pk=row.pk).values().get()


def classes_of(document):
    """What became of the rows read, by class, and of those out of scope by reason; zeros left out."""
    found = {name: number for name, number in document.content["classes"].items() if number}
    return found, document.content["reasons"].get("out_of_scope", {})


@pytest.mark.parametrize("execute", [False, True])
def test_a_handoff_leaves_another_lmss_rows_to_its_graders(live, reason, execute):
    mine, other = rows.legacy_row(7), world.staging()
    before = as_stored(other)
    document = handoff.run(execute=execute)
    assert classes_of(document) == ({"imported": 1, "out_of_scope": 1}, {reason: 1})
    assert as_stored(other) == before
    mine.refresh_from_db()
    assert mine.retired is execute
    assert ExternalGraderDetail.objects.count() == LedgerEntry.objects.count() == execute


@pytest.mark.parametrize("execute", [False, True])
def test_a_backfill_gives_another_lmss_rows_no_shadow(reason, execute):
    rows.legacy_row(7)
    world.staging()
    document = rows.backfill(execute=execute)
    assert classes_of(document) == ({"imported": 1, "out_of_scope": 1}, {reason: 1})
    assert LedgerEntry.objects.count() == execute


def test_another_lmss_history_is_not_imported_and_takes_no_place_of_ours(reason):
    mine = [rows.legacy_row(user, **rows.graded()) for user in (1, 2)]
    for user in (3, 4, 5):  # newer than ours
        world.staging(user, **rows.graded())
    document = rows.backfill(history=True, per_problem=2)
    assert classes_of(document) == ({"final": 2, "out_of_scope": 3}, {reason: 3})
    assert set(LedgerEntry.objects.values_list("legacy_id", flat=True)) == {row.pk for row in mine}


@pytest.mark.parametrize("grading", [Grading.SHADOW, Grading.ECHO])
def test_a_reconcile_links_and_counts_ours_only(reason, grading):
    rows.in_phase("shadow")
    rows.legacy_row(7)
    world.staging()
    document = rows.reconcile(grading=grading)[0]
    validate(document.content)
    (course,) = document.content["courses"]
    assert course["of"] == LedgerEntry.objects.count() == 1
    assert course["strangers"] == ({world.STAGING: 1} if reason == UNKNOWN else {})


def test_what_is_in_flight_is_read_once_for_courses_that_follow_one_another(monkeypatch):
    clock, read = [0.0], []
    monkeypatch.setattr(open_rows, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(open_rows, "all_rows", lambda: read.append(clock[0]) or [len(read)])
    lately, found = open_rows.CachedRows(30), []
    for clock[0] in (5.0, 6.0, 35.0, 35.5, 40.0):
        found.append(lately.all_rows())
    assert found == [[1], [1], [1], [2], [2]]
    assert read == [5.0, 35.5]


def test_what_is_in_flight_is_ours(reason):
    rows.in_phase("shadow")
    rows.legacy_row(7)
    world.staging(8)
    world.staging(9, pull_time=rows.now(), pullkey="x")
    stranger = {world.STAGING: 2} if reason == UNKNOWN else {}
    assert impact.in_flight(COURSE)["legacy"] == {"queued": 1}
    content = validate(api.status([COURSE]).content)
    (course,) = content["courses"]
    assert course["in_flight"]["legacy"] == {"queued": 1}
    assert course["strangers"] == stranger
    shown = f"UNKNOWN LMS: 2 open rows of legacy name the course and the host {world.STAGING}" in terminal.render(
        content
    )
    assert shown is (reason == UNKNOWN)


def test_only_our_attempts_are_superseded_on_legacy(reason):
    """XQueue's database compares the callback without regard to case, and so may find another LMS's row."""
    mine, other = rows.legacy_row(7), rows.legacy_row(8)
    column = mine.lms_callback_url
    world.moved(other, lms_callback_url=column)  # the header names the other LMS, the column is taken for equal
    LegacySubmission.objects.filter(pk=other.pk).update(lms_callback_url=column)
    assert [row.id for row in by_callback.open_rows(column)] == [mine.pk]
    assert {row.id: row.whose is Whose.OURS for row in by_callback.with_callback(column)} == {
        mine.pk: True,
        other.pk: False,
    }


def test_a_name_of_our_own_is_named_in_the_settings(settings):
    world.moved(rows.legacy_row(7), "old.example.edu:8443")
    assert classes_of(rows.backfill(execute=False)) == ({"out_of_scope": 1}, {UNKNOWN: 1})
    world.named(settings, CALLBACK_HOSTS=["OLD.example.edu:8443"])
    rows.RequestCache.clear_all_namespaces()
    assert classes_of(rows.backfill(execute=False))[0] == {"imported": 1}


def test_callbacks_may_go_to_another_address_than_the_lmss_own(settings):
    """As with Tutor: the LMS is asked for within its own network."""
    settings.XQUEUE_INTERFACE = settings.XQUEUE_INTERFACE | {"callback_url": "http://lms:8000"}
    row = world.rewritten(rows.legacy_row(7), "https://courses.example.edu/", "http://lms:8000/")
    assert legacy_rows.by_id([row.pk])[row.pk].whose is Whose.OURS


def test_a_sink_is_ours_wherever_xqueue_reaches_it():
    url = "http://lms.internal:8000/migration_shim/sink/0123456789abcdef0123456789abcdef/"
    header = json.dumps({"lms_callback_url": url, "lms_key": "shadow:1", "queue_name": "exu-py1.reverse"})
    row = rows.legacy_row(7, xqueue_header=header, lms_callback_url=url, queue_name="exu-py1.reverse")
    assert legacy_rows.by_id([row.pk])[row.pk].whose is Whose.OURS
    assert classes_of(rows.backfill(execute=False))[0] == {"copy": 1}


def codes(document):
    """What a preflight says of LMSs: severity and rows by code."""
    found = {item["code"]: item for item in document.content["findings"]}
    return {
        code: (found[code]["severity"], found[code]["rows"], found[code]["about"])
        for code in ("callback_host_unknown", "callback_hosts_several", "callback_host_unnamed", "other_lms")
        if code in found
    }


def test_preflight_counts_our_rows_and_names_the_others(reason):
    rows.legacy_row(7)
    world.staging(8)
    world.staging(9, **rows.graded())
    document = api.preflight(COURSE, rows.ignore)
    validate(document.content)
    assert document.content["rows"] == 1
    if reason == UNKNOWN:
        about = f"{world.STAGING}, 1 of them not retired"
        assert codes(document) == {"callback_host_unknown": ("blocker", 2, about)}
    else:
        assert codes(document) == {"other_lms": ("note", 2, world.STAGING)}


def test_retired_rows_of_an_unknown_lms_close_no_gate():
    rows.legacy_row(7)
    world.staging(9, **rows.graded())
    assert codes(api.preflight(COURSE, rows.ignore)) == {"callback_host_unknown": ("warning", 1, world.STAGING)}


def test_without_a_host_of_ours_all_rows_are_ours_and_preflight_warns_of_several(settings):
    del settings.LMS_ROOT_URL
    rows.legacy_row(7)
    world.staging(8)
    assert classes_of(rows.backfill(execute=False))[0] == {"imported": 2}
    about = f"{world.OURS}, {world.STAGING}"
    assert codes(api.preflight(COURSE, rows.ignore)) == {"callback_hosts_several": ("warning", 0, about)}


def stepped(to, **options):
    """A step of the course through the api, executed."""
    how = {"reason": "r", "execute": True, "user": "ada", "login": None} | options
    return api.cutover(COURSE, to, **how)


@pytest.mark.parametrize("override", [False, True])
def test_open_rows_of_an_unknown_lms_keep_a_course_from_live(clean, settings, override):
    world.staging()
    toggles.force_flags(COURSE, True, False)
    if override:
        Run.objects.filter(kind="preflight").delete()  # the gate is not open
    how = {"login": signer().username, "override": passing(COURSE, Phase.LIVE)} if override else {}
    refused = stepped(Phase.LIVE, **how)
    validate(refused.content)
    assert refused.exit_code & ExitCode.DIFFERENCES
    assert not (refused.content["executed"] or refused.content["permitted"])
    assert f"1 of {world.STAGING}" in refused.content["reasons"][-1]
    assert toggles.phase_of(COURSE).phase is Phase.SHADOW
    world.named(settings, FOREIGN_CALLBACK_HOSTS=[world.STAGING])
    assert stepped(Phase.LIVE, **how).content["executed"]


def test_what_cannot_be_counted_keeps_a_course_from_live_and_from_nothing_else(clean, monkeypatch):
    def gone():
        raise DatabaseError

    toggles.force_flags(COURSE, True, False)
    monkeypatch.setattr(impact.legacy_open_rows, "all_rows", gone)
    assert "cannot be told" in stepped(Phase.LIVE).content["reasons"][-1]
    assert stepped(Phase.LEGACY).content["executed"]


def test_rows_of_an_unknown_lms_that_a_reconcile_saw_close_the_gate(clean):
    assert api.gate(COURSE).content["verdict"] == "PASS"
    record = Run.objects.get(kind="reconcile")
    record.document = record.document | {"strangers": {world.STAGING: 3}}
    record.save()
    content = api.gate(COURSE).content
    assert content["verdict"] == "FAIL"
    assert f"preflight blocker: callback_host_unknown {world.STAGING} (3 rows)" in content["reasons"]


def test_both_settings_may_not_name_one_host(settings):
    world.named(settings, CALLBACK_HOSTS=["a.example"], FOREIGN_CALLBACK_HOSTS=["A.example:443"])
    with pytest.raises(CommandError, match=r"both name a\.example"):
        call_command("xqueue_backfill", "--mode", "shadow", "--all")
