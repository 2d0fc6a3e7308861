"""Classed rows turned into target rows, in one place for both ways of writing them and for their verification."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from django.db import DatabaseError

from ..conf import ShimSettings
from ..core.data import RowClass
from ..core.errors import Unfit
from ..core.identity import shadow_placement
from ..core.wire import grader_name
from ..lms.points import points_possible
from ..target import bulk, writer
from .classing import ClassedRow

log = logging.getLogger(__name__)

#: The points possible of problems, asked in this run, by course and problem.
Points = dict[tuple[str, str], int]


@dataclass(slots=True, kw_only=True)
class TargetRow:
    """A classed row and its row on the target: ``new`` is what is to be inserted there."""

    item: ClassedRow
    new: bulk.NewRow

    @property
    def history(self) -> bool:
        """Whether legacy has graded the row already; then no grader of the target may get it."""
        return self.item.decision.row_class is RowClass.FINAL


def target_row(item: ClassedRow, settings: ShimSettings, points: Points) -> TargetRow:
    """
    Return the target row of a classed row. ``points`` gets the resolver's answer, if it was not asked before.

    Raises:
        Unfit: the target cannot hold it.
    """
    envelope, digests = item.parsed.envelope, item.parsed.digests
    assert envelope is not None and digests is not None  # a row of these classes has been read
    history = item.decision.row_class is RowClass.FINAL
    suffix = settings.echo_queue_suffix if history else settings.shadow_queue_suffix
    placement = shadow_placement(envelope, digests.identity, suffix)
    writer.check_fits(
        envelope.body,
        item.keys,
        envelope.header.queue_name,
        folder=placement.queue_name,
        suffixes=settings.suffixes,
    )
    if item.entry is not None:
        maximum = item.entry.points_possible
    else:
        problem = envelope.callback.course_id, envelope.callback.item_id
        if problem not in points:
            points[problem] = points_of(*problem, settings)
        maximum = points[problem]
    new = bulk.NewRow(
        placement=placement,
        answer=bulk.as_stored(envelope.body.student_response),
        grader_name=grader_name(envelope.body.grader_payload),
        points_possible=maximum,
        arrived_at=item.parsed.row.arrival_time,
    )
    return TargetRow(item=item, new=new)


def points_of(course_id: str, item_id: str, settings: ShimSettings) -> int:
    """
    Return the points possible of a problem by the site's own resolver if it has one.

    A resolver that raises for a problem holds up only the rows of that problem.

    Raises:
        Unfit: the resolver has raised.
    """
    try:
        return points_possible(None, course_id, item_id, resolver=settings.points_resolver)[0]
    except (DatabaseError, ImportError):  # no fault of this problem
        raise
    except Exception as error:
        log.error(
            "migration_shim.points_resolver_failed: POINTS_RESOLVER failed for %s: %s", item_id, type(error).__name__
        )
        raise Unfit("points_resolver_failed", "The function that knows a problem's maximum has failed.") from error
