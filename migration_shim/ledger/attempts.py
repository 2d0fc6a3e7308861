"""Attempts at one input as the ledger knows them, and what the learner's own state says of them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import NamedTuple, Protocol

from ..core import json_text
from ..core.data import Origin
from ..core.errors import Malformed
from ..core.identity import GRADED_DISPATCH, recover_input
from ..core.supersession import STALL, Attempt, Queued, time_in
from ..core.wire import parse_callback, parse_header
from ..lms import state
from ..models import LedgerEntry

#: The ids of entries written within this time of their arrival are in the order of acceptance.
_AT_ONCE = timedelta(seconds=30)


def queued(entries: Iterable[LedgerEntry]) -> dict[int, Queued]:
    """
    Return what the learners' states wait for at the inputs of these entries, by entry id.

    An entry is left out where no state can be read.
    """
    read = {entry.pk: _input(entry.raw_header, entry.student_info, entry.learner) for entry in entries}
    inputs = {pk: one for pk, one in read.items() if one is not None}
    states = state.queued(inputs.values())
    return {pk: states[one] for pk, one in inputs.items() if one in states}


def is_awaited(raw_header: str, student_info: str, learner: str) -> bool | None:
    """Tell whether the learner's state waits for the reply to a submission; None where the state cannot be read."""
    one = _input(raw_header, student_info, learner)
    found = state.queued([one]).get(one) if one is not None else None
    return None if found is None else found.key == parse_header(raw_header).lms_key


def supersession_gap(awaited: bool | None) -> timedelta:
    """
    Return how much earlier than another an attempt must have begun to be superseded by it.

    ``awaited`` is what ``is_awaited`` says of it.
    """
    return timedelta(0) if awaited is False else STALL


def attempt(entry: LedgerEntry, *, alive: bool) -> Attempt[int]:
    """Return an entry as an attempt."""
    at_once = entry.origin == Origin.ROUTER and entry.created_at - entry.arrived_at < _AT_ONCE
    return Attempt(
        name=entry.pk,
        key=key_of(entry),
        began=entry.arrived_at,
        number=entry.pk if at_once else None,
        alive=alive,
    )


class _WithHeader(Protocol):
    """A ledger entry, or the columns that were read of one."""

    @property
    def raw_header(self) -> str: ...


def key_of(entry: _WithHeader) -> str:
    """Return the key under which CAPA waits for the entry's grade; empty where the residue was dropped."""
    return parse_header(entry.raw_header).lms_key if entry.raw_header else ""


class Submitted(NamedTuple):
    """
    Where the grade of a submission has to arrive: the learner's problem, the key, and the input where it can be told.
    """

    place: state.Place
    key: str
    answer_id: str | None
    #: A Matlab plot carries the key of the graded input, and waits elsewhere.
    plot: bool


def submitted(raw_header: str, student_info: str, learner: str) -> Submitted | None:
    """Return where the grade of a submission has to arrive; None where its residue was dropped or cannot be read."""
    try:
        header = parse_header(raw_header)
        callback = parse_callback(header.callback_url)
        info = json_text.loads(student_info)
    except (Malformed, ValueError):
        return None
    return Submitted(
        place=state.Place(callback.user_id, callback.course_id, callback.item_id),
        key=header.lms_key,
        answer_id=recover_input(callback, time_in(info), learner, header.lms_key),
        plot=callback.dispatch != GRADED_DISPATCH,
    )


def _input(raw_header: str, student_info: str, learner: str) -> state.Input | None:
    one = submitted(raw_header, student_info, learner)
    if one is None or one.answer_id is None:
        return None
    return state.Input(*one.place, one.answer_id)
