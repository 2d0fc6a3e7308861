"""The metrics of the whole site."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

from ..core import ranking
from ..core.documents.status import StatusDocument
from .metric import Metric, Sample, timestamp


def _site(read: Callable[[StatusDocument], float | int | bool | None]) -> Callable[[StatusDocument], Iterator[Sample]]:
    """Return a reader that yields one sample for the site."""

    def samples(content: StatusDocument) -> Iterator[Sample]:
        yield (), read(content)

    return samples


def _breakers(key: Literal["failures", "open"]) -> Callable[[StatusDocument], Iterator[Sample]]:
    def samples(content: StatusDocument) -> Iterator[Sample]:
        for leg, state in content["breakers"].items():
            yield (leg,), state[key]

    return samples


def _queues(key: Literal["rows", "oldest_seconds"]) -> Callable[[StatusDocument], Iterator[Sample]]:
    def samples(content: StatusDocument) -> Iterator[Sample]:
        for queue in content["queues_without_watcher"]:
            yield (queue["side"], queue["queue"]), queue[key]

    return samples


def _words(content: StatusDocument) -> Iterator[Sample]:
    for word in ranking.ORDER:
        yield (word,), content["counts"].get(word, 0)


def _unknown_courses(content: StatusDocument) -> int | None:
    found = content["xqueue"]
    return None if found["courses"] is None or found["known"] is None else found["courses"] - found["known"]


def _look_age(content: StatusDocument) -> float | None:
    looked_at = timestamp(content["xqueue"]["looked_at"])
    return None if looked_at is None else max((timestamp(content["at"]) or looked_at) - looked_at, 0.0)


#: In the order in which they are written.
SITE_METRICS: tuple[Metric, ...] = (
    Metric(
        name="status_timestamp_seconds",
        help="When the status was read, in seconds since the epoch.",
        samples=_site(lambda content: timestamp(content["at"])),
    ),
    Metric(
        name="kill_switch",
        help="Whether copies and runs are stopped everywhere.",
        samples=_site(lambda content: content["kill_switch"]),
    ),
    Metric(
        name="legacy_readable",
        help="Whether legacy's database answers. Without it nothing is said of what legacy holds.",
        samples=_site(lambda content: content["legacy_readable"]),
    ),
    Metric(
        name="breaker_open",
        help="Whether copies of a leg are not tried for now.",
        labels=("leg",),
        samples=_breakers("open"),
    ),
    Metric(
        name="breaker_failures",
        help="Failures of a leg in a row.",
        labels=("leg",),
        samples=_breakers("failures"),
    ),
    Metric(
        name="callback_hosts_unnamed",
        help="Hosts that submissions through our own door call back, and no setting names as this LMS's.",
        samples=_site(lambda content: len(content["callback_hosts"]["unnamed"])),
    ),
    Metric(
        name="ledger_of_another_lms",
        help="Whether the ledger belongs to another LMS, so that nothing acts on it.",
        samples=_site(lambda content: bool(content["ledger_complaint"])),
    ),
    Metric(
        name="watchers_past_the_seam",
        help="Addresses on record that log in at edx-submissions' own endpoint.",
        samples=_site(lambda content: len(content["watchers_past_the_seam"]["logins"])),
    ),
    Metric(
        name="queue_without_watcher_rows",
        help="Rows that wait in a queue from which nobody pulls. No sample for a queue that is served.",
        labels=("side", "queue"),
        samples=_queues("rows"),
    ),
    Metric(
        name="queue_without_watcher_oldest_seconds",
        help="How long the oldest of them has waited.",
        labels=("side", "queue"),
        samples=_queues("oldest_seconds"),
    ),
    Metric(
        name="ledger_entries",
        help="Entries of the ledger.",
        samples=_site(lambda content: content["ledger"]["rows"]),
    ),
    Metric(
        name="ledger_residue",
        help="Entries of the ledger whose residue has not been purged.",
        samples=_site(lambda content: content["ledger"]["residue"]),
    ),
    Metric(
        name="courses",
        help="Courses by where they stand in one word: the cause that the last gate or the status names.",
        labels=("word",),
        samples=_words,
    ),
    Metric(
        name="xqueue_courses",
        help="Courses of this LMS that XQueue has rows of; no sample before the watch has looked.",
        samples=_site(lambda content: content["xqueue"]["courses"]),
    ),
    Metric(
        name="xqueue_courses_unknown",
        help="Those of them that the shim does not know.",
        samples=_site(_unknown_courses),
    ),
    Metric(
        name="xqueue_courses_age_seconds",
        help="How long ago the watch came to the end of XQueue's courses.",
        samples=_site(_look_age),
    ),
)
