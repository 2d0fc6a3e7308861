"""
A campaign takes twelve courses from ``legacy`` to ``complete``, learners and graders at work, over three days.

One course's grader on the target gives other grades, another's is dead; one of the days is frozen, and the watch is
killed in the middle of every kind of step. Ten courses arrive, and nobody is without exactly one grade.
"""

import os
from collections import Counter
from datetime import datetime, time, timedelta
from itertools import count
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from django.core.management import call_command
from django.db import connection, connections
from django.utils.timezone import now

from migration_shim import api
from migration_shim.campaign import actions, records
from migration_shim.campaign import round as campaign_round
from migration_shim.core.campaign import Action
from migration_shim.models import Campaign, CampaignCourse, CampaignLine, PhaseChange
from tests.builders.campus import Clock, campus
from tests.builders.rows import fresh  # noqa: F401
from tests.cutover import forks

pytestmark = [
    pytest.mark.django_db(databases=["default", "xqueue"], transaction=True),
    pytest.mark.timeout(1200),
]
BERLIN = ZoneInfo("Europe/Berlin")
LIMIT, SOAK = 5, timedelta(hours=1)
OPENS, CLOSES = time(9), time(16)
#: At which write each kind of step is killed; a step that has fewer is killed right after it.
KILLS = {
    Action.PREFLIGHT: 3,
    Action.SHADOW: 3,
    Action.HISTORY: 6,
    Action.PROBE: 99,
    Action.GATE: 99,
    Action.LIVE: 4,
    Action.COMPLETE: 99,
}


@pytest.fixture
def clock(monkeypatch):
    """It is nine in Berlin, on the next Monday."""
    found = Clock(monkeypatch)
    today = now().astimezone(BERLIN).date()
    monday = today + timedelta(days=7 - today.weekday())
    found.is_at(datetime.combine(monday, OPENS, tzinfo=BERLIN))
    return found


def killed_round(pending, note: Path) -> bool:
    """A round in a process that dies in the middle of the first step of a kind in ``pending``; whether it did."""

    def do(action, *args, **options):
        if action not in pending:
            return real(action, *args, **options)
        note.write_text(action.value)
        writes = count(1)

        def die(execute, sql, params, many, context):
            if not sql.startswith("SELECT") and next(writes) == KILLS[action]:
                os._exit(9)
            return execute(sql, params, many, context)

        with connection.execute_wrapper(die):
            real(action, *args, **options)
        os._exit(9)

    real = actions.do
    connections.close_all()  # a connection must not be in two processes
    child = os.fork()
    if not child:
        try:
            campaign_round.actions.do = do
            api.watch()
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
        os._exit(0)
    return forks.wait(child) == 9


def next_moment(clock, freeze):
    """A bit more than an hour later; after the window has closed, the next morning."""
    clock.goes_on(minutes=65)
    wall = now().astimezone(BERLIN)
    if wall.time() >= CLOSES or (wall.date() == freeze and wall.time() > time(10)):
        clock.is_at(datetime.combine(wall.date() + timedelta(days=1), time(9, 30), tzinfo=BERLIN))


def test_ten_of_twelve_courses_arrive(settings, monkeypatch, clock, tmp_path):
    freeze = now().astimezone(BERLIN).date() + timedelta(days=1)
    pending, rounds, frozen = set(KILLS), 0, []
    with campus(range(1, 13), settings, monkeypatch) as world:
        differs, dead = world.courses[3], world.courses[7]
        others = [course for course in world.courses if course not in (differs, dead)]
        world.differing.add(differs)
        world.dead.add(f"{world.queues[dead]}.shadow")
        world.past(2)
        rules = ["--limit", str(LIMIT), "--soak", "1h", "--freeze", str(freeze), "--canary", world.courses[1]]
        rules += ["--window", "Mon-Fri 09:00-16:00 Europe/Berlin", "--name", "autumn", "--reason", "the end of XQueue"]
        chosen = [word for course in world.courses for word in ("--course", course)]
        call_command("xqueue_campaign", "start", *chosen, "--to", "complete", *rules, "--execute")

        while CampaignCourse.objects.filter(course_id__in=others).exclude(state="done").exists():
            rounds += 1
            assert rounds < 40, list(CampaignCourse.objects.values_list("course_id", "state", "said"))
            if pending and killed_round(pending, tmp_path / "killed"):
                pending.discard(Action((tmp_path / "killed").read_text()))
                clock.goes_on(minutes=3)  # by then nobody takes the dead watch for one at work
                continue
            if not pending:
                content = api.watch().content
                assert content["problems"] == []
                if now().astimezone(BERLIN).date() == freeze:
                    frozen += [course["says"] for item in content["campaigns"] for course in item["courses"]]
            world.day(2)
            next_moment(clock, freeze)

        assert not pending, "a kind of step was never killed"
        # The two others stand where they should, with their reasons.
        campaign = records.named("autumn")
        (content,) = api_status(campaign)
        stands = {course["course"]: course for course in content["courses"]}
        assert {stands[course]["phase"] for course in others} == {"complete"}
        assert (stands[differs]["phase"], stands[differs]["state"]) == ("shadow", "going")
        assert "diverge" in stands[differs]["says"]
        assert (stands[dead]["phase"], stands[dead]["state"]) == ("shadow", "failed")
        assert "overdue" in stands[dead]["says"] and "resume" in stands[dead]["says"]
        assert campaign.state == "running"

        # Everybody has exactly one grade, from the system that was to give it.
        world.grade()
        assert (world.grades(), world.waiting()) == ({1: world.learners}, 0)
        check_the_log(world.courses, campaign, freeze)
        assert any("the freeze" in says for says in frozen)


def api_status(campaign):
    """What ``xqueue_campaign status`` says."""
    from migration_shim.campaign.document import document

    return document([campaign], "status", executed=False).content["campaigns"]


def check_the_log(courses, campaign, freeze):
    """The second path: what the log of steps says of windows, freeze, canary, limit and soak."""
    steps = list(PhaseChange.objects.order_by("id"))
    assert {step.evidence.get("campaign") for step in steps} == {campaign.pk}
    assert Counter((step.course_id, step.step_to) for step in steps).most_common(1)[0][1] == 1, "a step was taken twice"
    assert not any(step.evidence["overridden"] for step in steps)
    for step in steps:
        wall = step.changed_at.astimezone(BERLIN)
        assert OPENS <= wall.time() < CLOSES and wall.weekday() < 5 and wall.date() != freeze
    at = {(step.course_id, step.step_to): step.changed_at for step in steps}
    for to in ("shadow", "live", "complete"):
        first = min((moment, course) for (course, phase), moment in at.items() if phase == to)
        assert first[1] == campaign.canary
    soaks = [(at[course, "live"], at[course, "live"] + SOAK) for course in courses if (course, "live") in at]
    assert max(sum(start <= moment < end for start, end in soaks) for moment, _ in soaks) <= LIMIT
    assert max(sum(start <= moment < end for start, end in soaks) for moment, _ in soaks) > 1, "one after another"
    for course in courses:
        if (course, "complete") in at:
            assert at[course, "complete"] - at[course, "live"] >= SOAK
    told = Counter(CampaignLine.objects.filter(what="failed").values_list("course_id", flat=True))
    assert list(told.values()) == [1]
    assert api.audit(courses).content["whole"]
    assert Campaign.objects.count() == 1
