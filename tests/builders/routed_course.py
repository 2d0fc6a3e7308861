"""
One course on the way through the router: its phase, submissions as CAPA makes them, and what both databases hold.

What is there is read by plain SQL, not through the app: the app is what is judged.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connections

from migration_shim import api, toggles
from migration_shim.copies import breaker
from migration_shim.core.data import Phase
from migration_shim.core.phases import flags_of
from sandbox.lms import capa
from sandbox.servers import Server, running_xqueue
from tests.builders import rows

COURSE, QUEUE = rows.COURSE, rows.QUEUE
PROBLEM = "a" * 32
PATIENCE = 30  # seconds
START = datetime(2026, 11, 22, 9, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One submission: what the LMS hands to ``send_to_queue``."""

    number: int
    learner: str
    key: str
    header: str
    body: str

    @property
    def identity(self) -> str:
        """The identity digest, made here again: the ledger's name for the submission."""
        url = json.loads(self.header)["lms_callback_url"]
        parts = json.dumps([url, self.key, QUEUE, self.body])
        return hashlib.sha256(parts.encode("ascii")).hexdigest()


def submission(number: int, *, attempt: int = 0) -> Sent:
    """The submission of learner ``number`` to the one problem; a later ``attempt`` is a newer one of the same input."""
    learner = rows.anonymous_id(number)
    time = (START + timedelta(minutes=attempt)).strftime("%Y%m%d%H%M%S")
    answer_id = f"{capa.html_id(rows.usage_key(PROBLEM))}_2_1"
    key = capa.make_key(number, time, learner, answer_id)
    return Sent(
        number=number,
        learner=learner,
        key=key,
        header=rows.header(number, PROBLEM, key),
        body=rows.body(number, f"secret answer {number} of attempt {attempt}\n", time),
    )


def into_phase(phase: str) -> None:
    """Put the course into a phase as an operator would, with the permit that the step may need."""
    rows.permitted(phase)
    toggles.force_flags(COURSE, *flags_of(Phase(phase)))
    # While another request holds the course's row, a step that gains the target is left to the next request.
    deadline = time.monotonic() + PATIENCE
    while (found := toggles.phase_of(COURSE).phase) != phase:
        if time.monotonic() > deadline:
            raise AssertionError(f"the course is in {found} and not in {phase}")
        time.sleep(0.02)


def start_in(phase: str) -> None:
    """Begin a test with the course in a phase, whatever steps lead there."""
    rows.in_phase(phase)
    toggles.force_flags(COURSE, *flags_of(Phase(phase)))


def send(sent: Sent, files: list[Any] | None = None) -> tuple[int, Any]:
    """One submission through the Python door, as one request of an LMS: what a request caches is forgotten first."""
    toggles.new_work_cycle()
    return api.queue_interface().send_to_queue(sent.header, sent.body, files)


def sql(alias: str, text: str, *values: Any) -> list[tuple]:
    """Rows of a statement."""
    with connections[alias].cursor() as cursor:
        cursor.execute(text, values)
        return list(cursor.fetchall())


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """How many rows each submission has, by number of the learner."""

    legacy_live: dict[str, int]
    """Rows of XQueue with the header that CAPA sent and not retired, or graded; by header."""
    reverse: dict[str, int]
    """Rows of XQueue that are reverse shadows and not retired, or graded; by the key that they carry."""
    real: dict[str, int]
    """Submissions of the target under the learner's own identity, by key."""
    shadows: dict[str, int]
    """Fenced submissions of the target, by key."""
    ledger: dict[str, tuple]
    """(phase, authority, legacy leg, target leg, target reason), by identity."""


def holdings() -> Holdings:
    """All that both databases hold of the course."""
    legacy = sql("xqueue", "SELECT xqueue_header FROM queue_submission WHERE retired = 0 OR lms_ack = 1")
    target = sql(
        "default",
        "SELECT d.queue_key, i.student_id, i.item_id FROM submissions_externalgraderdetail d"
        " JOIN submissions_submission s ON s.id = d.submission_id"
        " JOIN submissions_studentitem i ON i.id = s.student_item_id",
    )
    ledger = sql(
        "default",
        "SELECT identity, phase, authority, legacy_leg, target_leg, target_reason FROM migration_shim_ledgerentry",
    )
    return Holdings(
        legacy_live=_tally(header for (header,) in legacy if "/sink/" not in header),
        reverse=_tally(json.loads(header)["lms_key"] for (header,) in legacy if "/sink/" in header),
        real=_tally(key for key, student, item in target if not (student + item).count("shadow:")),
        shadows=_tally(key for key, student, item in target if student[:7] == item[:7] == "shadow:"),
        ledger={identity: tuple(rest) for identity, *rest in ledger},
    )


def _tally(names: Iterator[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in names:
        found[name] = found.get(name, 0) + 1
    return found


@pytest.fixture(scope="session")
def xqueue_of_load(databases_ready) -> Iterator[Server]:
    """The XQueue stand-in as a process of its own, with a queue for reverse shadows."""
    with running_xqueue({"SANDBOX_XQUEUES": f"{QUEUE},{QUEUE}.reverse"}) as server:
        yield server


@pytest.fixture
def course(xqueue_of_load, settings, legacy_rows) -> Server:
    """A course whose submissions reach the XQueue stand-in; caches and breakers start empty."""
    cache.clear()
    toggles.new_work_cycle()
    breaker.reset()
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"LEGACY_URL": xqueue_of_load.url}
    yield xqueue_of_load
    cache.clear()
    toggles.new_work_cycle()
