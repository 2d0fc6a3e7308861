"""
The short path of a comparison: pairs that are obviously equal on both sides under every rule.

The result is only ever "equal", and only in the two common cases. In one, both sides are graded, with one row and one
score each, no file, no newer attempt in the way, the same reply and the same payload. In the other, neither side is
graded because a newer attempt superseded it on both. Everything else is left to the rules (``compare.py`` and what
feeds it), which would reach the same verdict on every pair that passes here. Each row is read once.

JSON is parsed by msgspec, which is strict. Where it refuses a text, or where it and Python's own parser could read a
text in two ways, the rules decide.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from . import json_text
from .data import Points, Reply, ReplyKind, ScoreStyle, Whose
from .hosts import Hosts, host_of, whose
from .identity import FENCE, is_fenced
from .scoring import judge_points

Predicted = Callable[[float, int], int | None]
_escaped = json.encoder.encode_basestring_ascii
#: A reply of more characters, or with more opening brackets, goes by the rules: they have limits of size and depth.
_REPLY_CHARACTERS, _REPLY_BRACKETS = 65_536, 40
#: A score above this is unusual. Python's floats are exact up to here.
_SCORE = 1_000_000


class Pair(NamedTuple):
    """
    The columns of a pair that may be obviously equal (see ``equal_pairs``): the entry's, its target row's, legacy's
    row's.

    Times are differences in microseconds, None where the database cannot tell.
    """

    entry_id: int
    queue_name: str
    learner: str
    item_id: str
    lease_key: str
    is_timed: bool
    raw_header: str
    grader_payload: str | None
    student_info: str
    student_id: str
    target_course_id: str
    target_item_id: str
    target_queue_name: str
    target_queue_key: str | None
    target_pullkey: str | None
    target_reply: str | None
    points_possible: int
    points_earned: int | None
    target_took: int | None
    answer: str
    header: str
    body: str
    reply: str
    took: int | None


class EqualOutcome(NamedTuple):
    """The one outcome that both sides have."""

    correct: bool
    score: float


class _Header(msgspec.Struct):
    lms_callback_url: str
    lms_key: str


class _Reply(msgspec.Struct):
    correct: bool
    score: float | int
    msg: str


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    student_response: msgspec.Raw
    student_info: str
    grader_payload: str | None  # null and a missing key are two payloads


_header = msgspec.json.Decoder(_Header).decode
_reply = msgspec.json.Decoder(_Reply).decode
_body = msgspec.json.Decoder(_Body).decode
#: Makes no value: it passes over a text and raises where that is not one JSON value.
_pass_over = msgspec.json.Decoder(msgspec.Raw).decode


def _is_fenced(pair: Pair) -> bool:
    return is_fenced(pair.student_id, pair.target_item_id)


def _same_learner(pair: Pair) -> bool:
    return pair.student_id == FENCE + pair.learner


def _same_problem(pair: Pair) -> bool:
    return pair.target_item_id == FENCE + pair.item_id


def _from_the_seam(pair: Pair) -> bool:
    return not pair.target_pullkey or pair.target_pullkey == pair.lease_key


def _same_header(pair: Pair) -> bool:
    return pair.raw_header == pair.header


def _same_body(pair: Pair) -> bool:
    """
    Tell whether legacy's body is what the seam makes of residue and answer: by its text, else by its fields.

    An answer that is no JSON raises: two equal texts say nothing of it, and the rules read it otherwise.
    """
    _pass_over(pair.answer)
    payload, info = _text(pair.grader_payload), _escaped(pair.student_info)
    if pair.body == f'{{"grader_payload": {payload}, "student_info": {info}, "student_response": {pair.answer}}}':
        return True
    # The rules parse other texts, within limits of depth and size; no character takes more than 12 in their encoding.
    if not pair.answer.startswith('"') or 12 * len(pair.body) > json_text.SIZE_LIMIT:
        return False  # other values may nest, and numbers have more than one spelling
    if pair.body == f'{{"student_info": {info}, "grader_payload": {payload}, "student_response": {pair.answer}}}':
        return True
    found = _body(pair.body)
    return (
        found.student_info == pair.student_info
        and found.grader_payload == pair.grader_payload
        and bytes(found.student_response) == pair.answer.encode()
    )


#: What must hold besides equal outcomes, by name. Each condition is separate, so that a test can leave one out.
CHECKS: dict[str, Callable[[Pair], bool]] = {
    "fenced": _is_fenced,
    "same_learner": _same_learner,
    "same_problem": _same_problem,
    "same_header": _same_header,
    "from_the_seam": _from_the_seam,
    "same_body": _same_body,
}


def equal(pair: Pair, hosts: Hosts, style: ScoreStyle, latency: int, predicted: Predicted) -> EqualOutcome | None:
    """
    Return the outcome of both sides of an obviously equal pair, or None to leave the pair to the rules.

    Args:
        pair: the pair.
        hosts: the hosts whose rows are ours.
        style: what the graders of its queue call a score.
        latency: how many microseconds longer than legacy the target may take.
        predicted: returns what edx-submissions stores for a score out of so many points.
    """
    if pair.is_timed and (pair.took is None or pair.target_took is None or pair.target_took - pair.took > latency):
        return None
    if pair.target_reply is None:
        return None
    try:
        one = _read(pair.reply)
        other = one if pair.target_reply == pair.reply else _read(pair.target_reply)
        if one is None or other is None or one.correct is not other.correct or one.score != other.score:
            return None
        if not _is_alike(pair, hosts):
            return None
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None
    points = pair.points_possible, pair.points_earned
    if not _has_its_points(other.correct, other.score, *points, style, predicted):
        return None
    return EqualOutcome(one.correct, float(one.score))


def is_replaced(pair: Pair, hosts: Hosts) -> bool:
    """
    Tell whether a pair is equal that its columns call superseded on both sides (see ``replaced_pairs``).

    The rules then have nothing to say of it. Replies do not count here.
    """
    try:
        return _is_alike(pair, hosts)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return False


def _is_alike(pair: Pair, hosts: Hosts) -> bool:
    """Tell whether all but the outcome is equal. What cannot be parsed raises."""
    for holds in CHECKS.values():
        if not holds(pair):
            return False
    return _is_ours(_header(pair.header), pair, hosts)


def _is_ours(header: _Header, pair: Pair, hosts: Hosts) -> bool:
    """Tell whether legacy's row is of our LMS, and the target's row does not bear the key of its learner."""
    return whose(host_of(header.lms_callback_url), hosts) is Whose.OURS and pair.target_queue_key != header.lms_key


def _read(text: str) -> _Reply | None:
    if len(text) > _REPLY_CHARACTERS or text.count("[") + text.count("{") > _REPLY_BRACKETS:
        return None
    found = _reply(text)
    return found if 0 <= found.score <= _SCORE and _is_plain(found.msg) else None


def _is_plain(message: str) -> bool:
    """
    Tell whether CAPA certainly accepts a message: text without what XML cannot hold, and without an XML declaration.
    """
    return bool(message) and not message.startswith("<?") and message.replace("\n", "").replace("\t", "").isprintable()


@functools.lru_cache(maxsize=4096, typed=True)
def _has_its_points(
    correct: bool, score: float, possible: int, earned: int | None, style: ScoreStyle, predicted: Predicted
) -> bool:
    """
    Tell whether the stored points are those of the learner's score, by the rules themselves: distinct scores are few.
    """
    reply = Reply(kind=ReplyKind.VALID, correct=correct, score=float(score), sent=score)
    points = Points(stored=earned, possible=possible, predicted=predicted(score, possible))
    return judge_points(reply, points, style) == (None, "")


@functools.lru_cache(maxsize=1024)
def _text(payload: str | None) -> str:
    return "null" if payload is None else _escaped(payload)
