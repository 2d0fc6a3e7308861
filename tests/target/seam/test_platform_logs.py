"""
What the platform writes down of what graders, XQueue and the LMS send to our URLs: its tracking log, its own log, and
the mail about an error. None of them may hold what lets somebody post a grade, or what a learner was told.
"""

import html
import json
import logging
import re

import pytest
from django.apps import apps
from django.core import mail
from django.test import Client
from django.urls import get_resolver, reverse
from django.utils.log import AdminEmailHandler
from django.views.decorators.debug import sensitive_variables
from submissions.models import ExternalGraderDetail

from migration_shim import toggles
from migration_shim.core.data import Phase
from migration_shim.core.phases import flags_of
from migration_shim.doors import grader_login, submit_login, views
from migration_shim.ledger import entries, hosts
from migration_shim.logfilter import FencedResults
from migration_shim.models import LedgerEntry
from migration_shim.preflight import tracking_log as preflight_tracking
from migration_shim.settings import common, production, tracking
from migration_shim.target import results, writer
from sandbox.lms.models import LearnerEffect
from tests.builders import rows
from tests.builders.rows import COURSE, fresh  # noqa: F401
from tests.builders.watchers import COMMITTED, PREFIX, parts, real, shadow

pytestmark = COMMITTED
PLATFORMS = [r"^/event", r"^/login", r"^/heartbeat", r"^/segmentio/event", r"^/performance"]
ACCOUNT = {"username": "lms", "password": "the-door's-password"}
ANSWER = "def only_the_grader_reads_this(): pass\n"
REPLY = json.dumps({"correct": True, "score": 1, "msg": "<p>only the learner reads this</p>"})
TOKEN = "5" * 32
STARRED = '{"GET": {"q": ["1"]}, "POST": {"password": "********", "new_password1": "********", "b": ["2"]}}'


class Written(logging.Handler):
    """All that is written, as one text."""

    def __init__(self):
        super().__init__(level=logging.DEBUG)
        self.setFormatter(logging.Formatter("%(name)s %(message)s"))
        self.text = ""

    def emit(self, record):
        self.text += self.format(record) + "\n"


@pytest.fixture
def logs():
    """(the tracking log, everything else through the filter that a site puts on its handlers)."""
    tracking_log, log = Written(), Written()
    log.addFilter(FencedResults())
    root, level = logging.getLogger(), logging.getLogger().level
    logging.getLogger("tracking").addHandler(tracking_log)
    root.addHandler(log)
    root.setLevel(logging.INFO)
    yield tracking_log, log
    root.setLevel(level)
    root.removeHandler(log)
    logging.getLogger("tracking").removeHandler(tracking_log)


@pytest.fixture
def door(shim, monkeypatch):
    """A client that may submit, of a course in live: nothing of XQueue is needed."""
    shim(SUBMIT_USERS={ACCOUNT["username"]: ACCOUNT["password"]})
    apps.get_app_config("migration_shim").ready()  # as at the start of a process with these settings
    monkeypatch.setenv(views.DOOR_VARIABLE, "1")
    rows.in_phase("live")
    toggles.force_flags(COURSE, *flags_of(Phase.LIVE))
    client = Client(raise_request_exception=False, **rows.HOST)
    assert parts(client.post(f"{PREFIX}/login/", ACCOUNT)) == (0, "Logged in")
    return client


def envelope(user):
    """The form of a submission, and what of it nobody else may know."""
    row = rows.legacy_row(user, answer=ANSWER)
    row.delete()
    header = json.loads(row.xqueue_header)
    secrets = {header["lms_callback_url"].partition("/courses/")[2], header["lms_key"], ANSWER.partition("(")[0]}
    return {"xqueue_header": row.xqueue_header, "xqueue_body": row.xqueue_body}, secrets


def everything_once(door, watcher):
    """Use every URL of ours as it is meant; what nobody else may know."""
    form, secrets = envelope(901)
    assert parts(door.post(f"{PREFIX}/submit/", form))[0] == 0
    real(user=902)
    document = watcher.pull()
    assert watcher.put(document["xqueue_header"], REPLY) == (0, "")
    assert LearnerEffect.objects.exists()
    fenced = shadow(user=903)
    copy = watcher.pull(fenced.queue_name)
    assert watcher.put(copy["xqueue_header"], REPLY) == (0, "")
    sink = reverse("migration_shim:sink", args=[TOKEN])
    Client(**rows.HOST).post(sink, {"xqueue_header": form["xqueue_header"], "xqueue_body": REPLY})
    for action in ("get_queuelen", "status"):
        watcher.get(action, queue_name=rows.QUEUE)
    keys = LedgerEntry.objects.exclude(raw_header="").values_list("raw_header", flat=True)
    secrets |= {json.loads(header)["lms_key"] for header in keys}
    secrets |= {handed["xqueue_header"]["submission_key"] for handed in (document, copy)}
    return secrets | {"only the learner reads this", ACCOUNT["password"]}


