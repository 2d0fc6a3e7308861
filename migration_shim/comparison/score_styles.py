"""What a run learns about a course's queues: how their graders score, and how long they usually take."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from itertools import groupby
from typing import Any, Self

from ..core.data import ScoreStyle
from ..core.histograms import Bin, Kind, quantile, upper_edge
from ..core.scoring import read_reply, style_of, style_sign
from ..ledger import counts
from ..target import reader

#: Only the newest days that hold so many entries are read; more would change nothing.
WINDOW = 20_000
#: How many replies the first run of a course learns from.
SAMPLE = 2000
#: Fewer durations than this do not tell what is usual.
ENOUGH = 100


class ScoreStyles:
    """
    The styles and usual times of one course's queues at one moment: the same for every pair of a run.

    What an earlier run has learnt of a queue holds until the queue's newer scores say otherwise.
    """

    def __init__(self, known: dict[str, ScoreStyle], usual: dict[str, timedelta]) -> None:
        self.known, self._usual = known, usual

    @classmethod
    def learnt(cls, course_id: str, before: Mapping[str, str]) -> Self:
        """Return what the ledger tells now, added to ``before``, the styles by queue that were known before."""
        signs: dict[str, Counter[str]] = defaultdict(Counter)
        seconds: dict[str, Counter[int]] = defaultdict(Counter)
        places = counts.counted_bins(course_id, Kind.STYLE, Kind.LEGACY_SECONDS)
        for place, number in _newest([one for one in places if one[0].kind == Kind.STYLE]):
            signs[place.queue_name][place.bin] += number
        for queue_name, sign in () if signs else _of_target(course_id):
            signs[queue_name][sign] += 1
        for place, number in _newest([one for one in places if one[0].kind == Kind.LEGACY_SECONDS]):
            seconds[place.queue_name][int(place.bin)] += number
        known = {queue: ScoreStyle(style) for queue, style in before.items()}
        for queue_name, found in signs.items():
            style = style_of(found)
            if style is not ScoreStyle.UNKNOWN:
                known[queue_name] = style
        usual = {
            queue: timedelta(seconds=upper_edge(high))
            for queue, numbers in seconds.items()
            if numbers.total() >= ENOUGH and (high := quantile(numbers, 0.99)) is not None
        }
        return cls(known, usual)

    def to_json(self) -> dict[str, Any]:
        """Return what is known as plain data, for another process."""
        usual = {queue: took.total_seconds() for queue, took in self._usual.items()}
        return {"known": {queue: style.value for queue, style in self.known.items()}, "usual": usual}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Return what ``to_json`` has turned into plain data."""
        known = {queue: ScoreStyle(style) for queue, style in data["known"].items()}
        return cls(known, {queue: timedelta(seconds=seconds) for queue, seconds in data["usual"].items()})

    def style(self, queue_name: str) -> ScoreStyle:
        """Return in which style the graders of a queue give scores."""
        return self.known.get(queue_name, ScoreStyle.UNKNOWN)

    def slower_than(self, limit: timedelta) -> list[str]:
        """Return the queues on which twice the usual time is longer than ``limit``; see ``core.compare.Patience``."""
        return sorted(queue for queue, usual in self._usual.items() if 2 * usual > limit)

    def usual_time(self, queue_name: str) -> timedelta | None:
        """Return within which time legacy grades 99 of 100 submissions of a queue; None while there are too few."""
        return self._usual.get(queue_name)


def _newest(places: list[tuple[Bin, int]]) -> Iterator[tuple[Bin, int]]:
    """Yield the bins of the newest days that together hold ``WINDOW`` entries: older ones would change nothing."""
    places.sort(key=lambda found: found[0].day or date.min, reverse=True)
    passed = 0
    for _, of_day in groupby(places, key=lambda found: found[0].day):
        if passed >= WINDOW:
            return
        for place, number in of_day:
            passed += number
            yield place, number


def _of_target(course_id: str) -> Iterator[tuple[str, str]]:
    """Yield (queue, sign) of the target's replies, before any run has counted them: it spares a second first scan."""
    some = counts.loose_of(course_id).filter(points_possible__gt=1, target_submission_id__isnull=False)
    found = list(some.order_by("-id").values_list("queue_name", "target_submission_id", "points_possible")[:SAMPLE])
    replies = reader.reply_texts(submission_id for _, submission_id, _ in found if submission_id is not None)
    for queue_name, submission_id, possible in found:
        text = replies.get(submission_id or 0)
        score = read_reply(text).score if text else None
        if score is not None:
            yield queue_name, style_sign(score, possible)
