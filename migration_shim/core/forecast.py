"""When a course will have the pairs that it needs, at the traffic that it has."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

#: The days up to now whose traffic counts. A whole week, because courses sleep at weekends.
DAYS = 7
#: Nobody plans further, and the traffic of a course changes by then.
HORIZON = timedelta(days=366)


class Why(enum.StrEnum):
    """Why there is no date."""

    NOT_NEEDED = "not_needed"
    NO_TRAFFIC = "no_traffic"  # no submission was compared in the last days
    TOO_LITTLE = "too_little"  # pairs grow too old to count before there are enough, or it takes more than a year
    OUT_OF_REACH = "out_of_reach"  # no number of pairs would do
    UNKNOWN = "unknown"  # no reconcile has counted yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """``at`` is None where no date can be told, and then ``why`` says why."""

    per_day: float | None
    at: datetime | None
    why: Why | None


def forecast(
    more: int | None,
    have: int | None,
    daily: Iterable[Mapping[str, Any]] | None,
    moment: datetime,
    *,
    counts_for_days: float,
) -> Forecast:
    """
    Return when ``more`` pairs will have come.

    Every submission of a course in ``shadow`` or ``live`` becomes a pair, so its traffic is the number of submissions
    a day. The day that has only begun counts as far as it has gone.

    Args:
        more: how many pairs are missing; None where no number would do.
        have: how many pairs count by now; None where that is not known.
        daily: ``day`` and ``compared`` of each day that had any, as a reconcile counts them; None without a reconcile.
        moment: the present, which the reconcile should be close to.
        counts_for_days: for how many days a pair counts. What does not come within them is never enough.
    """
    if more is None:
        return Forecast(per_day=None, at=None, why=Why.OUT_OF_REACH)
    if more == 0:
        return Forecast(per_day=None, at=None, why=Why.NOT_NEEDED)
    if daily is None:
        return Forecast(per_day=None, at=None, why=Why.UNKNOWN)
    moment = moment.astimezone(UTC)
    first = moment.date() - timedelta(days=DAYS)
    counted = {day: number for day, number in _counted(daily) if first <= day <= moment.date() and number > 0}
    if not counted:
        return Forecast(per_day=0.0, at=None, why=Why.NO_TRAFFIC)
    # A course that began only yesterday had no traffic before, and will have as much as since.
    since = datetime.combine(min(counted), time.min, tzinfo=UTC)
    per_day = sum(counted.values()) / max((moment - since) / timedelta(days=1), 1.0)
    wait = timedelta(days=min(more / per_day, 2 * HORIZON.days))
    if wait > HORIZON or per_day * counts_for_days < (have or 0) + more:
        return Forecast(per_day=round(per_day, 2), at=None, why=Why.TOO_LITTLE)
    return Forecast(per_day=round(per_day, 2), at=moment + wait, why=None)


def _counted(daily: Iterable[Mapping[str, Any]]) -> Iterable[tuple[date, int]]:
    return ((date.fromisoformat(item["day"]), item["compared"]) for item in daily)
