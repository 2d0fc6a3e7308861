"""
User retirement: forget a learner whose LMS account is retired, both the residue of the submissions and the ids.

The entries stay with their results, so that no count changes. The learner's id on them becomes a keyed hash, as the
platform's own retired user names are.
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
    Receive the LMS's signal ``USER_RETIRE_LMS_MISC``; the plugin loader connects it (``signals_config``, ``apps.py``).

    An error makes that step of the LMS's retirement fail, so that the LMS repeats it.
    """
    retire_learner(anonymous_ids(user))


def retire_learner(anonymous_ids: Iterable[str]) -> dict[str, int]:
    """
    Forget a learner for the LMS's user retirement. A second call does what the first one had to leave.

    A submission that a grader still has keeps what it needs until it is finished; later rounds of ``xqueue_watch`` then
    forget it, whatever the settings for purging. Shadows on the target are edx-submissions' rows and not touched here;
    ``xqueue_cutover --remove-shadows`` removes them.

    Args:
        anonymous_ids: every anonymous id that the LMS has for the user. CAPA submits under the one without a course.

    Returns:
        The number of the learner's ``entries``, of those ``forgotten`` (without the learner's id by now), and of those
        ``waiting`` for a submission to be finished.

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
    Forget the learners who are marked for it, and return in how many entries.

    Args:
        settings: the settings in force.
        learners: anonymous ids; None for all who are marked.
        check: called before each learner; it may raise to stop.
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
    Take a learner's id off all entries in one transaction, unless one of them still needs its residue.

    All at once, because the id tells which attempts at one input are the same learner's.
    """
    with transaction.atomic():
        # Both values of ``forget`` are named so that the index serves the query.
        entries = LedgerEntry.objects.filter(forget__in=(False, True), learner=learner)
        keys = dict(entries.select_for_update().values_list("pk", "input_key"))
        if entries.filter(purged_at=None).exists():
            entries.update(forget=True)  # entries that came since are marked too
            return 0
        for key in sorted(set(keys.values()) - {""}):
            entries.filter(input_key=key).update(input_key=_hash(key))
        return entries.update(learner=f"{RETIRED}{_hash(learner)[:32]}", sink_token="", forget=False)


def _hash(text: str) -> str:
    key = f"migration_shim.retired{django_settings.SECRET_KEY}".encode()
    return hmac.new(key, text.encode("utf-8", "surrogatepass"), "sha256").hexdigest()
