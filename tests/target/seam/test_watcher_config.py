"""The configuration that lets unchanged xqueue-watchers serve every queue of a course."""

import io
import json
from urllib.parse import urlsplit

import pytest
from django.core.management import call_command
from django.urls import resolve

from migration_shim.status import graders
from migration_shim.target.seam import WatcherSeam
from sandbox.lms import settings as lms_settings
from tests.builders import rows
from tests.builders.rows import fresh  # noqa: F401
from tests.builders.watchers import SHADOW, account, parts, real
from tests.builders.watchers import Watcher as Grader

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])


@pytest.fixture
def printed():
    """What the command prints for a course with two queues."""
    rows.legacy_row(1)
    rows.legacy_row(2, queue="exu-misc")
    rows.legacy_row(3, course="course-v1:ExU+OTHER+1", queue="exu-alg2")
    rows.backfill()
    output = io.StringIO()
    call_command("xqueue_status", course=[rows.COURSE], watcher_config=True, format="json", stdout=output)
    return json.loads(output.getvalue())["courses"][0]["watcher_config"]


def polled(configuration):
    """(server, queue) of every entry, as xqueue-watcher's manager.py reads them."""
    found = []
    for name, entry in configuration["conf.d"].items():
        # Together they are an error there.
        assert "SERVER_REF" in entry and not entry.keys() & {"SERVER", "AUTH"}
        server = configuration["xqueue_servers.json"][entry["SERVER_REF"]]
        assert server.keys() == {"SERVER", "AUTH"} and len(server["AUTH"]) == 2
        assert entry["CONNECTIONS"] == 1
        assert [handler.keys() for handler in entry["HANDLERS"]] == [{"HANDLER", "KWARGS"}]
        system = entry["SERVER_REF"].partition("-")[0]
        found.append((system, entry.get("NAME_OVERRIDE") or name))
    return found


def test_no_two_queues_of_the_target_share_an_account(printed):
    """An LMS lets a user have one session: watchers of one account would log each other out for ever."""
    entries = [entry["SERVER_REF"] for entry in printed["conf.d"].values() if entry["SERVER_REF"] != "legacy"]
    accounts = [printed["xqueue_servers.json"][name]["AUTH"][0] for name in entries]
    assert len(set(accounts)) == len(accounts) == 4


def test_every_queue_of_the_course_is_polled_on_both_servers(printed):
    assert sorted(polled(printed)) == [
        ("legacy", "exu-misc"),
        ("legacy", "exu-misc.reverse"),
        ("legacy", "exu-py1"),
        ("legacy", "exu-py1.reverse"),
        ("target", "exu-misc"),
        ("target", "exu-misc.shadow"),
        ("target", "exu-py1"),
        ("target", "exu-py1.shadow"),
    ]


def test_no_grader_polls_imported_history(printed):
    assert not [queue for _, queue in polled(printed) if queue.endswith(".echo")]


def test_xqueue_must_know_what_is_polled_there(printed):
    assert set(printed["XQUEUES"]) == {queue for server, queue in polled(printed) if server == "legacy"}
    assert set(printed["XQUEUES"].values()) == {None}  # pull queues


def test_the_suffixes_are_the_settings(shim):
    shim(SHADOW_QUEUE_SUFFIX="-copy", REVERSE_QUEUE_SUFFIX="-back")
    rows.legacy_row(1)
    rows.backfill()
    configuration = graders.watcher_configuration(rows.COURSE)
    assert set(polled(configuration)) == {
        ("legacy", "exu-py1"),
        ("legacy", "exu-py1-back"),
        ("target", "exu-py1"),
        ("target", "exu-py1-copy"),
    }


def test_the_servers_are_xqueue_and_the_seam(printed):
    """A watcher appends /xqueue/<action>/ to the address."""
    servers = printed["xqueue_servers.json"]
    assert servers["legacy"]["SERVER"] == lms_settings.XQUEUE_URL
    url = urlsplit(servers["target-exu-py1"]["SERVER"] + "/xqueue/get_submission/")
    assert (url.scheme, url.netloc) == ("https", "courses.example.edu")
    assert resolve(url.path).func.cls is WatcherSeam


def test_a_grader_with_these_entries_is_handed_what_waits(printed):
    account()
    real()
    prefix = urlsplit(printed["xqueue_servers.json"]["target-exu-py1"]["SERVER"]).path + "/xqueue"
    grader = Grader(prefix=prefix)
    assert parts(grader.logged_in) == (0, "Logged in")
    handed_out = [queue for server, queue in polled(printed) if server == "target" and grader.pull(queue)]
    assert sorted(handed_out) == ["exu-misc.shadow", "exu-py1", SHADOW]


def test_it_names_no_account_and_no_password(printed):
    text = json.dumps(printed)
    assert lms_settings.XQUEUE_PASSWORD not in text


def test_a_course_without_entries_has_nothing_to_poll():
    assert polled(graders.watcher_configuration("course-v1:ExU+NONE+1")) == []
