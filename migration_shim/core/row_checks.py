"""
What one legacy row shows of the rules of preflight (``row_rules``): pure functions of the row and its siblings.

Each function yields hits. A hit names a rule and adds at most a word or a size, never anything that a learner wrote.
The words are those of this module, error codes, and names of keys that are short and plain.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from . import json_text
from .classification import ParsedRow, answer_over, answer_size
from .data import DivergenceClass, LegacyRow, Points, Reply, ReplyKind, ScoreStyle
from .errors import Malformed, Unfit
from .identity import GRADED_DISPATCH, recover_input, shadow_placement
from .scoring import ROUNDING, judge_points
from .wire import NAME_LIMIT, Body, Envelope, grader_name, parse_header

#: What CAPA's Matlab input adds to a body (``capa/inputtypes.py``).
_MATLAB = frozenset({"token", "endpoint_version", "requestor_id"})
_PLAIN = re.compile(r"[A-Za-z0-9_.-]{1,40}")
_OF_SCORE = {
    ROUNDING: "score_rounded",
    DivergenceClass.SCALE: "score_scaled",
    DivergenceClass.OUT_OF_RANGE: "score_out_of_range",
}


class Hit(NamedTuple):
    """A rule that a row meets, with a word and a size where they say more."""

    code: str
    word: str = ""
    size: float = 0


def of_envelope(envelope: Envelope, digest: str, answer_limit: int, shadow_suffix: str) -> Iterator[Hit]:
    """
    Yield hits for what the target's own endpoint would change on the way to the grader, and what the target cannot
    hold.
    """
    body = envelope.body
    yield from _of_payload(body.grader_payload)
    if body.random_seed != 1 or isinstance(body.random_seed, bool):
        yield Hit("random_seed")
    if body.submission_time:
        yield Hit("submission_time_format")
    yield from _of_extra_keys(envelope)
    yield from _of_answer(body, answer_limit)
    try:
        shadow_placement(envelope, digest, shadow_suffix)
    except Unfit as error:
        yield Hit("identity_unfit", error.reason)


def _of_payload(payload: str | None) -> Iterator[Hit]:
    if not payload or payload.isspace():
        yield Hit("payload_missing", "null" if payload is None else "empty")
        return
    try:
        value = json_text.loads(payload)
    except ValueError:
        yield Hit("payload_not_json")
        return
    if not isinstance(value, dict):
        yield Hit("payload_not_an_object")
        return
    if not grader_name(payload):
        yield Hit("payload_no_grader")
    for key in sorted(value.keys() - {"grader"}):
        yield Hit("payload_extra_keys", _name(key))
    if len(grader_name(payload)) > NAME_LIMIT:
        yield Hit("grader_name_too_long")


def _of_extra_keys(envelope: Envelope) -> Iterator[Hit]:
    extra = envelope.body.extra.keys()
    for key in sorted(extra):
        yield Hit("body_extra_keys", _name(key))
    if extra >= _MATLAB:
        yield Hit("matlab")
    if envelope.callback.dispatch != GRADED_DISPATCH:
        yield Hit("matlab_plot", _name(envelope.callback.dispatch))


def _of_answer(body: Body, limit: int) -> Iterator[Hit]:
    if body.student_response is None:
        yield Hit("answer_null")
    elif answer_over(body.student_response, limit):
        yield Hit("answer_over_limit", size=answer_size(body.student_response))


def _name(key: str) -> str:
    return key if _PLAIN.fullmatch(key) else "(another key)"


def of_reply(reply: Reply, predicted: int | None) -> Iterator[Hit]:
    """
    Yield a hit for a reply that the platform or the target does not accept.

    Args:
        reply: as CAPA reads it.
        predicted: the points that the installed edx-submissions would store for it; None where it stores none.
    """
    if reply.kind is ReplyKind.VALID:
        if predicted is None:
            yield Hit("score_refused")
    elif reply.kind is ReplyKind.RAISES or predicted is None:
        yield Hit("reply_refused")
    else:
        yield Hit("reply_invalid")


def of_score(reply: Reply, predicted: int, possible: int) -> Iterator[tuple[ScoreStyle, str]]:
    """
    Yield (style, code) for what would be wrong with the stored points, for each style that the queue may turn out to
    have.

    A queue's style is known only when all of its scores have been seen, and nothing of a row is kept until then.

    Args:
        reply: as CAPA reads it.
        predicted: the points that would be stored.
        possible: the problem's maximum.
    """
    points = Points(stored=predicted, possible=possible, predicted=predicted)
    for style in ScoreStyle:
        klass, known = judge_points(reply, points, style)
        code = _OF_SCORE.get(klass or known)
        if code is not None:
            yield style, code


def of_times(row: LegacyRow, lease_seconds: float) -> Iterator[Hit]:
    """
    Yield a hit for a grading that took longer than the lease, as far as the row's last pull and its return show it.
    """
    seconds = grading_seconds(row)
    if seconds is not None and seconds > lease_seconds:
        yield Hit("grading_over_lease", size=seconds)


def grading_seconds(row: LegacyRow) -> float | None:
    """
    Return the seconds from a row's last pull to its return, or None where either is missing.

    The result is below 0 where the row was pulled again after its return.
    """
    if row.pull_time is None or row.return_time is None:
        return None
    return (row.return_time - row.pull_time).total_seconds()


def of_siblings(parsed: ParsedRow, siblings: Iterable[ParsedRow]) -> Iterator[Hit]:
    """
    Yield a hit where another row has the same truncated callback but another full one.

    ``siblings`` are the other rows that share the callback as XQueue compares it.
    """
    url = callback_url(parsed)
    if any(callback_url(other) != url for other in siblings):
        yield Hit("callback_collision")


def callback_url(parsed: ParsedRow) -> str:
    """Return a row's full callback URL, or XQueue's truncated column where the header names none that can be read."""
    if parsed.envelope is not None:
        return parsed.envelope.header.callback_url
    try:
        return parse_header(parsed.row.xqueue_header).callback_url
    except Malformed:
        return parsed.row.lms_callback_url


def input_of(envelope: Envelope) -> str:
    """Return the input of the problem, as ``_<response>_<input>``; empty where it cannot be told."""
    body, callback = envelope.body, envelope.callback
    found = recover_input(callback, body.submission_time, body.anonymous_student_id, envelope.header.lms_key)
    return found.removeprefix(callback.html_id) if found else ""
