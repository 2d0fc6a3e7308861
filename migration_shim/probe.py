"""
The probe of a reverse-shadow queue: one graded submission sent to XQueue once more, to see whether a grader pulls it.

Rows of such a queue exist in ``live`` only, so before it nothing shows whether anybody polls there. A probe is fenced
as a reverse shadow is: the sink's callback, a queue of its own and no learner's key. It belongs to no ledger entry.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from django.conf import settings as django_settings

from . import toggles
from .conf import ShimSettings
from .copies import sink_url
from .core.identity import reverse_header
from .data import LegacyRow
from .errors import ConfigurationError, FileUnavailable, Unfit
from .legacy import files
from .legacy.client import LegacyClient

_HALF = 16  # characters; the whole token is as long as that of a reverse shadow
_SAID_LIMIT = 200  # characters of XQueue's own text


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What became of one probe. ``said`` is empty where it was sent, else the reason."""

    queue: str
    sent: bool
    said: str = ""


def token(queue: str) -> str:
    """
    The sink's token for the probes of a queue: unguessable, and told apart by the sink without a look at any table.

    One a queue, so that XQueue retires the older probe that nobody has pulled.
    """
    name = _keyed("queue", queue)
    return name + _keyed("check", name)


def is_probe(sink_token: str) -> bool:
    """Whether a sink's token was made by ``token``."""
    name, check = sink_token[:_HALF], sink_token[_HALF:]
    return hmac.compare_digest(_keyed("check", name).encode(), check.encode("utf-8", "surrogatepass"))


def _keyed(purpose: str, text: str) -> str:
    key = f"migration_shim.probe.{purpose}{django_settings.SECRET_KEY}".encode()
    return hmac.new(key, text.encode("utf-8", "surrogatepass"), "sha256").hexdigest()[:_HALF]


def send(row: LegacyRow | None, queue: str, settings: ShimSettings) -> Probe:
    """
    Send ``row`` once more, to the reverse-shadow queue of ``queue``, through XQueue's own submit.

    Args:
        row: a graded submission of that queue, or None where it has none.
        queue: the queue that learners' submissions go to.
        settings: the settings in force.
    """
    reverse = queue + settings.reverse_queue_suffix
    if toggles.kill_switch_on():
        return Probe(queue=reverse, sent=False, said="stopped by the kill switch")
    if row is None:
        return Probe(queue=reverse, sent=False, said="the queue has no graded submission to send once more")
    try:
        header = reverse_header(sink_url(token(queue), settings), f"probe:{token(queue)}", reverse)
        storage = files.legacy_storage(settings)
        contents = files.contents(row, files.file_keys(row, storage), storage, settings.legacy_file_limit)
        client = LegacyClient()
    except (Unfit, FileUnavailable) as error:
        return Probe(queue=reverse, sent=False, said=error.reason)
    except ConfigurationError as error:
        return Probe(queue=reverse, sent=False, said=str(error))
    refused, said = client.submit(header, row.xqueue_body, list(contents.values()), correlation="probe")
    return Probe(queue=reverse, sent=not refused, said=f"refused: {said}"[:_SAID_LIMIT] if refused else "")
