"""Graders at the watcher seam, rows for them to pull, and an LMS process that serves it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.files.base import ContentFile
from django.db import transaction
from django.db.models import F
from django.test import Client
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail, Score

from migration_shim.core import identity
from migration_shim.core.data import Leg, Origin, Phase
from migration_shim.core.wire import parse_envelope
from migration_shim.ledger.entries import new_entry
from migration_shim.models import LedgerEntry
from migration_shim.target import writer
from sandbox.lms import worker
from sandbox.lms.seed import seed_learners
from sandbox.network import free_port
from sandbox.servers import FILES_HOST, Server, running_lms, running_xqueue
from tests.builders import rows

#: For a test in which somebody is refused: DRF then marks the open transaction, the test's own, for a roll-back.
COMMITTED = pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)
PREFIX = "/migration_shim/xqueue"
SEAM_URL = "https://courses.example.edu/migration_shim"
SHADOW = f"{rows.QUEUE}.shadow"
_users = itertools.count(700_000)


@pytest.fixture(autouse=True)
def shim(settings) -> Callable[..., None]:
    """Change settings of the app for one test. Nothing is held back or late here unless the test asks for it."""

    def change(**values: Any) -> None:
        settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | values

    change(HOLD_SECONDS=0, HAND_OUT_SECONDS=60)  # a busy machine is no slow seam
    return change


def account(name: str = "grader", group: str | None = "xqueue") -> None:
    """A Django user; by default one that may pull."""
    user = get_user_model().objects.create_user(name, password="pw")
    if group:
        user.groups.add(Group.objects.get_or_create(name=group)[0])


class Watcher:
    """A grader in this process; cookies, CSRF and Referer as the official watcher's (xqueue_watcher/client.py)."""

    def __init__(self, name: str = "grader", password: str = "pw", prefix: str = PREFIX) -> None:
        self.prefix = prefix
        self.client = Client(enforce_csrf_checks=True, raise_request_exception=False, **rows.HOST)
        self.client.get(f"{prefix}/login/")
        form = {"username": name, "password": password}
        url = f"https://courses.example.edu{prefix}/login/"
        self.logged_in = self.client.post(f"{prefix}/login/", form, HTTP_REFERER=url, **self._token())

    def _token(self) -> dict[str, str]:
        cookie = self.client.cookies.get("csrftoken")
        return {"HTTP_X_CSRFTOKEN": cookie.value} if cookie else {}

    def get(self, action: str, **parameters: Any) -> Any:
        """The response to a GET."""
        return self.client.get(f"{self.prefix}/{action}/", parameters)

    def post(self, action: str, **form: Any) -> Any:
        """The response to a POST, sent with token and Referer."""
        return self.client.post(f"{self.prefix}/{action}/", form, HTTP_REFERER=SEAM_URL, **self._token())

    def pull(self, queue: str = rows.QUEUE) -> dict[str, Any] | None:
        """What a poll hands out, its three texts parsed; None for an empty queue."""
        code, content = parts(self.get("get_submission", queue_name=queue))
        if code:
            assert content == f"Queue '{queue}' is empty"
            return None
        return {name: json.loads(text) for name, text in json.loads(content).items()}

    def put(self, header: Any, reply: str = rows.RIGHT) -> tuple[int, str]:
        """Post a reply; return_code and content."""
        text = header if isinstance(header, str) else json.dumps(header)
        return parts(self.post("put_result", xqueue_header=text, xqueue_body=reply))

    def grade(self, reply: str = rows.RIGHT, queue: str = rows.QUEUE) -> tuple[int, str]:
        """Pull one submission and post a reply."""
        document = self.pull(queue)
        assert document is not None
        return self.put(document["xqueue_header"], reply)


def parts(response: Any) -> tuple[int, Any]:
    """return_code and content of an answer in XQueue's form, which always has status 200."""
    assert response.status_code == 200, response.content
    document = json.loads(response.content)
    assert sorted(document) == ["content", "return_code"]
    return document["return_code"], document["content"]


