"""Hosts that our own door sees: noted once, said, and ours; and what files cost in the door."""

from types import SimpleNamespace

import pytest
from django.core.files.base import ContentFile
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext
from submissions.models import SubmissionFile, get_storage

from migration_shim import api
from migration_shim.core.data import Whose
from migration_shim.core.hosts import Hosts
from migration_shim.ledger import hosts
from migration_shim.lms import sites as platform_sites
from migration_shim.models import DoorHost, StoredIntent
from migration_shim.reports import terminal
from migration_shim.target import file_storage
from tests.builders import live_courses as watched
from tests.builders import other_lms as world
from tests.builders import rows
from tests.builders.rows import COURSE, fresh  # noqa: F401
from tests.schemas import validate

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "xqueue"])
NEW = "new-name.example.edu"
URL = f"https://{NEW}/courses/x"


def statements(work):
    """The statements about hosts that a call makes."""
    with CaptureQueriesContext(connection) as made:
        work()
    return [query["sql"].split()[0] for query in made if "doorhost" in query["sql"]]


def test_a_host_that_no_setting_names_is_noted_once_and_said(settings, caplog):
    assert statements(lambda: hosts.seen_at_door(f"https://{world.OURS}/courses/x")) == []
    assert "INSERT" in statements(lambda: hosts.seen_at_door(URL))
    assert statements(lambda: hosts.seen_at_door(URL)) == []  # this process knows
    hosts._noted.clear()
    assert "INSERT" not in statements(lambda: hosts.seen_at_door(URL))  # another one looks, and writes nothing
    assert list(DoorHost.objects.values_list("host", flat=True)) == [NEW]
    assert caplog.text.count(f"a host that no setting names: {NEW}") == 1
    rows.RequestCache.clear_all_namespaces()
    content = validate(api.status([COURSE]).content)
    assert content["callback_hosts"] == {"ours": [world.OURS, NEW], "foreign": [], "unnamed": [NEW]}
    assert f"UNNAMED HOST: submissions come through the door with callbacks to {NEW}" in terminal.render(content)
    found = {item["code"]: item["about"] for item in api.preflight(COURSE, rows.ignore).content["findings"]}
    assert found["callback_host_unnamed"] == NEW

    world.named(settings, CALLBACK_HOSTS=[NEW])
    rows.RequestCache.clear_all_namespaces()
    assert hosts.known().unnamed == frozenset()
    hosts._noted.clear()
    assert statements(lambda: hosts.seen_at_door(URL)) == []


def test_what_comes_through_the_door_is_noted_and_its_rows_are_ours():
    row = world.moved(rows.legacy_row(7), NEW)
    watched.stand("live")
    assert api.queue_interface().send_to_queue(row.xqueue_header, row.xqueue_body, []) == (0, "")
    rows.RequestCache.clear_all_namespaces()
    assert hosts.known().door == {NEW}
    assert hosts.of_header(row.xqueue_header) is Whose.OURS


def test_a_door_that_cannot_note_goes_on_and_does_not_ask_with_every_submission(monkeypatch):
    asked = []

    def broken(**which):
        asked.append(which)
        raise DatabaseError

    monkeypatch.setattr(DoorHost.objects, "filter", broken)
    for _ in range(3):
        hosts.seen_at_door(URL)
    assert len(asked) == 1


def test_inside_a_callers_transaction_nothing_is_noted_before_its_end():
    """Its row would be a lock that every other door waits for."""
    with transaction.atomic():
        assert statements(lambda: hosts.seen_at_door(URL)) == []
    assert DoorHost.objects.count() == 1


def test_a_door_notes_no_host_without_end():
    DoorHost.objects.bulk_create(DoorHost(host=f"h{number}") for number in range(hosts.DOOR_LIMIT))
    hosts.seen_at_door(URL)
    assert DoorHost.objects.count() == hosts.DOOR_LIMIT


def test_the_hosts_of_site_configurations_are_ours(monkeypatch):
    sites = [
        ({"LMS_ROOT_URL": "https://one.example.edu"}, "site-one.example.edu"),
        ({"LMS_ROOT_URL": None}, "two.example.edu:8443"),
        (None, "three.example.edu"),
    ]
    objects = SimpleNamespace(values_list=lambda *names: sites)
    installed = SimpleNamespace(
        is_installed=lambda name: name == "openedx.core.djangoapps.site_configuration",
        get_model=lambda *names: SimpleNamespace(objects=objects),
    )
    monkeypatch.setattr(platform_sites, "apps", installed)
    names = {"one.example.edu", "site-one.example.edu", "two.example.edu:8443", "three.example.edu", world.OURS}
    assert hosts.known() == Hosts(named=frozenset(names))


# --- contents ---------------------------------------------------------------------------------------------------------


def about_intents(work):
    """The statements about contents that are written down."""
    with CaptureQueriesContext(connection) as made:
        work()
    return [query["sql"].split()[0] for query in made if "storedintent" in query["sql"]]


def test_files_cost_the_door_one_insert_and_one_delete_and_no_files_nothing():
    watched.stand("live")
    assert about_intents(lambda: watched.live(7)) == []
    assert about_intents(lambda: watched.live(8, files={"a.py": b"1", "b.py": b"2"})) == ["INSERT", "DELETE"]
    assert (SubmissionFile.objects.count(), StoredIntent.objects.count()) == (2, 0)


def test_what_is_stored_is_written_down_before(monkeypatch):
    """And stays so, if the process dies before its transaction commits."""
    stored = []
    original = type(get_storage()).save

    def save(storage, name, content, **options):
        assert [names for (names,) in StoredIntent.objects.values_list("names")] == [{name.split("/")[1]: name}]
        stored.append(original(storage, name, content, **options))
        return stored[-1]

    def dead(files):
        """Nobody lives to clean up."""

    monkeypatch.setattr(type(get_storage()), "save", save)
    monkeypatch.setattr(file_storage, "discard_unnamed", dead)
    watched.stand("live")
    monkeypatch.setattr("migration_shim.target.writer.SubmissionFile.objects.bulk_create", lambda rows: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        watched.live(7, files={"a.py": b"1"})
    (names,) = StoredIntent.objects.values_list("names", flat=True)
    assert list(names.values()) == stored
    assert get_storage().exists(stored[0])


def test_a_transaction_that_fails_leaves_neither_contents_nor_what_was_written_down(monkeypatch):
    stored = []
    original = type(get_storage()).save
    monkeypatch.setattr(
        type(get_storage()), "save", lambda *args, **options: stored.append(original(*args, **options)) or stored[-1]
    )
    one = {"a.py": ContentFile(b"1")}
    with pytest.raises(ZeroDivisionError), file_storage.stored_files("q", one) as files, transaction.atomic():
        file_storage.clear_intents(files)
        raise ZeroDivisionError
    assert stored == [files[0].stored_name]
    assert not get_storage().exists(stored[0])
    assert not StoredIntent.objects.exists()
