"""What a campaign does and why it stops, told: a line of its history, the log, a signal, and where wanted an e-mail."""

from __future__ import annotations

import logging
from typing import Any

from django.core.mail import get_connection, send_mail
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
    try:
        connection: Any = get_connection()
        if getattr(connection, "timeout", MAIL_SECONDS) is None:
            connection.timeout = MAIL_SECONDS
        send_mail(subject, "\n\n".join(lines) + "\n", None, addresses, connection=connection)
    except Exception as error:  # whatever a mail server or a backend raises: no round ends by it
        log.error(
            "migration_shim.campaign_mail_failed: an e-mail of campaign %s was not sent: %s",
            campaign.name,
            type(error).__name__,
        )
