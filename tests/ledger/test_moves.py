"""The one writer of a move: it writes what is permitted, once, and nobody else writes it."""

import ast
from pathlib import Path

import pytest

import migration_shim
from migration_shim.core.data import Move
from migration_shim.core.errors import IllegalMove
from migration_shim.core.moves import PERMITTED
from migration_shim.ledger import moves
from migration_shim.models import LedgerEntry
from tests.builders import rows

ROOT = Path(migration_shim.__file__).parent
#: Calls whose ``move=`` is a condition, and no column that is written.
READING = {"filter", "exclude", "Q", "LedgerFacts"}


@pytest.mark.django_db
@pytest.mark.parametrize("before", list(Move))
@pytest.mark.parametrize("to", list(Move))
def test_every_pair_is_written_or_refused(before, to):
    rows.entries(1, move=before)
    entry = LedgerEntry.objects.get()
    if to in PERMITTED[before]:
        assert moves.compare_and_set(entry, to, moved_at=entry.created_at)
        assert LedgerEntry.objects.get().moved_at == entry.created_at
    else:
        with pytest.raises(IllegalMove):
            moves.compare_and_set(entry, to)
        with pytest.raises(IllegalMove):
            moves.assign(entry, to)
    assert LedgerEntry.objects.get().move == (to if to in PERMITTED[before] else before)


@pytest.mark.django_db
def test_of_two_sessions_the_second_writes_nothing():
    rows.entries(1, move=Move.HELD)
    first, second = LedgerEntry.objects.get(), LedgerEntry.objects.get()
    assert moves.compare_and_set(first, Move.NONE)
    assert not moves.compare_and_set(second, Move.FENCED)
    assert LedgerEntry.objects.get().move == Move.NONE


def writes(tree):
    """The lines of a module that write a move: to an attribute, as a keyword of an update, as a key of its values."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                yield from (
                    one.lineno for one in ast.walk(target) if isinstance(one, ast.Attribute) and one.attr == "move"
                )
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name == "setattr" and any(isinstance(one, ast.Constant) and one.value == "move" for one in node.args):
                yield node.lineno
            if name not in READING and any(keyword.arg == "move" for keyword in node.keywords):
                yield node.lineno
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "move" and names_a_move(value):
                    yield node.lineno


def names_a_move(node):
    return any(isinstance(one, ast.Name) and one.id == "Move" for one in ast.walk(node))


def test_nobody_else_writes_a_move():
    found = {
        f"{path.relative_to(ROOT)}:{line}"
        for path in ROOT.rglob("*.py")
        if "migrations" not in path.parts
        for line in writes(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert {place.partition(":")[0] for place in found} == {"ledger/moves.py"}


@pytest.mark.parametrize(
    "text",
    [
        "entry.move = Move.HELD",
        "entry.move, entry.moved_at = Move.NONE, None",
        "LedgerEntry.objects.update(move='held')",
        "update_unchanged(entry, move=Move.WATCHED)",
        "values = {'move': Move.RETURNING}",
        "setattr(entry, 'move', to)",
    ],
)
def test_the_search_finds_each_way_to_write_one(text):
    assert list(writes(ast.parse(text)))
