"""A campaign of three courses on a site whose XQueue answers."""

import dataclasses

import pytest
from django.core.management import call_command

from migration_shim.campaign import facts, records
from migration_shim.campaign import round as campaign_round
from migration_shim.conf import load
from migration_shim.core.campaign import Health
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
        rules = ["--to", to, "--name", name, "--reason", "term over", "--execute", "--new"]
        rules += [] if "--canary" in words else ["--canary", courses[0]]
        call_command("xqueue_campaign", "start", *chosen, *rules, *words, "--format", "json")
        return records.named(name)

    return call


def attempt(step, course_id, work, *args):
    return work(*args)


def take_round(alive=lambda *args: None, watched=()):
    """A round of the campaigns; what it says of each course."""
    found = campaign_round.run(load(), attempt, alive, None, watched)
    return {course["course"]: course["says"] for campaign in found for course in campaign["courses"]}


def is_ill(monkeypatch, course_id):
    """Let a course be found not well from now on."""
    real = facts.gather

    def gather(campaign, member, settings, **options):
        found = real(campaign, member, settings, **options)
        ill = member.course_id == course_id
        return dataclasses.replace(found, health=Health.FAILED, health_said="3 overdue") if ill else found

    monkeypatch.setattr(facts, "gather", gather)
