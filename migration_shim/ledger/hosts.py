"""
The hosts that our LMS's callbacks name, and those of other LMSs on the same XQueue. See docs/decisions/0022.

They are asked for where legacy's rows are read, and cached for one request at most: a long-running command clears the
request cache before every batch.
"""

from __future__ import annotations

import logging
import time

from django.conf import settings as django_settings
from django.db import DatabaseError, transaction
from edx_django_utils.cache import RequestCache

from ..conf import callback_hosts
from ..core.data import Whose
from ..core.hosts import Hosts, host_of, whose_header
from ..lms import sites
from ..metrics import count
from ..models import DoorHost

log = logging.getLogger(__name__)

_CACHE = "migration_shim.hosts"
#: No LMS has so many. What is sent to a door is an account's to say, and the table is not to grow with it.
DOOR_LIMIT = 100
#: Seconds after a host could not be noted before it is tried again.
_AGAIN = 60.0
#: The door's hosts that this process has noted, and need not note again.
_noted: set[str] = set()
_not_before = 0.0


def known() -> Hosts:
    """
    Return all hosts that are known now.

    Raises:
        DatabaseError: the hosts cannot be read, and so no row can be told to be ours or not.
    """
    cache = RequestCache(_CACHE)
    if (cached := cache.get_cached_response("known")).is_found:
        return cached.value
    ours, foreign = callback_hosts()
    named = {host_of(url) for url in (*_of_settings(), *sites.urls())} | ours
    found = Hosts(
        named=frozenset(named - {""}),
        foreign=frozenset(foreign),
        door=frozenset(DoorHost.objects.values_list("host", flat=True)),
    )
    cache.set("known", found)
    return found


def own() -> str:
    """Return the host of this LMS: that of ``LMS_ROOT_URL``, else that of its callbacks. Empty where neither is set."""
    return next((host for url in _of_settings() if (host := host_of(url))), "")


def of_header(header: str) -> Whose:
    """Return whose a legacy row is, by its raw header."""
    return whose_header(header, known())


def _of_settings() -> tuple[str, str]:
    platform = getattr(django_settings, "XQUEUE_INTERFACE", None) or {}
    root, callback = getattr(django_settings, "LMS_ROOT_URL", None), platform.get("callback_url")
    return root if isinstance(root, str) else "", callback if isinstance(callback, str) else ""


def seen_at_door(url: str) -> None:
    """
    Note the host of a callback that came through our own door, unless a setting names it. Raises nothing.

    A host that the settings name, or that this process has noted, costs nothing. Any other is looked up and written
    once, outside any transaction of the caller: inside one the row would be a lock that other doors wait for.
    """
    host = host_of(url)
    if not host or host in _noted or host in callback_hosts()[0] or host in map(host_of, _of_settings()):
        return
    if time.monotonic() >= _not_before:
        try:
            transaction.on_commit(lambda: _note(host), robust=True)
        except DatabaseError as error:  # the caller's transaction is broken already
            _not_noted(error)


def _note(host: str) -> None:
    try:
        if host not in known().named and not DoorHost.objects.filter(host=host).exists():
            if DoorHost.objects.count() >= DOOR_LIMIT:
                _not_noted(None)
                return
            DoorHost.objects.bulk_create([DoorHost(host=host)], ignore_conflicts=True)
            count("callback_host_unnamed")
            log.error(
                "migration_shim.callback_host_unnamed: callbacks of submissions name a host that no setting names: %s",
                host,
            )
        _noted.add(host)
    except DatabaseError as error:
        _not_noted(error)


def _not_noted(error: DatabaseError | None) -> None:
    """Count that a host was not noted. The door goes on, and notes it with a later submission."""
    global _not_before  # noqa: PLW0603  (a clock of the process)
    _not_before = time.monotonic() + _AGAIN
    count("callback_host_not_noted", error)
