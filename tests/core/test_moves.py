"""Which move may follow which: the whole table, against the lives that the records of handoff and return tell of."""

import itertools
import re
from pathlib import Path

import pytest

from migration_shim.core import moves
from migration_shim.core.data import Move
from migration_shim.core.errors import IllegalMove

# Written by hand from docs/decisions/0010 and 0011: the ways that a submission can go, each from end to end.
LIVES = (
    "none held fenced released watched",  # a handoff
    "none held none",  # legacy went on with the row before it was fenced
    "none held fenced none",  # or after it, or a newer attempt replaced it
    "watched watched",  # legacy's row was found alive once more, and retired again
    "none returning returned",  # a return of the target's own row
    "released returning returned",  # of one that a handoff brought
    "watched returning returned",
    "none returning none",  # replaced on its way back
    "returned held",  # handed off again
    "returned returning",  # and taken back again, should the target have it once more
)
ALLOWED = {pair for life in LIVES for pair in itertools.pairwise(life.split())}


@pytest.mark.parametrize("before", list(Move))
@pytest.mark.parametrize("to", list(Move))
def test_every_pair(before, to):
    allowed = (before.value, to.value) in ALLOWED
    assert moves.may_follow(before, to) is allowed
    if allowed:
        assert moves.check(before.value, to) is to
        return
    with pytest.raises(IllegalMove) as error:
        moves.check(before.value, to)
    assert (error.value.before, error.value.to) == (before, to)
    assert before.value in str(error.value) and to.value in str(error.value)


def test_whatever_is_between_the_systems_can_come_to_rest_again():
    for before in Move:
        seen, ahead = {before}, [before]
        while ahead:
            ahead = [to for move in ahead for to in moves.PERMITTED[move] if to not in seen]
            seen.update(ahead)
        assert seen & {Move.NONE, Move.WATCHED, Move.RETURNED}


def test_the_reference_page_has_the_same_table():
    page = (Path(__file__).parents[2] / "docs" / "reference" / "phases.rst").read_text(encoding="utf-8")
    rows = re.findall(r"\* - ``(\w+)``\n     - .*\n     - (.*)\n", page.partition("Moves of a submission")[2])
    table = {before: re.findall(r"``(\w+)``", after) for before, after in rows}
    assert table == {before.value: [to.value for to in after] for before, after in moves.PERMITTED.items()}