def held(text, secrets):
    """Which of them a log holds, whatever quotes it has escaped, also where it has cut them."""
    plain = text.replace("\\", "")
    return sorted(secret for secret in secrets if secret in plain or (len(secret) > 40 and secret[:40] in plain))


# --- the tracking log -------------------------------------------------------------------------------------------------


def test_neither_the_tracking_log_nor_the_platforms_log_holds_what_was_sent(door, watcher, logs):
    tracking_log, log = logs
    secrets = everything_once(door, watcher)
    assert held(tracking_log.text, secrets) == []
    assert "/migration_shim/" not in tracking_log.text  # nor an event a poll
    assert held(log.text, secrets) == []
    Client(**rows.HOST).post("/elsewhere", {"said": "this"})
    assert "this" in tracking_log.text


def test_without_our_pattern_it_would_hold_all_of_it(door, watcher, logs, settings):
    """The stand-in writes what the platform's middleware writes: else the test above could not fail."""
    settings.TRACKING_IGNORE_URL_PATTERNS = PLATFORMS
    tracking_log, _ = logs
    secrets = everything_once(door, watcher)
    callback = next(secret for secret in secrets if "/xqueue/901/" in secret)
    (submit,) = (line for line in tracking_log.text.splitlines() if "/xqueue/submit/" in line)
    assert callback in held(submit, secrets)
    assert len(held(tracking_log.text, secrets)) >= 5
    assert ACCOUNT["password"] not in tracking_log.text  # that much the platform does itself
    assert "/xqueue/get_submission/" in tracking_log.text


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"a": "x" * 600}, ('{"GET": {"q": ["1"]}, "POST": {"a": ["' + "x" * 600)[:512]),
        ({"password": "p", "new_password1": "n", "b": "2"}, STARRED),
    ],
)
def test_the_stand_ins_middleware_is_the_platforms(logs, form, expected):
    """As common/djangoapps/track/middleware.py: 512 characters, passwords starred by name, before the view."""
    Client(**rows.HOST).post("/nowhere?q=1", form)
    event = json.loads(logs[0].text.partition(" ")[2])
    assert event == {
        "name": "/nowhere",
        "event_type": "/nowhere",
        "event_source": "server",
        "username": "",
        "event": expected,
    }


@pytest.mark.parametrize(
    ("patterns", "path", "written"),
    [
        ([r"^/some/excluded.*"], "/some/excluded/page", False),
        ([r"^/some/excluded.*"], "/not/some/excluded", True),
        ([r"some"], "/some", True),  # from the beginning only
        ([r"/so"], "/some", False),
        ([], "/some", True),
        (["("], "/some", "exception"),
        (None, "/some", "exception"),
    ],
)
def test_its_patterns_match_from_the_beginning_and_a_broken_one_is_an_event(logs, settings, patterns, path, written):
    settings.TRACKING_IGNORE_URL_PATTERNS = patterns
    Client(**rows.HOST).post(path, {"said": "this"})
    assert bool(logs[0].text) is bool(written)
    assert ("this" in logs[0].text) is (written is True)
    assert ("exception" in logs[0].text) is (written == "exception")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (PLATFORMS, [*PLATFORMS, tracking.OURS]),
        (("^/event",), ["^/event", tracking.OURS]),
        ([], [tracking.OURS]),
        (None, [tracking.OURS]),
        ("absent", [tracking.OURS]),
        ([tracking.OURS, "^/x"], [tracking.OURS, "^/x"]),
        (5, 5),
        ("^/event", "^/event"),
        ({"a": 1}, {"a": 1}),
    ],
)
@pytest.mark.parametrize("environment", [common, production])
def test_the_plugins_settings_add_ours_and_keep_the_sites(given, expected, environment):
    class Settings:
        DATABASES = {}

    before = given if not isinstance(given, list) else list(given)
    if given != "absent":
        Settings.TRACKING_IGNORE_URL_PATTERNS = given
    environment.plugin_settings(Settings)
    environment.plugin_settings(Settings)  # common's is called again by production's
    assert expected == Settings.TRACKING_IGNORE_URL_PATTERNS
    assert given == before  # the platform's own list is another module's, too


@pytest.mark.parametrize("path", ["/migration_shim/", "/migration_shim/sink/x/", "//migration_shim/xqueue/submit/"])
def test_our_pattern_matches_what_is_below_the_prefix(path):
    assert re.match(tracking.OURS, path)


@pytest.mark.parametrize("path", ["/migration_shims/", "/migration_shim", "/admin/migration_shim/"])
def test_our_pattern_matches_nothing_else(path):
    assert not re.match(tracking.OURS, path)


# --- preflight --------------------------------------------------------------------------------------------------------


def findings():
    return [(finding.rule.code, finding.severity, finding.about) for finding in preflight_tracking.findings()]


def test_preflight_has_nothing_to_say_where_the_pattern_is_in_force(settings):
    assert findings() == []
    settings.TRACKING_IGNORE_URL_PATTERNS = ["^/migration_shim"]  # the site's own way
    assert findings() == []


