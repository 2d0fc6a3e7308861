"""
Store a grader's result through edx-submissions' own ``put_result``, or count the failure where that cannot store it.

Upstream answers some replies with a server error that leaves the row pulled and uncounted for ever (a list, a raising
receiver). Here the attempt is undone, and a second short transaction counts it.
"""

from __future__ import annotations

import enum
import functools
import json
import logging
import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from django.db import OperationalError, connection, transaction
from django.db.models import F
from django.utils.crypto import constant_time_compare
from django.utils.timezone import now
from django.views.decorators.debug import sensitive_variables
from submissions.models import ExternalGraderDetail, StudentItem
from submissions.views.xqueue import MAX_SCORE_UPDATE_RETRIES, XQueueViewSet

from ..conf import ShimSettings
from ..core import json_text
from ..core.data import ReplyKind
from ..core.errors import Malformed
from ..core.identity import is_fenced
from ..core.scoring import read_reply, slow_for_capa
from ..db import converted
from ..db.prepared import Prepared, prepared
from ..ledger import attempts
from ..metrics import count
from ..models import LedgerEntry
from .open_rows import IN_FLIGHT
from .score_events import send
from .transitions import supersede

log = logging.getLogger(__name__)

_Status = ExternalGraderDetail.Status
#: A row that no statement asks for.
_SAMPLE = -1_234_567
#: Tries while another session holds the row, and the pause between them in seconds.
TRIES, PAUSE = 20, 0.05
#: No reply of a grader is longer; the LMS's own form limit is 2.5 MB.
REPLY_LIMIT = 2_500_000

# XQueue's message to a learner whose submission cannot be graded (``submission_queue/consumer.py``).
COULD_NOT_BE_GRADED = {
    "correct": None,
    "score": 0,
    "msg": '<div class="capa_alert">Your submission could not be graded. Please recheck your submission and try again. '
    "If the problem persists, please notify the course staff.</div>",
}


class ResultStatus(enum.StrEnum):
    """What became of a result."""

    STORED = "stored"
    REPEATED = "repeated"
    COUNTED = "counted"  # not stored; the row will be handed out again, or has failed for good
    UNKNOWN = "unknown"
    WRONG_KEY = "wrong_key"
    BUSY = "busy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One validated put_result: the row's Submission id, the key it was handed out with, and the reply as it came."""

    submission_id: int
    # Left out of the representation, because error reporters must not print it.
    key: str = field(repr=False)
    reply: str = field(repr=False)


@sensitive_variables()
def parse(data: Any) -> Result:
    """
    Parse the form of a put_result.

    Raises:
        Malformed: where XQueue says "Incorrect reply format".
    """
    if not isinstance(data, dict):  # sent as JSON it may be anything
        raise Malformed("not_a_form")
    header, reply = data.get("xqueue_header"), data.get("xqueue_body")
    if not isinstance(header, str) or not isinstance(reply, str) or len(reply) > REPLY_LIMIT:
        raise Malformed("field_missing")
    try:
        value = json_text.loads(header)
    except ValueError as error:
        raise Malformed("header_not_json") from error
    if not isinstance(value, dict):
        raise Malformed("header_not_object")
    submission_id, key = value.get("submission_id"), value.get("submission_key")
    if isinstance(submission_id, str) and submission_id.isascii() and submission_id.isdigit():
        submission_id = int(submission_id)
    if not isinstance(submission_id, int) or isinstance(submission_id, bool) or not 0 < submission_id < 2**63:
        raise Malformed("submission_id_not_a_number")
    if not isinstance(key, str):
        raise Malformed("submission_key_not_text")
    return Result(submission_id=submission_id, key=key, reply=reply)


def queue_of(result: Result) -> str:
    """Return the queue of the row that a result is for; empty where there is no such row."""
    rows = ExternalGraderDetail.objects.filter(submission_id=result.submission_id)
    return rows.values_list("queue_name", flat=True).first() or ""


def store(result: Result, settings: ShimSettings) -> ResultStatus:
    """
    Store a result once, and return what became of it. No finished grade is refused because another session is quicker.
    """
    for _ in range(TRIES):
        stored, reason = _attempt(result, settings)
        if stored is ResultStatus.BUSY:
            time.sleep(PAUSE)
        elif stored is None:
            return _count_failure(result, reason, settings)
        else:
            return stored
    return ResultStatus.BUSY


