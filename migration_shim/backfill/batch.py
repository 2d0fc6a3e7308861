"""One batch of legacy rows: classed, written and checkpointed in one transaction, or classed only."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TypeVar

from django.db import transaction

from ..core.data import LegacyRow
from ..db.retry import collision, on_contention
from . import classing, collisions, files
from .classing import BatchContext, ClassedRow
from .write import plan_rows, wanted_files, write_rows

__all__ = ["BatchContext", "class_only", "retried", "write_page"]

Result = TypeVar("Result")

#: How often a batch is tried; the pauses between add up to six seconds at most.
TRIES = 5
FIRST_PAUSE = 0.4  # seconds, doubled each time


def class_only(page: list[LegacyRow], context: BatchContext) -> list[ClassedRow]:
    """
    Class a page as ``write_page`` would, without writing anything: the plan.

    Its files are only looked for, not read.
    """
    classed = retried(
        lambda last_try: classing.class_page(page, context.policy, context.storage, context.wanted_history)
    )
    plan_rows(classed, context)
    collisions.mark_collisions(classed, context)
    return classed


def write_page(
    page: list[LegacyRow], context: BatchContext, save_checkpoint: Callable[[list[ClassedRow], int], None]
) -> tuple[list[ClassedRow], int]:
    """
    Class a page, write what is to be written, and save the checkpoint last, all in one transaction.

    Args:
        page: legacy's rows, in the order of their ids.
        context: what the batches of the run share.
        save_checkpoint: called with what is returned, again in every try. If it raises, the batch is rolled back.

    Returns:
        The classed rows, and how many of them were written.

    Raises:
        TargetWriteFailed, django.db.Error: contention that did not pass.
        VerificationFailed: nothing of the batch was committed.
    """

    def work(last_try: bool) -> tuple[list[ClassedRow], int]:
        # Outside of the transaction: reading and storing files may take long, and may be HTTP.
        classed = classing.class_page(page, context.policy, context.storage, context.wanted_history)
        wanted = wanted_files(classed, context)
        with files.stored(wanted, context.storage, context.settings) as stored, transaction.atomic():
            written = write_rows(classed, context, stored, last_try=last_try)
            save_checkpoint(classed, written)
        return classed, written

    return retried(work)


def retried(work: Callable[[bool], Result]) -> Result:
    """
    Call ``work(last_try)`` until it succeeds, and return its result.

    On contention, or a collision with another writer, all of it is tried again, TRIES times at most. ``last_try`` tells
    it that it is the last time. It must leave nothing behind when it fails.
    """
    tried = itertools.count(1)
    return on_contention(lambda: work(next(tried) == TRIES), tries=TRIES, first_pause=FIRST_PAUSE, also=collision)
