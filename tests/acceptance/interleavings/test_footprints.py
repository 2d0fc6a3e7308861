"""Footprints: what a step touches, and which switches are left when those that make no difference are gone."""

import itertools

import pytest

from tests.acceptance.interleavings import schedules
from tests.acceptance.interleavings.footprints import Footprint, Meeting, footprints
from tests.acceptance.interleavings.schedules import Turn, written

TABLES = frozenset(["entry", "course", "other"])


@pytest.mark.parametrize(
    "step, reads, writes, lasts",
    [
        ("default: SELECT `entry`.`id` FROM `entry` WHERE `entry`.`course` = 1", {"entry"}, set(), False),
        ("default: SELECT * FROM entry JOIN course ON 1", {"entry", "course"}, set(), False),
        ("default: SELECT `entry`.`id` FROM `entry` FOR UPDATE SKIP LOCKED", set(), {"entry"}, False),
        ("default: INSERT INTO `entry` (`id`) VALUES (%s)", set(), {"entry"}, False),
        ("xqueue alone: UPDATE `entry` SET `id` = 1", set(), {"entry"}, True),
        ("default: SELECT 1", set(), set(), False),
        ("COMMIT", set(), set(), True),
        ("POST /sink", set(), {"*"}, True),
    ],
)
def test_what_a_step_touches(step, reads, writes, lasts):
    assert footprints([step], TABLES) == [Footprint(frozenset(reads), frozenset(writes), lasts)]


def test_an_end_shows_and_frees_what_its_transaction_has_written():
    found = footprints(["default: UPDATE `entry`", "xqueue: DELETE FROM `other`", "ROLLBACK", "COMMIT"], TABLES)
    assert [one.writes for one in found[2:]] == [frozenset(["entry", "other"]), frozenset()]


@pytest.mark.parametrize(
    "one, other, depend",
    [
        ("default: UPDATE `entry`", "default: SELECT `entry`", True),
        ("default: UPDATE `entry`", "default: UPDATE `entry`", True),
        ("default: SELECT `entry`", "default: SELECT `entry`", False),
        ("default: UPDATE `entry`", "default: UPDATE `other`", False),
        ("POST /sink", "default: SELECT `entry`", True),
        ("POST /sink", "default: SELECT 1", False),
    ],
)
def test_what_depends_on_what(one, other, depend):
    (first,), (second,) = footprints([one], TABLES), footprints([other], TABLES)
    assert first.depends_on(second) is second.depends_on(first) is depend


def test_operations_that_touch_nothing_of_each_other_meet_in_no_place():
    meeting = Meeting(([["default: UPDATE `entry`", "COMMIT"]], [["default: UPDATE `other`", "COMMIT"]]), TABLES)
    found = [written(one) for one in schedules.every(meeting.steps, meeting)]
    assert found == ["A B", "B A", "A1 B A", "A1! B", "B1 A B", "B1! A"]


STEPS = ("r entry", "w entry", "r course", "w course", "r other", "w other")


@pytest.mark.parametrize("seed", range(40))
def test_every_run_that_there_can_be_is_among_those_that_are_left(seed):
    """A second path: what operations see of single statements is worked out for all schedules and for those left."""
    some = list(itertools.product(STEPS, repeat=4))
    runs = [list(some[(seed * 53) % len(some)]), list(some[(seed * 97 + 31) % len(some)])]
    sql = {"r": "default alone: SELECT `{}`", "w": "default alone: UPDATE `{}`"}
    meeting = Meeting(tuple([[sql[step[0]].format(step[2:]) for step in run]] for run in runs), TABLES)
    everything = {_seen(runs, one) for one in schedules.every(meeting.steps)}
    assert {_seen(runs, one) for one in schedules.every(meeting.steps, meeting)} == everything


def _seen(runs, schedule):
    """What each that did not die has read, and what is in the tables in the end: all writes, in their order."""
    tables, seen, done, dead = {}, {0: [], 1: []}, [0, 0], {turn.player for turn in schedule if turn.dies}
    for turn in (*schedule, *(Turn(player) for player in (0, 1) if player not in dead)):
        run, start = runs[turn.player], done[turn.player]
        done[turn.player] = len(run) if turn.steps is None else min(len(run), start + turn.steps)
        for place in range(start, done[turn.player]):
            kind, table = run[place].split()
            if kind == "r":
                seen[turn.player].append((place, tables.get(table, ())))
            else:
                tables[table] = (*tables.get(table, ()), (turn.player, place))
    kept = [(player, tuple(seen[player])) for player in (0, 1) if player not in dead]
    return tuple(kept), tuple(sorted(tables.items()))
