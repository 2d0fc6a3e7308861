"""A backfill that is spread over workers: what a worker does with one range of legacy ids. See ``runs/spread.py``."""

from __future__ import annotations

import copy
import dataclasses

from .. import toggles
from ..conf import ShimSettings, load
from ..core.data import LegacyRow
from ..legacy import files
from ..legacy import rows as legacy_rows
from ..runs import garbage, ranges
from ..runs.ranges import Range
from . import classing, verify
from .batch import BatchContext, write_page
from .batch_size import BatchSizer
from .counts import RowCounts
from .request import Request


def unretired_only(request: Request) -> bool:
    """Tell whether a request's scan may leave out legacy's retired rows, of which there may be millions."""
    return not (request.history or request.collided)


def batch_context(request: Request, settings: ShimSettings, wanted_history: frozenset[int]) -> BatchContext:
    """
    Return what all batches of a request share, in whatever process they are written.

    Its ``verify`` is False: it is to be set for each batch.
    """
    policy = classing.policy(
        settings,
        courses=request.courses,
        queues=request.queues,
        history=request.history,
        collided=request.collided,
        unsampled=request.unsampled,
    )
    storage = files.legacy_storage(settings)
    return BatchContext(policy=policy, settings=settings, storage=storage, wanted_history=wanted_history, verify=False)


def work(range_id: int) -> str:
    """
    Work through a range from its position, and return what came of it as a text. See ``runs.ranges.work``.

    Raises:
        TargetWriteFailed, DatabaseError: the target cannot be written now; the command sends the range again.
    """
    with garbage.left_alone():
        return ranges.work(range_id, RowCounts, _work, toggles.stop_reason)


def _work(taken: Range[RowCounts]) -> str:
    """Write batch by batch, to the end of the range."""
    request, settings = Request.from_json(taken.plan["request"]), load()
    own = batch_context(request, settings, frozenset(taken.plan["wanted"]))
    sizer, batch = BatchSizer(request.batch_size), taken.plan["number"]
    while taken.is_wanted():
        taken.control.turn()
        page = legacy_rows.page(
            after=taken.position.last_id,
            upto=taken.plan["upto"],
            unretired_only=unretired_only(request),
            size=sizer.size,
        )
        if not page:
            taken.keep(done=True)
            return "done"
        with sizer.timed(len(page)):
            _batch(taken, page, dataclasses.replace(own, verify=verify.is_due(batch, taken.plan["total"], settings)))
        batch += 1
    return "the run is over"


def _batch(taken: Range[RowCounts], page: list[LegacyRow], own: BatchContext) -> None:
    to, counted = page[-1].id, taken.tally

    def save(classed: list[classing.ClassedRow], written: int) -> None:
        nonlocal counted
        counted = copy.deepcopy(taken.tally)  # anew: the transaction may have been tried before
        counted.add(classed, written)
        counted.waited.update(taken.control.waited)
        taken.position.move(to, counts=counted.to_json() | {"begun": True})

    write_page(page, own, save)
    taken.position.moved(to)
    taken.tally = counted
    taken.control.waited.clear()
