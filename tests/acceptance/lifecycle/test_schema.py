"""Tables that are not this release's, and their removal: said by check, commands and doors; refused while needed."""

import logging

import pytest
from django.apps import apps
from django.core import checks
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from migration_shim import phase_lookup
from migration_shim.api import queue_interface
from migration_shim.core.data import Phase
from migration_shim.core.errors import PhaseUnreadable
from migration_shim.db import schema
from migration_shim.ledger import unmigrate
from migration_shim.management.commands import xqueue_cutover
from migration_shim.models import CoursePhase
from tests.builders import live_courses as watched
from tests.builders import rows
from tests.builders.rows import fresh  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)
STEP = ("--course", rows.COURSE, "--reason", "r", "--to")
OTHER = "course-v1:ExU+PY2+2026"


@pytest.fixture(params=["shadow", "live", "complete"])
def phase(request):
    rows.in_phase(request.param)
    return request.param


@pytest.fixture
def behind(phase):
    """What this release's last migrations have added is not there: the code came before ``migrate``."""
    field = CoursePhase._meta.get_field("permit_basis")
    recorder = MigrationRecorder(connection)
    applied = recorder.migration_qs.filter(app="migration_shim", name__gt="0006")
    names = list(applied.values_list("name", flat=True))
    with connection.schema_editor() as editor:
        editor.remove_field(CoursePhase, field)
    applied.delete()
    yield
    with connection.schema_editor() as editor:
        editor.add_field(CoursePhase, field)
    for name in names:
        recorder.record_applied("migration_shim", name)


@pytest.fixture
def gone():
    """The tables were dropped, as ``migrate migration_shim zero`` drops them."""
    own = [model for model in apps.get_app_config("migration_shim").get_models() if model._meta.managed]
    with connection.constraint_checks_disabled(), connection.schema_editor() as editor:
        for model in reversed(own):
            editor.delete_model(model)
    MigrationRecorder(connection).migration_qs.filter(app="migration_shim").delete()
    yield
    call_command("migrate", "migration_shim", verbosity=0)  # of a table it knows columns that no model has


@pytest.fixture
def last_release():
    """The tables of the release before the ledger had the learner's side."""
    call_command("migrate", "migration_shim", "0008", verbosity=0)
    yield
    CoursePhase.objects.all().delete()
    call_command("migrate", "migration_shim", verbosity=0)


def warned():
    return [found.msg for found in checks.run_checks(tags=["migration_shim"]) if found.id == "migration_shim.W006"]


def test_the_tables_of_this_release_are_no_matter():
    assert schema.complaint() == "" and warned() == []


def test_without_tables_check_and_commands_say_so(gone):
    assert "tables of migration_shim are not there" in schema.complaint()
    assert len(warned()) == 1
    for command in (("xqueue_status",), ("xqueue_gate", "--course", rows.COURSE), ("xqueue_watch", "--once")):
        with pytest.raises(CommandError, match="are not there"):
            call_command(*command)
    assert phase_lookup.phase_in_force(rows.COURSE) == (None, None)


def test_new_code_on_the_old_schema_says_so_and_sends_no_live_course_to_legacy(behind, caplog, monkeypatch, phase):
    monkeypatch.setattr(phase_lookup, "_said_at", -60.0)
    cache.clear()
    with caplog.at_level(logging.ERROR, logger="migration_shim.phase_lookup"):
        if phase == "shadow":
            assert phase_lookup.phase_in_force(rows.COURSE) == (None, None)
        else:
            with pytest.raises(PhaseUnreadable):
                phase_lookup.phase_in_force(rows.COURSE)
    assert "0007_permits" in caplog.text and "Run manage.py migrate" in caplog.text
    assert "0007_permits" in warned()[0]
    with pytest.raises(CommandError, match="older release"):
        call_command("xqueue_status")


@pytest.mark.parametrize("phase", ["shadow", "live", "complete"])
def test_the_way_back_is_taken_on_the_tables_of_the_release_before(last_release, phase):
    watched.stand(phase)
    with pytest.raises(CommandError, match="older release"):
        call_command("xqueue_cutover", *STEP, "shadow", "--execute")
    call_command("xqueue_cutover", *STEP, "legacy", "--execute")
    assert watched.recorded() == "legacy"


@pytest.mark.parametrize("phase", ["live", "complete"])
def test_a_live_course_loses_no_attempt_on_the_tables_of_the_release_before(last_release, phase, caplog, monkeypatch):
    """There the phase can be read, and the ledger cannot be written."""
    monkeypatch.setattr(phase_lookup, "_said_at", -60.0)
    watched.stand(phase)
    row = rows.legacy_row()
    with caplog.at_level(logging.ERROR, logger="migration_shim.phase_lookup"), pytest.raises(PhaseUnreadable):
        queue_interface().send_to_queue(row.xqueue_header, row.xqueue_body, [])
    assert "0009_delivered" in caplog.text


def test_the_way_back_without_tables_says_so(gone):
    with pytest.raises(CommandError, match="are not there"):
        call_command("xqueue_cutover", *STEP, "legacy", "--execute")


def test_to_remove_shadows_is_no_way_back():
    command = xqueue_cutover.Command()
    assert command.tolerates_complaints({"to": Phase.LEGACY, "remove_shadows": False})
    assert not command.tolerates_complaints({"to": Phase.LEGACY, "remove_shadows": True})


def zero():
    """Ask what ``migrate migration_shim zero`` asks before it undoes anything."""
    call_command("migrate", "migration_shim", "zero", verbosity=0)


IN_THE_WAY = {
    "shadow": (lambda: rows.in_phase("shadow"), f"{rows.COURSE} is in shadow"),
    "live": (lambda: rows.in_phase("live"), f"{rows.COURSE} is in live"),
    "complete, not released": (lambda: rows.in_phase("complete"), f"{rows.COURSE} is in complete"),
    "held": (lambda: rows.entries(2, move="held"), f"rows of {rows.COURSE} are held or returning: 2"),
    "returning": (lambda: rows.entries(1, move="returning"), f"rows of {rows.COURSE} are held or returning: 1"),
}


@pytest.mark.parametrize(("stand", "said"), IN_THE_WAY.values(), ids=IN_THE_WAY)
def test_the_tables_are_not_dropped_while_they_are_needed(stand, said):
    stand()
    with pytest.raises(CommandError, match="are needed") as refused:
        zero()
    assert said in str(refused.value)
    assert schema.complaint() == ""


def test_what_is_legacy_or_released_is_in_nobodys_way():
    rows.in_phase("legacy")
    released = rows.in_phase("complete", OTHER)
    CoursePhase.objects.filter(pk=released.pk).update(released_at=released.since)
    rows.entries(1, move="released")
    assert unmigrate.in_the_way() == []


def test_it_can_be_removed_and_comes_back():
    zero()
    try:
        assert "are not there" in schema.complaint()
    finally:
        call_command("migrate", "migration_shim", verbosity=0)
    assert schema.complaint() == ""
