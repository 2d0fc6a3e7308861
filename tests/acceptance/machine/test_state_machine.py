"""
Any order of submissions, pulls, deaths, results, phases and backfills: no learner is graded by a copy, none is graded
twice, none is lost, and no queue is blocked. The rules and what must hold are in ``machine.py``.
"""

import os

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import DatabaseError
from django.test import Client
from hypothesis import settings as profile
from hypothesis.stateful import run_state_machine_as_test
from openedx_events.learning.signals import EXTERNAL_GRADER_SCORE_SUBMITTED
from submissions.models import ExternalGraderDetail

from migration_shim.core.data import Phase
from migration_shim.legacy.client import LegacyClient
from sandbox.lms.models import AnonymousUserId
from tests.acceptance.machine import statuses
from tests.acceptance.machine.machine import Migration
from tests.builders import rows
from tests.builders.lms_around_router import HAND_OUT_LIMIT, HOLD, LEASE, LEASE_LIMIT, PROBLEMS, QUEUE, USERS, World
from tests.builders.replies import BAD, POISON

LONG = bool(os.environ.get("MIGRATION_SHIM_TEST_LONG"))


def _raise_on_poison(sender, score, **kwargs):
    if POISON in score.score_msg:
        raise RuntimeError("a plugin's receiver")


@pytest.fixture
def world(transactional_db, settings, monkeypatch):
    """Learners, a grader's session, and a router that meets the world's XQueue and the world's faults."""
    settings.MIGRATION_SHIM = {
        **settings.MIGRATION_SHIM,
        "HOLD_SECONDS": HOLD.total_seconds(),
        "LEASE_SECONDS": int(LEASE.total_seconds()),
        "LEASE_LIMIT": LEASE_LIMIT,
        "HAND_OUT_LIMIT": HAND_OUT_LIMIT,
        "HAND_OUT_SECONDS": 60,  # a busy machine is no slow seam
    }
    users = get_user_model().objects
    for user in USERS:
        users.create(pk=user, username=f"learner{user}")
        AnonymousUserId.objects.create(user_id=user, anonymous_user_id=rows.anonymous_id(user))
    grader = users.create_user("grader")
    grader.groups.add(Group.objects.create(name="xqueue"))
    client = Client(raise_request_exception=False, **rows.HOST)
    client.force_login(grader)
    world = World(client)

    def submit(client, header, body, files=None, *, deadline=None, correlation="1"):
        return world.xqueue.submit(header, body)

    def create(**values):
        if world.fault == "target down":
            raise DatabaseError
        return really_create(**values)

    really_create = ExternalGraderDetail.create_from_uuid
    monkeypatch.setattr(LegacyClient, "submit", submit)
    monkeypatch.setattr(ExternalGraderDetail, "create_from_uuid", create)
    EXTERNAL_GRADER_SCORE_SUBMITTED.connect(_raise_on_poison)
    with statuses.logged():
        yield world
    EXTERNAL_GRADER_SCORE_SUBMITTED.disconnect(_raise_on_poison)


both = pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)


@pytest.fixture
def machine(world, settings):
    """The machine, for walks by hand: they end with its ``teardown``."""
    Migration.world, Migration.settings = world, settings
    return Migration()


@both
def test_a_grader_of_legacy_whose_learner_has_tried_again_on_the_target_is_refused(machine):
    """A walk that random ones rarely take: the row is in a grader's hands when the router retires it."""
    attempt = {"numbers": (2,), "like": None, "fault": ""}
    machine.start("inline", (Phase.SHADOW,))
    row = machine.world.xqueue.read(QUEUE)
    lease = row.pk, machine.world.xqueue.hand_out(row)
    machine.operate(Phase.LIVE, permit=True)
    machine.submit(USERS[0], PROBLEMS[0], **attempt)
    machine.both_sides_agree()
    assert not machine.world.xqueue.put(*lease, BAD[0].text)
    assert machine.world.sent[-1].outcome == ""
    machine.teardown()


@both
def test_an_older_attempt_is_superseded_though_no_time_is_left_for_the_copy(machine):
    """From live back to shadow, with an XQueue so slow that the copy is left to the backfill."""
    machine.start("inline", (Phase.SHADOW, Phase.LIVE))
    machine.operate(Phase.SHADOW, permit=False)
    machine.submit(USERS[0], PROBLEMS[1], numbers=(2,), like=None, fault="hurry")
    machine.teardown()


@pytest.mark.timeout(3600 if LONG else 300)
@both
def test_whatever_happens_in_whatever_order(world, settings, monkeypatch):
    Migration.world, Migration.settings = world, settings
    monkeypatch.setattr(Migration, "reconciles", LONG)
    # Derandomized and without a database of examples: the same run everywhere. Without a deadline: steps are SQL.
    examples, steps = (1000, 50) if LONG else (40, 25)
    run_state_machine_as_test(
        Migration,
        settings=profile(
            max_examples=examples, stateful_step_count=steps, derandomize=not LONG, database=None, deadline=None
        ),
    )
