"""What concerns all courses of a campaign at once, and stops it."""

from __future__ import annotations

from django.db import DatabaseError

from .. import toggles
from ..core.errors import ConfigurationError
from ..ledger import stamp
from ..legacy import client, rows

#: A queue that no XQueue has: that it says so is an answer.
_NO_QUEUE = "migration_shim.is_xqueue_there"


def trouble_of_all() -> str:
    """Return what speaks against any step of any course, in one line; empty where nothing does."""
    if toggles.kill_switch_on():
        return "the kill switch is on"
    if said := stamp.complaint():
        return said
    try:
        rows.clock()
    except DatabaseError as error:
        return f"XQueue's database does not answer: {type(error).__name__}"
    try:
        refused, said = client.LegacyClient().queue_length(_NO_QUEUE)
    except ConfigurationError as unusable:
        return str(unusable)
    if refused and not client.answered(said):
        return f"XQueue does not answer: {str(said)[:200]}"
    return ""
