"""
A learner's own state in ``courseware.StudentModule``: the reply that it waits for, and the grade that it holds.

That state alone decides whose grade reaches the learner, because CAPA takes a reply only for the key that it holds. No
other module knows the table. Sources: edx-platform's ``lms/djangoapps/courseware/models.py``, CAPA's ``correctmap.py``,
``capa_block.py``. Learners can make a state grow, so each is read up to a limit. One that cannot be read is named, and
stops nothing else.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import connections, router
from django.db.models import BigIntegerField

from ..core import json_text
from ..core.supersession import Queued
from ..db import bulk

#: How many states are read together; each may be as large as the limit for one.
AT_ONCE = 200


class Place(NamedTuple):
    """One problem of one learner: the callback URL's user id, and keys as text."""

    user_id: str
    course_id: str
    item_id: str


class Input(NamedTuple):
    """One input of a problem for one learner, by CAPA's id of the input."""

    user_id: str
    course_id: str
    item_id: str
    answer_id: str

    @property
    def place(self) -> Place:
        """The problem that the input belongs to."""
        return Place(*self[:3])


class InputState(NamedTuple):
    """
    What a state holds of one input: the key that it waits for, and the grade; None for either where there is none.
    """

    key: str | None = None
    correct: bool | None = None
    score: float | None = None


class Problem(NamedTuple):
    """
    A learner's state of one problem.

    ``inputs`` are the answered inputs by id, ``submitted_at`` is the time of the last submission. ``unreadable`` says
    why the state cannot be read; it is empty where it was read.
    """

    inputs: Mapping[str, InputState] = MappingProxyType({})
    submitted_at: datetime | None = None
    unreadable: str = ""

    def waits_for(self, key: str) -> bool:
        """Tell whether any of its inputs waits for the reply to this key."""
        return bool(key) and any(held.key == key for held in self.inputs.values())


def is_lms() -> bool:
    """Tell whether learners' states exist here; outside an LMS they do not."""
    return _model() is not None


def problems(places: Iterable[Place], *, lock: bool = False) -> dict[Place, Problem]:
    """
    Return the states of these problems, read on the primary in two statements per ``AT_ONCE``.

    Do not call it inside a transaction, whose snapshot may be older, except with ``lock``: then the states are read as
    they are now, and cannot change until the transaction ends. Learners who do not exist are left out; outside an LMS,
    all are.
    """
    # A callback may name a user id that no database can hold; no user has it.
    wanted = {one for one in places if int(one.user_id) <= BigIntegerField.MAX_BIGINT}
    model = _model()
    if model is None:
        return {}
    in_order = sorted(wanted, key=lambda one: (one.course_id, one.item_id))
    found: dict[Place, Problem] = {}
    for start in range(0, len(in_order), AT_ONCE):
        found |= _problems(model, in_order[start : start + AT_ONCE], lock=lock)
    return found


def _problems(model: Any, wanted: list[Place], *, lock: bool) -> dict[Place, Problem]:
    alias = router.db_for_write(model)
    there = _there({int(one.user_id) for one in wanted}, alias)
    # Problem by problem, because a state is large, and not every combination of learner and problem was asked for.
    learners: dict[tuple[str, str], set[int]] = defaultdict(set)
    for one in wanted:
        learners[one.course_id, one.item_id].add(int(one.user_id))
    rows = _rows(model, learners, alias, lock=lock)
    # The platform's columns are compared without case, so the texts that came back are compared exactly here.
    states = {(user_id, course_id, item_id): _read(text) for user_id, course_id, item_id, text in rows}
    nothing = Problem()  # nothing was saved yet, or it was taken away
    return {
        one: states.get((int(one.user_id), one.course_id, one.item_id), nothing)
        for one in wanted
        if int(one.user_id) in there
    }


def _rows(
    model: Any, learners: Mapping[tuple[str, str], set[int]], alias: str, *, lock: bool
) -> list[tuple[int, str, str, str | None]]:
    """
    Return (learner, course, problem, beginning of the state) as the database has them, in one statement.

    The statement is written by hand, because a query's conditions would look at each learner's number several times.
    """
    here = connections[alias]
    quote = here.ops.quote_name
    fields = [model._meta.get_field(name) for name in ("student_id", "course_id", "module_state_key", "state")]
    student, course, item, state = (quote(field.column) for field in fields)
    # One character more than the limit, so that a longer state is recognized without being fetched.
    parameters: list[Any] = [json_text.SIZE_LIMIT + 1]
    asked = []
    for place, its in learners.items():
        asked.append(f"({student} IN ({bulk.numbers(its)}) AND {course} = %s AND {item} = %s)")
        pairs = zip(fields[1:3], place, strict=True)
        parameters += [field.get_db_prep_value(value, here) for field, value in pairs]
    sql = f"SELECT {student}, {course}, {item}, SUBSTR({state}, 1, %s) FROM {quote(model._meta.db_table)} WHERE "
    sql += " OR ".join(asked) + " FOR UPDATE" * (lock and here.features.has_select_for_update)
    with here.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall()


def queued(inputs: Iterable[Input]) -> dict[Input, Queued]:
    """Return what the learners' states wait for at these inputs. Inputs whose state cannot be read are left out."""
    wanted = set(inputs)
    found = problems({one.place for one in wanted})
    return {
        one: Queued(key=its.inputs[one.answer_id].key if one.answer_id in its.inputs else None)
        for one in wanted
        if (its := found.get(one.place)) is not None and not its.unreadable
    }


def _there(users: set[int], alias: str) -> set[int]:
    """Return which of these users exist."""
    model = get_user_model()
    key = model._meta.pk.attname
    among: dict[str, Any] = {key: users}
    return {pk for (pk,) in bulk.select(model, (key,), using=alias, **among)}


def _model() -> Any:
    try:
        return apps.get_model("courseware", "StudentModule")
    except LookupError:
        return None


def _read(text: str | None) -> Problem:
    if not text:
        return Problem()
    try:
        state = json_text.loads(text)
    except json_text.Unreadable as error:
        return Problem(unreadable=error.reason)
    except ValueError:
        return Problem(unreadable="no_json")
    if not isinstance(state, dict):
        return Problem(unreadable="no_object")
    answered = state.get("correct_map") or {}
    if not isinstance(answered, dict) or not all(isinstance(one, dict | None) for one in answered.values()):
        return Problem(unreadable="no_correct_map")
    inputs = {answer_id: _input_state(one or {}) for answer_id, one in answered.items()}
    return Problem(inputs=inputs, submitted_at=_time(state.get("last_submission_time")))


def _input_state(entry: dict[str, Any]) -> InputState:
    waits, correctness = entry.get("queuestate"), entry.get("correctness")
    key = waits.get("key") if isinstance(waits, dict) else None
    return InputState(
        key=key if isinstance(key, str) else None,
        correct={"correct": True, "incorrect": False}.get(correctness) if isinstance(correctness, str) else None,
        score=_score(entry.get("npoints")),
    )


def _score(value: Any) -> float | None:
    """Return a score as the ledger keeps it; None for what is no number, or none that a database can hold."""
    if not isinstance(value, int | float):
        return None
    try:
        score = float(value)
    except OverflowError:
        return None
    return score if math.isfinite(score) else None


def _time(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
