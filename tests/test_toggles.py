"""Flags of a course, the phase in force, and what nobody can reach by ticking boxes."""

import itertools
import threading
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.db import OperationalError, connection, connections
from django.utils.timezone import now
from edx_django_utils.cache import RequestCache
from waffle import get_waffle_flag_model, get_waffle_switch_model
from waffle import models as waffle_models

from migration_shim import toggles
from migration_shim.core.data import Authority, Phase
from migration_shim.ledger import course_lookup
from migration_shim.models import CoursePhase, FlagOverride, PhaseChange
from tests.builders import rows
from tests.builders.rows import COURSE, fresh  # noqa: F401

BOTH = ["default", "xqueue"]
in_process = pytest.mark.django_db(databases=BOTH)
shared = pytest.mark.django_db(databases=BOTH, transaction=True)

DUAL, PRIMARY = toggles.FLAGS
FLAGS = {Phase.LEGACY: (False, False), Phase.SHADOW: (True, False), Phase.LIVE: (True, True)} | {
    Phase.COMPLETE: (False, True)
}


def force(flag, value, key=COURSE, scope="course", enabled=True):
    """Add an override row, as the admin does."""
    FlagOverride(flag=flag, scope=scope, key=key, force=value, enabled=enabled).save()


def everyone(flag, value):
    """Set a flag for everyone; in a test that rolls back nothing commits, so waffle's cache is emptied by hand."""
    row, _ = get_waffle_flag_model().objects.get_or_create(name=flag)
    row.everyone = value
    row.save()
    row.flush()


def flags(course=COURSE):
    """The flags at the next request, whichever way they are asked for."""
    RequestCache.clear_all_namespaces()
    found = course_lookup.look_up(course, "s", toggles.FLAGS, toggles.org_of(course))
    in_one = toggles._keep(course, toggles._forced(found.overrides), found.everyone)
    RequestCache.clear_all_namespaces()
    assert toggles.flags_for(course) == in_one
    return in_one


def phase(course=COURSE):
    """The phase at the next request, whichever way it is asked for."""
    RequestCache.clear_all_namespaces()
    in_one = toggles.phase_and_switch(course)[0].phase
    RequestCache.clear_all_namespaces()
    assert toggles.phase_of(course).phase == in_one
    return in_one


def tick(dual_write, target_primary, course=COURSE):
    force(DUAL, dual_write, course)
    force(PRIMARY, target_primary, course)


def permit(step, until=timedelta(hours=1), course=COURSE):
    rows.permitted(step, course, until)


# Which override counts


@in_process
@pytest.mark.parametrize("flag", toggles.FLAGS)
@pytest.mark.parametrize(("course", "org", "all_courses"), list(itertools.product([None, False, True], repeat=3)))
def test_course_before_organisation_before_everyone(flag, course, org, all_courses):
    # Written with the strongest last and first: the order of writing must not matter.
    if all_courses is not None:
        everyone(flag, all_courses)
    if course is not None:
        force(flag, course)
    if org is not None:
        force(flag, org, "ExU", "org")
    expected = next((value for value in (course, org, all_courses) if value is not None), False)
    assert flags()[toggles.FLAGS.index(flag)] is expected
    assert flags()[1 - toggles.FLAGS.index(flag)] is False


@in_process
def test_the_newest_row_counts():
    force(DUAL, True)
    force(DUAL, False)
    assert flags() == (False, False)
    force(DUAL, True)
    assert flags() == (True, False)


@in_process
def test_a_newest_row_that_is_not_enabled_forces_nothing():
    everyone(DUAL, True)
    force(DUAL, False)
    assert flags() == (False, False)
    force(DUAL, False, enabled=False)
    assert flags() == (True, False)
    force(DUAL, False, "ExU", "org")
    force(DUAL, True, "ExU", "org", enabled=False)
    assert flags() == (True, False)


@in_process
def test_rows_of_the_same_moment_count_in_the_order_in_which_they_were_written():
    for value in (True, False, True):
        force(DUAL, value)
    FlagOverride.objects.update(change_date=now())
    assert flags() == (True, False)


@in_process
def test_only_this_course_its_organisation_and_everyone_count():
    force(DUAL, True, "course-v1:ExU+PY1+2027")
    force(DUAL, True, "Other", "org")
    force(DUAL, True, "ExU", "course")
    force(DUAL, True, COURSE, "org")
    force("migration_shim.kill_switch", True)
    assert flags() == (False, False)