@pytest.fixture
def watcher() -> Watcher:
    """A grader that is logged in."""
    account()
    found = Watcher()
    assert parts(found.logged_in) == (0, "Logged in")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Real:
    """A submission on the target under its learner's own identity, as the router writes it in ``live``."""

    submission_id: int
    header: str
    body: str
    columns: dict[str, Any]

    @property
    def detail(self) -> ExternalGraderDetail:
        """Its row, as it is now."""
        return ExternalGraderDetail.objects.get(submission_id=self.submission_id)

    @property
    def entry(self) -> LedgerEntry:
        """Its ledger entry, as it is now."""
        return LedgerEntry.objects.get(target_submission_id=self.submission_id)


def real(
    *, age: float = 60, files: dict[str, bytes] | None = None, points: int = 1, learner: bool = True, **options: Any
) -> Real:
    """
    Write one; ``age`` in seconds is how long ago it was submitted. Without ``learner`` the LMS knows nobody who waits.
    """
    row = rows.legacy_row(options.pop("user", None) or next(_users), age=timedelta(seconds=age), **options)
    row.delete()  # only its envelope is wanted
    envelope = parse_envelope(row.xqueue_header, row.xqueue_body)
    entry = new_entry(
        envelope,
        identity.digests(envelope.header, row.xqueue_body, files or {}),
        phase=Phase.LIVE,
        origin=Origin.ROUTER,
        arrived_at=row.arrival_time,
        input_key=identity.input_key(envelope),
    )
    place, contents = (
        identity.real_placement(envelope),
        {name: ContentFile(data) for name, data in (files or {}).items()},
    )
    with writer.stored_files(place.queue_name, contents) as stored, transaction.atomic():
        entry.target_submission_id = writer.insert(
            place, envelope.body, stored, points_possible=points, arrived_at=row.arrival_time
        )
        entry.target_leg = Leg.STORED
        entry.save()
    columns = vars(row) | {"id": 0, "arrival_time": row.arrival_time.isoformat()}
    if learner:
        assert seed_learners([columns]).states == 1
    return Real(
        submission_id=entry.target_submission_id, header=row.xqueue_header, body=row.xqueue_body, columns=columns
    )


def shadow(**options: Any) -> ExternalGraderDetail:
    """Write a fenced copy of a legacy row of its own."""
    row = rows.legacy_row(options.pop("user", None) or next(_users), **options)
    rows.backfill()
    entry = LedgerEntry.objects.get(legacy_id=row.pk)
    return ExternalGraderDetail.objects.get(submission_id=entry.target_submission_id)


def status_age(submission_id: int, seconds: float) -> None:
    """Make a row's status so many seconds old."""
    found = ExternalGraderDetail.objects.filter(submission_id=submission_id)
    assert found.update(status_time=now() - timedelta(seconds=seconds)) == 1


def let_leases_end() -> None:
    """Make every status ten minutes older; a lease takes five."""
    ExternalGraderDetail.objects.update(status_time=F("status_time") - timedelta(minutes=10))


def scores() -> list[tuple[int, int]]:
    """(points earned, points possible) of every Score."""
    return list(Score.objects.order_by("id").values_list("points_earned", "points_possible"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """The two stand-ins as processes, and how to reach them under their public names."""

    lms: Server
    xqueue: Server
    hosts: str


@pytest.fixture(scope="session")
def both_servers(databases_ready) -> Iterator[Servers]:
    """Both stand-ins; XQueue offers no row twice while the tests run."""
    lms_port, xqueue_port = free_port(), free_port()
    hosts = f"courses.example.edu=127.0.0.1:{lms_port},{FILES_HOST}=127.0.0.1:{xqueue_port}"
    # It outlives the test, and would do what the ledger owes in those that come after it.
    environment = {"SANDBOX_HOSTS": hosts, "SANDBOX_PROCESSING_DELAY": "60", worker.VARIABLE: "0"}
    with (
        running_xqueue(environment, port=xqueue_port) as xqueue,
        running_lms(environment, port=lms_port, workers=2, threads=8) as lms,
    ):
        yield Servers(lms=lms, xqueue=xqueue, hosts=hosts)


@pytest.fixture
def servers(both_servers, monkeypatch) -> Servers:
    """Both stand-ins, for a test that commits its rows; the graders of this process find them."""
    monkeypatch.setenv("SANDBOX_HOSTS", both_servers.hosts)
    return both_servers
