"""
The questions of a grader's poll: may a row of the queue be handed out, and does the session hold a lease? That row, and
what is handed out of it.

Most polls are of an empty queue, and most of a poll's cost is building its statement. A hand-out's is the dearer one,
because it locks. So both are built once per process.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import Q, QuerySet
from django.utils.timezone import now
from django.views.decorators.debug import sensitive_variables
from submissions.models import ExternalGraderDetail, Submission

from ..conf import ShimSettings
from ..db import converted
from ..db.prepared import Prepared, prepared
from ..models import LedgerEntry
from .exact_match import rows_of_queue

_Status = ExternalGraderDetail.Status
_ANSWER = Submission._meta.get_field("answer")
#: How many rows are tried where the database cannot pass over locked ones.
_CANDIDATES = 8
#: Values that no poll asks for, to find the places of a poll's values in the statement.
_SAMPLE = ("a queue's_name that nobody would ever choose", "the session of nobody")
_SAMPLE_ID = -1_234_567
_SAMPLE_STATUS = "the status of no row"
_SAMPLE_TIMES = tuple(datetime(1999, 9, day, 9, 9, 9, 999, tzinfo=UTC) for day in (1, 2, 3))


def waiting(queue_name: str, settings: ShimSettings) -> QuerySet[ExternalGraderDetail]:
    """Return the rows of a queue that may be handed out now."""
    return _offered(queue_name, hand_out_order(settings, now()))


def _offered(queue_name: str, statuses: tuple[tuple[str, datetime], ...]) -> QuerySet[ExternalGraderDetail]:
    wanted = Q()
    for status, before in statuses:
        wanted |= Q(status=status, status_time__lte=before)
    return rows_of_queue(queue_name).filter(wanted)


def hand_out_order(settings: ShimSettings, moment: datetime) -> tuple[tuple[str, datetime], ...]:
    """
    Return (status, latest status_time) in the order in which rows are offered: fresh rows first, expired leases last.
    """
    hold, lease = timedelta(seconds=settings.hold_seconds), timedelta(seconds=settings.lease_seconds)
    return ((_Status.PENDING, moment - hold), (_Status.RETRY, moment), (_Status.PULLED, moment - lease))


def leased_to(session: str) -> QuerySet[LedgerEntry]:
    """Return the entries whose leases belong to a session."""
    return LedgerEntry.objects.filter(lease_session=session)


@sensitive_variables()
def leased_and_waiting(queue_name: str, settings: ShimSettings, session: str) -> tuple[bool, bool]:
    """Tell whether a session holds a lease that is not over, and whether a row of the queue may be handed out."""
    question = _statement(connection.vendor)
    values = _values(queue_name, session, [before for _, before in hand_out_order(settings, now())])
    with connection.cursor() as cursor:
        cursor.execute(question.sql, question.parameters(values))
        leased, waits = cursor.fetchone()
    return bool(leased), bool(waits)


@functools.cache
def _statement(vendor: str) -> Prepared:
    """Return the statement, as the ORM builds it. ``vendor`` is the database's."""
    queue_name, session = _SAMPLE
    states = zip((_Status.PENDING, _Status.RETRY, _Status.PULLED), _SAMPLE_TIMES, strict=True)
    asked = [
        query.query.exists().sql_with_params() for query in (leased_to(session), _offered(queue_name, tuple(states)))
    ]
    names = _values(queue_name, session, _SAMPLE_TIMES)
    sql = "SELECT " + ", ".join(f"EXISTS({sql})" for sql, _ in asked)
    return prepared((sql, [value for _, values in asked for value in values]), names)


@sensitive_variables()
def next_rows(queue_name: str, status: str, before: datetime) -> list[ExternalGraderDetail]:
    """
    Return the next row of a queue that may be handed out in this status, locked; none where others hold all of them.

    Where the database cannot pass over locked rows, the next few are returned, and none is locked. To be called inside
    a transaction.
    """
    question = _next(connection.vendor, connection.features.has_select_for_update_skip_locked)
    values = _values(queue_name, status, [before])
    with connection.cursor() as cursor:
        cursor.execute(question.sql, question.parameters(values))
        return converted.instances(ExternalGraderDetail, cursor.fetchall())


@functools.cache
def _next(vendor: str, skips_locked: bool) -> Prepared:
    """Return the statement of ``next_rows``, as the ORM builds it."""
    times = _SAMPLE_TIMES[:1]
    rows = offered_next(_SAMPLE[0], _SAMPLE_STATUS, times[0])
    rows = rows.select_for_update(skip_locked=True)[:1] if skips_locked else rows[:_CANDIDATES]
    return prepared(rows.query.sql_with_params(), _values(_SAMPLE[0], _SAMPLE_STATUS, times))


def offered_next(queue_name: str, status: str, before: datetime) -> QuerySet[ExternalGraderDetail]:
    """Return the rows of a queue that may be handed out in one status, in their order."""
    return rows_of_queue(queue_name).filter(status=status, status_time__lte=before).order_by("status_time")


@sensitive_variables()
def answer_and_files(detail_id: int) -> list[tuple[Any, str | None, str | None]]:
    """
    Return the answer with name and stored name of each file, in one statement; once, with None, where there is none.
    """
    question = _answer_and_files(connection.vendor)
    with connection.cursor() as cursor:
        cursor.execute(question.sql, question.parameters({"detail": detail_id}))
        rows = cursor.fetchall()
    answer = _ANSWER.from_db_value(rows[0][0], None, connection)
    return [(answer, name, stored) for _, name, stored in rows]


@functools.cache
def _answer_and_files(vendor: str) -> Prepared:
    """Return the statement of ``answer_and_files``, as the ORM builds it. ``vendor`` is the database's."""
    found = ExternalGraderDetail.objects.filter(pk=_SAMPLE_ID).order_by("files__id")
    found = found.values_list("submission__answer", "files__original_filename", "files__file")
    return prepared(found.query.sql_with_params(), {"detail": _SAMPLE_ID})


def _values(queue_name: str, other: str, times: Sequence[datetime]) -> dict[str, Any]:
    """Return what differs from poll to poll, in the form that the ORM passes to the database; ``other`` is a text."""
    pattern = f"{connection.ops.prep_for_like_query(queue_name)}%"
    values = {"other": other, "queue": queue_name, "length": len(queue_name), "pattern": pattern}
    as_asked = map(connection.ops.adapt_datetimefield_value, times)
    return values | {f"before {place}": time for place, time in enumerate(as_asked)}
