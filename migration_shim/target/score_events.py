"""Give a learner a result by the score event: that of a failed row, or a stored one once more."""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import NamedTuple

from django.db import OperationalError, connection, router, transaction
from django.views.decorators.debug import sensitive_variables
from openedx_events.learning.data import ExternalGraderScoreData
from openedx_events.learning.signals import EXTERNAL_GRADER_SCORE_SUBMITTED
from submissions.models import ExternalGraderDetail, Score, StudentItem

from ..core import json_text
from ..core.data import ReplyKind
from ..core.identity import is_fenced
from ..core.scoring import read_reply, slow_for_capa
from ..db import bulk
from .open_rows import IN_FLIGHT

log = logging.getLogger(__name__)

_Status = ExternalGraderDetail.Status


class RowProgress(NamedTuple):
    """
    How far a row is: in flight or over, with a reply or without. ``rests``: it has been over since the moment asked
    for.
    """

    in_flight: bool
    rests: bool
    graded: bool
    failed: bool


class ResendResult(enum.StrEnum):
    """The result of ``resend``."""

    SENT = "sent"
    NOT_AWAITED = "not_awaited"
    BUSY = "busy"
    NOTHING = "nothing"  # there is no reply that could be delivered
    RAISED = "raised"  # the platform's receiver did


def progress_of(submission_ids: Iterable[int], *, since: datetime) -> dict[int, RowProgress]:
    """
    Return the progress of these rows, by Submission id, on the primary. Missing rows are left out. One statement.

    Args:
        submission_ids: the rows.
        since: a finished row rests if its last change is not later than this.
    """
    if not (wanted := bulk.numbers(submission_ids)):
        return {}
    found = bulk.ask(
        "SELECT submission_id, status, status_time <= %s, grader_reply IS NOT NULL"
        f" FROM {ExternalGraderDetail._meta.db_table} WHERE submission_id IN ({wanted})",
        [since],
        using=router.db_for_write(ExternalGraderDetail),
    )
    return {
        submission_id: RowProgress(
            in_flight=status in IN_FLIGHT,
            rests=bool(old) and status not in IN_FLIGHT,
            graded=status == _Status.RETIRED and bool(replied),
            failed=status == _Status.FAILED,
        )
        for submission_id, status, old, replied in found
    }


def with_valid_reply(submission_ids: Iterable[int]) -> set[int]:
    """Return which of these submissions hold a reply that can be delivered. One statement."""
    rows = ExternalGraderDetail.objects.filter(submission_id__in=list(submission_ids), status=_Status.RETIRED)
    return {pk for pk, reply in rows.order_by().values_list("submission_id", "grader_reply") if _is_valid(reply)}


def _is_valid(reply: str | None) -> bool:
    """
    Tell whether CAPA accepts a reply. An invalid one wipes the learner's result, and some messages keep CAPA busy for
    ever.
    """
    if reply is None or read_reply(reply).kind is not ReplyKind.VALID:
        return False
    return not slow_for_capa(json_text.loads(reply)["msg"])


@sensitive_variables()
def send(row: ExternalGraderDetail, item: StudentItem, reply: str, earned: int) -> None:
    """Tell the platform of a result, as put_result does. Raises whatever the platform's receivers raise."""
    EXTERNAL_GRADER_SCORE_SUBMITTED.send_event(
        send_robust=False,
        score=ExternalGraderScoreData(
            points_possible=row.points_possible,
            points_earned=earned,
            course_id=item.course_id,
            score_msg=reply,
            submission_id=row.submission_id,
            user_id=item.student_id,
            module_id=item.item_id,
            queue_key=row.queue_key,
            queue_name=row.queue_name,
        ),
    )


@sensitive_variables()
def resend(submission_id: int, is_awaited: Callable[[str], bool], *, for_failed: str | None) -> ResendResult:
    """
    Deliver the stored reply of a finished row once more. No Score is stored again.

    The row is locked, then the learner's state, in put_result's own order. While the state holds the key nothing else
    can deliver, and once it does not, nothing is sent.

    Args:
        submission_id: the row.
        is_awaited: tells of the row's key whether the learner's state holds it, and locks that state.
        for_failed: what the learner of a failed row is told; None where nothing is to be told.
    """
    lock = ExternalGraderDetail.objects.select_for_update(nowait=connection.features.has_select_for_update_nowait)
    try:
        with transaction.atomic():
            try:
                row = lock.filter(submission_id=submission_id).first()
            except OperationalError:
                return ResendResult.BUSY
            if row is None:
                return ResendResult.NOTHING
            item = StudentItem.objects.get(submission=submission_id)
            reply = row.grader_reply if row.status == _Status.RETIRED and _is_valid(row.grader_reply) else None
            if row.status == _Status.FAILED:
                reply = for_failed
            if reply is None or is_fenced(item.student_id, item.item_id):
                return ResendResult.NOTHING
            if not is_awaited(row.queue_key or ""):
                return ResendResult.NOT_AWAITED
            stored = Score.objects.filter(submission_id=submission_id).order_by("-id")
            send(row, item, reply, stored.values_list("points_earned", flat=True).first() or 0)
    except Exception as error:  # the platform's receiver may raise anything; the try is counted, and the row stays
        log.error("migration_shim.redelivery_raised: a result was not delivered again: %s", type(error).__name__)
        return ResendResult.RAISED
    return ResendResult.SENT