def _attempt(result: Result, settings: ShimSettings) -> tuple[ResultStatus | None, str]:
    """
    Give the result to edx-submissions' own put_result. Return what became of it, or None and why it could not be
    stored.

    The row is checked under its lock, in the transaction that put_result writes in. Of two equal replies at the same
    moment the second is a repetition, and triggers nothing.
    """
    header = json.dumps({"submission_id": result.submission_id, "submission_key": result.key})
    request = SimpleNamespace(data={"xqueue_header": header, "xqueue_body": result.reply})
    try:
        with transaction.atomic():
            row, known = _look(result)
            if row is None or known is not None:
                return known, ""
            if refusal := _refusal(result.reply):
                return None, refusal
            if _would_wipe_another(row, result.reply):
                supersede([row.submission_id])
                count("invalid_reply_not_delivered")
                return ResultStatus.STORED, ""
            status = XQueueViewSet().put_result(request).status_code
            stored = status == 200 and _ended_lease(row)
    except Exception as error:  # any receiver of the platform may raise anything; it is counted, and the row moves on
        return None, type(error).__name__
    if stored:
        return ResultStatus.STORED, ""
    return (_after(result, settings), "") if status == 200 else (None, f"status {status}")


def _look(result: Result) -> tuple[ExternalGraderDetail | None, ResultStatus | None]:
    """
    Lock the row, and return it with what can be said without writing: a wrong key, the same reply again. None: store
    it.
    """
    question = _locked(connection.vendor, connection.features.has_select_for_update_nowait)
    try:
        with connection.cursor() as cursor:
            cursor.execute(question.sql, question.parameters({"submission": result.submission_id}))
            found = cursor.fetchall()
    except OperationalError:
        return None, ResultStatus.BUSY
    row = next(iter(converted.instances(ExternalGraderDetail, found)), None)
    if row is None:
        return None, ResultStatus.UNKNOWN
    if not row.pullkey or not constant_time_compare(row.pullkey, result.key):
        return row, ResultStatus.WRONG_KEY
    if row.status == _Status.RETIRED:
        return row, ResultStatus.REPEATED if row.grader_reply == result.reply else ResultStatus.WRONG_KEY
    return row, None if row.status == _Status.PULLED else ResultStatus.WRONG_KEY


@functools.cache
def _locked(vendor: str, nowait: bool) -> Prepared:
    """Return the statement of ``_look``, as the ORM builds it. ``vendor`` is the database's."""
    row = ExternalGraderDetail.objects.filter(submission_id=_SAMPLE).order_by().select_for_update(nowait=nowait)
    return prepared(row.query.sql_with_params(), {"submission": _SAMPLE})


def _would_wipe_another(row: ExternalGraderDetail, reply: str) -> bool:
    """
    Tell whether CAPA calls a reply invalid that belongs to an attempt which the learner has left behind for another.

    CAPA ignores the key of such a reply and resets the learner's result, here the other attempt's. The reply's entry is
    then superseded, as a worker would have done a moment later.
    """
    if read_reply(reply).kind is not ReplyKind.INVALID:
        return False
    item = row.submission.student_item
    if is_fenced(item.student_id, item.item_id):
        return False
    entry = LedgerEntry.objects.filter(target_submission_id=row.submission_id).exclude(input_key="").first()
    if entry is None or not LedgerEntry.objects.filter(input_key=entry.input_key).exclude(pk=entry.pk).exists():
        return False
    if attempts.is_awaited(entry.raw_header, entry.student_info, entry.learner) is not False:
        return False
    return LedgerEntry.objects.filter(pk=entry.pk).update(superseded_at=now()) > 0


def _refusal(reply: str) -> str:
    """
    Return why upstream is not asked to store a reply; empty where it is asked.

    A reply that is no JSON object upstream writes to the log as it came, or answers with 500. Over some messages the
    platform's receiver takes minutes, with the row locked.
    """
    try:
        value = json_text.loads(reply)
    except ValueError:
        return "reply_not_json"
    if not isinstance(value, dict):
        return "reply_not_object"
    return "message_too_slow" if slow_for_capa(value.get("msg")) else ""


