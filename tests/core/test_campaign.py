"""The next step of a course: every fact that holds it up, in the order in which a person would be told of it."""

import dataclasses
from datetime import timedelta
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_shim.core.campaign import (
    IN_WINDOWS,
    LEAVES_SLOT_AFTER,
    READS_ALL,
    Action,
    CourseFacts,
    Health,
    Next,
    Preflight,
    Wish,
    in_flight,
    is_well,
    next_step,
    waits_for_turn,
)
from migration_shim.core.data import Phase

HOUR = timedelta(hours=1)
WISH = Wish(to=Phase.COMPLETE, soak=48 * HOUR)
FRESH = Preflight(age=HOUR / 2)


def facts(**fields):
    """A course in shadow of which nothing is missing, but for what is named."""
    values = {
        "phase": Phase.SHADOW,
        "since": 72 * HOUR,
        "health": Health.WELL,
        "preflight": FRESH,
        "history": True,
        "reconciled": True,
        "permitted": True,
    }
    return CourseFacts(**(values | fields))


def step(closed="", turn="", wish=WISH, **fields):
    return next_step(facts(**fields), wish, closed=closed, turn=turn)


def test_the_way_from_legacy_to_complete():
    way = [
        {"phase": Phase.LEGACY, "preflight": Preflight()},
        {"phase": Phase.LEGACY},
        {"history": False},
        {"reconciled": False},
        {"preflight": Preflight(age=13 * HOUR)},
        {"preflight": Preflight(age=HOUR / 2, unpolled=("q.reverse",))},
        {"preflight": Preflight(age=HOUR / 2, unpolled=("q.reverse",), polled_since=True), "probed": HOUR},
        {"permitted": False},
        {},
        {"phase": Phase.LIVE, "reconciled": False},
        {"phase": Phase.LIVE, "permitted": False},
        {"phase": Phase.LIVE},
        {"phase": Phase.COMPLETE, "reconciled": False},
    ]
    taken = [step(**fields).action for fields in way]
    assert taken == [
        Action.PREFLIGHT,
        Action.SHADOW,
        Action.HISTORY,
        Action.RECONCILE,
        Action.PREFLIGHT,
        Action.PROBE,
        Action.PREFLIGHT,
        Action.GATE,
        Action.LIVE,
        Action.RECONCILE,
        Action.GATE,
        Action.COMPLETE,
        Action.RECONCILE,
    ]
    assert step(phase=Phase.COMPLETE) == Next(done=True)


@pytest.mark.parametrize(
    ("fields", "waits"),
    [
        ({"stopped": "parked: by hand"}, "parked: by hand"),
        ({"drift": "live"}, "waits for its flags, which ask for live"),
        ({"health": Health.UNKNOWN, "health_said": "no grade"}, "waits for its health: no grade"),
        ({"lacks": "212 more graded pairs"}, "waits for 212 more graded pairs"),
        ({"phase": Phase.LIVE, "since": 47 * HOUR}, "soaks in live for another 60 min"),
        ({"phase": Phase.LIVE, "since": 3 * HOUR}, "soaks in live for another 45 h"),
        (
            {"preflight": Preflight(age=HOUR / 2, blockers=("push_queue q",))},
            "waits for an operator: preflight blocker push_queue q",
        ),
        (
            {"preflight": Preflight(age=HOUR / 2, unpolled=("q.reverse",)), "probed": HOUR},
            "waits for a grader to pull the probe of queue q.reverse",
        ),
        (
            {"preflight": Preflight(age=HOUR / 2, unready=("reverse_queue_unknown q",))},
            "waits for an operator: preflight blocker reverse_queue_unknown q",
        ),
        (
            {"preflight": Preflight(), "cut_off": HOUR / 2},
            "waits for an operator: its preflight takes longer than a round; the history says more",
        ),
        (
            {"history": False, "cut_off": HOUR},
            "waits for an operator: its history takes longer than a round; the history says more",
        ),
        ({"closed": "waits for the window"}, "waits for the window"),
        ({"turn": "5 courses are in flight"}, "5 courses are in flight"),
    ],
)
def test_what_a_course_waits_for(fields, waits):
    assert step(**fields) == Next(waits=waits)


def test_what_an_operator_has_mended_is_looked_at_again_after_an_hour():
    assert step(preflight=Preflight(age=2 * HOUR, blockers=("push_queue q",))).action is Action.PREFLIGHT


def test_a_blocker_that_only_a_probe_lifts_does_not_keep_a_course_from_shadow():
    unpolled = Preflight(age=HOUR / 2, unpolled=("q.reverse",))
    assert step(phase=Phase.LEGACY, preflight=unpolled).action is Action.SHADOW


def test_a_queue_of_copies_that_xqueue_does_not_know_keeps_a_course_from_live_alone():
    unready = Preflight(age=HOUR / 2, unready=("reverse_queue_unknown q",))
    assert step(phase=Phase.LEGACY, preflight=unready).action is Action.SHADOW
    assert step(preflight=dataclasses.replace(unready, age=2 * HOUR)).action is Action.PREFLIGHT


