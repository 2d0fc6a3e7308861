"""What is to be written of a classed row: worked out in one place for both ways of writing, and for the check."""

from __future__ import annotations

from dataclasses import dataclass

from ..conf import ShimSettings
from ..core.identity import shadow_placement
from ..core.wire import grader_name
from ..data import RowClass
from ..points import points_possible
from ..target import bulk, writer
from .plan import ClassedRow

#: What the points resolver has said in this run, by course and problem.
Points = dict[tuple[str, str], tuple[int, bool]]


@dataclass(slots=True, kw_only=True)
class Meant:
    """A classed row as it will be on the target."""

    item: ClassedRow
    new: bulk.NewRow
    points_assumed: bool

    @property
    def history(self) -> bool:
        """Whether the row was graded already; then no grader may get it."""
        return self.item.decision.row_class is RowClass.FINAL


def meant(item: ClassedRow, settings: ShimSettings, points: Points) -> Meant:
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
    writer.check_fits(envelope.body, item.keys, envelope.header.queue_name, folder=placement.queue_name)
    if item.entry is not None:
        maximum, assumed = item.entry.points_possible, item.entry.points_assumed
    else:
        problem = envelope.callback.course_id, envelope.callback.item_id
        if problem not in points:
            points[problem] = points_possible(None, *problem, settings)
        maximum, assumed = points[problem]
    new = bulk.NewRow(
        placement=placement,
        answer=envelope.body.student_response,
        grader_name=grader_name(envelope.body.grader_payload),
        points_possible=maximum,
        arrived_at=item.parsed.row.arrival_time,
    )
    return Meant(item=item, new=new, points_assumed=assumed)
