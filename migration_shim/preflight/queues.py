"""Findings about the queues of a course: how their graders are reached, and whether their files can be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta

from django.utils.timezone import now

from ..conf import ShimSettings
from ..core.data import LegacyRow
from ..core.errors import ConfigurationError, FileUnavailable
from ..core.findings import BLOCKER, Finding, found
from ..core.identity import has_suffix
from ..core.row_counts import Queue
from ..core.row_rules import RULES
from ..core.wording import counted
from ..legacy import files
from ..legacy import rows as legacy_rows
from ..legacy.client import LegacyClient

#: After so many consecutive rows without their files no more are tried: each may take a timeout.
GIVE_UP = 5


def findings(queues: dict[str, Queue], settings: ShimSettings) -> Iterator[Finding]:
    """Yield the findings about each queue, by name."""
    storage = files.legacy_storage(settings)
    for name, queue in sorted(queues.items()):
        yield from _of_graders(name, queue, settings)
        yield from _of_files(name, queue, storage, settings)
        if has_suffix(name, settings.suffixes):
            yield found(RULES["queue_reserved"], queue=name)
        if not is_known_to_xqueue(name):
            yield found(RULES["queue_unknown"], queue=name)
        yield from _of_reverse(name + settings.reverse_queue_suffix, settings)


def _of_graders(name: str, queue: Queue, settings: ShimSettings) -> Iterator[Finding]:
    """Yield findings about push queues and undeclared side effects; of a push only its time on the row can be read."""
    pushed = queue.last_push is not None and (queue.last_pull is None or queue.last_push >= queue.last_pull)
    if name in settings.push_queues or pushed:
        about = "in PUSH_QUEUES" if name in settings.push_queues else "by its newest push time"
        yield found(RULES["push_queue"], queue=name, about=about, rows=queue.pushed, example=queue.push_example)
    elif queue.last_pull is None:
        yield found(RULES["queue_never_pulled"], queue=name)
    if name not in (*settings.side_effect_queues, *settings.side_effect_free_queues):
        yield found(RULES["side_effects_undeclared"], queue=name)


def _of_files(name: str, queue: Queue, storage: files.Source, settings: ShimSettings) -> Iterator[Finding]:
    """Yield a finding if files of the newest rows cannot be read: rows in flight first, then graded ones."""
    ids = [*reversed(queue.files_in_flight), *reversed(queue.files_graded)]
    if ids and storage is None:
        yield found(RULES["files_no_storage"], queue=name, rows=queue.with_files, example=ids[0])
        return
    reasons: Counter[str] = Counter()
    looked, example, failed_in_a_row = 0, None, 0
    for row in _rows(ids):
        looked += 1
        reason = _missing(row, storage, settings)
        failed_in_a_row = failed_in_a_row + 1 if reason else 0
        if reason:
            reasons[reason] += 1
            example = example or row.id
        if failed_in_a_row == GIVE_UP:
            break
    if reasons:
        failed = reasons.total()
        words = ", ".join(f"{number} {reason}" for reason, number in sorted(reasons.items()))
        yield found(
            RULES["file_unreachable"],
            severity=BLOCKER if failed == looked else "",
            queue=name,
            rows=failed,
            example=example,
            about=f"{words}; {looked} of {counted(queue.with_files, 'row')} with files were looked at",
        )


def _rows(ids: Iterable[int]) -> Iterator[LegacyRow]:
    """Yield the rows one by one: each may hold an answer of megabytes."""
    for row_id in ids:
        yield from legacy_rows.by_id([row_id]).values()


def _missing(row: LegacyRow, storage: files.Source, settings: ShimSettings) -> str:
    """Return why the files of a row cannot be read; empty where they can."""
    try:
        files.check(row, files.file_keys(row, storage), storage, settings)
    except FileUnavailable as error:
        return error.reason
    return ""


def _of_reverse(queue: str, settings: ShimSettings) -> Iterator[Finding]:
    """Yield a finding if XQueue does not know a queue of reverse shadows, or no grader polls it."""
    if not is_known_to_xqueue(queue):
        yield found(RULES["reverse_queue_unknown"], queue=queue)
    elif not legacy_rows.was_pulled_since(queue, now() - timedelta(seconds=settings.evidence_max_age_seconds)):
        yield found(RULES["reverse_queue_not_polled"], queue=queue)


def is_known_to_xqueue(queue: str) -> bool:
    """Return whether XQueue says that it has a queue; False where it cannot be asked."""
    try:
        error, _ = LegacyClient().queue_length(queue)
    except ConfigurationError:
        return False
    return not error