def test_what_was_cut_off_is_tried_again_after_an_hour():
    assert step(history=False, cut_off=2 * HOUR).action is Action.HISTORY
    assert step(cut_off=HOUR / 2).action is Action.LIVE, "what takes no time is held up by nothing"


@pytest.mark.parametrize("phase", [Phase.SHADOW, Phase.LIVE])
def test_a_campaign_ends_where_it_was_to_end(phase):
    wish = Wish(to=phase, soak=48 * HOUR)
    assert step(phase=phase, wish=wish) == Next(done=True)
    assert step(phase=phase, wish=wish, health=Health.UNKNOWN, health_said="x").waits == "waits for its health: x"
    if phase is Phase.SHADOW:  # it needs neither pairs, nor a probe, nor a preflight for live
        bare = {"lacks": "449 pairs", "preflight": Preflight(), "history": False, "permitted": False, "since": HOUR}
        assert step(phase=phase, wish=wish, **bare) == Next(done=True)


ages = st.sampled_from([None, timedelta(0), HOUR / 2, 2 * HOUR, 13 * HOUR, 100 * HOUR])
texts = st.sampled_from(["", "a reason"])
courses = st.builds(
    CourseFacts,
    phase=st.sampled_from(Phase),
    since=st.sampled_from([timedelta(0), 47 * HOUR, 48 * HOUR, 1000 * HOUR]),
    stopped=texts,
    drift=texts,
    health=st.sampled_from(Health),
    preflight=st.builds(
        Preflight,
        age=ages,
        blockers=st.sampled_from([(), ("push_queue q",)]),
        unready=st.sampled_from([(), ("reverse_queue_unknown q",)]),
        unpolled=st.sampled_from([(), ("q.reverse",)]),
        polled_since=st.booleans(),
    ),
    history=st.booleans(),
    reconciled=st.booleans(),
    lacks=texts,
    probed=ages,
    permitted=st.booleans(),
    cut_off=ages,
)


@settings(max_examples=500, deadline=None, derandomize=True, database=None)
@given(course=courses, to=st.sampled_from(list(Phase)[1:]), closed=texts, turn=texts)
def test_nothing_is_done_that_a_list_of_prohibitions_forbids(course, to, closed, turn):
    """The second path: not what is next, but what must never be, whatever the rest says."""
    wish = Wish(to=to, soak=48 * HOUR)
    found = next_step(course, wish, closed=closed, turn=turn)
    assert bool(found.action) + bool(found.waits) + found.done == 1, "it does one thing, or says why not"
    order, phase = list(Phase), found.action.phase if found.action else None
    if course.stopped or course.drift or order.index(course.phase) > order.index(to):
        assert found.action in (None, Action.RECONCILE) and (found.action is None or not course.stopped)
    if closed:
        assert found.action not in IN_WINDOWS
    if phase:
        assert not turn
        assert order.index(phase) == order.index(course.phase) + 1 <= order.index(to)
        assert not course.preflight.blockers
        assert course.preflight.age is not None and course.preflight.age <= 12 * HOUR
    if phase in (Phase.LIVE, Phase.COMPLETE):
        assert course.permitted and course.reconciled and course.health is Health.WELL and not course.lacks
        assert not course.preflight.unpolled and not course.preflight.unready
    if course.cut_off is not None and course.cut_off <= HOUR:
        assert found.action not in READS_ALL
    if phase is Phase.COMPLETE:
        assert course.since >= 48 * HOUR
    if found.done:
        assert course.health is Health.WELL and course.reconciled and course.phase in order[order.index(to) :]


def test_who_counts_in_the_limit():
    cases = product(Phase, [False, True], [False, True], [timedelta(0), LEAVES_SLOT_AFTER])
    flying = [case for case in cases if in_flight(case[0], well=case[1], stopped=case[2], waited=case[3])]
    assert flying == [
        (Phase.SHADOW, False, False, timedelta(0)),
        (Phase.LIVE, False, False, timedelta(0)),
        (Phase.LIVE, False, True, timedelta(0)),
        (Phase.COMPLETE, False, False, timedelta(0)),
        (Phase.COMPLETE, False, True, timedelta(0)),
    ]


def test_a_course_in_live_is_well_once_it_has_soaked():
    assert not is_well(facts(phase=Phase.LIVE, since=47 * HOUR), WISH)
    assert is_well(facts(phase=Phase.LIVE, since=48 * HOUR), WISH)
    assert is_well(facts(since=HOUR), WISH)
    assert not is_well(facts(health=Health.UNKNOWN), WISH)


def test_the_canary_goes_first_and_the_limit_is_not_exceeded():
    common = {"canary": "a", "limit": 2}
    assert waits_for_turn("b", Phase.LIVE, canary_is_there=False, moved=0, **common) == (
        "the canary a is not healthy in live yet"
    )
    assert waits_for_turn("a", Phase.LIVE, canary_is_there=False, moved=1, **common) == ""
    assert waits_for_turn("b", Phase.LIVE, canary_is_there=True, moved=1, **common) == ""
    assert waits_for_turn("b", Phase.LIVE, canary_is_there=True, moved=2, **common) == (
        "2 courses are in flight, and --limit allows 2"
    )
