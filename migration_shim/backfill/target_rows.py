"""What is to be written of a classed row: worked out in one place for both ways of writing, and for the check."""

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

#: What the points resolver has said in this run, by course and problem.
Points = dict[tuple[str, str], tuple[int, bool]]


@dataclass(slots=True, kw_only=True)
class TargetRow:
    """A classed row as it will be on the target."""

    item: ClassedRow
    new: bulk.NewRow
    points_assumed: bool

    @property
    def history(self) -> bool:
        """Whether the row was graded already; then no grader may get it."""
        return self.item.decision.row_class is RowClass.FINAL


def target_row(item: ClassedRow, settings: ShimSettings, points: Points) -> TargetRow:
    """
    What is to be written of a row that is to be written.

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
        maximum, assumed = item.entry.points_possible, item.entry.points_assumed
    else:
        problem = envelope.callback.course_id, envelope.callback.item_id
        if problem not in points:
            points[problem] = points_of(*problem, settings)
        maximum, assumed = points[problem]
    new = bulk.NewRow(
        placement=placement,
        answer=bulk.as_stored(envelope.body.student_response),
        grader_name=grader_name(envelope.body.grader_payload),
        points_possible=maximum,
        arrived_at=item.parsed.row.arrival_time,
    )
    return TargetRow(item=item, new=new, points_assumed=assumed)


def points_of(course_id: str, item_id: str, settings: ShimSettings) -> tuple[int, bool]:
    """
    What a site's own resolver says; one that raises for a problem keeps no other problem's rows from being moved.

    Raises:
        Unfit: it has raised.
    """
    try:
        return points_possible(None, course_id, item_id, resolver=settings.points_resolver)
    except (DatabaseError, ImportError):  # of all problems, or of none
        raise
    except Exception as error:
        log.error("migration_shim: POINTS_RESOLVER failed for %s: %s", item_id, type(error).__name__)
        raise Unfit("points_resolver_failed", "The function that knows a problem's maximum has failed.") from error
