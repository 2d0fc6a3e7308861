"""
What a learner's own state waits for: CAPA's queue state in ``courseware.StudentModule``.

That state alone decides whose grade reaches the learner: CAPA takes a reply only for the key that it holds. Sources:
edx-platform's ``lms/djangoapps/courseware/models.py``, CAPA's ``correctmap.py``.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import router
from django.db.models import BigIntegerField, Q

from ..core.attempts import Queued


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One input of a problem for one learner: the callback URL's user id, keys as text, and CAPA's id of the input."""

    user_id: str
    course_id: str
    item_id: str
    answer_id: str


def queued(inputs: Iterable[Input]) -> dict[Input, Queued]:
    """
    What the learners' states wait for. Two statements, on the primary; not to be called inside a transaction, whose
    snapshot may be older.

    Left out is what cannot be read: outside an LMS everything, a learner who is not there, a state that is no JSON.
    """
    # A callback may name a user that no database can: nobody.
    wanted = {one for one in inputs if int(one.user_id) <= BigIntegerField.MAX_BIGINT}
    model = _model()
    if model is None or not wanted:
        return {}
    alias, users = router.db_for_write(model), {int(one.user_id) for one in wanted}
    there = set(get_user_model().objects.using(alias).filter(pk__in=users).values_list("pk", flat=True))
    # Problem by problem: a state is large, and of every learner with every other one's problem nobody has asked.
    learners: dict[tuple[str, str], set[int]] = defaultdict(set)
    for one in wanted:
        learners[one.course_id, one.item_id].add(int(one.user_id))
    asked = Q()
    for (course, item), its in learners.items():
        asked |= Q(student_id__in=its, course_id=course, module_state_key=item)
    rows = model.objects.using(alias).filter(asked)
    # The platform's columns are compared without case: what came back is looked at exactly.
    states = {
        (user_id, str(course_id), str(item_id)): state
        for user_id, course_id, item_id, state in rows.values_list(
            "student_id", "course_id", "module_state_key", "state"
        )
    }
    found = {}
    for one in wanted:
        if int(one.user_id) in there:
            state = states.get((int(one.user_id), one.course_id, one.item_id))
            if (read := _read(state, one.answer_id)) is not None:
                found[one] = read
    return found


def _model() -> Any:
    try:
        return apps.get_model("courseware", "StudentModule")
    except LookupError:
        return None


def _read(state: str | None, answer_id: str) -> Queued | None:
    """What one input waits for; None where the state cannot be read."""
    if not state:
        return Queued(key=None)  # nothing was saved yet
    try:
        entry = (json.loads(state).get("correct_map") or {}).get(answer_id) or {}
        key = (entry.get("queuestate") or {}).get("key")
    except (ValueError, AttributeError, RecursionError):
        return None
    return Queued(key=key if isinstance(key, str) else None)
