"""Is the queue of the reverse shadows polled? The finding, and the probe that lets a grader show itself."""

import io
import json
from datetime import timedelta

import pytest
from django.conf import settings as django_settings
from django.core.management import call_command
from django.test import Client
from django.utils.timezone import now
from waffle.models import Switch

from migration_shim import api
from migration_shim.copies import sink
from migration_shim.core.data import ExitCode
from migration_shim.doors import views
from migration_shim.models import LedgerEntry, LegacySubmission
from migration_shim.preflight import probe, site
from sandbox.databases import LEGACY_MEDIA
from sandbox.grader import PullGrader, ServerEntry
from sandbox.network import free_port
from sandbox.servers import FILES_HOST
from tests.builders import rows
from tests.builders.rows import COURSE, QUEUE, fresh  # noqa: F401
from tests.builders.xqueue_server import lms, recording_lms, start_xqueue, xqueue_server  # noqa: F401

BOTH = ["default", "xqueue"]
shared = pytest.mark.django_db(databases=BOTH, transaction=True)
REVERSE = f"{QUEUE}.reverse"
KEY = "0123456789abcdef" * 2  # XQueue's name of a stored file
CODE = "reverse_queue_not_polled"


@pytest.fixture
def asked(settings, monkeypatch, xqueue_server):  # noqa: F811
    """The app asks the XQueue stand-in, which knows the reverse queue; its callbacks reach ``lms``."""
    monkeypatch.setattr(site, "site_findings", lambda course_id, settings: [])
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {
        "LEGACY_URL": xqueue_server.url,
        "LEGACY_USERNAME": "lms",
        "LEGACY_PASSWORD": "lms-password",
    }
    return xqueue_server


def run(**options):
    """The document of a preflight, and what stands against a queue in it."""
    document = api.preflight(COURSE, rows.ignore, **options)
    blockers = [item for item in document.content["findings"] if item["severity"] == "blocker"]
    return document, [(item["code"], item["queue"]) for item in blockers if item["queue"]]


def reverse_row(**columns):
    """A row that waits in the reverse queue, as another course's reverse shadow would."""
    header = {"lms_callback_url": "https://x/migration_shim/sink/t/", "lms_key": "shadow:0", "queue_name": REVERSE}
    columns = {"xqueue_header": json.dumps(header), "lms_callback_url": header["lms_callback_url"]} | columns
    return rows.legacy_row(900, queue=REVERSE, **columns)


# The finding


@shared
@pytest.mark.parametrize("retired", [False, True])
def test_a_pull_of_the_reverse_queue_shows_that_it_is_polled(asked, retired):
    rows.legacy_row()
    row = reverse_row()
    document, found = run()
    assert found == [(CODE, REVERSE)]
    assert document.exit_code == ExitCode.DIFFERENCES
    (item,) = (item for item in document.content["findings"] if item["code"] == CODE)
    assert item["severity"] == "blocker"
    assert "xqueue_preflight --probe" in item["advice"]
    rows.change([row], pull_time=now() - timedelta(hours=23), retired=retired)
    document, found = run()
    assert found == []
    assert document.exit_code == ExitCode.OK


@shared
def test_an_old_pull_shows_nothing_and_one_of_the_learners_queue_neither(asked, settings):
    rows.legacy_row(pull_time=now())
    row = reverse_row(pull_time=now() - timedelta(hours=25))
    assert run()[1] == [(CODE, REVERSE)]
    rows.change([row], pull_time=now() - timedelta(minutes=2))
    assert run()[1] == []
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"EVIDENCE_MAX_AGE_SECONDS": 60}
    assert run()[1] == [(CODE, REVERSE)]


@shared
def test_a_queue_that_xqueue_does_not_know_is_reported_as_that_only(settings, monkeypatch):
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"LEGACY_URL": f"http://127.0.0.1:{free_port()}"}
    monkeypatch.setattr(site, "site_findings", lambda course_id, settings: [])
    rows.legacy_row()
    assert run()[1] == [("queue_unknown", QUEUE), ("reverse_queue_unknown", REVERSE)]


