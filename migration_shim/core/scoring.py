"""
How CAPA reads a grader's reply. Source: ``CodeResponse._parse_score_msg`` and ``update_score`` (capa/responsetypes.py).
"""

from __future__ import annotations

import json
import math
import re

from ..data import Reply, ReplyKind

_REQUIRED = ("correct", "score", "msg")
# What neither XML nor html5lib's tree can hold; CAPA calls such a message an invalid reply. NUL and form feed are not
# among them: html5lib drops the one and makes a blank of the other.
_NOT_XML = re.compile("[\x01-\x08\x0b\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
# lxml refuses text that declares an encoding, and CAPA does not catch that. The expression is lxml's own (parser.pxi).
_DECLARES_ENCODING = re.compile(r"^(<\?xml[^>]+)\s+encoding\s*=\s*[\"'][^\"']*[\"'](\s*\?>|)")


def read_reply(text: str) -> Reply:
    """
    What ``text`` does to the learner.

    INVALID: not a JSON object, a tag missing, or a message that is empty or not representable in XML: the learner's
    result is wiped, whatever the key. RAISES: CAPA fails on it (a score that is null, text or a collection; a message
    that is not text; JSON nested too deep). Otherwise VALID, with ``correct`` as CAPA takes it (truth value) and the
    score not below 0.

    Not modelled: what html5lib makes of broken markup (CAPA calls "<b", "</b>" or "<html>" invalid, as nothing is left
    of them), and control characters inside a tag or written as character references.
    """
    try:
        value = json.loads(text)
    except ValueError:
        return Reply(kind=ReplyKind.INVALID)
    except RecursionError:
        return Reply(kind=ReplyKind.RAISES)
    if not isinstance(value, dict) or any(tag not in value for tag in _REQUIRED):
        return Reply(kind=ReplyKind.INVALID)
    message, score = value["msg"], value["score"]
    if not isinstance(message, str):
        return Reply(kind=ReplyKind.RAISES)
    if _DECLARES_ENCODING.match(message):
        return Reply(kind=ReplyKind.RAISES)
    if not message.strip("\0") or _NOT_XML.search(message):
        return Reply(kind=ReplyKind.INVALID)
    if not isinstance(score, int | float):
        return Reply(kind=ReplyKind.RAISES)
    try:
        number = float(score)
    except OverflowError:
        number = math.inf if score > 0 else -math.inf
    return Reply(kind=ReplyKind.VALID, correct=bool(value["correct"]), score=max(number, 0.0))


def same_score(one: float | None, other: float | None) -> bool:
    """Equality of two scores as learners see them; NaN equals NaN, and a rounding error of the last bits is none."""
    if one is None or other is None:
        return one is other
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return one == other or math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