@in_process
def test_percentages_users_and_staff_do_not_count():
    row = get_waffle_flag_model()(name=DUAL, percent="99.9", superusers=True, staff=True, authenticated=True)
    row.save()
    row.flush()
    assert flags() == (False, False)


@in_process
@pytest.mark.parametrize("pair", [("course-v1:Org+MISC1+1", "course-v1:Org+misc1+1"), ("Org/MISC1/1", "Org/misc1/1")])
def test_courses_that_differ_in_case_only_share_nothing(pair):
    """MariaDB's usual collations take them for one."""
    upper, lower = pair
    tick(True, False, upper)
    assert flags(upper) == (True, False)
    assert flags(lower) == (False, False)
    assert phase(upper) == Phase.SHADOW
    assert phase(lower) == Phase.LEGACY
    permit(Phase.LIVE, course=upper)
    tick(True, True, upper)
    tick(True, True, lower)
    assert phase(upper) == Phase.LIVE
    assert phase(lower) == Phase.LEGACY
    assert PhaseChange.objects.filter(course_id=lower).count() == 0
    force(DUAL, True, "ORG", "org")
    assert flags("course-v1:Org+x+1") == (False, False)


@in_process
def test_forced_flags_are_two_rows_with_their_author():
    user = get_user_model().objects.create_user("ada")
    toggles.force_flags(COURSE, True, True, user=user, note="x" * 300)
    found = FlagOverride.objects.order_by("id").values_list("flag", "scope", "key", "force", "enabled", "changed_by")
    assert list(found) == [(flag, "course", COURSE, True, True, user.pk) for flag in toggles.FLAGS]
    assert {row.note for row in FlagOverride.objects.all()} == {"x" * 255}
    assert toggles.flags_for(COURSE) == (True, True)


# Seen at the next request


@in_process
def test_a_request_sees_one_state_of_the_flags():
    assert toggles.flags_for(COURSE) == (False, False)
    force(DUAL, True)
    assert toggles.flags_for(COURSE) == (False, False)
    toggles.new_work_cycle()
    assert toggles.flags_for(COURSE) == (True, False)


@in_process
def test_a_submission_learns_flags_phase_and_switch_in_one_statement_and_from_no_cache(
    django_assert_num_queries, monkeypatch
):
    """Whatever django-waffle's cache says: it is not asked, and so cannot hold a learner."""
    everyone(DUAL, True)
    rows.in_phase("shadow")
    monkeypatch.setattr(waffle_models, "get_cache", lambda: pytest.fail("the cache was asked"))
    with django_assert_num_queries(1):
        decision, stopped = toggles.phase_and_switch(COURSE)
    assert (decision.phase, stopped) == (Phase.SHADOW, False)


@in_process
def test_both_flags_cost_one_statement_a_request_and_one_more_for_each_that_is_not_forced(django_assert_num_queries):
    with django_assert_num_queries(3):
        toggles.flags_for(COURSE)
        toggles.flags_for(COURSE)
    tick(True, False)
    RequestCache.clear_all_namespaces()
    with django_assert_num_queries(1):
        toggles.flags_for(COURSE)


@in_process
def test_a_request_goes_on_with_the_flags_that_it_has_seen():
    rows.in_phase("shadow")
    force(DUAL, True)
    assert toggles.phase_and_switch(COURSE)[0].phase is Phase.SHADOW
    force(DUAL, False)
    assert toggles.phase_and_switch(COURSE)[0].phase is Phase.SHADOW
    toggles.new_work_cycle()
    assert toggles.phase_and_switch(COURSE)[0].phase is Phase.LEGACY


@in_process
@pytest.mark.parametrize("default", [True, False])
def test_a_kill_switch_that_nobody_has_made_is_what_django_waffle_says(settings, default):
    settings.WAFFLE_SWITCH_DEFAULT = default
    assert toggles.phase_and_switch(COURSE)[1] is default
    get_waffle_switch_model().objects.create(name=toggles.KILL_SWITCH.name, active=not default)
    assert toggles.phase_and_switch(COURSE)[1] is not default


@in_process
@pytest.mark.parametrize("permitted", [True, False])
def test_the_one_statement_reads_the_record_as_the_orm_does(permitted):
    if permitted:
        permit(Phase.LIVE)
    else:
        rows.in_phase(Phase.SHADOW)
    wanted = CoursePhase.objects.get()
    found = course_lookup.look_up(COURSE, "s").record
    for field in CoursePhase._meta.concrete_fields:
        assert getattr(found, field.attname) == getattr(wanted, field.attname)
    assert (found._state.adding, found._state.db) == (wanted._state.adding, wanted._state.db)
    assert course_lookup.look_up(f"{COURSE}x", "s").record is None


