"""Two watches at once, or one that is killed, in processes of their own: each step is taken once, within the limit."""

import pytest
from django.utils.timezone import now

from migration_shim import api, toggles
from migration_shim.campaign import actions, records
from migration_shim.conf import load
from migration_shim.core.campaign import Action
from migration_shim.core.data import Phase
from migration_shim.core.wording import counted, verb
from migration_shim.models import CampaignCourse, CampaignLine, CoursePhase, PhaseChange, Run
from migration_shim.runs.owner import HEARTBEAT_LIMIT
from tests.builders import rows
from tests.campaign.conftest import A, take_round
from tests.cutover.forks import at_once, killed_at

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)
OTHERS = [f"course-v1:ExU+R{number}+2026" for number in range(4)]


def step(course):
    campaign = records.named("one")
    done = actions.do(Action.SHADOW, campaign, course, Phase.LEGACY, load(), lambda *args: None)
    return done.said


def canary_is_there():
    rows.enter("shadow", A)
    since = CoursePhase.objects.get(course_id=A).since
    CampaignCourse.objects.filter(course_id=A).update(well_since=since)


@pytest.mark.parametrize("limit", [1, 2])
def test_the_limit_holds_for_watches_that_step_different_courses_at_once(start, limit):
    start("--limit", str(limit), courses=[A, *OTHERS], to="shadow")
    canary_is_there()
    found = at_once([lambda course=course: step(course) for course in OTHERS])
    assert found.count("stepped from legacy to shadow") == limit == PhaseChange.objects.count()
    assert [answer for answer in found if answer != "stepped from legacy to shadow"] == [
        ["NotNow", f"{counted(limit, 'course')} {verb(limit, 'is', 'are')} in flight, and --limit allows {limit}"]
    ] * (len(OTHERS) - limit)


def test_of_two_watches_that_take_the_same_step_one_does(start):
    start(courses=[A], to="shadow")
    found = at_once([lambda: step(A)] * 3)
    assert found.count("stepped from legacy to shadow") == 1 == PhaseChange.objects.count()
    assert {answer[0] for answer in found if isinstance(answer, list)} == {"NotNow"}


def test_a_pause_beside_a_step_comes_before_it_or_after_it(start):
    start(courses=[A], to="shadow")

    def pause():
        records.pause(records.named("one"), reason="r", by="ada")
        return PhaseChange.objects.count()

    stepped, steps_at_the_pause = at_once([lambda: step(A), pause])
    assert PhaseChange.objects.count() == steps_at_the_pause == int(stepped == "stepped from legacy to shadow")


def test_an_operator_beside_a_watch_is_obeyed_and_the_course_parked_or_the_operator_told(start):
    start(courses=[A], to="shadow")

    def operator():
        api.cutover(A, Phase.SHADOW, reason="r", execute=True, user="ada", login=None)
        return "by hand"

    found = at_once([lambda: step(A), operator])
    assert PhaseChange.objects.count() == 1
    assert sum(isinstance(answer, str) for answer in found) == 1


def test_a_course_that_two_campaigns_want_at_once_is_in_one(start, xqueue):
    def begin(name):
        return lambda: start(courses=[A], name=name).name

    found = at_once([begin("one"), begin("two")])
    assert sum(isinstance(answer, str) for answer in found) == 1
    assert CampaignCourse.objects.filter(course_id=A, held=True).count() == 1


@pytest.mark.parametrize("writes", [0, 2, 4])
def test_a_reconcile_of_a_campaign_that_is_killed_is_done_by_the_next_round(start, writes):
    """A watch's own reconcile comes first in its round, so that of a campaign is killed here."""
    rows.entries(3, course_id=A)
    rows.enter("shadow", A)
    toggles.force_flags(A, True, False)
    campaign = start(courses=[A], to="shadow")

    def reconcile():
        actions.do(Action.RECONCILE, campaign, A, Phase.SHADOW, load(), lambda *args: None)

    assert killed_at(writes, reconcile, reads=False)
    assert not Run.objects.filter(kind="reconcile", complete=True).exists()
    # What a dead process holds is free once it has shown no sign of life for a while.
    Run.objects.update(heartbeat_at=now() - HEARTBEAT_LIMIT)
    assert take_round() == {A: "has arrived in shadow"}
    assert Run.objects.filter(kind="reconcile", complete=True).count() == 1
    assert CampaignLine.objects.filter(course_id=A).values_list("what", flat=True).get() == "done"
