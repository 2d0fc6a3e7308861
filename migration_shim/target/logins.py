"""
The addresses that log in at edx-submissions' own grader endpoint, past the watcher seam, for the status to name.

A row that was pulled there is a divergence, but the row does not say by whom. A watcher logs in before it pulls.
"""

from __future__ import annotations

import functools
import ipaddress
from typing import Any

from django.contrib.auth.signals import user_logged_in
from django.db import DatabaseError, transaction
from django.db.models import F
from django.utils.timezone import now
from submissions.views.xqueue import XQueueViewSet

from ..core.documents.status import Login
from ..metrics import count
from ..models import WatcherLogin

#: edx-submissions' own group (``IsXQueueUser``): only its members may pull there.
GROUP = "xqueue"
#: How many of the newest addresses are kept: where watchers run in containers, each start may bring a new one.
KEPT = 20
UNKNOWN = "unknown"


def connect() -> None:
    """Listen to logins."""
    user_logged_in.connect(on_login, dispatch_uid="migration_shim.watcher_logins")


def on_login(sender: Any, request: Any = None, user: Any = None, **kwargs: Any) -> None:
    """Note a login at edx-submissions' own endpoint, once its transaction is over. A login is never disturbed."""
    match = getattr(request, "resolver_match", None)
    if match is None or getattr(match.func, "cls", None) is not XQueueViewSet:
        return
    try:
        transaction.on_commit(functools.partial(_record, user, _address(request.META)), robust=True)
    except DatabaseError as error:
        count("watcher_login_not_recorded", error)


def _address(meta: dict[str, Any]) -> str:
    """
    Return the peer of the connection. Behind a proxy that is the proxy, unless the platform has put the client in its
    place.

    ``X-Forwarded-For`` is not read, because anybody who sends a request can write it.
    """
    try:
        return str(ipaddress.ip_address(meta.get("REMOTE_ADDR", "")))
    except ValueError:
        return UNKNOWN  # a server on a Unix socket has none


def _record(user: Any, address: str) -> None:
    # No transaction around it: watchers log in at the same moment, and statements of their own cannot deadlock.
    try:
        if not user.groups.filter(name=GROUP).exists():
            return
        found, created = WatcherLogin.objects.get_or_create(address=address, defaults={"logins": 1})
        if not created:
            WatcherLogin.objects.filter(pk=found.pk).update(logins=F("logins") + 1, last_seen_at=now())
        surplus = list(WatcherLogin.objects.order_by("-last_seen_at", "-pk").values_list("pk", flat=True)[KEPT:])
        if surplus:
            WatcherLogin.objects.filter(pk__in=surplus).delete()
    except DatabaseError as error:
        count("watcher_login_not_recorded", error)


def seen() -> list[Login]:
    """Return every address, the newest login first."""
    return [
        {
            "address": login.address,
            "first_seen_at": login.first_seen_at.isoformat(),
            "last_seen_at": login.last_seen_at.isoformat(),
            "logins": login.logins,
        }
        for login in WatcherLogin.objects.order_by("-last_seen_at", "-pk")
    ]
