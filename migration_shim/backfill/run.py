"""The run of ``xqueue_backfill --mode shadow``: page by page, one transaction a page, plan by default."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from django.core.files.storage import Storage
from django.db import transaction
from django.utils.timezone import now

from .. import ledger, runs, toggles
from ..conf import ShimSettings, load
from ..core.identity import shadow_placement
from ..core.mapping import Decision, Policy
from ..data import Document, ExitCode, Leg, Origin, Phase, RowClass
from ..errors import FileUnavailable, TargetWriteFailed, Unfit
from ..legacy import rows as legacy_rows
from ..models import Checkpoint, Run
from ..target import writer
from . import files, plan

SCHEMA = "migration_shim.xqueue_backfill/1"
_WRITTEN = (RowClass.IMPORTED, RowClass.FINAL)
#: Classes of rows that stay behind on legacy and that an operator must know of.
_LEFT_BEHIND = (RowClass.DRAIN, RowClass.MALFORMED)

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the operator asked for. ``courses`` and ``queues`` are None for all."""

    courses: frozenset[str] | None
    queues: frozenset[str] | None
    history: bool
    per_problem: int
    execute: bool
    batch_size: int
    limit: int | None
    restart: bool

    @property
    def scope(self) -> str:
        """A name for the scope and mode of this run, under which its checkpoint is kept."""
        parts = ["history" if self.history else "open"]
        parts += sorted(self.courses or ()) + sorted(f"queue:{queue}" for queue in self.queues or ())
        return "shadow " + " ".join(parts)


def run(request: Request, progress: Progress) -> Document:
    """
    Import legacy rows as fenced shadows; without ``execute`` only say what would be done.

    Every row read gets exactly one class. An interrupted run goes on from its checkpoint; a finished one starts over,
    because a copy can be missing anywhere in the open set, and what is there is ``present``.

    Args:
        request: the scope and the options.
        progress: called after every page with (rows read in all, rows there were to read).

    Raises:
        RunLocked: another run of this scope is at work.
        ConfigurationError: the settings are not usable.
    """
    settings = load()
    if not request.execute:
        return _walk(request, settings, progress, None)
    with runs.running("backfill", request.scope) as record:
        document = _walk(request, settings, progress, record)
        record.document, record.complete = document.content, document.content["complete"]
        return document


def _walk(request: Request, settings: ShimSettings, progress: Progress, record: Run | None) -> Document:
    started = time.monotonic()
    storage = files.legacy_storage(settings)
    policy = Policy(
        courses=request.courses,
        queues=request.queues,
        history=request.history,
        answer_limit=writer.ANSWER_LIMIT,
        files_readable=storage is not None,
    )
    wanted = plan.newest_per_problem(request.per_problem, request.batch_size) if request.history else frozenset()
    checkpoint = _checkpoint(request)
    total = legacy_rows.count(after=checkpoint.last_id, unretired_only=not request.history)
    safe = legacy_rows.safe_checkpoint(settings.overlap_seconds, legacy_rows.clock())
    counts: Counter[tuple[RowClass, str]] = Counter()
    written, stopped = 0, False
    for page in legacy_rows.pages(
        after=checkpoint.last_id, unretired_only=not request.history, size=request.batch_size
    ):
        toggles.new_work_cycle()
        if toggles.kill_switch_on():
            stopped = True
            break
        page = page[: request.limit - counts.total()] if request.limit else page
        classed = plan.class_page(page, policy, storage, wanted)
        if record is not None:
            written += _write_page(classed, settings, storage, checkpoint, min(page[-1].id, safe))
            runs.beat(record)
        counts.update((item.decision.row_class, item.decision.reason) for item in classed)
        progress(counts.total(), total)
        if request.limit and counts.total() >= request.limit:
            stopped = True
            break
    if record is not None and not stopped:
        Checkpoint.objects.filter(pk=checkpoint.pk).update(last_id=0)
    return _document(request, counts, written, checkpoint.last_id, time.monotonic() - started, stopped)


