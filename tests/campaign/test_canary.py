"""A canary that has arrived is looked at for as long as others are on their way, and what befalls it holds them up."""

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils.timezone import now

from migration_shim import api, toggles
from migration_shim.campaign import actions, facts, records
from migration_shim.campaign import round as campaign_round
from migration_shim.campaign.standing import turn
from migration_shim.conf import load
from migration_shim.core.campaign import Action
from migration_shim.core.campaign_plan import Plan
from migration_shim.core.data import Phase
from migration_shim.core.errors import NotNow
from migration_shim.models import Campaign, CampaignCourse, CampaignLine, CoursePhase, PhaseChange, Run
from tests.builders import rows
from tests.campaign.conftest import COURSES, A, B, C, is_ill, take_round
from tests.cutover.forks import at_once

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])


def arrived(campaign, course=A):
    """Let a course be where the campaign wants it, well, and taken for done; the others may step."""
    rows.enter(campaign.to, course)
    flags = {"shadow": (True, False), "live": (True, True), "complete": (False, True)}[campaign.to]
    toggles.force_flags(course, *flags)
    since = CoursePhase.objects.get(course_id=course).since
    CampaignCourse.objects.filter(course_id=course).update(state="done", well_since=since)
    reconciled = {"fence_leaks": 0, "double_authority": 0, "learners": {"applies": True}}
    Run.objects.create(kind="reconcile", scope=course, finished_at=now(), complete=True, document=reconciled)
    for other in COURSES:
        Run.objects.create(kind="preflight", scope=other, finished_at=now(), complete=True, document={"findings": []})


def stands(course=A):
    return CampaignCourse.objects.get(course_id=course).state


def test_others_go_past_a_canary_that_has_arrived_and_stays_well(start):
    arrived(start("--limit", "9", to="shadow"))
    assert take_round() == dict.fromkeys((B, C), "stepped from legacy to shadow")
    assert stands() == "done"


def test_a_canary_that_has_arrived_and_is_not_well_any_more_lets_nobody_pass(start, monkeypatch):
    campaign = start("--limit", "9", to="shadow")
    arrived(campaign)
    is_ill(monkeypatch, A)
    said = take_round()
    assert said[A].startswith("failed in shadow: 3 overdue")
    waits = f"the canary {A} has failed, and holds up the others until it is resumed"
    assert (said[B], said[C], stands()) == (waits, waits, "failed")
    assert CampaignLine.objects.get(what="failed").course_id == A
    # It is told once, and a person has it looked at again.
    assert take_round() == {B: waits, C: waits}
    records.resume(campaign, [A], reason="mended", by="ada")
    assert take_round()[A].startswith("failed in shadow")


@pytest.mark.parametrize("user", ["ada", "xqueue_watch"])
def test_a_canary_that_has_arrived_and_was_stepped_back_is_parked_and_lets_nobody_pass(start, user):
    campaign = start("--limit", "9", to="shadow")
    arrived(campaign)
    api.cutover(A, Phase.LEGACY, reason="r", execute=True, user=user, login=None)
    said = take_round()
    assert said[A].startswith(f"parked: stepped to legacy by {user}")
    assert said[B] == said[C] == f"the canary {A} is parked, and holds up the others until it is resumed"
    assert stands() == "parked"


def test_an_alarm_of_the_watch_about_the_canary_stops_it(start):
    arrived(start("--limit", "9", to="shadow"))
    stuck = {"text": "queue q on target: 9 submissions wait", "target_failed": True}
    small = {"text": "1 submission has failed for good", "target_failed": False}
    seen = [(A, [stuck, small]), (B, [small])]
    said = take_round(watched=[{"course": course, "reconcile": None, "breaches": found} for course, found in seen])
    assert said[A].startswith("failed in shadow: out of its bounds: queue q on target: 9 submissions wait; xqueue_")
    assert (stands(A), stands(B), toggles.phase_of(B).phase) == ("failed", "going", Phase.LEGACY)


def test_a_canary_of_which_nobody_knows_how_it_is_lets_nobody_pass(start, monkeypatch):
    arrived(start("--limit", "9", to="shadow"))
    Run.objects.filter(kind="reconcile").update(
        finished_at=now() - timedelta(seconds=load().evidence_max_age_seconds + 60)
    )
    waits = dict.fromkeys((B, C), f"the canary {A} is not healthy in shadow yet")
    assert take_round() == waits
    Run.objects.filter(kind="reconcile").update(finished_at=now())
    assert set(take_round().values()) == {"stepped from legacy to shadow"}


