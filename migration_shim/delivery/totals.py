"""The third side of the comparison, counted: what learners have beside both grades, and who waits in vain."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ..conf import ShimSettings
from ..core.buckets import Kind
from ..cutover import invariants
from ..ledger import counts
from ..lms import receivers, state


def learner_totals(course_id: str, settings: ShimSettings) -> dict[str, Any]:
    """
    What is on record of a course's learners. Never a reason for a gate but for ``waiting``: legacy loses results too.

    ``applies`` is False outside an LMS, where nobody can be asked: then all the rest says nothing. Of entries whose
    residue was dropped the grades are gone, and with them their places among the compared.
    """
    waiting = invariants.undelivered(course_id)
    sides: Counter[str] = Counter()
    said: Counter[str] = Counter()
    for place, number in counts.bins(course_id, Kind.THIRD_SIDE, Kind.LEARNER):
        (sides if place.kind == Kind.THIRD_SIDE else said)[place.bin] += number
    return {
        "applies": state.is_lms(),
        "receiver": receivers.deliver(settings.score_receivers),
        "waiting": waiting.count(),
        "undeliverable": waiting.exclude(undeliverable="").count(),
        "third_side": {
            "compared": sides.total(),
            **{name: sides[name] for name in ("as_both", "as_legacy", "as_target", "as_neither")},
            "not_comparable": dict(sorted(said.items())),
        },
    }