def _checkpoint(request: Request) -> Checkpoint:
    name = f"backfill:{runs.digest({'scope': request.scope})[:32]}"
    if not request.execute:
        return Checkpoint.objects.filter(name=name).first() or Checkpoint(name=name)
    checkpoint, _ = Checkpoint.objects.get_or_create(name=name)
    if request.restart:
        checkpoint.last_id = 0
    return checkpoint


def _write_page(
    classed: list[plan.ClassedRow],
    settings: ShimSettings,
    storage: Storage | None,
    checkpoint: Checkpoint,
    last_id: int,
) -> int:
    """Write a page and its checkpoint in one transaction; a row that alone cannot be written is classed again."""
    written = 0
    with transaction.atomic():
        for item in classed:
            if item.decision.row_class in _WRITTEN:
                try:
                    with transaction.atomic():
                        _write_row(item, settings, storage)
                    written += 1
                except (Unfit, FileUnavailable) as error:
                    item.decision = Decision(row_class=RowClass.DRAIN, reason=error.reason)
                except TargetWriteFailed as error:
                    item.decision = Decision(row_class=RowClass.DRAIN, reason=f"target_refused_{error}")
            elif (
                item.entry is not None and item.entry.legacy_id is None and item.decision.row_class is RowClass.PRESENT
            ):
                item.entry.legacy_id = item.parsed.row.id
                item.entry.save(update_fields=["legacy_id"])
        checkpoint.last_id = max(checkpoint.last_id, last_id)
        checkpoint.save()
    return written


def _write_row(item: plan.ClassedRow, settings: ShimSettings, storage: Storage | None) -> None:
    parsed = item.parsed
    envelope, digests, row = parsed.envelope, parsed.digests, parsed.row
    assert envelope is not None and digests is not None  # a row of these classes has been read
    history = item.decision.row_class is RowClass.FINAL
    suffix = settings.echo_queue_suffix if history else settings.shadow_queue_suffix
    placement = shadow_placement(envelope, digests.identity, suffix)
    writer.check_fits(envelope.body)
    contents = files.contents(row, item.keys, storage, settings.legacy_file_limit)
    entry = item.entry or ledger.new_entry(
        envelope,
        digests,
        phase=Phase.SHADOW,
        origin=Origin.BACKFILL,
        arrived_at=row.arrival_time,
        input_id=parsed.input_id,
    )
    entry.history, entry.points_assumed = history, True
    entry.legacy_leg, entry.legacy_id = Leg.STORED, row.id
    entry.target_submission_id = writer.write(
        placement, envelope.body, contents, points_possible=1, arrived_at=row.arrival_time
    )
    entry.target_leg, entry.target_reason = Leg.STORED, ""
    entry.save()


def _document(
    request: Request,
    counts: Counter[tuple[RowClass, str]],
    written: int,
    checkpoint: int,
    seconds: float,
    stopped: bool,
) -> Document:
    classes: Counter[str] = Counter()
    reasons: dict[str, dict[str, int]] = {}
    for (row_class, reason), number in sorted(counts.items()):
        classes[row_class.value] += number
        if reason:
            reasons.setdefault(row_class.value, {})[reason] = number
    exit_code = ExitCode.OK
    if any(classes[row_class.value] for row_class in _LEFT_BEHIND):
        exit_code |= ExitCode.LEFT_BEHIND
    if stopped and not request.limit:
        exit_code |= ExitCode.STOPPED
    content = {
        "schema": SCHEMA,
        "mode": "shadow",
        "executed": request.execute,
        "scope": request.scope,
        "finished_at": now().isoformat(),
        "read": counts.total(),
        "written": written,
        "classes": {row_class.value: classes[row_class.value] for row_class in RowClass},
        "reasons": reasons,
        "checkpoint": checkpoint,
        "complete": not stopped,
        "seconds": round(seconds, 3),
    }
    return Document(content=content, exit_code=exit_code)