@shared
def test_the_one_statement_scans_no_table():
    """Neither other courses' overrides nor their phases are read. (``ANALYZE`` commits.)"""
    if connection.vendor != "mysql":
        pytest.skip("SQLite plans otherwise")
    for model in (FlagOverride, CoursePhase):
        key = "key" if model is FlagOverride else "course_id"
        extra = {"flag": DUAL, "scope": "course"} if model is FlagOverride else {}
        model.objects.bulk_create([model(**{key: f"course-v1:ExU+C{number}+1"}, **extra) for number in range(2000)])
    tick(True, False)
    with connection.cursor() as cursor:
        for table in (FlagOverride, CoursePhase):
            cursor.execute(f"ANALYZE TABLE {table._meta.db_table}")
        cursor.execute("FLUSH STATUS")
        found = course_lookup.look_up(COURSE, toggles.KILL_SWITCH.name, toggles.FLAGS, "ExU")
        cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
        read = sum(int(number) for name, number in cursor.fetchall() if name != "Handler_read_rnd_deleted")
    assert len(found.overrides) == 2
    assert read < 30


FLIP = """
from migration_shim.models import FlagOverride
FlagOverride(flag={flag!r}, scope={scope!r}, key={key!r}, force={value}, enabled={enabled}).save()
"""


@shared
def test_flips_from_another_process_are_seen_at_the_next_request():
    assert flags() == (False, False)
    assert toggles.kill_switch_on() is False
    steps = [
        (FLIP.format(flag=DUAL, scope="org", key="ExU", value=True, enabled=True), (True, False)),
        (FLIP.format(flag=DUAL, scope="course", key=COURSE, value=False, enabled=True), (False, False)),
        (FLIP.format(flag=DUAL, scope="course", key=COURSE, value=False, enabled=False), (True, False)),
    ]
    for code, expected in steps:
        before = toggles.flags_for(COURSE)
        ran = rows.manage("shell", "-c", code)
        assert ran.returncode == 0, ran.stderr
        assert toggles.flags_for(COURSE) == before
        assert flags() == expected
    for words, expected in (
        (("waffle_flag", PRIMARY, "--everyone", "--create"), (True, True)),
        (("waffle_flag", PRIMARY, "--deactivate"), (True, False)),
    ):
        assert rows.manage(*words).returncode == 0
        assert flags() == expected


@shared
def test_the_kill_switch_of_another_process_counts_at_once_whatever_a_cache_has_kept():
    assert toggles.KILL_SWITCH.is_enabled() is False
    for state in ("on", "off"):
        assert rows.manage("waffle_switch", "migration_shim.kill_switch", state, "--create").returncode == 0
        assert toggles.kill_switch_on() is (state == "on")
        assert toggles.stop_reason() == ("kill switch" if state == "on" else "")


@in_process
def test_a_cache_that_was_not_told_of_the_kill_switch_lets_no_run_go_on():
    switch = get_waffle_switch_model().objects.create(name=toggles.KILL_SWITCH.name, active=False)
    assert toggles.KILL_SWITCH.is_enabled() is False  # the shared cache has it now
    get_waffle_switch_model().objects.filter(pk=switch.pk).update(active=True)
    assert toggles.stop_reason() == "kill switch"
    toggles.new_work_cycle()
    assert toggles.KILL_SWITCH.is_enabled() is False  # as one of another process still is


# Past the gate nobody gets by ticking


@in_process
@pytest.mark.parametrize(
    "order", list(itertools.permutations(["dual", "primary", "dual everyone", "primary everyone"]))
)
@pytest.mark.parametrize("start", [Phase.LEGACY, Phase.SHADOW])
def test_no_order_of_ticking_makes_the_target_authoritative(order, start):
    if start is Phase.SHADOW:
        rows.in_phase(start)
    steps = {
        "dual": lambda: force(DUAL, True),
        "primary": lambda: force(PRIMARY, True),
        "dual everyone": lambda: everyone(DUAL, True),
        "primary everyone": lambda: everyone(PRIMARY, True),
    }
    for name in order:
        steps[name]()
        assert phase().authority is Authority.LEGACY
        assert phase("course-v1:ExU+PY2+2026").authority is Authority.LEGACY
    decision = toggles.phase_of(COURSE)
    assert decision.drift
    assert decision.asked is Phase.LIVE