def test_a_canary_that_cannot_be_looked_at_lets_nobody_pass(start, monkeypatch):
    arrived(start("--limit", "9", to="shadow"))
    real = facts.gather

    def gather(campaign, member, settings, **options):
        if member.course_id == A:
            raise RuntimeError
        return real(campaign, member, settings, **options)

    def attempt(step, course_id, work, *args):
        try:
            return work(*args)
        except RuntimeError:
            return None

    monkeypatch.setattr(facts, "gather", gather)
    (found,) = campaign_round.run(load(), attempt, lambda *args: None)
    said = {course["course"]: course["says"] for course in found["courses"]}
    waits = f"the canary {A} is not healthy in shadow yet"
    assert said == {A: "failed; see the problems", B: waits, C: waits}


def test_a_canary_is_looked_at_in_a_watch_over_named_courses_too(start, monkeypatch):
    arrived(start("--limit", "9", to="shadow"))
    is_ill(monkeypatch, A)
    api.watch([B])
    assert (stands(), toggles.phase_of(B).phase) == ("failed", Phase.LEGACY)


def test_one_that_fails_where_all_are_to_go_holds_up_those_that_are_behind(start, monkeypatch):
    """It was well in ``live``, so it was let go on; what it shows in ``complete`` counts for all."""
    campaign = start("--limit", "9")
    rows.enter("complete", A)
    toggles.force_flags(A, False, True)
    assert turn(campaign, B, Phase.LIVE) == ""  # on its way: shown well in live, not yet in complete
    is_ill(monkeypatch, A)
    take_round()
    assert "has failed" in turn(campaign, B, Phase.LIVE)


def test_a_course_that_is_named_twice_is_one_canary(start):
    campaign = start(courses=[A, A, B])
    assert (campaign.canary, campaign.courses.count()) == (A, 2)


def test_a_canary_cannot_be_forgotten_while_its_campaign_holds_it(start, capsys):
    start("--limit", "9")
    rows.in_phase("legacy", A)
    call_command("xqueue_cutover", "--course", A, "--forget", "--reason", "r", "--execute")
    assert "it is in campaign one" in capsys.readouterr().out
    assert CoursePhase.objects.filter(course_id=A).exists()


def test_a_canary_whose_record_is_gone_all_the_same_lets_nobody_pass(start):
    campaign = start("--limit", "9", to="shadow")
    arrived(campaign)
    CoursePhase.objects.filter(course_id=A).delete()
    assert turn(campaign, B, Phase.SHADOW) == f"the canary {A} is not healthy in shadow yet"


@pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)
def test_a_canary_that_fails_beside_steps_of_others_is_passed_by_none_after_that(start, monkeypatch):
    last = "course-v1:ExU+D+2026"
    arrived(start("--limit", "9", courses=[*COURSES, last], to="shadow"))
    is_ill(monkeypatch, A)

    def look():
        take_round()
        return len(passed_by())

    def passed_by():
        return PhaseChange.objects.exclude(course_id=A).values_list("course_id", flat=True)

    def step(course):
        return actions.do(Action.SHADOW, records.named("one"), course, Phase.LEGACY, load(), lambda *a: None).said

    by_then, *others = at_once([look, lambda: step(B), lambda: step(C)])
    passed = [said for said in others if said == "stepped from legacy to shadow"]
    assert all(said in passed or said[0] == "NotNow" for said in others)
    assert len(passed_by()) == len(passed)
    assert by_then <= len(passed) and stands() == "failed"
    with pytest.raises(NotNow, match="has failed"):
        step(last)


@pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)
def test_of_two_operators_that_name_a_canary_at_once_one_is_told(start):
    campaign = start("--limit", "9")

    def name(canary):
        records.change(campaign, Plan.from_json(campaign.plan), canary, reason="r", by="ada")
        return canary

    found = at_once([lambda: name(B), lambda: name(C)])
    (named,) = [answer for answer in found if isinstance(answer, str)]
    assert Campaign.objects.get().canary == named
    assert [answer[0] for answer in found if not isinstance(answer, str)] == ["CampaignRefused"]