# The probe


def contents_of(row):
    """What identifies a stored row's place in XQueue, and what a grader gets of it."""
    header = json.loads(row.xqueue_header)
    return header["queue_name"], header["lms_callback_url"], header["lms_key"], row.xqueue_body


@shared
def test_a_probe_is_the_newest_graded_submission_fenced_and_a_pull_of_it_ends_the_finding(asked, lms, monkeypatch):  # noqa: F811
    (LEGACY_MEDIA / QUEUE).mkdir(parents=True, exist_ok=True)
    (LEGACY_MEDIA / QUEUE / KEY).write_bytes(b"print(1)\n")
    rows.legacy_row(1, answer="old\n", **rows.graded())
    newest = rows.legacy_row(2, answer="new\n", files={"main.py": KEY}, **rows.graded())
    rows.legacy_row(3, answer="waits\n")
    rows.legacy_row(4, answer="given up\n", retired=True, num_failures=4)
    before = set(LegacySubmission.objects.values_list("pk", flat=True))

    document, found = run(probe=True)

    assert document.content["probes"] == [{"queue": REVERSE, "sent": True, "said": ""}]
    assert found == [(CODE, REVERSE)]  # nobody has had the time to pull it
    (sent,) = LegacySubmission.objects.exclude(pk__in=before)
    url = f"{django_settings.LMS_ROOT_URL}/migration_shim/sink/{sink.probe_token(QUEUE)}/"
    assert contents_of(sent) == (REVERSE, url, f"shadow:probe:{sink.probe_token(QUEUE)}", newest.xqueue_body)
    assert len(url) <= 128
    given = []
    monkeypatch.setenv("SANDBOX_HOSTS", f"{FILES_HOST}={asked.address}")
    account = ServerEntry(url=asked.url, username="lms", password="lms-password", queues=(REVERSE,))
    grader = PullGrader([account], grade=lambda body, files: given.append((body, files)) or json.loads(rows.RIGHT))
    assert grader.drain() == 1
    assert given == [(json.loads(newest.xqueue_body), {"main.py": b"print(1)\n"})]
    assert [post["path"] for post in lms.posts] == [f"/migration_shim/sink/{sink.probe_token(QUEUE)}/"]
    document, found = run()
    assert found == []
    assert document.content["probes"] == []
    assert document.exit_code == ExitCode.OK


@shared
def test_nothing_takes_a_probe_for_a_submission(asked, lms):  # noqa: F811
    rows.legacy_row(1, **rows.graded())
    run(probe=True)
    sent = LegacySubmission.objects.latest("pk")
    rows.in_phase("shadow")
    rows.reconcile()
    assert rows.backfill(history=True).content["classes"]["copy"] == 1
    rows.change([sent], **rows.graded())
    after, found = rows.reconcile()
    assert LedgerEntry.objects.filter(legacy_id=sent.pk).count() == 0
    assert (after.content["fence_leaks"], found) == (0, [])
    assert run()[0].content["rows"] == 1  # it is no row of the course


@shared
def test_a_second_probe_takes_the_place_of_the_first(asked):
    rows.legacy_row(1, **rows.graded())
    for _ in range(2):
        assert run(probe=True)[0].content["probes"][0]["sent"] is True
    retired = LegacySubmission.objects.filter(queue_name=REVERSE).order_by("pk").values_list("retired", flat=True)
    assert list(retired) == [True, False]


@shared
def test_every_queue_of_the_course_gets_its_own(asked):
    for user, queue in enumerate((QUEUE, "exu-alg2", "nobody-knows-it")):
        rows.legacy_row(user, queue=queue, **rows.graded())
    rows.legacy_row(9, queue="exu-misc")
    probes = run(probe=True)[0].content["probes"]
    assert {sent["queue"]: sent["sent"] for sent in probes} == {
        REVERSE: True,
        "exu-alg2.reverse": True,
        "exu-misc.reverse": False,
        "nobody-knows-it.reverse": False,
    }
    said = {sent["queue"]: sent["said"] for sent in probes if not sent["sent"]}
    assert said["exu-misc.reverse"] == "the queue has no graded submission to send once more"
    assert said["nobody-knows-it.reverse"] == "refused: Queue 'nobody-knows-it.reverse' not found"
    sent = LegacySubmission.objects.filter(queue_name__endswith=".reverse")
    assert sorted(sent.values_list("queue_name", flat=True)) == ["exu-alg2.reverse", REVERSE]


