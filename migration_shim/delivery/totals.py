"""The third side of the comparison in numbers: which grades learners have, and how many learners wait in vain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ..conf import ShimSettings
from ..core.documents.reconcile_course import Learners
from ..core.histograms import Bin, Kind
from ..cutover import invariants
from ..lms import receivers, state


def learner_totals(course_id: str, places: Iterable[tuple[Bin, int]], settings: ShimSettings) -> Learners:
    """
    Return the recorded numbers of a course's learners, as the document has them.

    Only ``waiting`` counts for a gate, because legacy loses results too. ``applies`` is False outside an LMS, where no
    learner's state can be read: then the rest says nothing. Entries whose residue was dropped have lost their grades,
    and are not among the compared.

    Args:
        course_id: the course.
        places: the bins of its histograms, with how many entries each holds; those of other kinds are passed over.
        settings: the settings in force.
    """
    waiting = list(invariants.undelivered_entries(course_id).values_list("undeliverable", flat=True))
    sides: Counter[str] = Counter()
    said: Counter[str] = Counter()
    of_kind = {Kind.THIRD_SIDE: sides, Kind.LEARNER: said}
    for place, number in places:
        if place.kind in of_kind:
            of_kind[Kind(place.kind)][place.bin] += number
    return {
        "applies": state.is_lms(),
        "receiver": receivers.reaches_platform(settings.score_receivers),
        "waiting": len(waiting),
        "undeliverable": sum(map(bool, waiting)),
        "third_side": {
            "compared": sides.total(),
            "as_both": sides["as_both"],
            "as_legacy": sides["as_legacy"],
            "as_target": sides["as_target"],
            "as_neither": sides["as_neither"],
            "not_comparable": dict(sorted(said.items())),
        },
    }
