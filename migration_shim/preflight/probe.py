"""
The probe of a reverse-shadow queue: one graded submission is sent to XQueue again, to see whether a grader pulls it.

Such a queue gets rows in ``live`` only, so before that nothing shows whether a grader polls it. A probe is fenced like
a reverse shadow: the sink's callback, a queue of its own and no learner's key. It has no ledger entry.
"""

from __future__ import annotations

from dataclasses import dataclass

from .. import toggles
from ..conf import ShimSettings
from ..copies import sink
from ..core.data import LegacyRow
from ..core.errors import ConfigurationError, FileUnavailable, Unfit
from ..core.identity import reverse_header
from ..legacy import files
from ..legacy.client import LegacyClient

_SAID_LIMIT = 200  # characters of XQueue's own text


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """The result of one probe: its queue, whether it was sent, and why not in ``said`` (else "")."""

    queue: str
    sent: bool
    said: str = ""


def send_probe(row: LegacyRow | None, queue: str, settings: ShimSettings) -> Probe:
    """
    Send a row again, to the reverse-shadow queue of its queue, through XQueue's own submit.

    Args:
        row: a graded submission of the queue, or None where it has none.
        queue: the queue that learners' submissions go to.
        settings: the settings in force.

    Returns:
        What became of it; what goes wrong is in ``said``.
    """
    reverse = queue + settings.reverse_queue_suffix
    if toggles.kill_switch_on():
        return Probe(queue=reverse, sent=False, said="stopped by the kill switch")
    if row is None:
        return Probe(queue=reverse, sent=False, said="the queue has no graded submission to send once more")
    try:
        token = sink.probe_token(queue)
        header = reverse_header(sink.url(token, settings), f"probe:{token}", reverse)
        storage = files.legacy_storage(settings)
        contents = files.contents(row, files.file_keys(row, storage), storage, settings.legacy_file_limit)
        client = LegacyClient()
    except (Unfit, FileUnavailable) as error:
        return Probe(queue=reverse, sent=False, said=error.reason)
    except ConfigurationError as error:
        return Probe(queue=reverse, sent=False, said=str(error))
    refused, said = client.submit(header, row.xqueue_body, list(contents.values()), correlation="probe")
    return Probe(queue=reverse, sent=not refused, said=f"refused: {said}"[:_SAID_LIMIT] if refused else "")
