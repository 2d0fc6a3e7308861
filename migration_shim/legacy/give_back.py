"""
Legacy's rows of submissions that come back from the target: found, revived or inserted, one transaction each.

They are written straight into XQueue's table. A submit over HTTP would retire every unretired row with the same 128
characters of callback, including other problems of the learner.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connections, transaction
from django.db.models import QuerySet

from ..conf import LEGACY_ALIAS
from ..core.data import LegacyRow, Whose
from ..core.errors import ConfigurationError, Malformed, Unfit
from ..core.identity import input_key
from ..core.wire import parse_envelope
from ..fields import holds
from ..ledger import stamp
from ..models import LegacySubmission
from . import by_callback
from .client import UNKNOWN_QUEUE, LegacyClient

#: What XQueue's ``requester_id``, the address of the LMS, says of a row that was inserted here.
REQUESTER = "migration_shim"


@dataclass(frozen=True, slots=True, kw_only=True)
class Returning:
    """A submission on its way back, as legacy is to hold it. ``input_key`` is empty where the input is unknown."""

    header: str
    body: str
    callback_url: str
    queue_name: str
    arrived_at: datetime
    submission_time: str
    input_key: str
    #: The row that its ledger entry names, and what the handoff wrote into that row; another row's id does no harm.
    legacy_id: int | None
    mark: str


class WayBack(enum.StrEnum):
    """How a submission gets back to legacy."""

    REVIVED = "revived"
    INSERTED = "inserted"
    THERE = "already_there"


def siblings(item: Returning) -> list[LegacyRow]:
    """Return all rows with the truncated callback of a submission. XQueue's index on it serves this."""
    return by_callback.with_callback(item.callback_url)


def own_row(item: Returning, family: list[LegacyRow]) -> LegacyRow | None:
    """Return legacy's row of a submission: the one handed off, else one with this very header and body, or None."""
    handed_off = [row for row in family if (row.id, row.xqueue_header) == (item.legacy_id, item.header)]
    same = handed_off or [row for row in family if (row.xqueue_header, row.xqueue_body) == (item.header, item.body)]
    return max(same, key=lambda row: (not row.retired, row.id), default=None)


def way_back(item: Returning, row: LegacyRow | None) -> WayBack:
    """Return what has to be done with ``row``, the result of ``own_row``."""
    if row is None:
        return WayBack.INSERTED
    return WayBack.REVIVED if row.retired and row.grader_id == item.mark else WayBack.THERE


def has_newer(item: Returning, family: list[LegacyRow], gap: timedelta) -> bool:
    """Tell whether legacy has an attempt by the same learner at the same input that is newer by more than ``gap``."""
    if not item.input_key:
        return False
    own = own_row(item, family)
    return any(_is_newer(row, item, gap) for row in family if own is None or row.id != own.id)


def _is_newer(row: LegacyRow, item: Returning, gap: timedelta) -> bool:
    if (row.xqueue_header, row.xqueue_body) == (item.header, item.body):
        return False  # the very same submission, sent twice
    if row.whose is not Whose.OURS:
        return False
    try:
        envelope = parse_envelope(row.xqueue_header, row.xqueue_body)
    except Malformed:
        return False
    if input_key(envelope) != item.input_key:
        return False
    theirs = (envelope.body.submission_time, row.arrival_time)
    return was_made_after(*theirs, item.submission_time, item.arrived_at, gap)


def was_made_after(
    time: str, arrived_at: datetime, than_time: str, than_arrived_at: datetime, gap: timedelta = timedelta(0)
) -> bool:
    """
    Tell whether one attempt at an input was made after another, by more than ``gap``.

    Submission times are the LMS's on both sides, as CAPA writes them. Arrival times may come from two clocks, and
    decide only where the submission times do not.
    """
    made, than_made = _moment(time), _moment(than_time)
    if made and than_made and made != than_made:
        return made - than_made > gap
    return arrived_at - than_arrived_at > gap


def _moment(time: str) -> datetime | None:
    """Parse a submission time as CAPA writes it; None where it cannot be parsed."""
    try:
        return datetime.strptime(time, "%Y%m%d%H%M%S")
    except ValueError:
        return None


@contextmanager
def writing() -> Iterator[None]:
    """Open one transaction on legacy."""
    with transaction.atomic(using=LEGACY_ALIAS):
        yield


def check_fits(item: Returning) -> None:
    """
    Refuse what XQueue's table cannot hold, before anything is fenced. A plan calls this too.

    Raises:
        Unfit: a column cannot hold its value; the reason names the column.
    """
    for column, text in (("queue_name", item.queue_name), ("xqueue_header", item.header), ("xqueue_body", item.body)):
        field = LegacySubmission._meta.get_field(column)
        limit = getattr(field, "max_length", None)
        if (limit is not None and len(text) > limit) or not holds(connections[LEGACY_ALIAS], field, text):
            raise Unfit(f"legacy_{column}_unfit", f"XQueue's column {column} cannot hold it.")


def insert(item: Returning, keys: str, urls: str) -> int:
    """
    Insert a new row, as XQueue's submit would have written it at the time of arrival, and return its id.

    ``keys`` and ``urls`` are the texts of ``s3_keys`` and ``s3_urls`` (``uploads.store``).

    Raises:
        LedgerNotOurs: the ledger belongs to another LMS.
    """
    stamp.check()
    row = _all().create(
        requester_id=REQUESTER,
        lms_callback_url=item.callback_url[:128],
        queue_name=item.queue_name,
        xqueue_header=item.header,
        xqueue_body=item.body,
        s3_keys=keys,
        s3_urls=urls,
        arrival_time=item.arrived_at,
        grader_id="",
        pullkey="",
        grader_reply="",
    )
    return row.pk


def knows_queue(queue_name: str) -> bool:
    """
    Tell whether XQueue may know a queue: False only where XQueue says that it does not know it.

    Its table takes any name, and so does the target. A row of a live course may be on a queue that legacy's graders
    could never poll.
    """
    try:
        error, content = LegacyClient().queue_length(queue_name)
    except ConfigurationError:
        return True
    return not (error and str(content).startswith(UNKNOWN_QUEUE))


def _all() -> QuerySet[LegacySubmission]:
    return LegacySubmission.objects.using(LEGACY_ALIAS)
