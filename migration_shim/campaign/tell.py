"""What a campaign does and why it stops, told: a line of its history, the log, a signal, and where wanted an e-mail."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.core.mail import EmailMessage, get_connection
from django.db import models, transaction
from django.utils.timezone import now

from ..conf import usable
from ..db import text_columns
from ..models import Campaign, CampaignLine
from ..reports.escape import printable
from ..signals import campaign_told

log = logging.getLogger(__name__)

#: Who stands in the record of what a campaign does by itself.
WATCH = "xqueue_watch"
#: Seconds to wait for a mail server where the site's settings name none: a silent one would hold up the watch for ever.
MAIL_SECONDS = 10
#: What a campaign does not get over by itself.
_NEEDS_SOMEBODY = ("parked", "failed", "paused")
#: What somebody has to know of who is not looking.
BY_EMAIL = (*_NEEDS_SOMEBODY, "done")

#: E-mails that are sent together at the end of a round; None outside one.
_waiting: ContextVar[list[EmailMessage] | None] = ContextVar("waiting", default=None)
#: Characters of a reason, a result or a line of the history; the columns have as many.
LIMIT = 500


def cut(model: type[models.Model], name: str, text: str) -> str:
    """Return a text as a column for a reason or a result can hold it."""
    return text_columns.fitted(model, name, text)[:LIMIT]


def tell(campaign: Campaign, what: str, text: str, *, course_id: str = "", by: str = WATCH) -> None:
    """
    Add a line to a campaign's history, and tell of it once the transaction is committed.

    Args:
        campaign: the campaign.
        what: one word for it: an action, or a state.
        text: the reason, or the result.
        course_id: the course that it is about; empty for all.
        by: who did it.
    """
    CampaignLine.objects.create(
        campaign=campaign,
        at=now(),
        by=by[:150],
        course_id=course_id,
        what=what,
        text=cut(CampaignLine, "text", text),
    )
    transaction.on_commit(lambda: _send(campaign, what, text, course_id))


def _send(campaign: Campaign, what: str, text: str, course_id: str) -> None:
    of = f" of {course_id}" if course_id else ""
    if what in _NEEDS_SOMEBODY:
        log.error("migration_shim.campaign_stopped: campaign %s: %s%s: %s", campaign.name, what, of, printable(text))
    else:
        log.warning("migration_shim.campaign_told: campaign %s: %s%s: %s", campaign.name, what, of, printable(text))
    answers = campaign_told.send_robust(sender=WATCH, campaign=campaign.name, course_id=course_id, what=what, text=text)
    for receiver, answer in answers:
        if isinstance(answer, Exception):
            name = getattr(receiver, "__name__", type(receiver).__name__)
            log.error(
                "migration_shim.campaign_receiver_failed: the receiver %s failed: %s", name, type(answer).__name__
            )
    addresses = usable()[0].campaign_emails
    # A course that arrives is no news of its own; that all have is.
    if addresses and what in BY_EMAIL and not (what == "done" and course_id):
        _mail(campaign, what, text, course_id, addresses)


def _mail(campaign: Campaign, what: str, text: str, course_id: str, addresses: list[str]) -> None:
    subject = printable(f"Campaign {campaign.name}: {course_id or 'all courses'} {what}")
    lines = [
        printable(text),
        f"See where it stands: xqueue_campaign status --name {campaign.name}",
        f"The campaign, started by {printable(campaign.started_by)}: {printable(campaign.reason)}",
    ]
    message = EmailMessage(subject, "\n\n".join(lines) + "\n", None, addresses)
    waiting = _waiting.get()
    if waiting is None:
        _post([message])
    else:
        waiting.append(message)


@contextmanager
def one_connection() -> Iterator[None]:
    """
    Send the e-mails of what is done in this context at its end, through one connection.

    So a mail server that is down costs a round one wait. With a process that is killed its e-mails are lost, as the
    signal and the log are not.
    """
    messages: list[EmailMessage] = []
    token = _waiting.set(messages)
    try:
        yield
    finally:
        _waiting.reset(token)
        if messages:
            _post(messages)


def _post(messages: list[EmailMessage]) -> None:
    try:
        connection: Any = get_connection()
        if getattr(connection, "timeout", MAIL_SECONDS) is None:
            connection.timeout = MAIL_SECONDS
        connection.send_messages(messages)
    except Exception as error:  # whatever a mail server or a backend raises: no round ends by it
        which = "an e-mail of a campaign was" if len(messages) == 1 else f"of {len(messages)} e-mails some or all were"
        log.error("migration_shim.campaign_mail_failed: %s not sent: %s", which, type(error).__name__)
