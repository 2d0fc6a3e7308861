"""
A scan: the ledger entries of a course are looked at page by page, and compared where they have changed.

The process of the run does it, or workers do, each with a range of the entries' ids (``runs/spread.py``).
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Self

from django.utils.timezone import now

from .. import toggles
from ..conf import ShimSettings, load
from ..core.errors import WorkersFailed
from ..ledger import known_differences
from ..models import Run
from ..runs import garbage, ranges
from ..runs import records as run_records
from ..runs.control import Control
from ..runs.ranges import Range
from ..runs.spread import Spread
from . import candidates, entries, equal_pairs, pairs, replaced_pairs
from .score_styles import ScoreStyles

#: Entries compared at once; a page of snapshots holds more, most of which need no comparing.
BATCH = 500
#: Stores the results of those of some entries that need no rules, and returns the ids of the others.
ShortPath = Callable[[Sequence[int], pairs.ComparisonContext, candidates.Rules], list[int]]
#: Settings whose values the result of a pair depends on. No result depends on EVIDENCE_DAYS, but runs before that
#: setting did not record when the target graded, without which no pair counts: so all entries are looked at once more.
JUDGED_BY = ("presence_grace_seconds", "grading_deadline_seconds", "evidence_days")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanRequest:
    """
    What is to be scanned, and what all its results rest on: the same in whatever process a pair is compared.

    Args:
        course_id: the course.
        since: from when on touches of settled entries count; None looks at all entries.
        echo: whether legacy's replies are fed to ungraded shadows first.
        basis: the versions and the settings that a result depends on; see ``basis_of``.
        styles: what is known of the course's queues.
        at: the moment for which the register of known differences is read.
    """

    course_id: str
    since: datetime | None
    echo: bool
    basis: str
    styles: ScoreStyles
    at: datetime

    def to_json(self) -> dict[str, Any]:
        """Return the request as plain data, for a worker."""
        return {
            "course": self.course_id,
            "since": self.since.isoformat() if self.since else None,
            "echo": self.echo,
            "basis": self.basis,
            "styles": self.styles.to_json(),
            "at": self.at.isoformat(),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Return the request that ``to_json`` has turned into plain data."""
        return cls(
            course_id=data["course"],
            since=datetime.fromisoformat(data["since"]) if data["since"] else None,
            echo=data["echo"],
            basis=data["basis"],
            styles=ScoreStyles.from_json(data["styles"]),
            at=datetime.fromisoformat(data["at"]),
        )


