"""
How CAPA reads a grader's reply, and what the target's stored points say about it.

Source of the former: ``CodeResponse._parse_score_msg`` and ``update_score`` (capa/responsetypes.py).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from . import json_text
from .data import DivergenceClass, Points, Reply, ReplyKind, ScoreStyle

_REQUIRED = ("correct", "score", "msg")
# What neither XML nor html5lib's tree can hold; CAPA calls such a message an invalid reply. NUL and form feed are not
# among them: html5lib drops the one and makes a blank of the other.
_NOT_XML = re.compile("[\x01-\x08\x0b\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_DECLARATION = "<?xml"
_ENCODING = re.compile(r"\sencoding\s*+=\s*+[\"']")
#: Characters of an XML declaration over which lxml may be let: the time that it takes grows with their square.
_DECLARATION_LIMIT = 1000


def read_reply(text: str) -> Reply:
    """
    Return what a reply's ``text`` does to the learner.

    - INVALID: it is no JSON object, a tag is missing, or the message is empty or not representable in XML. CAPA wipes
      the learner's result, whatever the key.
    - RAISES: CAPA fails on it: a score that is null, text or a collection; a message that is not text; JSON nested too
      deep.
    - VALID: everything else, with ``correct`` as CAPA takes it (its truth value) and the score not below 0.

    Two things are not modelled: what html5lib makes of broken markup (CAPA calls "<b", "</b>" or "<html>" invalid, as
    nothing is left of them), and control characters inside a tag or written as character references.
    """
    try:
        value = json_text.loads(text)
    except json_text.Unreadable:
        return Reply(kind=ReplyKind.RAISES)
    except ValueError:
        return Reply(kind=ReplyKind.INVALID)
    if not isinstance(value, dict) or any(tag not in value for tag in _REQUIRED):
        return Reply(kind=ReplyKind.INVALID)
    message, score = value["msg"], value["score"]
    if not isinstance(message, str):
        return Reply(kind=ReplyKind.RAISES)
    if declares_encoding(message):
        return Reply(kind=ReplyKind.RAISES)
    if not message.strip("\0") or _NOT_XML.search(message):
        return Reply(kind=ReplyKind.INVALID)
    if not isinstance(score, int | float):
        return Reply(kind=ReplyKind.RAISES)
    try:
        number = float(score)
    except OverflowError:
        number = math.inf if score > 0 else -math.inf
    return Reply(kind=ReplyKind.VALID, correct=bool(value["correct"]), score=max(number, 0.0), sent=score)


def declares_encoding(message: str) -> bool:
    r"""
    Tell whether lxml refuses a message because it declares an encoding, an error that CAPA does not catch.

    lxml's expression (``_hasEncodingDeclaration``, parser.pxi), ``^(<\?xml[^>]+)\s+encoding\s*=\s*["'][^"']*["']``,
    takes quadratic time over blanks. This function gives the same answer in one pass.
    """
    if not message.startswith(_DECLARATION):
        return False
    # One character at least stands between, and all of it before the first ">".
    found = _ENCODING.search(message, len(_DECLARATION) + 1, _end_of_declaration(message))
    return found is not None and any(message.find(quote, found.end()) >= 0 for quote in "\"'")


def slow_for_capa(message: object) -> bool:
    """
    Tell whether CAPA would take far too long over a grader's message.

    ``lxml.etree.fromstring`` takes 5 s for 40,000 blanks in an XML declaration and hours for 2,000,000, inside the
    transaction that stores the grade. No meaningful declaration is that long.
    """
    if not isinstance(message, str) or not message.startswith(_DECLARATION):
        return False
    return _end_of_declaration(message) > _DECLARATION_LIMIT


def _end_of_declaration(message: str) -> int:
    end = message.find(">", len(_DECLARATION))
    return len(message) if end < 0 else end


def same_score(one: float | None, other: float | None) -> bool:
    """Tell whether two scores are equal for a learner: NaN equals NaN, and a difference in the last bits is ignored."""
    if one is None or other is None:
        return one is other
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return one == other or math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)


def style_sign(score: float, possible: int) -> str:
    """
    Return what one score says about its queue's style: "share", "points", "one" or nothing. ``style_of`` takes the
    counts.
    """
    if possible > 1:
        if score == 1:
            return "one"
        return "share" if 0 < score < 1 else "points" if 1 < score <= possible else ""
    return ""


def style_of(signs: Mapping[str, int]) -> ScoreStyle:
    """
    Return what the graders of a queue call a score, by the counts of what their scores say (``style_sign``).

    Only problems of more than one point say anything. A score between 0 and 1 is a share, one above 1 and up to the
    maximum is points. A score of 1 is full marks or one point, and counts only where nothing else does. The majority
    decides, in any order.
    """
    shares, points, ones = (signs.get(sign, 0) for sign in ("share", "points", "one"))
    if shares == points:
        return ScoreStyle.RATIO if ones and not points else ScoreStyle.UNKNOWN
    return ScoreStyle.RATIO if shares > points else ScoreStyle.ABSOLUTE


#: A stored score that is the learner's own, but for the rounding to whole points: a known difference.
ROUNDING = "rounding"


def judge_points(reply: Reply, points: Points, style: ScoreStyle) -> tuple[DivergenceClass | None, str]:
    """
    Judge the target's stored score against the learner's score.

    Both are compared as fractions of their own maximum: the reply's by the queue's style, the Score's by the points
    possible. A score that differs from what the installed edx-submissions should have stored is a surprise, whatever it
    is worth.

    Returns:
        (None, "") for the learner's score, (None, ROUNDING) for the learner's score but for rounding, else the class of
            the
        divergence and a short text.
    """
    stored, possible = points.stored, points.possible
    if stored is None:
        return DivergenceClass.LOST, "graded on target, but it holds no score"
    if stored != points.predicted:
        rule = "nothing" if points.predicted is None else points.predicted
        return DivergenceClass.STORED_POINTS, f"stored {stored} of {possible}, the rule of edx-submissions gives {rule}"
    if reply.score is None:
        return None, ""
    score = reply.score
    absolute = 1 < score <= possible if style is ScoreStyle.UNKNOWN else style is ScoreStyle.ABSOLUTE
    if not score <= (possible if absolute else 1):
        if 1 < score <= possible:
            return DivergenceClass.SCALE, f"score {score:g} of {possible} in a queue of ratios, stored {stored}"
        return DivergenceClass.OUT_OF_RANGE, f"score {score:g}, stored {stored} of {possible}"
    exact = score if absolute else score * possible
    if stored == exact or same_score(stored, exact):
        return None, ""
    if abs(stored - exact) <= 0.5 + 1e-9:
        return None, ROUNDING
    return DivergenceClass.SCALE, f"score {score:g} is {exact:g} of {possible}, stored {stored}"


def scaled(one: float, other: float, possible: int) -> bool:
    """Tell whether two scores are the same, one as a share of 1 and one in points."""
    return possible > 1 and (same_score(one * possible, other) or same_score(one, other * possible))
