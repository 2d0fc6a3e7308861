"""What unchanged xqueue-watchers and XQueue need to serve all queues of a course, and which queues nobody serves."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings as django_settings

from ..conf import ShimSettings, legacy_access, load
from ..ledger import counts
from ..legacy import open_rows as legacy_open_rows
from ..target import open_rows as target_open_rows

#: Seconds that a watcher should wait for an answer. By default it is 1: whatever takes longer is handed out to nobody,
#: and a result that is being stored is taken for lost. XQueue itself may take 25 over a result.
REQUESTS_TIMEOUT = 30
_HANDLERS = [{"HANDLER": "KEEP-YOUR-OWN", "KWARGS": {}}]


def seam_url() -> str:
    """The server that a watcher names to reach the watcher seam; it appends ``/xqueue/<action>/`` itself."""
    return getattr(django_settings, "LMS_ROOT_URL", "") + "/migration_shim"


def watcher_configuration(course_id: str) -> dict[str, Any]:
    """
    The entries of ``xqwatcher.json``, of ``xqueue_servers.json``, of ``conf.d``, of XQueue's ``XQUEUES``, and of
    our own ``GRADER_QUEUES``, for the queues of a course.

    Handlers and accounts are the operator's own, and named as places to fill in; the target's are Django users of the
    group ``xqueue``. ``SERVER_REF`` picks a server and excludes ``SERVER`` and ``AUTH`` in the same entry
    (xqueue-watcher, ``manager.py``).
    """
    settings = load()
    root = seam_url()
    # An account of its own for each queue: by default an LMS lets a user have one session, and watchers of one account
    # would log each other out for ever.
    servers: dict[str, Any] = {"legacy": {"SERVER": legacy_access().url, "AUTH": ["USER", "PASSWORD"]}}
    entries: dict[str, Any] = {}
    xqueues: dict[str, None] = {}
    accounts: dict[str, list[str]] = {}
    for queue in counts.queues(course_id):
        served = {
            f"{queue}-legacy": (queue, "legacy"),
            f"{queue}-reverse": (queue + settings.reverse_queue_suffix, "legacy"),
            f"{queue}-target": (queue, f"target-{queue}"),
            f"{queue}-shadow": (queue + settings.shadow_queue_suffix, f"target-{queue}-shadow"),
        }
        for name in (f"{queue}-target", f"{queue}-shadow"):
            queue_name, server = served[name]
            servers[server] = {"SERVER": root, "AUTH": [f"GRADER-OF-{server}", "PASSWORD"]}
            accounts[f"GRADER-OF-{server}"] = [queue_name]
        for name, (queue_name, server) in served.items():
            entries[name] = {
                "NAME_OVERRIDE": queue_name,
                "SERVER_REF": server,
                "CONNECTIONS": 1,
                "HANDLERS": _HANDLERS,
            }
        xqueues |= {queue: None, queue + settings.reverse_queue_suffix: None}
    return {
        "xqwatcher.json": {"REQUESTS_TIMEOUT": REQUESTS_TIMEOUT},
        "xqueue_servers.json": servers,
        "conf.d": entries,
        "XQUEUES": xqueues,
        "MIGRATION_SHIM": {"GRADER_QUEUES": accounts},
    }


def queues_without_watcher(
    legacy: Iterable[legacy_open_rows.Held],
    target: Iterable[target_open_rows.Held],
    queues: Mapping[str, Collection[str]],
    settings: ShimSettings,
    moment: datetime,
) -> list[dict[str, Any]]:
    """
    The queues in which something has waited for longer than a lease, and from which nobody has pulled for as long.

    Left out are queues that no grader is meant to poll: those of held rows, and on legacy the ones that XQueue pushes.
    Two statements at most, and none where nothing waits.

    Args:
        legacy: what legacy holds.
        target: what the target holds.
        queues: the queues of each course, for rows that name none: those of reverse shadows.
    """
    since = moment - timedelta(seconds=settings.lease_seconds)
    waiting: dict[tuple[str, str], list[tuple[str, int, datetime]]] = {}
    for row in legacy:
        if not row.pulled and row.queue not in settings.push_queues:
            waiting.setdefault(("legacy", row.queue), []).append((row.course, row.rows, row.oldest))
    for held in target:
        if held.status in ("pending", "retry") and not held.queue.endswith(settings.held_queue_suffix):
            waiting.setdefault(("target", held.queue), []).append((held.course, held.rows, held.still_since))
    late = {queue: rows for queue, rows in waiting.items() if min(oldest for *_, oldest in rows) < since}
    served = set()
    for side, pulled in (("legacy", legacy_open_rows.pulled_since), ("target", target_open_rows.handed_out_since)):
        if names := [name for other, name in late if other == side]:
            served |= {(side, name) for name in pulled(names, since)}
    found = []
    for (side, name), rows in sorted(late.items()):
        if (side, name) not in served:
            base = name.removesuffix(settings.reverse_queue_suffix)
            courses = {course for course, *_ in rows if course}
            courses |= {course for course, named in queues.items() if base != name and base in named}
            age = (moment - min(oldest for *_, oldest in rows)).total_seconds()
            number = sum(number for _, number, _ in rows)
            described = {"side": side, "queue": name, "rows": number, "oldest_seconds": round(age, 1)}
            found.append(described | {"courses": sorted(courses)})
    return found