def file_lost(settings):
    rows.legacy_row(2, files={"main.py": "0" * 32}, **rows.graded())
    return "file_missing"


def switch_thrown(settings):
    Switch.objects.create(name="migration_shim.kill_switch", active=True)
    return "stopped by the kill switch"


def sink_too_long(settings):
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"SINK_ROOT": f"https://{'x' * 120}"}
    return "sink_url_too_long"


@shared
@pytest.mark.parametrize("hinder", [file_lost, switch_thrown, sink_too_long])
def test_what_cannot_be_sent_says_why_and_sends_nothing(asked, settings, hinder):
    rows.legacy_row(1, **rows.graded())
    said = hinder(settings)
    assert run(probe=True)[0].content["probes"] == [{"queue": REVERSE, "sent": False, "said": said}]
    assert not LegacySubmission.objects.filter(queue_name=REVERSE).exists()


@shared
def test_xqueues_words_are_bounded(asked, monkeypatch):
    rows.legacy_row(1, **rows.graded())
    monkeypatch.setattr(probe.LegacyClient, "submit", lambda *words, **options: (1, "x" * 5000))
    (sent,) = run(probe=True)[0].content["probes"]
    assert (sent["sent"], len(sent["said"])) == (False, 200)


# The sink


@pytest.fixture
def counted(monkeypatch):
    """The events that the sink counts."""
    events = []
    monkeypatch.setattr(views, "count", lambda event, error=None: events.append(event))
    return events


@pytest.mark.django_db(databases=BOTH)
def test_the_sink_knows_a_probe_by_its_token_alone(counted, django_assert_num_queries, settings):
    client = Client(**rows.HOST)
    form = {"xqueue_header": "{}", "xqueue_body": rows.RIGHT}
    with django_assert_num_queries(0):
        for queue in (QUEUE, "a queue of \N{SNOWMAN}", ""):
            assert client.post(f"/migration_shim/sink/{sink.probe_token(queue)}/", form).status_code == 200
    assert counted == ["sink_probe"] * 3


@pytest.mark.django_db(databases=BOTH)
@pytest.mark.parametrize(
    "token",
    [
        "0" * 32,
        "x",
        "\N{SNOWMAN}" * 32,
        sink.probe_token(QUEUE)[:-1],
        sink.probe_token(QUEUE) + "0",
        sink.probe_token(QUEUE)[16:] + sink.probe_token(QUEUE)[:16],
        sink.token("learner", "item", "key"),
    ],
)
def test_another_token_is_none(counted, token):
    Client(**rows.HOST).post(f"/migration_shim/sink/{token}/", {"xqueue_header": "{}", "xqueue_body": "{}"})
    assert counted == ["sink_unknown_token"]


def test_a_token_is_that_of_the_sites_own_key(settings):
    token = sink.probe_token(QUEUE)
    assert sink.is_probe(token)
    settings.SECRET_KEY = "another site's"
    assert not sink.is_probe(token)
    assert len(token) == 32


# The command


@shared
def test_the_command_says_what_was_sent_and_what_comes_next(asked):
    rows.legacy_row(1, **rows.graded())
    rows.legacy_row(2, queue="exu-misc")
    output = io.StringIO()
    call_command("xqueue_preflight", course=COURSE, probe=True, stdout=output)
    printed = output.getvalue().splitlines()
    assert "  exu-py1.reverse: sent" in printed
    assert "  exu-misc.reverse: the queue has no graded submission to send once more" in printed
    assert f"Once its graders had time: xqueue_preflight --course {COURSE}" in printed
