"""What is learnt of a course's queues: how their graders score, and how long they usually take."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, Self

from django.db.models import QuerySet

from .core.scoring import learn_style, read_reply
from .data import ScoreStyle
from .models import LedgerEntry
from .target import reader

#: So many of the newest entries of a course tell; reading more would change nothing.
WINDOW = 20_000
#: Replies that the first run of a course learns from.
SAMPLE = 2000
#: Fewer times than this tell nothing of what is usual.
ENOUGH = 100


class Styles:
    """
    The queues of one course, as the ledger knows them at one moment: the same for every pair of a run.

    What an earlier run had learnt of a queue holds until its newer scores say otherwise.
    """

    def __init__(self, known: dict[str, ScoreStyle], usual: dict[str, timedelta]) -> None:
        self.known, self._usual = known, usual

    @classmethod
    def learnt(cls, course_id: str, before: Mapping[str, str]) -> Self:
        """What the ledger knows now, and what was known before."""
        entries = LedgerEntry.objects.filter(course_id=course_id).order_by("-id")
        first = entries.values_list("id", flat=True)[WINDOW - 1 : WINDOW].first() or 0
        columns = ("queue_name", "target_score", "points_possible", "legacy_seconds")
        told = list(entries.filter(id__gte=first, target_score__isnull=False).values_list(*columns))
        scores: dict[str, list[tuple[float, int]]] = defaultdict(list)
        seconds: dict[str, list[float]] = defaultdict(list)
        for queue_name, score, possible, took in told or _of_target(entries.filter(id__gte=first)):
            scores[queue_name].append((score, possible))
            if took is not None:
                seconds[queue_name].append(took)
        known = {queue: ScoreStyle(style) for queue, style in before.items()}
        for queue_name, found in scores.items():
            style = learn_style(found)
            if style is not ScoreStyle.UNKNOWN:
                known[queue_name] = style
        usual = {
            queue: timedelta(seconds=sorted(found)[int(len(found) * 0.99)])
            for queue, found in seconds.items()
            if len(found) >= ENOUGH
        }
        return cls(known, usual)

    def to_json(self) -> dict[str, Any]:
        """What is known as plain data, for another process."""
        usual = {queue: took.total_seconds() for queue, took in self._usual.items()}
        return {"known": {queue: style.value for queue, style in self.known.items()}, "usual": usual}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """What another process knew."""
        known = {queue: ScoreStyle(style) for queue, style in data["known"].items()}
        return cls(known, {queue: timedelta(seconds=seconds) for queue, seconds in data["usual"].items()})

    def style(self, queue_name: str) -> ScoreStyle:
        """What the graders of a queue call a score."""
        return self.known.get(queue_name, ScoreStyle.UNKNOWN)

    def usual_time(self, queue_name: str) -> timedelta | None:
        """How long 99 of 100 submissions of the queue take on legacy; None while there are too few of them."""
        return self._usual.get(queue_name)


def _of_target(entries: QuerySet[LedgerEntry]) -> Iterator[tuple[str, float, int, None]]:
    """What the target's graders have said, where no run has stored it yet: a first run need not look twice then."""
    some = entries.filter(points_possible__gt=1, target_submission_id__isnull=False)
    found = list(some.values_list("queue_name", "target_submission_id", "points_possible")[:SAMPLE])
    replies = reader.replies(submission_id for _, submission_id, _ in found)
    for queue_name, submission_id, possible in found:
        _, text = replies.get(submission_id, (None, None))
        score = read_reply(text).score if text else None
        if score is not None:
            yield queue_name, score, possible, None