@pytest.mark.parametrize(
    ("patterns", "about"),
    [
        (PLATFORMS, "/migration_shim/xqueue/submit/"),
        ([], "/migration_shim/sink/"),
        (["/migration_shim/$"], "/migration_shim/xqueue/put_result/"),
        (["migration_shim/"], "/migration_shim/xqueue/put_result/"),
        (["^/migration_shim/xqueue/"], f"/migration_shim/sink/{'0' * 32}/, /migration_shim/healthz"),
        (["("], "cannot be used"),
        (None, "cannot be used"),
        (5, "cannot be used"),
    ],
)
def test_preflight_blocks_where_a_url_of_ours_is_tracked(settings, patterns, about):
    settings.TRACKING_IGNORE_URL_PATTERNS = patterns
    ((code, severity, said),) = findings()
    assert (code, severity) == ("bodies_tracked", "blocker")
    assert about in said


def test_where_nothing_tracks_there_is_nothing_to_say(settings):
    settings.TRACKING_IGNORE_URL_PATTERNS = []
    settings.MIDDLEWARE = [path for path in settings.MIDDLEWARE if not path.endswith("TrackMiddleware")]
    assert findings() == []


@pytest.mark.parametrize("module", ["common.djangoapps.track.middleware", "track.middleware"])
def test_it_knows_the_platforms_middleware(settings, module):
    settings.TRACKING_IGNORE_URL_PATTERNS = []
    settings.MIDDLEWARE = [f"{module}.TrackMiddleware"]
    assert len(findings()) == 1


def test_an_app_that_is_mounted_elsewhere_is_looked_at_where_it_is(settings):
    settings.ROOT_URLCONF = "tests.target.seam.mounted_elsewhere"
    ((_, _, about),) = findings()
    assert "/grading/shim/xqueue/put_result/" in about
    settings.TRACKING_IGNORE_URL_PATTERNS = [r"^/grading/shim/"]
    assert findings() == []


def test_every_url_of_ours_is_looked_at():
    _, resolver = get_resolver().namespace_dict["migration_shim"]
    assert {pattern.name for pattern in resolver.url_patterns} == set(preflight_tracking.URLS)


# --- the mail about an error ------------------------------------------------------------------------------------------


class Planted(Exception):
    """What nobody has foreseen."""


@pytest.fixture
def mails(settings):
    """The mails of Django's own handler about server errors, with every frame's variables in HTML."""
    settings.ADMINS = [("Ada", "ada@example.edu")]
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    handler = AdminEmailHandler(include_html=True)
    handler.setLevel(logging.ERROR)
    logging.getLogger("django.request").addHandler(handler)
    yield lambda: "".join(
        message.body + "".join(str(part[0]) for part in message.alternatives) for message in mail.outbox
    )
    logging.getLogger("django.request").removeHandler(handler)


@sensitive_variables()
def fails(*args, **kwargs):
    """Stand for what was never foreseen."""
    raise Planted


ERRORS = {
    # a door, and what raises below it
    "login of a grader": (grader_login, "authenticate"),
    "login of the door": (submit_login, "salted_hmac"),
    "submit, early": (hosts, "seen_at_door"),
    "submit, late": (writer, "check_fits"),
    "sink": (views, "is_probe"),
    "poll": (entries, "legacy_body"),
    "result": (results, "store"),
}


@pytest.mark.parametrize("where", ERRORS)
def test_the_mail_about_an_error_holds_neither_form_nor_variables(door, watcher, mails, monkeypatch, where):
    form, secrets = envelope(905)
    real(user=906, answer=ANSWER)
    document = watcher.pull() if where == "result" else None
    cookie = door.cookies[submit_login.COOKIE].value
    monkeypatch.setattr(*ERRORS[where], fails)
    client = Client(raise_request_exception=False, **rows.HOST)
    if where.startswith("login"):
        named = ACCOUNT if "door" in where else {"username": "grader", "password": "pw of the grader"}
        answer = client.post(f"{PREFIX}/login/", named)
        secrets = {named["password"]}
    elif where.startswith("submit"):
        answer = door.post(f"{PREFIX}/submit/", form)
        secrets |= {cookie, cookie.partition(":")[0]}
    elif where == "sink":
        sink = {"xqueue_header": form["xqueue_header"], "xqueue_body": REPLY}
        answer = client.post(reverse("migration_shim:sink", args=[TOKEN]), sink)
        secrets |= {"only the learner reads this"}
    elif where == "result":
        header = document["xqueue_header"]
        answer = watcher.post("put_result", xqueue_header=json.dumps(header), xqueue_body=REPLY)
        secrets = {header["submission_key"], "only the learner reads this"}
    else:
        answer = watcher.get("get_submission", queue_name=rows.QUEUE)
        entries = LedgerEntry.objects.exclude(raw_header="").values_list("raw_header", flat=True)
        secrets |= {json.loads(raw)["lms_key"] for raw in entries}
        secrets |= set(ExternalGraderDetail.objects.filter(pullkey__gt="").values_list("pullkey", flat=True))
    assert answer.status_code == 500
    text = mails()
    assert "Planted" in text
    assert held(html.unescape(html.unescape(text)), secrets) == []
