"""One divergence in three columns: what legacy gave, what the target gave, what the learner has; where they differ."""

from __future__ import annotations

from typing import Any

from ..core.data import DivergenceClass
from ..core.delivered import Learner
from ..core.scoring import same_score

Content = dict[str, Any]

NOTHING = "–"  # noqa: RUF001  (a cell without a value)
NOT_KNOWN = "not known"
#: Keys of a divergence that say what either side and the learner have.
KEYS = (
    "authority",
    "legacy_state",
    "legacy_correct",
    "legacy_score",
    "legacy_seconds",
    "legacy_returned_at",
    "target_state",
    "target_correct",
    "target_score",
    "target_points",
    "points_possible",
    "target_seconds",
    "target_graded_at",
    "learner_said",
    "learner_correct",
    "learner_score",
)
#: Classes that are about the stored points, not about the two replies.
_POINTS = (DivergenceClass.STORED_POINTS, DivergenceClass.SCALE, DivergenceClass.OUT_OF_RANGE)
#: Why the learner's side cannot be compared, in words.
_LEARNER = {
    "": "not asked yet",
    Learner.WAITS: "waits for this grade",
    Learner.COMPARABLE: "has a grade of this submission",
    Learner.NEWER_ATTEMPT: "has made a newer attempt",
    Learner.SUBMITTED_LATER: "has submitted again since",
    Learner.NO_SUBMISSION_TIME: "not comparable: the state has no time of submission",
    Learner.NOT_GRADED: "no grade yet",
    Learner.NO_ANSWER: "not comparable: the state has no such answer any more",
    Learner.NO_LEARNER: "there is no such learner here",
    Learner.INPUT_UNKNOWN: "not comparable: the input is not known",
    Learner.UNREADABLE: "not comparable: the state cannot be read",
    Learner.FORGOTTEN: "not comparable: the residue was dropped",
    Learner.PLOT: "not comparable: a plot has no grade",
}


def table(item: Content) -> list[Content]:
    """
    Return the rows of a divergence's table: ``field``, texts of ``legacy``, ``target``, ``learner``, and ``differs``.

    A value that the divergence does not have is said to be not known. An empty list for one of an older report, which
    says nothing of either side.
    """
    if "legacy_state" not in item:
        return []
    klass = item.get("class")
    has = item.get("learner_said") == Learner.COMPARABLE
    one, other, mine = ({key: item.get(f"{side}_{key}") for key in ("correct", "score")} for side in _SIDES)
    states = item["legacy_state"], item.get("target_state")
    correct, score = (one["correct"], other["correct"]), (one["score"], other["score"])
    rows = [
        _row(
            "State",
            (states[0] or NOT_KNOWN, states[1] or NOT_KNOWN),
            _learner_state(item),
            differs=states[0] != states[1],
        ),
        _row(
            "Correct",
            (_answer(correct[0], states[0]), _answer(correct[1], states[1])),
            _answer(mine["correct"], None) if has else NOTHING,
            differs=correct[0] is not correct[1] or _has_another(item, "correct", has=has),
        ),
        _row(
            "Score",
            (_number(score[0]), _number(score[1])),
            _number(mine["score"]) if has else NOTHING,
            differs=not _same(*score) or _has_another(item, "score", has=has),
        ),
        _row("Points stored", (NOTHING, _points(item)), NOTHING, differs=klass in _POINTS),
        _row(
            "Graded after",
            (_seconds(item.get("legacy_seconds")), _seconds(item.get("target_seconds"))),
            NOTHING,
            differs=klass == DivergenceClass.LATENCY,
        ),
        _row("Graded at", (_time(item.get("legacy_returned_at")), _time(item.get("target_graded_at"))), NOTHING),
    ]
    return [row for row in rows if {row["legacy"], row["target"], row["learner"]} != {NOTHING} or row["differs"]]


_SIDES = ("legacy", "target", "learner")


def why(item: Content) -> str:
    """
    Return why a side has no outcome, in words of ours; empty where both have one, or where it is not known.

    Nothing of what a learner or a grader wrote is in it.
    """
    found = []
    for side, name in (("legacy", "legacy"), ("target", "the target")):
        if item.get(f"{side}_leg") == "failed":
            reason = str(item.get(f"{side}_reason") or "no reason is on record")[:64]
            found.append(f"the copy could not be written to {name}: {reason}")
    if item.get("target_state") == "failed":
        found.append(_failed(item))
    return "; ".join(found)


def _failed(item: Content) -> str:
    failures, leases = item.get("target_failures"), item.get("leases")
    text = "the target gave it up"
    if failures is not None:
        text += f" after {failures} failures"
    text += " (a result that it could not store, or a grader that did not answer in time)"
    if leases:
        return f"{text}; the watcher seam has handed it out {leases} times"
    if leases == 0:
        return f"{text}; no grader had it through the watcher seam: an echo of legacy's reply, or another endpoint"
    return text


def _row(field: str, systems: tuple[str, str], learner: str, *, differs: bool = False) -> Content:
    legacy, target = systems
    return {"field": field, "legacy": legacy, "target": target, "learner": learner, "differs": differs}


def _has_another(item: Content, key: str, *, has: bool) -> bool:
    """Tell whether the learner has another grade than the side gave whose grade counts."""
    if not has:
        return False
    given, mine = item.get(f"{item.get('authority')}_{key}"), item.get(f"learner_{key}")
    return not _same(given, mine) if key == "score" else given is not mine


def _same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return same_score(one, other)


def _learner_state(item: Content) -> str:
    said = item.get("learner_said")
    if said is None:
        return NOT_KNOWN
    return _LEARNER.get(said, str(said))


def _answer(value: bool | None, state: str | None) -> str:
    if value is None:
        return "a reply that CAPA cannot use" if state == "graded" else NOTHING
    return "yes" if value else "no"


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:g}"


def _points(item: Content) -> str:
    stored, possible = item.get("target_points"), item.get("points_possible")
    if stored is not None:
        return f"{stored} of {possible}"
    return f"not read, of {possible}" if possible is not None and item.get("target_state") == "graded" else NOTHING


def _seconds(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1f} s"


def _time(value: str | None) -> str:
    """Return an ISO time to the second, for people."""
    return NOTHING if value is None else f"{value[:10]} {value[11:19]} UTC"
