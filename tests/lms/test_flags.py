"""Flags inside an LMS: the platform's own models are asked, so that what works in the platform is obeyed and shown."""

import itertools

import pytest
from edx_django_utils.cache import RequestCache
from waffle import get_waffle_flag_model

from migration_shim import api, toggles
from migration_shim.core.data import Phase
from migration_shim.cutover import release
from migration_shim.lms import flags
from migration_shim.models import CoursePhase, FlagOverride
from tests.builders import rows
from tests.builders.rows import COURSE, fresh  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])

DUAL, PRIMARY = toggles.FLAGS
OTHER = "course-v1:ExU+other+1"


def otherwise(flag):
    """How an operator may type it: MySQL takes it for the same."""
    return f"{flag.title()}  "


def force(platform, flag, choice, *, course=COURSE, org=None, enabled=True):
    scope = {"org": org} if org else {"course_id": course}
    model = platform["Org" if org else "Course"]
    model.objects.create(waffle_flag=flag, override_choice=choice, enabled=enabled, **scope)
    toggles.new_work_cycle()


def shown(course=COURSE):
    (found,) = api.status([course]).content["courses"]
    return tuple(found["flags"].values()), found["platform_flag"]


@pytest.mark.parametrize("org", [None, "ExU", "exu "])
def test_a_flag_that_was_typed_otherwise_is_obeyed_and_shown(platform, org):
    force(platform, otherwise(DUAL), "on", org=org)
    assert toggles.flags_for(COURSE) == (True, False)
    assert toggles.phase_of(COURSE).phase is Phase.SHADOW
    assert shown() == ((True, False), False)


@pytest.mark.parametrize("org", [None, "ExU"])
def test_so_is_the_platforms_own(platform, org):
    """A course went past the shim with a clean status."""
    force(platform, otherwise(release.FLAG), "on", org=org)
    assert flags.submission_flag_on(COURSE)
    assert toggles.bypasses_shim(COURSE)
    assert shown() == ((False, False), True)


def test_of_two_spellings_the_newest_counts(platform):
    force(platform, DUAL, "on")
    force(platform, otherwise(DUAL), "off")
    assert toggles.flags_for(COURSE) == (False, False)
    assert shown()[0] == (False, False)
    force(platform, DUAL.upper(), "on", enabled=False)
    assert toggles.flags_for(COURSE) == (False, False)
    force(platform, DUAL, "on")
    assert toggles.flags_for(COURSE) == (True, False)
    assert shown()[0] == (True, False)


def test_a_step_counts_whatever_was_typed_before(platform):
    force(platform, otherwise(DUAL), "on")
    toggles.force_flags(COURSE, False, False)
    assert toggles.flags_for(COURSE) == (False, False)


def test_percentages_and_users_count_for_none_of_ours(platform):
    for flag in toggles.FLAGS:
        row = get_waffle_flag_model()(name=flag, percent="99.9", superusers=True, staff=True, authenticated=True)
        row.save()
        row.flush()
    assert toggles.flags_for(COURSE) == (False, False)
    assert toggles.submission_flag_on_for_all(COURSE) is False


def test_the_apps_own_overrides_count_for_nothing_here(platform):
    FlagOverride(flag=DUAL, scope="course", key=COURSE, force=True, enabled=True).save()
    toggles.new_work_cycle()
    assert toggles.flags_for(COURSE) == (False, False)
    assert shown()[0] == (False, False)


@pytest.mark.parametrize("everyone", [None, True, False])
def test_flags_of_many_courses_are_those_of_each(platform, everyone):
    row, _ = get_waffle_flag_model().objects.get_or_create(name=DUAL)
    row.everyone = everyone
    row.save()
    row.flush()
    courses = []
    for number, (own, org) in enumerate(itertools.product((None, "on", "off", "undone"), repeat=2)):
        courses.append(f"course-v1:Org{number}+C+1")
        for scope, value in (({"org": f"Org{number}"}, org), ({"course": courses[-1]}, own)):
            if value is not None:
                force(platform, DUAL, "on" if value == "undone" else value, **scope)
            if value == "undone":
                force(platform, DUAL, "on", enabled=False, **scope)
    expected = {}
    for course in courses:
        toggles.new_work_cycle()
        expected[course] = toggles.flags_for(course)
    assert len(set(expected.values())) == 2
    found = {one["course"]: tuple(one["flags"].values()) for one in api.status(courses).content["courses"]}
    assert found == expected


def test_what_a_request_asks_the_platform(platform, django_assert_num_queries):
    """
    Two statements for a course that was moved, four for one that nobody has touched, and none the second time; and what
    its flags are for everyone, which a submission has from the statement that reads its phase.
    """
    rows.in_phase("shadow")
    toggles.force_flags(COURSE, True, False)
    for course, statements in ((COURSE, 2), (OTHER, 4)):
        toggles.new_work_cycle()
        with django_assert_num_queries(1 + statements):
            toggles.phase_and_switch(course)
    for course, statements in ((COURSE, 2), (OTHER, 4 + 2)):
        toggles.new_work_cycle()
        with django_assert_num_queries(statements):
            toggles.flags_for(course)
            toggles.flags_for(course)


def test_a_step_reads_the_flags_anew_and_leaves_the_learners_request_alone(platform):
    """What the platform keeps for a request is not the shim's: the id of a tracked transaction is there, for one."""
    rows.in_phase("legacy")
    toggles.force_flags(COURSE, True, False)
    tracked = RequestCache("event_transaction")
    tracked.set("id", "of the learner's submission")
    assert toggles.flags_for(COURSE) == (True, False)
    override = platform["Course"].objects.create(
        waffle_flag=DUAL, course_id=COURSE, override_choice="off", enabled=True
    )
    assert toggles.phase_of(COURSE).phase is Phase.LEGACY  # seen under the lock of the step
    override.delete()
    flags.forget(*toggles.FLAGS)
    RequestCache("migration_shim.flags").clear()
    assert toggles.phase_of(COURSE).phase is Phase.SHADOW
    assert CoursePhase.objects.get().phase == "shadow"
    assert tracked.get_cached_response("id").value == "of the learner's submission"


def test_a_library_has_no_overrides(platform, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert flags.forced_value("lib:ExU:problems", DUAL) is None


def test_a_course_whose_sender_cannot_be_called_is_not_released(platform, monkeypatch):
    rows.in_phase("complete")
    toggles.force_flags(COURSE, False, True)
    monkeypatch.setattr(release.capa, "uncallable", lambda needs_queue_key: ["the sender lacks a key"])
    document = api.release(COURSE, reason="over", execute=True, user="ada", login=None)
    assert "the sender lacks a key" in document.content["reasons"]
    assert not document.content["executed"]
    assert not flags.submission_flag_on(COURSE)


def test_what_was_ever_forced_on_for_a_course_is_known(platform):
    assert not flags.was_forced_on(COURSE, DUAL)
    force(platform, DUAL, "off")
    force(platform, DUAL, "on", course=OTHER)
    force(platform, DUAL, "on", org="ExU")
    assert not flags.was_forced_on(COURSE, DUAL)
    force(platform, DUAL, "on")
    force(platform, DUAL, "off")
    assert flags.was_forced_on(COURSE, DUAL)
    assert not flags.was_forced_on(COURSE, PRIMARY)


def test_an_id_that_is_no_course_key_was_never_forced_on(platform):
    """A release before put such ids on record; ``--forget`` is to remove them."""
    assert not flags.was_forced_on("mistyped", DUAL)
