"""
Whose the ledger is. A cloned database brings another LMS's ledger along, whose rows, files and learners are not ours.

The first command that acts on the ledger stamps it with its LMS's host. Under another host, whatever writes to legacy
or drops something refuses to run, until an operator says that the ledger is this LMS's now.
"""

from __future__ import annotations

from django.utils.timezone import now
from edx_django_utils.cache import RequestCache

from ..core.data import Document, ExitCode
from ..core.documents.cutover_adoption import CutoverAdoptionDocument
from ..core.errors import LedgerNotOurs
from ..models import LedgerStamp
from . import hosts

SCHEMA = "migration_shim.xqueue_cutover_adoption/1"
_CACHE = "migration_shim.stamp"
#: A reason's length on the stamp.
_REASON = LedgerStamp._meta.get_field("reason").max_length


def stamped() -> str:
    """Return the host that the ledger is stamped with; empty where there is no stamp yet."""
    return LedgerStamp.objects.order_by("-id").values_list("host", flat=True).first() or ""


def complaint() -> str:
    """Return why the ledger may not be acted on, or an empty text. Nothing is written, because a screen asks too."""
    found, here = stamped(), hosts.own()
    if found in ("", here):
        return ""
    return (
        f"The ledger belongs to the LMS at {found}; this one is at {here or 'no host that a setting names'}. Where "
        "this is a copy of that LMS's database, leave it so. Where the LMS has got another name, run: "
        f"xqueue_cutover --adopt {here or 'HOST'} --reason TEXT --execute"
    )


def check() -> None:
    """
    Refuse to act on another LMS's ledger, and stamp one that has no stamp. Checked once a request, like the flags.

    Raises:
        LedgerNotOurs: the ledger is another LMS's; the message says what to do.
    """
    cache = RequestCache(_CACHE)
    if cache.get_cached_response("ours").is_found:
        return
    if said := complaint():
        raise LedgerNotOurs(said)
    if (here := hosts.own()) and not stamped():
        LedgerStamp.objects.create(host=here)
    cache.set("ours", True)


def adopt(host: str, *, reason: str, execute: bool, user: str) -> Document[CutoverAdoptionDocument]:
    """
    Stamp the ledger with this LMS's host, or say what would be done.

    Args:
        host: must be this LMS's host. A command line that came along with a copied database names the other one.
        reason: why, for the record.
        execute: whether to write it.
        user: the operating system's name of the operator, for the record.

    Raises:
        LedgerNotOurs: this LMS has another host, or none that a setting names.
    """
    here, found = hosts.own(), stamped()
    if not here or host != here:
        raise LedgerNotOurs(f"This LMS is at {here or 'no host that a setting names'}, not at {host}.")
    if execute:
        LedgerStamp.objects.create(host=here, stamped_by=user[:150], reason=reason[:_REASON])
        RequestCache(_CACHE).clear()
    content: CutoverAdoptionDocument = {
        "schema": SCHEMA,
        "at": now().isoformat(),
        "from": found,
        "to": here,
        "reason": reason,
        "executed": execute,
    }
    return Document(content=content, exit_code=ExitCode.OK)
