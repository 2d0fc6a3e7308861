"""
The comparison run: outcome against outcome, one result on each ledger entry, and the proof of the fence.

In this version every run is a full one. Of payloads only the endpoint that handed them out is checked;
stored points, order, files and latency bounds are not compared yet. The report says so.
"""

from __future__ import annotations

import dataclasses
import hmac
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings as django_settings
from django.db import transaction
from django.utils.timezone import now

from . import echo, link, runs, toggles
from .conf import ShimSettings, load
from .core.compare import Patience, compare
from .core.totals import Totals, course_content, whole_content
from .core.wire import parse_header
from .data import (
    Authority,
    Comparison,
    DivergenceClass,
    Document,
    ExitCode,
    Grading,
    Leg,
    Origin,
    Outcome,
    PairStatus,
    State,
)
from .models import LedgerEntry, Run
from .outcomes import legacy_sides
from .target import reader

PAGE = 500

Progress = Callable[[int, int], None]
Divergence = dict[str, Any]


def run(
    courses: list[str],
    progress: Progress,
    on_divergence: Callable[[Divergence], None] = lambda divergence: None,
    *,
    grading: Grading = Grading.SHADOW,
) -> Document:
    """
    Reconcile courses, each as a run of its own on record.

    Args:
        courses: their ids.
        progress: called with (entries compared, entries there are).
        on_divergence: called with every divergence, as it is found.
        grading: ECHO feeds legacy's stored replies to ungraded shadows first, imported history included.

    Raises:
        RunLocked: a reconcile of one of the courses is at work.
        ConfigurationError: the settings are not usable.
    """
    settings = load()
    documents = []
    for course_id in courses:
        with runs.running("reconcile", course_id) as record:
            content = _Reconcile(course_id, settings, on_divergence, grading).run(record, progress)
            record.document, record.complete = content, content["complete"]
        documents.append(content)
        if not content["complete"]:
            break
    content = whole_content(courses, documents, now())
    exit_code = ExitCode.OK
    if any(content[key] for key in ("diverged", "overdue", "fence_leaks", "double_authority")):
        exit_code |= ExitCode.DIFFERENCES
    if not content["complete"]:
        exit_code |= ExitCode.STOPPED
    return Document(content=content, exit_code=exit_code)


class _Reconcile:
    """One course's run."""

    def __init__(
        self, course_id: str, settings: ShimSettings, on_divergence: Callable[[Divergence], None], grading: Grading
    ) -> None:
        self.course_id, self.settings, self.on_divergence, self.grading = course_id, settings, on_divergence, grading
        self.totals = Totals()
        self.patience = Patience(
            presence=timedelta(seconds=settings.presence_grace_seconds),
            grading=timedelta(seconds=settings.grading_deadline_seconds),
        )

    def run(self, record: Run, progress: Progress) -> dict[str, Any]:
        complete = link.link_new_rows(self.settings, record)
        self.totals.of = LedgerEntry.objects.filter(course_id=self.course_id).count()
        done = 0
        for page in _pages(self.course_id) if complete else ():
            toggles.new_work_cycle()
            if toggles.kill_switch_on():
                complete = False
                break
            self._compare(page)
            runs.beat(record)
            done += len(page)
            progress(done, self.totals.of)
        self.totals.fence_leaks += reader.half_fenced(self.course_id)
        return course_content(self.course_id, self.totals, complete=complete, at=now())

    def _compare(self, page: list[LedgerEntry]) -> None:
        moment = now()
        legacy_side = legacy_sides(page, self.settings)
        if self.grading is Grading.ECHO:
            states = {row_id: (side.outcome.state, side.row) for row_id, side in legacy_side.items()}
            self.totals.echoed += echo.feed(page, states, self.settings)
        target_side = reader.sides(entry.target_submission_id for entry in page if entry.target_submission_id)
        changed = []
        for entry in page:
            missing = Outcome(state=State.MISSING, arrived_at=entry.arrived_at)
            side, target = legacy_side.get(entry.legacy_id or 0), target_side.get(entry.target_submission_id or 0)
            legacy = side.outcome if side else missing
            _prove_fence(entry, legacy, target, self.totals)
            if Leg.NONE in (entry.legacy_leg, entry.target_leg) or (entry.history and not entry.echo):
                continue  # no second side to compare with; it is counted in ``of`` only
            outcome = target.outcome if target else missing
            result = compare(legacy, outcome, moment, self.patience)
            if target is not None and _handed_out_elsewhere(entry, target):
                result = dataclasses.replace(
                    result, status=PairStatus.DIVERGED, divergences={**result.divergences, **_ELSEWHERE}
                )
            timed = entry.origin == Origin.ROUTER and not entry.echo
            self.totals.add(entry.queue_name, entry.item_id, legacy, outcome, result, timed=timed)
            for klass, text in result.divergences.items():
                self.on_divergence(_divergence(entry, klass, text))
            if _store(entry, result, legacy, outcome, moment):
                changed.append(entry)
        fields = ("result", "divergences", "known", "graded_pair", "compared_at")
        with transaction.atomic():
            LedgerEntry.objects.bulk_update(changed, fields)