def _ended_lease(row: ExternalGraderDetail) -> bool:
    """
    Note on the row's entry that no session holds it any more, if the result was stored, and tell whether it was.

    False also where the row has no such entry. Upstream answers 200 also for a score that it could not store. It is one
    statement, because every grade pays for it.
    """
    with connection.cursor() as cursor:
        cursor.execute(_ending(connection.vendor), [row.submission_id, row.pk, _Status.RETIRED])
        return bool(cursor.rowcount)


@functools.cache
def _ending(vendor: str) -> str:
    """Return the statement of ``_ended_lease``. ``vendor`` is the database's, whose way of quoting is used."""
    quote = connection.ops.quote_name
    entries, rows = (quote(model._meta.db_table) for model in (LedgerEntry, ExternalGraderDetail))
    retired = f"SELECT 1 FROM {rows} d WHERE d.{quote('id')} = %s AND d.{quote('status')} = %s"
    return (
        f"UPDATE {entries} SET {quote('lease_session')} = '' WHERE {quote('target_submission_id')} = %s"
        f" AND EXISTS({retired})"
    )


def _after(result: Result, settings: ShimSettings) -> ResultStatus:
    """Return what became of a row that upstream answered with 200, whether or not it could store the score."""
    row = ExternalGraderDetail.objects.get(submission_id=result.submission_id)
    if row.status == _Status.RETIRED:
        return ResultStatus.STORED
    count("result_not_stored")
    if row.status == _Status.FAILED:
        tell_learner(row, settings)
    return ResultStatus.COUNTED


def _count_failure(result: Result, reason: str, settings: ShimSettings) -> ResultStatus:
    with transaction.atomic():
        row = ExternalGraderDetail.objects.select_for_update().get(submission_id=result.submission_id)
        if row.pullkey != result.key or row.status != _Status.PULLED:
            return ResultStatus.WRONG_KEY
        failed = row.num_failures + 1 >= MAX_SCORE_UPDATE_RETRIES
        row.update_status(_Status.FAILED if failed else _Status.RETRY)
    count("result_not_stored")
    log.warning(
        "migration_shim.result_not_stored: a result of submission %s could not be stored: %s",
        result.submission_id,
        reason,
    )
    if failed:
        tell_learner(row, settings)
    return ResultStatus.COUNTED


def fail_row(submission_id: int, settings: ShimSettings) -> bool:
    """
    Fail a row whose graders give no result, whatever its lease, and tell its learner. False where the row is finished.
    """
    with transaction.atomic():
        row = ExternalGraderDetail.objects.select_for_update().filter(submission_id=submission_id).first()
        if row is None or row.status not in IN_FLIGHT:
            return False
        failed = {"status": _Status.FAILED, "status_time": now(), "pullkey": "", "num_failures": F("num_failures") + 1}
        ExternalGraderDetail.objects.filter(pk=row.pk).update(**failed)
    tell_learner(row, settings)
    return True


def fail_unreadable(row: ExternalGraderDetail, settings: ShimSettings) -> None:
    """Fail a row that was just leased and that can never be read back, and tell its learner."""
    with transaction.atomic():
        locked = ExternalGraderDetail.objects.select_for_update().get(pk=row.pk)
        if locked.pullkey != row.pullkey or locked.status != _Status.PULLED:
            return
        locked.update_status(_Status.FAILED)
    count("hand_out_unreadable")
    log.error(
        "migration_shim.submission_unreadable: submission %s cannot be handed out, and has failed", row.submission_id
    )
    tell_learner(locked, settings)


def tell_learner(row: ExternalGraderDetail, settings: ShimSettings) -> None:
    """
    Give a learner whose submission has failed for good XQueue's "could not be graded" reply, through the score event.

    This is done only for rows under a learner's own identity, and only where the setting asks for it.
    """
    item = StudentItem.objects.get(submission=row.submission_id)  # past the answer, which may be what cannot be read
    count("submission_failed")
    if is_fenced(item.student_id, item.item_id) or not settings.tell_learner_of_failure:
        return
    try:
        with transaction.atomic():
            send(row, item, json.dumps(COULD_NOT_BE_GRADED), 0)
    except Exception as error:  # the platform's receiver may raise anything; the row has failed all the same
        count("learner_not_told")
        log.error("migration_shim.learner_not_told: a learner was not told of a failure: %s", type(error).__name__)
