"""
When a campaign may act: weekly windows and frozen days of a time zone, a first moment, and lengths of time.

Windows and freezes are wall-clock times of their zone, so a window keeps its hours across a change of the clocks. A
length of time (a soak) is elapsed time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_WEEK, _MINUTE, _DAY = 7, timedelta(minutes=1), timedelta(days=1)
#: Days in which every window opens once, even if a change of the clocks skips it in the first week.
_REACH = 2 * _WEEK + 2
#: The last minute of a day, for a window that ends at 24:00.
_MIDNIGHT = 24 * 60
_WINDOW = re.compile(r"(\S+) +(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2}) +(\S+)")
_LENGTH = re.compile(r"(\d{1,6})([mhd])")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
#: Years of days and moments. Near the ends of Python's calendar a time zone leads out of it.
_YEARS = range(2000, 9000)
_FREEZE = re.compile(r"(\d{4}-\d{2}-\d{2})(?:\.\.(\d{4}-\d{2}-\d{2}))?")


def zone_of(name: str) -> ZoneInfo:
    """
    Return a time zone by its name in the tz database.

    Raises:
        ValueError: there is no such zone.
    """
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:
        raise ValueError(f"{name!r} is not a time zone such as Europe/Berlin") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """
    Hours of some days of the week, in minutes of the day. One that ends before it begins goes on after midnight, and
    belongs to the day on which it begins.
    """

    days: frozenset[int]
    start: int
    end: int

    def is_open(self, wall: datetime) -> bool:
        """Tell whether a wall-clock time lies in the window; its end does not."""
        minute, day = wall.hour * 60 + wall.minute, wall.weekday()
        if self.start < self.end:
            return day in self.days and self.start <= minute < self.end
        before = (day - 1) % _WEEK
        return (day in self.days and minute >= self.start) or (before in self.days and minute < self.end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """When a campaign may act. Without windows every hour is one; a freeze includes its first and its last day."""

    zone: str = "UTC"
    windows: tuple[Window, ...] = ()
    freezes: tuple[tuple[date, date], ...] = ()
    not_before: datetime | None = None

    def closed(self, moment: datetime) -> str:
        """Return why nothing may be done at a moment, in one line with the next opening; empty if it may."""
        if self._is_open(moment):
            return ""
        opens = self.next_open(moment)
        when = f", {self._said(opens, moment)}" if opens else ""
        if self.not_before is not None and moment < self.not_before:
            return f"waits for its first day{when}"
        wall = moment.astimezone(zone_of(self.zone))
        for first, last in self.freezes:
            if first <= wall.date() <= last:
                return f"waits for the end of the freeze {first}..{last}{when}"
        return f"waits for the window{when}"

    def next_open(self, moment: datetime) -> datetime | None:
        """
        Return the first moment from ``moment`` on at which something may be done; None if there is none in reach.

        Windows are weekly, so the days after ``moment``, after the first moment and after each freeze are enough.
        """
        zone = zone_of(self.zone)
        starts = [moment] + ([self.not_before] if self.not_before else [])
        days = {start.astimezone(zone).date() for start in starts} | {last + _DAY for _, last in self.freezes}
        minutes = {0, *(window.start for window in self.windows)}
        for day in {first + offset * _DAY for first in days for offset in range(_REACH)}:
            starts += [found for minute in minutes for found in _instants(day, minute, zone)]
            starts += _changes(day, zone)
        return min((start for start in starts if start >= moment and self._is_open(start)), default=None)

    def _is_open(self, moment: datetime) -> bool:
        if self.not_before is not None and moment < self.not_before:
            return False
        wall = moment.astimezone(zone_of(self.zone))
        if any(first <= wall.date() <= last for first, last in self.freezes):
            return False
        return not self.windows or any(window.is_open(wall) for window in self.windows)

    def _said(self, opens: datetime, moment: datetime) -> str:
        wall = opens.astimezone(zone_of(self.zone))
        day = f"{DAYS[wall.weekday()]} {wall:%H:%M}" if opens - moment < 6 * _DAY else f"{wall:%Y-%m-%d %H:%M}"
        return f"{day} {self.zone}"


def _instants(day: date, minute: int, zone: ZoneInfo) -> Iterator[datetime]:
    """Yield the moments at which the clocks of a zone show a minute of a day: none, one or two."""
    wall = datetime.combine(day, time(minute // 60, minute % 60))
    found = {wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
    yield from (moment for moment in sorted(found) if moment.astimezone(zone).replace(tzinfo=None) == wall)


def _changes(day: date, zone: ZoneInfo) -> Iterator[datetime]:
    """Yield the moment at which the clocks of a zone are changed on a day, to the minute, if they are."""
    early, late = (
        datetime.combine(day, time(), tzinfo=UTC) + offset for offset in (timedelta(hours=-14), timedelta(hours=38))
    )
    if early.astimezone(zone).utcoffset() == late.astimezone(zone).utcoffset():
        return
    while late - early > _MINUTE:
        middle = early + (late - early) // 2
        middle = middle.replace(second=0, microsecond=0)
        if middle.astimezone(zone).utcoffset() == early.astimezone(zone).utcoffset():
            early = middle
        else:
            late = middle
    yield late


def parse_window(text: str) -> tuple[Window, str]:
    """
    Return the window that a text names, and its time zone: ``Mon-Thu 09:00-16:00 Europe/Berlin``.

    Days are one (``Mon``), a range (``Fri-Mon``) or a list of both with commas.

    Raises:
        ValueError: what is wrong with the text.
    """
    found = _WINDOW.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a window such as 'Mon-Thu 09:00-16:00 Europe/Berlin'")
    days, start, end = _days(found[1]), _minute(found[2], found[3]), _minute(found[4], found[5])
    if start in (end, _MIDNIGHT):
        raise ValueError(f"{text!r} has no hours: all of a day is 00:00-24:00")
    zone_of(found[6])
    return Window(days=days, start=start, end=end), found[6]


def _days(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        names = [name.capitalize() for name in part.split("-")]
        if len(names) > 2 or not set(names) <= set(DAYS):
            raise ValueError(f"{part!r} is not a day or a range of days: they are {', '.join(DAYS)}")
        first, last = DAYS.index(names[0]), DAYS.index(names[-1])
        found |= {(first + step) % _WEEK for step in range((last - first) % _WEEK + 1)}
    return frozenset(found)


def _minute(hours: str, minutes: str) -> int:
    found = int(hours) * 60 + int(minutes)
    if int(minutes) >= 60 or found > _MIDNIGHT:
        raise ValueError(f"{hours}:{minutes} is not a time of day")
    return found


def parse_freeze(text: str) -> tuple[date, date]:
    """
    Return the first and the last day of a freeze: ``2026-12-10..2026-12-20``, or one day.

    Raises:
        ValueError: what is wrong with the text.
    """
    found = _FREEZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a freeze such as 2026-12-10..2026-12-20")
    first = date.fromisoformat(found[1])
    last = date.fromisoformat(found[2]) if found[2] else first
    if last < first:
        raise ValueError(f"{text!r} ends before it begins")
    _check_year(text, first)
    _check_year(text, last)
    return first, last


def _check_year(text: str, day: date) -> None:
    if day.year not in _YEARS:
        raise ValueError(f"{text!r} names a year that is not between {_YEARS.start} and {_YEARS.stop - 1}")


def parse_moment(text: str, zone: str) -> datetime:
    """
    Return the moment that a text names: ISO 8601, of the given zone where it names none; a day begins at midnight.

    Raises:
        ValueError: what is wrong with the text.
    """
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ValueError(f"{text!r} is not a day or a time such as 2026-12-01 or 2026-12-01T09:00") from error
    _check_year(text, found)
    return (found if found.tzinfo else found.replace(tzinfo=zone_of(zone))).astimezone(UTC)


def parse_length(text: str) -> timedelta:
    """
    Return a length of time: ``30m``, ``48h``, ``2d``; ``0`` is none.

    Raises:
        ValueError: what is wrong with the text.
    """
    found = _LENGTH.fullmatch(text.strip())
    if text.strip() == "0":
        return timedelta(0)
    if found is None:
        raise ValueError(f"{text!r} is not a length of time such as 30m, 48h or 2d")
    return int(found[1]) * _UNITS[found[2]]


def said_length(length: timedelta) -> str:
    """Return a length of time in the largest units that say most of it: ``2 d``, ``47 h``, ``12 min``."""
    minutes = int(length.total_seconds() // 60)
    if minutes >= 2 * _MIDNIGHT:
        return f"{minutes // _MIDNIGHT} d"
    return f"{minutes // 60} h" if minutes >= 120 else f"{max(minutes, 1)} min"
