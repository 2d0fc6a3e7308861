"""Two watches at once, in processes of their own, never have more courses in flight than the limit allows."""

import pytest

from migration_shim import api
from migration_shim.campaign import actions, records
from migration_shim.conf import load
from migration_shim.core.campaign import Action
from migration_shim.core.data import Phase
from migration_shim.core.wording import counted, verb
from migration_shim.models import CampaignCourse, CoursePhase, PhaseChange
from tests.builders import rows
from tests.campaign.conftest import A
from tests.cutover.forks import at_once

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
