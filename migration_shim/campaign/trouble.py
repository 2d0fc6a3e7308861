"""What concerns all courses of a campaign at once: it stops the campaign, or holds it up while XQueue is away."""

from __future__ import annotations

from .. import toggles
from ..core.errors import ConfigurationError
from ..ledger import stamp
from ..legacy import client, rows
from ..legacy.timeouts import AWAY

#: A queue that no XQueue has: that it says so is an answer.
_NO_QUEUE = "migration_shim.is_xqueue_there"


def trouble_of_all() -> str:
    """Return what speaks against any step of any course until a person has looked, in one line; empty for nothing."""
    if toggles.kill_switch_on():
        return "the kill switch is on"
    if said := stamp.complaint():
        return said
    try:
        client.LegacyClient()
    except ConfigurationError as unusable:
        return str(unusable)
    return ""


def no_answer() -> str:
    """Return that XQueue or its database does not answer now, which may pass by itself; empty where both do."""
    try:
        rows.clock()
    except AWAY as error:
        return f"XQueue's database does not answer: {type(error).__name__}"
    refused, said = client.LegacyClient().queue_length(_NO_QUEUE)
    return f"XQueue does not answer: {str(said)[:200]}" if refused and not client.answered(said) else ""
