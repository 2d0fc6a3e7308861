"""Graders: the configuration with which watchers and XQueue serve a course's queues, and queues without a watcher."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings as django_settings

from ..conf import ShimSettings, legacy_access, load
from ..core.documents.status import UnservedQueueOfSite
from ..core.documents.status_course import WatcherConfig
from ..ledger import counts
from ..legacy import open_rows as legacy_open_rows
from ..target import open_rows as target_open_rows

#: Seconds that a watcher should wait for an answer. Its default is 1: a submission that takes longer to hand out is
#: leased and not graded, and a result that is being stored is taken for lost. XQueue may take 25 to store a result.
REQUESTS_TIMEOUT = 30
_HANDLERS = [{"HANDLER": "KEEP-YOUR-OWN", "KWARGS": {}}]


def seam_url() -> str:
    """Return the ``SERVER`` that a watcher needs for the watcher seam; it appends ``/xqueue/<action>/`` itself."""
    return getattr(django_settings, "LMS_ROOT_URL", "") + "/migration_shim"


def watcher_configuration(course_id: str) -> WatcherConfig:
    """
    Return the configuration for all queues of a course, by file or setting.

    The keys are ``xqwatcher.json``, ``xqueue_servers.json`` and ``conf.d`` (the watcher's), ``XQUEUES`` (XQueue's) and
    ``MIGRATION_SHIM`` (``GRADER_QUEUES``). Handlers and accounts are placeholders that the operator fills in; accounts
    on the target are Django users of the group ``xqueue``. An entry with ``SERVER_REF`` must have neither ``SERVER``
    nor ``AUTH``. Source: xqueue-watcher, ``manager.py``.
    """
    settings = load()
    root = seam_url()
    # Each queue has its own account: an LMS may allow one session per user, and watchers that share an account would
    # log each other out again and again.
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
    legacy: Iterable[legacy_open_rows.OpenRows],
    target: Iterable[target_open_rows.OpenRows],
    queues: Mapping[str, Collection[str]],
    settings: ShimSettings,
    moment: datetime,
) -> list[UnservedQueueOfSite]:
    """
    Return the queues in which rows have waited for longer than a lease while no grader pulled from them.

    Queues that no grader is meant to poll are left out: those of held rows, and those that XQueue pushes. Two
    statements at most, and none where no row waits for so long.

    Args:
        legacy: the rows that legacy holds.
        target: the rows that the target holds.
        queues: the queues of each course, for rows that name no course: reverse shadows.
        settings: the settings in force.
        moment: the present.

    Returns:
        For each queue ``side``, ``queue``, ``rows``, ``oldest_seconds`` and ``courses`` (ids), by side and name.
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
    for side, pulled in (
        ("legacy", legacy_open_rows.queues_pulled_since),
        ("target", target_open_rows.queues_handed_out_since),
    ):
        if names := [name for other, name in late if other == side]:
            served |= {(side, name) for name in pulled(names, since)}
    found: list[UnservedQueueOfSite] = []
    for (side, name), rows in sorted(late.items()):
        if (side, name) not in served:
            base = name.removesuffix(settings.reverse_queue_suffix)
            courses = {course for course, *_ in rows if course}
            courses |= {course for course, named in queues.items() if base != name and base in named}
            age = (moment - min(oldest for *_, oldest in rows)).total_seconds()
            number = sum(number for _, number, _ in rows)
            found.append(
                {
                    "side": side,
                    "queue": name,
                    "rows": number,
                    "oldest_seconds": round(age, 1),
                    "courses": sorted(courses),
                }
            )
    return found
