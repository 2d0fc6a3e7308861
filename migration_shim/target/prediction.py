"""
What the installed edx-submissions would store as the score of a reply.

Versions differ: up to 4.0.1 the score is stored as it comes, 4.0.2 multiplies it by the points possible and rounds. The
rule is a few lines inside ``put_result``, with no function of their own, so the installed function itself is run: its
code, with stand-ins for the names of its module that read, write, tell or log. Nothing of that module is changed.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable
from types import FunctionType, SimpleNamespace
from typing import Any

from submissions.serializers import ScoreSerializer
from submissions.views import xqueue

from ..core import json_text
from ..core.errors import PredictionUnavailable
from . import installed

_KEY = "key"
_HEADER = json.dumps({"submission_id": 1, "submission_key": _KEY})
#: The names of its module that put_result may use as they are, because they read and write nothing.
_HARMLESS = {"DatabaseError", "ExternalGraderScoreData", "MAX_SCORE_UPDATE_RETRIES", "Response", "json", "status"}


def predicted_points(reply: str, points_possible: int) -> int | None:
    """
    Return the points that the installed edx-submissions would store for a reply, None where it would store none.

    Raises:
        PredictionUnavailable: the installed put_result is made in a way that this module does not know.
    """
    try:
        value = json_text.loads(reply)
    except ValueError:
        return None
    if not isinstance(value, dict):
        return None
    score = value.get("score")
    if isinstance(score, bool | int | float):
        return points_for(score, points_possible)
    return _ask(reply, points_possible)


# Typed, because true and 1 are two scores to some versions. A course has few scores: nearly none is asked twice.
@functools.lru_cache(maxsize=4096, typed=True)
def points_for(score: float, points_possible: int) -> int | None:
    """
    Return the same as ``predicted_points`` for a score as the grader sent it (``Reply.sent``); quick for one seen
    before.
    """
    return _ask(json.dumps({"correct": True, "score": score, "msg": ""}), points_possible)


def scales() -> bool:
    """Tell whether the installed version takes a score for a share of the points (from 4.0.2 on), or for points."""
    return points_for(1, 2) == 2


def check() -> None:
    """
    Check the prediction: no points for nothing, one point for full marks out of one.

    Raises:
        PredictionUnavailable: there is no prediction, and stored points cannot be judged.
    """
    found = [_ask(json.dumps({"correct": True, "score": score, "msg": "m"}), 1) for score in (0, 1, -1)]
    if found != [0, 1, None]:
        raise PredictionUnavailable(f"a score of 0, 1 and -1 gives {found}")


def _ask(reply: str, points_possible: int) -> int | None:
    return run(_installed(), reply, points_possible)


@functools.cache
def _installed() -> FunctionType:
    return plain_function(installed.put_result())


def plain_function(put_result: Callable[..., Any]) -> FunctionType:
    """
    Return the plain function in a put_result, without its decorators.

    Raises:
        PredictionUnavailable: it uses names of its module that might write, so that it cannot be run for a prediction.
    """
    function = inspect.unwrap(put_result)
    if not isinstance(function, FunctionType) or function.__code__.co_freevars:
        raise PredictionUnavailable("put_result is no plain function")
    used = {name for name in function.__code__.co_names if name in function.__globals__}
    if unknown := used - _HARMLESS - _stand_ins(_Row(0), []).keys():
        raise PredictionUnavailable(f"put_result uses {', '.join(sorted(unknown))}")
    return function


def run(function: FunctionType, reply: str, points_possible: int) -> int | None:
    """Run a put_result for one reply among stand-ins, and return what it would have stored."""
    stored: list[int] = []
    names = {**function.__globals__, **_stand_ins(_Row(points_possible), stored)}
    viewset = xqueue.XQueueViewSet()
    # Only these two of its own methods: another one might do anything.
    helpers = SimpleNamespace(validate_grader_reply=viewset.validate_grader_reply, compose_reply=viewset.compose_reply)
    request = SimpleNamespace(data={"xqueue_header": _HEADER, "xqueue_body": reply})
    try:
        FunctionType(function.__code__, names, function.__name__, function.__defaults__)(helpers, request)
    except AttributeError as error:
        raise PredictionUnavailable(f"put_result asks for {error.name}") from error
    return stored[-1] if stored else None


class _Row:
    """
    A stand-in for an ExternalGraderDetail with its manager and its query set, as put_result uses it. It keeps nothing.
    """

    DoesNotExist = type("DoesNotExist", (Exception,), {})

    def __init__(self, points_possible: int) -> None:
        item = SimpleNamespace(student_id="nobody", course_id="", item_id="")
        self.submission = SimpleNamespace(uuid="", student_item=item)
        self.points_possible, self.pullkey, self.num_failures = points_possible, _KEY, 0
        self.queue_name = self.queue_key = self.grader_reply = ""
        self.objects = self

    def select_for_update(self, **options: Any) -> _Row:
        return self

    def select_related(self, *names: str) -> _Row:
        return self

    def get(self, **which: Any) -> _Row:
        return self

    def save(self, **options: Any) -> None:
        """Keep nothing."""

    def update_status(self, status: str) -> None:
        """Keep nothing."""


def _stand_ins(row: _Row, stored: list[int]) -> dict[str, Any]:
    silent = SimpleNamespace(**dict.fromkeys(("info", "warning", "error", "exception"), _nothing))
    return {
        "ExternalGraderDetail": row,
        "EXTERNAL_GRADER_SCORE_SUBMITTED": SimpleNamespace(send_event=_nothing),
        "log": silent,
        "set_score": functools.partial(_set_score, stored),
    }


def _nothing(*args: Any, **options: Any) -> None:
    """Say and tell nothing."""


def _set_score(stored: list[int], submission_uuid: str, points_earned: Any, points_possible: Any) -> None:
    """Keep what ``set_score`` would put into a Score, by the fields of its own serializer, which look nothing up."""
    fields = ScoreSerializer().fields
    points = fields["points_earned"].run_validation(points_earned)
    fields["points_possible"].run_validation(points_possible)
    stored.append(points)
