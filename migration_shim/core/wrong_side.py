"""Whether a submission on legacy should be on the target: a pure rule over the log of a course's phases."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from .data import Authority, Phase

#: Clocks of the LMS and of XQueue may differ by so much.
SKEW = timedelta(seconds=60)
#: Why a row is on legacy though the target is authoritative, where the router has to pass it: ``legacy_reason``.
PASSED_THROUGH = "passed_through"


def target_phase_at(changes: Iterable[tuple[datetime, Phase]], arrived_at: datetime, grace: timedelta) -> Phase | None:
    """
    Return the phase of a course when a legacy row arrived, if the target was certainly authoritative then, else None.

    Args:
        changes: (when, into which phase) of the course's changes, the oldest first.
        arrived_at: by XQueue's clock.
        grace: how long a door may take with a submission whose phase it has read before the step.
    """
    found: Phase | None = None
    entered: datetime | None = None
    for at, phase in changes:
        if phase.authority is Authority.TARGET:
            entered = entered or at
            # Clock skew matters at the ends only: between live and complete the authority does not change.
            found = phase if found is None or at <= arrived_at else found
        elif entered is not None:
            if entered + grace + SKEW <= arrived_at < at - SKEW:
                return found
            found = entered = None
    return found if entered is not None and entered + grace + SKEW <= arrived_at else None