_ELSEWHERE = {DivergenceClass.PAYLOAD: "handed out by edx-submissions' own endpoint, with its reduced payload"}


def _handed_out_elsewhere(entry: LedgerEntry, target: reader.TargetSide) -> bool:
    """Whether a grader got the row from upstream's endpoint: its key is then none that the watcher seam gave out."""
    handed_out = target.outcome.state in (State.PULLED, State.GRADED)
    return handed_out and bool(target.pullkey) and target.pullkey != entry.lease_key


def _pages(course_id: str) -> Iterator[list[LedgerEntry]]:
    after = 0
    while page := list(LedgerEntry.objects.filter(course_id=course_id, id__gt=after).order_by("id")[:PAGE]):
        yield page
        after = page[-1].pk


def _prove_fence(entry: LedgerEntry, legacy: Outcome, target: reader.TargetSide | None, totals: Totals) -> None:
    if entry.authority == Authority.LEGACY and target is not None:
        own_queue = target.queue_name != entry.queue_name
        own_key = target.queue_key != parse_header(entry.raw_header).lms_key
        # A half fence is counted once, with those that no entry knows.
        totals.fence_leaks += not (target.half_fenced or (target.fenced and own_queue and own_key))
    if entry.authority == Authority.TARGET and not legacy.copy and legacy.state in (State.QUEUED, State.PULLED):
        totals.double_authority += 1


def _store(entry: LedgerEntry, result: Comparison, legacy: Outcome, target: Outcome, moment: datetime) -> bool:
    # What nobody has graded on either side proves nothing, however equal it is.
    graded = legacy.state is target.state is State.GRADED
    graded_pair = graded or (result.status is PairStatus.DIVERGED and legacy.state.is_final and target.state.is_final)
    new = (result.status.value, ",".join(sorted(result.divergences)), result.known, graded_pair)
    if new == (entry.result, entry.divergences, entry.known, entry.graded_pair):
        return False
    entry.result, entry.divergences, entry.known, entry.graded_pair = new
    entry.compared_at = moment
    return True


def _divergence(entry: LedgerEntry, klass: DivergenceClass, text: str) -> Divergence:
    return {
        "entry": entry.pk,
        "legacy_id": entry.legacy_id,
        "submission_id": entry.target_submission_id,
        "course": entry.course_id,
        "problem": entry.item_id,
        "queue": entry.queue_name,
        "learner": keyed_hash(entry.learner),
        "arrived_at": entry.arrived_at.isoformat(),
        "class": klass.value,
        "what": text,
    }


def keyed_hash(learner: str) -> str:
    """A short name for a learner, the same in every report of this installation and of no use outside it."""
    return hmac.new(
        django_settings.SECRET_KEY.encode(), learner.encode("utf-8", "surrogatepass"), "sha256"
    ).hexdigest()[:12]
