"""A campaign of three courses on a site whose XQueue answers."""

import pytest
from django.core.management import call_command

from migration_shim.campaign import records
from migration_shim.legacy.client import LegacyClient
from tests.builders.rows import fresh  # noqa: F401

A, B, C = COURSES = [f"course-v1:ExU+{name}+2026" for name in "ABC"]


@pytest.fixture
def xqueue(fresh, monkeypatch):  # noqa: F811
    """What XQueue answers to everything; an error and a text."""
    answer = [1, "Valid queue names are: q"]
    monkeypatch.setattr(LegacyClient, "queue_length", lambda client, queue: tuple(answer))
    monkeypatch.setattr(LegacyClient, "_log_in", lambda client, deadline: tuple(answer))
    return answer


@pytest.fixture
def start(xqueue):
    """Start a campaign of the three courses, or of those named, with these options."""

    def call(*words, courses=COURSES, to="complete", name="one"):
        chosen = [word for course in courses for word in ("--course", course)]
        rules = ["--to", to, "--name", name, "--reason", "term over", "--execute"]
        call_command("xqueue_campaign", "start", *chosen, *rules, *words, "--new", "--format", "json")
        return records.named(name)

    return call
