"""Who goes on waiting costs next to nothing a round, and is looked at as soon as there is something to see."""

from datetime import timedelta

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from migration_shim import api, toggles
from migration_shim.campaign import facts, glance, records
from migration_shim.campaign import round as campaign_round
from migration_shim.conf import load
from migration_shim.core.data import Phase
from migration_shim.models import CampaignCourse, CampaignLine, CoursePhase, PhaseChange, Run
from tests.builders import rows
from tests.builders.campus import Clock
from tests.campaign.conftest import COURSES, A, B, attempt, is_ill, take_round

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
LACKS = "waits for 449 more graded pairs without a divergence"
RECONCILED = {"fence_leaks": 0, "double_authority": 0, "learners": {"applies": True}, "daily": []}


def watched(course, **against):
    seen = {"complete": True, "of": 3, "compared": 3, "equal": 3, "diverged": 0, "waiting": 0, "overdue": 0}
    return {"course": course, "reconcile": seen | against, "breaches": []}


def whole_round(*courses, **against):
    """A round of campaigns as the watch keeps it on record; what it says of each course."""
    seen = [watched(course, **against) for course in courses or COURSES]
    found = campaign_round.run(load(), attempt, lambda *args: None, None, seen)
    document = {"campaigns": found, "courses": seen}
    Run.objects.create(kind="watch", scope="", finished_at=now(), complete=True, document=document)
    return {course["course"]: course["says"] for course in found[0]["courses"]}


def in_shadow(campaign, *courses):
    """Let courses be in shadow, well there, their history imported; they lack pairs."""
    for course in courses:
        rows.enter("shadow", course, now() - timedelta(minutes=1))
        toggles.force_flags(course, True, False)
        CampaignLine.objects.create(campaign=campaign, course_id=course, what="history", by="xqueue_watch")
        Run.objects.create(kind="reconcile", scope=course, finished_at=now(), complete=True, document=RECONCILED)
        Run.objects.create(kind="preflight", scope=course, finished_at=now(), complete=True, document={"findings": []})


@pytest.fixture
def looks(monkeypatch):
    """The courses whose evidence was looked at."""
    found, real = [], facts.gather

    def gather(campaign, member, settings, **options):
        found.append(member.course_id)
        return real(campaign, member, settings, **options)

    monkeypatch.setattr(facts, "gather", gather)
    return found


def statements(start, name, phase, courses):
    """The statements of a round in which all these courses wait, as in the two rounds before."""
    campaign = start("--limit", "99", courses=courses, name=name)
    in_shadow(campaign, *(courses if phase == "shadow" else courses[:1]))
    for course in courses:
        Run.objects.get_or_create(
            kind="preflight", scope=course, complete=True, defaults={"finished_at": now(), "document": {"findings": []}}
        )
    CampaignCourse.objects.filter(course_id=courses[0]).update(state="parked", said="parked: by hand")
    for _ in range(2):
        whole_round(*courses)
    with (
        CaptureQueriesContext(connections["default"]) as ours,
        CaptureQueriesContext(connections["xqueue"]) as theirs,
    ):
        said = whole_round(*courses)
    waits = (
        {LACKS}
        if phase == "shadow"
        else {f"the canary {courses[0]} is parked, and holds up the others until it is resumed"}
    )
    assert set(said.values()) == waits and len(said) == len(courses) - 1
    records.stop(campaign, reason="r", by="ada")
    return len(ours) + len(theirs)


@pytest.mark.parametrize("phase", ["legacy", "shadow"])
def test_a_round_in_which_all_wait_hardly_grows_with_the_courses(start, phase):
    few = statements(start, "few", phase, [f"course-v1:ExU+F{number}+2026" for number in range(3)])
    many = statements(start, "many", phase, [f"course-v1:ExU+M{number}+2026" for number in range(23)])
    assert many - few <= 20, (few, many)  # a statement a course at most


def test_what_a_course_lacks_is_taken_for_granted_for_half_an_hour(start, looks, monkeypatch):
    clock = Clock(monkeypatch)
    campaign = start()
    in_shadow(campaign, *COURSES)
    assert whole_round() == dict.fromkeys(COURSES, LACKS)
    looks.clear()
    for _ in range(2):
        clock.goes_on(minutes=14)
        assert whole_round() == dict.fromkeys(COURSES, LACKS)
    assert looks == [A, A]  # the canary is looked at in every round
    clock.goes_on(minutes=3)
    whole_round()
    assert looks[2:] == COURSES


def test_a_clock_that_is_set_back_makes_no_course_wait_for_longer(start, looks, monkeypatch):
    clock = Clock(monkeypatch)
    campaign = start()
    in_shadow(campaign, *COURSES)
    clock.goes_on(days=3)
    Run.objects.filter(kind="reconcile").update(finished_at=now())
    whole_round()
    clock.goes_on(days=-3)
    looks.clear()
    whole_round()
    assert looks == COURSES


@pytest.mark.parametrize("what", ["diverged", "overdue", "no reconcile", "resume", "resume course", "a step"])
def test_whatever_may_speak_against_a_course_has_it_looked_at_at_once(start, looks, what):
    campaign = start()
    in_shadow(campaign, *COURSES)
    whole_round()
    looks.clear()
    if what == "resume":
        records.pause(campaign, reason="r", by="ada")
        records.resume(campaign, [], reason="r", by="ada")
    elif what == "resume course":
        CampaignCourse.objects.filter(course_id=B).update(state="failed")
        records.resume(campaign, [B], reason="r", by="ada")
        CampaignCourse.objects.filter(course_id=B).update(well_since=CoursePhase.objects.get(course_id=B).since)
    elif what == "a step":
        api.cutover(B, Phase.LEGACY, reason="r", execute=True, user="ada", login=None)
    whole_round(
        *(COURSES[:1] if what == "no reconcile" else COURSES),
        **({what: 1} if what in ("diverged", "overdue") else {}),
    )
    assert B in looks


def test_a_course_that_is_ill_is_stopped_though_a_glance_would_not_have_seen_it(start, monkeypatch):
    campaign = start()
    in_shadow(campaign, *COURSES)
    whole_round()
    is_ill(monkeypatch, B)
    assert whole_round()[B] == LACKS
    assert whole_round(overdue=3)[B].startswith("failed in shadow: 3 overdue")


def test_a_course_in_legacy_says_the_same_at_a_glance_as_by_a_look(start, monkeypatch):
    findings = [
        {"severity": "blocker", "code": code, "queue": "q", "problem": "", "about": ""}
        for code in ("push_queue", "reverse_queue_unknown", "reverse_queue_not_polled")
    ]
    campaign = start()
    Run.objects.create(kind="preflight", scope=B, finished_at=now(), complete=True, document={"findings": findings})
    by_glance = take_round()
    monkeypatch.setattr(glance.Glance, "waits", lambda *args: None)
    assert take_round()[B] == by_glance[B] == "waits for an operator: preflight blocker push_queue q"
    assert campaign.courses.filter(state="going").count() == 3 and not PhaseChange.objects.exists()


def test_a_course_that_somebody_has_moved_forth_and_back_is_parked(start):
    start()
    Run.objects.create(kind="preflight", scope=B, finished_at=now(), complete=True, document={"findings": []})
    assert take_round()[B] == f"the canary {A} is not healthy in shadow yet"
    for to in (Phase.SHADOW, Phase.LEGACY):
        api.cutover(B, to, reason="r", execute=True, user="ada", login=None)
    assert take_round()[B].startswith("parked: stepped to legacy by ada")
