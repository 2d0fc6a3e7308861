"""
Forgetting a learner whose LMS account is retired: the residue of the submissions, and the ids on the ledger.

The entries stay, with their results: every count is what it was. The learner's name on them becomes a keyed hash, as
the platform's own retired user names are.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

from django.conf import settings as django_settings
from django.db import transaction
from django.db.models import Q
from django.utils.timezone import now

from ..conf import ShimSettings, load
from ..core.identity import RETIRED
from ..lms.users import anonymous_ids
from ..models import LedgerEntry
from .purge import drop_residue


def retire_user(sender: Any, user: Any, **kwargs: Any) -> None:
    """
    Receive the LMS's ``USER_RETIRE_LMS_MISC``: its plugin loader connects this (``signals_config`` in ``apps.py``).

    What it raises makes that step of the LMS's retirement fail, and the step is repeated: nobody is forgotten in part
    without a word.
    """
    retire_learner(anonymous_ids(user))


def retire_learner(anonymous_ids: Iterable[str]) -> dict[str, int]:
    """
    Forget a learner, for the LMS's user retirement. Called again, it does what is left.

    A submission that a grader still has keeps what it needs until it is finished; the next rounds of ``xqueue_watch``
    do the rest, whatever the settings for purging. Shadows on the target are not touched: they are edx-submissions'
    rows, and ``xqueue_cutover --remove-shadows`` removes them.

    Args:
        anonymous_ids: every anonymous id that the LMS has for the user. CAPA submits under the one without a course.

    Returns:
        How many entries are the learner's (``entries``), how many name nobody any more (``forgotten``), and how many
        are ``waiting`` for a submission to be finished.

    Raises:
        ConfigurationError: the settings are not usable.
    """
    learners = sorted({name for name in anonymous_ids if name})
    mine = LedgerEntry.objects.filter(forget__in=(False, True), learner__in=learners)
    entries = mine.count()
    mine.update(forget=True)
    forgotten = forget_due(load(), learners=learners)
    return {"entries": entries, "forgotten": forgotten, "waiting": entries - forgotten}


def _nothing() -> None:
    return None


def forget_due(
    settings: ShimSettings, *, learners: list[str] | None = None, check: Callable[[], None] = _nothing
) -> int:
    """
    Forget the learners that are to be forgotten, or those of them that are named, and return in how many entries.

    ``check`` is called before every learner, and may raise.
    """
    marked = LedgerEntry.objects.filter(forget=True)
    if learners is not None:
        marked = marked.filter(learner__in=learners)
    long_ago = now() - timedelta(seconds=settings.purge_after_seconds)
    due = marked.filter(Q(settled_at__isnull=False) | Q(arrived_at__lt=long_ago), purged_at=None)
    drop_residue(due, execute=True, check=check, failed_too=True)
    forgotten = 0
    for learner in list(marked.order_by().values_list("learner", flat=True).distinct()):
        check()
        forgotten += _forget(learner)
    return forgotten


def _forget(learner: str) -> int:
    """
    Take a learner's name off all entries at once, if none of them needs its residue.

    All at once, because attempts at one input are told to be one learner's by it.
    """
    with transaction.atomic():
        # Both values are named so that the index serves it.
        entries = LedgerEntry.objects.filter(forget__in=(False, True), learner=learner)
        keys = dict(entries.select_for_update().values_list("pk", "input_key"))
        if entries.filter(purged_at=None).exists():
            entries.update(forget=True)  # also of what has come since
            return 0
        for key in sorted(set(keys.values()) - {""}):
            entries.filter(input_key=key).update(input_key=_hash(key))
        return entries.update(learner=f"{RETIRED}{_hash(learner)[:32]}", sink_token="", forget=False)


def _hash(text: str) -> str:
    key = f"migration_shim.retired{django_settings.SECRET_KEY}".encode()
    return hmac.new(key, text.encode("utf-8", "surrogatepass"), "sha256").hexdigest()
