"""The third side of the comparison, counted: what learners have beside both grades, and who waits in vain."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, F, Q

from . import proofs
from .conf import ShimSettings
from .core.delivered import Learner
from .data import State
from .lms import receivers, state
from .models import LedgerEntry


def counted(course_id: str, settings: ShimSettings) -> dict[str, Any]:
    """
    What is on record of a course's learners. Never a reason for a gate but for ``waiting``: legacy loses results too.

    ``applies`` is False outside an LMS, where nobody can be asked: then all the rest says nothing. Of entries whose
    residue was dropped the grades are gone, and with them their places among the compared.
    """
    entries = LedgerEntry.objects.filter(course_id=course_id)
    waiting = proofs.undelivered(course_id)
    said = dict(entries.exclude(learner_said="").order_by().values_list("learner_said").annotate(number=Count("id")))
    said.pop(Learner.COMPARABLE, None)
    as_legacy, as_target = _as("legacy"), _as("target")
    sides = entries.filter(learner_said=Learner.COMPARABLE, purged_at=None).aggregate(
        compared=Count("id"),
        as_both=Count("id", filter=as_legacy & as_target),
        legacy=Count("id", filter=as_legacy),
        target=Count("id", filter=as_target),
    )
    both = sides["as_both"]
    return {
        "applies": state.is_lms(),
        "receiver": receivers.deliver(settings.score_receivers),
        "waiting": waiting.count(),
        "undeliverable": waiting.exclude(undeliverable="").count(),
        "third_side": {
            "compared": sides["compared"],
            "as_both": both,
            "as_legacy": sides["legacy"] - both,
            "as_target": sides["target"] - both,
            "as_neither": sides["compared"] - sides["legacy"] - sides["target"] + both,
            "not_comparable": dict(sorted(said.items())),
        },
    }


def _as(side: str) -> Q:
    """Whether a learner has what one side gave. A reply that CAPA cannot use leaves nothing on either."""
    same = Q(learner_correct=F(f"{side}_correct"), learner_score=F(f"{side}_score"))
    nothing = Q(learner_correct=None, learner_score=None) & Q(**{f"{side}_correct": None, f"{side}_score": None})
    return Q(**{f"{side}_state": State.GRADED}) & (same | nothing)
