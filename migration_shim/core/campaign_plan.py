"""The rules of a campaign as an operator gives them, and as they are kept on record: texts, read once."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from .windows import Calendar, Window, parse_freeze, parse_length, parse_moment, parse_window, zone_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    The rules of a campaign, each as a text that was found valid. Build it with ``of``.

    ``zone`` is that of the windows, or the site's where there are none: freezes and ``not_before`` are of it too.
    """

    limit: int = 1
    soak: str = "48h"
    windows: tuple[str, ...] = ()
    freezes: tuple[str, ...] = ()
    not_before: str = ""
    zone: str = "UTC"

    @classmethod
    def of(cls, site_zone: str, **rules: Any) -> Self:
        """
        Return a plan of these rules.

        Raises:
            ValueError: what is wrong with one of them, or that windows name two zones.
        """
        zones = {parse_window(text)[1] for text in rules.get("windows", ())}
        if len(zones) > 1:
            raise ValueError(f"the windows name several time zones: {', '.join(sorted(zones))}; one campaign has one")
        plan = cls(**rules | {"zone": zones.pop() if zones else site_zone})
        plan.calendar()
        parse_length(plan.soak)
        return plan

    def changed(self, site_zone: str, **rules: Any) -> Self:
        """
        Return the plan with some rules replaced. A first moment keeps the time that it was given for.

        Raises:
            ValueError: as ``of``.
        """
        kept = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "zone"}
        if self.not_before and "not_before" not in rules:
            kept["not_before"] = parse_moment(self.not_before, self.zone).isoformat()
        return self.of(site_zone, **(kept | rules))

    @property
    def soak_time(self) -> timedelta:
        """How long a course stands in ``live`` before it goes on."""
        return parse_length(self.soak)

    def calendar(self) -> Calendar:
        """Return when the campaign may act."""
        zone_of(self.zone)
        windows: tuple[Window, ...] = tuple(parse_window(text)[0] for text in self.windows)
        first: datetime | None = parse_moment(self.not_before, self.zone) if self.not_before else None
        freezes = tuple(parse_freeze(text) for text in self.freezes)
        return Calendar(zone=self.zone, windows=windows, freezes=freezes, not_before=first)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain data."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Return the plan that ``to_json`` has turned into plain data."""
        read: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return cls(**read)
