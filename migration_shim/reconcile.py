"""
The comparison run: outcome against outcome, one result on each ledger entry, and the proof of the fence.

In this version every run is a full one. Payloads, stored points, order, files and latency bounds are not compared yet;
the report says so.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings as django_settings
from django.db import transaction
from django.utils.timezone import now

from . import link, runs, toggles
from .backfill import files, plan
from .conf import ShimSettings, load
from .core.compare import Patience, compare
from .core.mapping import ParsedRow, is_copy, legacy_state
from .core.scoring import read_reply
from .core.totals import Totals, course_content, whole_content
from .core.wire import parse_header
from .data import Authority, Comparison, DivergenceClass, Document, ExitCode, Leg, Origin, Outcome, PairStatus, State
from .legacy import rows as legacy_rows
from .models import LedgerEntry, Run
from .target import reader

PAGE = 500

Progress = Callable[[int, int], None]
Divergence = dict[str, Any]


def run(
    courses: list[str], progress: Progress, on_divergence: Callable[[Divergence], None] = lambda divergence: None
) -> Document:
    """
    Reconcile courses, each as a run of its own on record.

    Args:
        courses: their ids.
        progress: called with (entries compared, entries there are).
        on_divergence: called with every divergence, as it is found.

    Raises:
        RunLocked: a reconcile of one of the courses is at work.
        ConfigurationError: the settings are not usable.
    """
    settings = load()
    documents = []
    for course_id in courses:
        with runs.running("reconcile", course_id) as record:
            content = _one_course(course_id, settings, record, progress, on_divergence)
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


def _one_course(
    course_id: str,
    settings: ShimSettings,
    record: Run,
    progress: Progress,
    on_divergence: Callable[[Divergence], None],
) -> dict[str, Any]:
    totals = Totals()
    complete = link.link_new_rows(settings, record)
    entries = LedgerEntry.objects.filter(course_id=course_id)
    totals.of = entries.count()
    done = 0
    for page in _pages(course_id) if complete else ():
        toggles.new_work_cycle()
        if toggles.kill_switch_on():
            complete = False
            break
        _compare_page(page, settings, totals, on_divergence)
        runs.beat(record)
        done += len(page)
        progress(done, totals.of)
    totals.fence_leaks += reader.half_fenced(course_id)
    return course_content(course_id, totals, complete=complete, at=now())


def _pages(course_id: str) -> Iterator[list[LedgerEntry]]:
    after = 0
    while page := list(LedgerEntry.objects.filter(course_id=course_id, id__gt=after).order_by("id")[:PAGE]):
        yield page
        after = page[-1].pk


def _compare_page(
    page: list[LedgerEntry], settings: ShimSettings, totals: Totals, on_divergence: Callable[[Divergence], None]
) -> None:
    moment = now()
    legacy_side = _legacy_outcomes(page, settings)
    target_side = reader.sides(entry.target_submission_id for entry in page if entry.target_submission_id)
    changed = []
    for entry in page:
        target = target_side.get(entry.target_submission_id or 0)
        legacy = legacy_side.get(entry.legacy_id or 0, Outcome(state=State.MISSING, arrived_at=entry.arrived_at))
        _prove_fence(entry, legacy, target, totals)
        if entry.history or Leg.NONE in (entry.legacy_leg, entry.target_leg):
            continue  # no second side to compare with; it is counted in ``of`` only
        missing = Outcome(state=State.MISSING, arrived_at=entry.arrived_at)
        outcome = target.outcome if target else missing
        result = compare(legacy, outcome, moment, _patience(settings))
        timed = entry.origin == Origin.ROUTER
        totals.add(entry.queue_name, entry.item_id, legacy, outcome, result, timed=timed)
        for klass, text in result.divergences.items():
            on_divergence(_divergence(entry, klass, text))
        if _store(entry, result, legacy, outcome, moment):
            changed.append(entry)
    fields = ("result", "divergences", "known", "graded_pair", "compared_at")
    with transaction.atomic():
        LedgerEntry.objects.bulk_update(changed, fields)


def _patience(settings: ShimSettings) -> Patience:
    return Patience(
        presence=timedelta(seconds=settings.presence_grace_seconds),
        grading=timedelta(seconds=settings.grading_deadline_seconds),
    )


def _legacy_outcomes(page: list[LedgerEntry], settings: ShimSettings) -> dict[int, Outcome]:
    storage = files.legacy_storage(settings)
    rows = legacy_rows.by_id(entry.legacy_id for entry in page if entry.legacy_id is not None)
    families = plan.family(rows.values(), storage)
    return {row.id: _legacy_outcome(*_with_siblings(plan.read(row, storage)[0], families)) for row in rows.values()}


def _with_siblings(parsed: ParsedRow, families: dict[str, list[ParsedRow]]) -> tuple[ParsedRow, list[ParsedRow]]:
    return parsed, plan.others(parsed, families)


def _legacy_outcome(parsed: ParsedRow, siblings: list[ParsedRow]) -> Outcome:
    state, row = legacy_state(parsed, siblings), parsed.row
    return Outcome(
        state=state,
        copy=is_copy(row),
        reply=read_reply(row.grader_reply) if state is State.GRADED else None,
        arrived_at=row.arrival_time,
        returned_at=row.return_time,
    )


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
