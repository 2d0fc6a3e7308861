"""What unchanged xqueue-watchers and XQueue need in their configuration to serve all queues of a course."""

from __future__ import annotations

from typing import Any

from django.conf import settings as django_settings

from .conf import legacy_access, load
from .models import LedgerEntry

_HANDLERS = [{"HANDLER": "KEEP-YOUR-OWN", "KWARGS": {}}]


def seam_url() -> str:
    """The server that a watcher names to reach the watcher seam; it appends ``/xqueue/<action>/`` itself."""
    return getattr(django_settings, "LMS_ROOT_URL", "") + "/migration_shim"


def configuration(course_id: str) -> dict[str, Any]:
    """
    The entries of ``xqueue_servers.json``, of ``conf.d``, and of XQueue's ``XQUEUES``, for the queues of a course.

    Handlers and accounts are the operator's own, and named as places to fill in; the target's are Django users of the
    group ``xqueue``. ``SERVER_REF`` picks a server and excludes ``SERVER`` and ``AUTH`` in the same entry
    (xqueue-watcher, ``manager.py``).
    """
    settings = load()
    root = seam_url()
    # An account of its own for each queue: by default an LMS lets a user have one session, and watchers of one account
    # would log each other out for ever.
    servers: dict[str, Any] = {"legacy": {"SERVER": legacy_access().url, "AUTH": ["USER", "PASSWORD"]}}
    queues = LedgerEntry.objects.filter(course_id=course_id).order_by("queue_name").values_list("queue_name", flat=True)
    entries: dict[str, Any] = {}
    xqueues: dict[str, None] = {}
    for queue in dict.fromkeys(queues):
        served = {
            f"{queue}-legacy": (queue, "legacy"),
            f"{queue}-reverse": (queue + settings.reverse_queue_suffix, "legacy"),
            f"{queue}-target": (queue, f"target-{queue}"),
            f"{queue}-shadow": (queue + settings.shadow_queue_suffix, f"target-{queue}-shadow"),
        }
        for name in (f"target-{queue}", f"target-{queue}-shadow"):
            servers[name] = {"SERVER": root, "AUTH": [f"GRADER-OF-{name}", "PASSWORD"]}
        for name, (queue_name, server) in served.items():
            entries[name] = {
                "NAME_OVERRIDE": queue_name,
                "SERVER_REF": server,
                "CONNECTIONS": 1,
                "HANDLERS": _HANDLERS,
            }
        xqueues |= {queue: None, queue + settings.reverse_queue_suffix: None}
    return {
        "xqueue_servers.json": servers,
        "conf.d": entries,
        "XQUEUES": xqueues,
    }
