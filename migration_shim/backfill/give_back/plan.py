"""What a return is to do with one submission: supersede it, revive or insert its legacy row, or leave it."""

from __future__ import annotations

from dataclasses import dataclass

from django.core.files.storage import Storage

from ...core.classification import Decision
from ...core.data import LegacyRow, RowClass
from ...core.errors import FileUnavailable, Malformed, Unfit
from ...core.identity import digests
from ...core.supersession import submission_time
from ...core.wire import parse_header
from ...db.storage import storage_errors
from ...ledger import attempts
from ...ledger.entries import legacy_body
from ...legacy import give_back as legacy_give_back
from ...legacy import uploads
from ...legacy.files import Source
from ...legacy.give_back import Returning, WayBack
from ...legacy.writes import mark_of
from ...models import LedgerEntry
from ...target import reader

SUPERSEDED = Decision(row_class=RowClass.SUPERSEDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnPlan:
    """
    What is to be done with one submission.

    ``item`` is what legacy is to hold. If a row is to be inserted, ``identity`` is its digest, and ``columns`` are its
    two file columns, s3_keys and s3_urls, once its files are stored.
    """

    decision: Decision
    item: Returning | None = None
    identity: str = ""
    columns: tuple[str, str] | None = None


def plan_of(entry: LedgerEntry, submission_id: int, source: Source, *, store: bool) -> ReturnPlan:
    """
    Return what is to be done with a submission that the target holds.

    Args:
        entry: its ledger entry.
        submission_id: its Submission on the target.
        source: where legacy's files are.
        store: if a row is to be inserted, store its files on legacy now.
    """
    held = reader.row_contents(submission_id)
    if held is None:
        return _drain("target_row_gone")
    try:
        item = _returning(entry, held)
    except Malformed as error:
        return _drain(error.reason)
    family = legacy_give_back.siblings(item)
    if is_replaced(entry, item, family):
        return ReturnPlan(decision=SUPERSEDED, item=item)
    way = legacy_give_back.way_back(item, legacy_give_back.own_row(item, family))
    decision = Decision(row_class=RowClass.IMPORTED, reason=way)
    if way is not WayBack.INSERTED:
        return ReturnPlan(decision=decision, item=item)
    identity = digests(parse_header(item.header), item.body, held.file_names).identity
    if LedgerEntry.objects.filter(identity=identity).exclude(pk=entry.pk).exists():
        return _drain("identity_taken")
    storage = source if isinstance(source, Storage) else None
    try:
        legacy_give_back.check_fits(item)
        contents = reader.file_contents(submission_id)
        uploads.check(item.queue_name, contents, storage)
        columns = uploads.store(item.queue_name, item.header, contents, storage) if store else None
    except (Unfit, FileUnavailable) as error:
        return _drain(error.reason)
    except storage_errors():
        return _drain("legacy_storage_failed")
    return ReturnPlan(decision=decision, item=item, identity=identity, columns=columns)


def _drain(reason: str) -> ReturnPlan:
    return ReturnPlan(decision=Decision(row_class=RowClass.DRAIN, reason=reason))


def _returning(entry: LedgerEntry, held: reader.RowContents) -> Returning:
    return Returning(
        header=entry.raw_header,
        body=legacy_body(entry, held.answer),
        callback_url=parse_header(entry.raw_header).callback_url,
        queue_name=entry.queue_name,
        arrived_at=entry.arrived_at,
        submission_time=submission_time(entry.student_info),
        input_key=entry.input_key,
        legacy_id=entry.legacy_id,
        mark=mark_of(entry.pk),
    )


def is_replaced(entry: LedgerEntry, item: Returning, family: list[LegacyRow]) -> bool:
    """
    Tell whether the learner has a newer attempt at the same input, on either system, and does not wait for this one.

    ``family`` are legacy's rows with the same truncated callback. Where the input is not known nothing is replaced.
    """
    if not entry.input_key:
        return False  # a sibling input must never be lost
    awaited = attempts.is_awaited(entry.raw_header, entry.student_info, entry.learner)
    if awaited:
        return False
    gap = attempts.supersession_gap(awaited)
    if legacy_give_back.has_newer(item, family, gap):
        return True
    others = LedgerEntry.objects.filter(input_key=entry.input_key).exclude(pk=entry.pk)
    own = (item.submission_time, item.arrived_at)
    return any(
        legacy_give_back.was_made_after(submission_time(other.student_info), other.arrived_at, *own, gap)
        for other in others.only("student_info", "arrived_at")
    )