@dataclass(slots=True, kw_only=True)
class ScanCounts:
    """Entries looked at, those of them that were compared, and copies echoed; seconds waited, by kind of reason."""

    looked_at: int = 0
    compared: int = 0
    echoed: int = 0
    waited: Counter[str] = field(default_factory=Counter)

    def join(self, other: ScanCounts) -> None:
        """Add what another process has counted."""
        self.looked_at += other.looked_at
        self.compared += other.compared
        self.echoed += other.echoed
        self.waited.update(other.waited)

    def to_json(self) -> dict[str, Any]:
        """Return the counts as plain data."""
        counts = {"looked_at": self.looked_at, "compared": self.compared, "echoed": self.echoed}
        return counts | {"waited": dict(self.waited)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Return the counts of a range; all zero where it has counted nothing yet."""
        numbers = {name: data.get(name, 0) for name in ("looked_at", "compared", "echoed")}
        return cls(**numbers, waited=Counter(data.get("waited", {})))


def basis_of(versions: dict[str, str], settings: dict[str, Any]) -> str:
    """Return a text of all that a run's results rest on: the versions, and the settings that results depend on."""
    return repr((sorted(versions.items()), sorted(judged_by(settings).items())))


def judged_by(settings: dict[str, Any]) -> dict[str, Any]:
    """Return those of a run's recorded settings that the result of a pair depends on."""
    return {name: settings.get(name) for name in JUDGED_BY}


class Scanner:
    """Looks at pages of entries, and compares the entries that have changed."""

    def __init__(self, request: ScanRequest, settings: ShimSettings, control: Control) -> None:
        self.request, self.control = request, control
        self.rules = candidates.Rules.of(request.basis, request.styles.known)
        patient = request.styles.slower_than(timedelta(seconds=settings.grading_deadline_seconds))
        self.read = candidates.snapshot_reader(self.rules, echo=request.echo, patient=patient)
        self.context = pairs.ComparisonContext(
            settings=settings,
            styles=request.styles,
            register=known_differences.of_course(request.course_id, request.at),
        )

    def compare_page(self, page: list[candidates.EntrySnapshot]) -> ScanCounts:
        """
        Compare the entries of a page, which ``self.read`` has returned, that have changed; return what was counted.

        Raises:
            Stopped: with the reason, before a batch.
        """
        ids = candidates.changed(page)
        superseded = {snapshot.id for snapshot in page if snapshot.superseded}
        counts = ScanCounts(looked_at=len(page), compared=len(ids))
        left = self._left(equal_pairs.store, [pk for pk in ids if pk not in superseded])
        left += self._left(replaced_pairs.store, [pk for pk in ids if pk in superseded])
        # Together: they are few, and the rules take as many statements for a handful as for a batch.
        for batch in self._batches(left):
            counts.echoed += self._compare(batch)
        return counts

    def _batches(self, ids: list[int]) -> Iterator[list[int]]:
        for start in range(0, len(ids), BATCH):
            self.control.turn()
            yield ids[start : start + BATCH]

    def _left(self, store: ShortPath, ids: list[int]) -> list[int]:
        """Return the ids that a short path has not stored."""
        return [pk for batch in self._batches(ids) for pk in store(batch, self.context, self.rules)]

    def _compare(self, ids: list[int]) -> int:
        """Compare a batch by the rules, and return how many copies were given legacy's reply before."""
        moment, echoed = now(), 0
        found = entries.read(ids, self.rules)
        if self.request.echo and (echoed := pairs.echo_entries([one.entry for one in found], self.context.settings)):
            moment, found = now(), entries.read(ids, self.rules)
        pairs.compare_entries(found, moment, self.context)
        return echoed


def _planned_ranges(request: ScanRequest, size: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each range's start and plan. The last range has no end: it takes in what arrives meanwhile."""
    plan, after = request.to_json(), 0
    ends = list(candidates.range_ends(request.course_id, since=request.since, echo=request.echo, size=size))
    for end in ends:
        yield after, plan | {"upto": None if end == ends[-1] else end}
        after = end


def scan_by_workers(
    request: ScanRequest,
    record: Run,
    control: Control,
    settings: ShimSettings,
    send: Callable[[int], None],
    counts: ScanCounts,
    show: Callable[[ScanCounts], None],
) -> None:
    """
    Have the workers scan the course, range by range. What they have counted is added to ``counts``, however it ends.

    Args:
        request: what is to be scanned.
        record: the run on record.
        control: asked whether to stop while the workers are waited for.
        settings: the settings in force.
        send: hands a range, by its id, to the workers.
        counts: the counts of the run so far.
        show: called with the counts as they grow.

    Raises:
        Stopped: with the reason.
        WorkersFailed: the workers do not come to an end.
        RunLocked: another run has taken this one's place.
    """
    spreading, before = Spread(record, control, settings, ScanCounts), ScanCounts.from_json(counts.to_json())

    def show_all(counted: ScanCounts) -> None:
        counted.join(before)
        show(counted)

    try:
        spreading.run(_planned_ranges(request, settings.range_rows), send, show_all)
    finally:
        counts.join(spreading.take_back())


def work(range_id: int) -> str:
    """
    Work through a range from its position, and return what came of it as a text. See ``runs.ranges.work``.

    Raises:
        TargetWriteFailed, DatabaseError: a database cannot be used now; the command sends the range again.
    """
    with garbage.left_alone():
        return ranges.work(range_id, ScanCounts, _work, toggles.stop_reason)


def _work(taken: Range[ScanCounts]) -> str:
    """Scan page by page, to the end of the range."""
    request, settings = ScanRequest.from_json(taken.plan), load()
    if basis_of(run_records.versions(), run_records.settings_of(settings)) != request.basis:
        raise WorkersFailed(
            "This worker has other versions or settings than the command: what it finds is no evidence."
        )
    scanner = Scanner(request, settings, taken.control)
    page_of = functools.partial(
        candidates.page, scanner.read, request.course_id, since=request.since, echo=request.echo
    )
    while taken.is_wanted():
        taken.control.turn()
        page = page_of(after=taken.position.last_id, upto=taken.plan["upto"])
        if not page:
            taken.keep(done=True)
            return "done"
        found = scanner.compare_page(page)
        found.waited.update(taken.control.waited)
        taken.tally.join(found)
        to = page[-1].id
        taken.position.move(to, counts=taken.tally.to_json() | {"begun": True})
        taken.position.moved(to)
        taken.control.waited.clear()
    return "the run is over"