@in_process
@pytest.mark.parametrize("asked", [Phase.LIVE, Phase.COMPLETE])
def test_a_permit_opens_one_step_once(asked):
    rows.in_phase("shadow")
    permit(Phase.LIVE)
    tick(*FLAGS[asked])
    assert phase() == (Phase.LIVE if asked is Phase.LIVE else Phase.SHADOW)
    if asked is Phase.LIVE:
        course = CoursePhase.objects.get()
        assert (course.permit, course.permit_until) == ("", None)
        tick(*FLAGS[Phase.COMPLETE])
        assert phase() is Phase.LIVE
        tick(*FLAGS[Phase.SHADOW])
        assert phase() is Phase.SHADOW
        tick(*FLAGS[Phase.LIVE])
        assert phase() is Phase.SHADOW


@in_process
def test_a_permit_for_live_does_not_skip_shadow():
    permit(Phase.LIVE)
    tick(True, True)
    assert phase() is Phase.LEGACY


@in_process
def test_an_expired_permit_opens_nothing():
    rows.in_phase("shadow")
    permit(Phase.LIVE, until=timedelta(seconds=-1))
    tick(True, True)
    assert phase() is Phase.SHADOW
    permit(Phase.LIVE, until=timedelta(seconds=60))
    assert phase() is Phase.LIVE


@in_process
def test_a_permit_without_an_end_opens_nothing():
    rows.in_phase("shadow")
    CoursePhase.objects.update(permit=Phase.LIVE, permit_until=None)
    tick(True, True)
    assert phase() is Phase.SHADOW


@in_process
@pytest.mark.parametrize("recorded", list(Phase))
def test_legacy_is_always_obeyed_at_once(recorded):
    rows.in_phase(recorded)
    tick(*FLAGS[recorded])
    assert phase() is recorded
    tick(False, False)
    assert phase() is Phase.LEGACY
    assert CoursePhase.objects.get().phase == Phase.LEGACY


@in_process
def test_a_course_of_which_nothing_is_known_is_in_legacy():
    decision = toggles.phase_of(COURSE)
    assert (decision.phase, decision.drift, decision.changed) == (Phase.LEGACY, False, False)
    assert not CoursePhase.objects.exists()


# Written down once


@in_process
def test_a_step_taken_by_hand_is_written_down_once():
    tick(True, False)
    for _ in range(3):
        assert phase() is Phase.SHADOW
    change = PhaseChange.objects.get()
    assert (change.course_id, change.step_from, change.step_to) == (COURSE, Phase.LEGACY, Phase.SHADOW)
    assert change.changed_by == "flag"
    assert now() - change.changed_at < timedelta(minutes=1)
    assert CoursePhase.objects.get().since == pytest.approx(change.changed_at, abs=timedelta(seconds=5))


@shared
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("threads", [2, 4])
def test_a_step_seen_by_many_at_the_same_moment_is_written_down_once(known, threads):
    if known:
        rows.in_phase("legacy")
    tick(True, False)
    seen = at_once(threads, lambda: toggles.phase_of(COURSE).phase)
    assert seen == [Phase.SHADOW] * threads
    assert PhaseChange.objects.count() == 1
    assert CoursePhase.objects.count() == 1


@shared
def test_a_deadlock_of_those_who_make_a_course_s_record_keeps_nobody_from_the_step(monkeypatch):
    """MariaDB ended one of four sessions so, once in thousands of times."""
    make = CoursePhase.objects.get_or_create
    answers = iter([OperationalError(1213, "Deadlock found when trying to get lock"), None])

    def get_or_create(**values):
        if (error := next(answers)) is not None:
            raise error
        return make(**values)

    monkeypatch.setattr(CoursePhase.objects, "get_or_create", get_or_create)
    tick(True, False)
    assert toggles.phase_of(COURSE).phase is Phase.SHADOW
    assert next(answers, "asked twice") == "asked twice"


def at_once(number, action):
    """Let so many threads, each with connections of its own, do something at the same moment; what they got."""
    found, start = [], threading.Barrier(number)

    def work():
        with own_connections():
            connections["default"].ensure_connection()
            start.wait(20)
            try:
                found.append(action())
            except Exception as error:
                found.append(error)

    threads = [threading.Thread(target=work) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@contextmanager
def own_connections():
    RequestCache.clear_all_namespaces()
    try:
        yield
    finally:
        connections.close_all()
