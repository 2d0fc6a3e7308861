"""Findings about the platform that the app is installed in: checks, flags, graders, caches, broker, storages."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.core.cache import caches
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import FileSystemStorage
from django.db import DatabaseError
from django.utils.timezone import now

from .. import toggles
from ..checks import complaints
from ..conf import ShimSettings
from ..core.errors import ConfigurationError
from ..core.findings import Finding, found
from ..core.site_rules import SITE_RULES as RULES
from ..core.wording import counted
from ..cutover import impact
from ..db import timeouts
from ..db.storage import storage_errors
from ..legacy import files
from ..legacy import open_rows as legacy_open_rows
from ..legacy.downloads import Downloads
from ..lms import receivers
from ..lms import state as lms_state
from ..runs.workers import broker
from ..status import graders as status_graders
from ..target import file_storage
from ..target import open_rows as target_open_rows
from ..target.logins import GROUP

#: A name that is never written, only asked for.
_NOTHING = "migration_shim/preflight"
#: Watchers that each queue needs on the target: for itself, and for its shadows (``status.graders``).
_WATCHERS_A_QUEUE = 2


def findings(course_id: str, settings: ShimSettings) -> Iterator[Finding]:
    """Yield the findings about the platform, for one course."""
    for complaint in complaints():
        yield found(RULES["site"], about=complaint.msg)
    if toggles.bypasses_shim(course_id):
        yield found(RULES["platform_flag"])
    yield from _receivers(settings)
    queues = impact.queues_of(course_id)
    yield from _graders(len(queues))
    yield from _unwatched(course_id, queues, settings)
    yield from _caches()
    yield from _celery(settings)
    yield from _storages(settings)


def _receivers(settings: ShimSettings) -> Iterator[Finding]:
    """Yield a finding if no receiver delivers stored grades, or if that cannot be told outside an LMS."""
    if not lms_state.is_lms():
        yield found(RULES["no_lms"])
    elif not receivers.reaches_platform(settings.score_receivers):
        others = ", ".join(receivers.receiver_modules()) or "nothing"
        yield found(RULES["no_score_receiver"], about=f"what listens: {others}")


def _graders(queues: int) -> Iterator[Finding]:
    graders = get_user_model().objects.filter(groups__name=GROUP, is_active=True)
    accounts = graders.count()
    if not accounts:
        yield found(RULES["no_graders"])
        return
    names = _list_setting("SINGLE_LOGIN_EXEMPT_USERNAMES")
    groups = _list_setting("SINGLE_LOGIN_EXEMPT_GROUPS")
    if not _single_login() or graders.filter(groups__name__in=groups).exists():
        return
    if graders.filter(username__in=names).exists():
        return
    watchers = _WATCHERS_A_QUEUE * max(queues, 1)
    if accounts < watchers:
        about = (
            f"{counted(accounts, 'active user')} of the group {GROUP}, at least "
            f"{counted(watchers, 'watcher')} for this course"
        )
        yield found(RULES["single_login"], about=about)


def _single_login() -> bool:
    """Return whether a user may have one session only: a setting in newer releases, a feature flag in older ones."""
    features = getattr(django_settings, "FEATURES", {})
    return bool(getattr(django_settings, "PREVENT_CONCURRENT_LOGINS", features.get("PREVENT_CONCURRENT_LOGINS")))


def _unwatched(course_id: str, queues: list[str], settings: ShimSettings) -> Iterator[Finding]:
    try:
        held = legacy_open_rows.our_rows()
    except DatabaseError:  # a finding of its own
        held = []
    unwatched = status_graders.queues_without_watcher(
        held, target_open_rows.all_rows(settings), {course_id: queues}, settings, now()
    )
    for row in unwatched:
        if course_id in row["courses"]:
            about = f"{row['side']}: {counted(row['rows'], 'row')}, the oldest for {row['oldest_seconds']:.0f} s"
            yield found(RULES["unwatched"], queue=row["queue"], about=about)


def _list_setting(name: str) -> list[str]:
    return list(getattr(django_settings, name, None) or ())


def _caches() -> Iterator[Finding]:
    """Yield the findings about the caches of the breakers and of django-waffle."""
    for alias in sorted({"default", getattr(django_settings, "WAFFLE_CACHE_NAME", None) or "default"}):
        try:
            cache = caches[alias]
            if isinstance(cache, (LocMemCache, DummyCache)):
                yield found(RULES["cache_not_shared"], about=f"CACHES[{alias!r}] is a {type(cache).__name__}")
            else:
                timeouts.call(functools.partial(cache.get, _NOTHING.replace("/", ".")))
        except Exception as error:  # whatever a cache backend raises
            yield found(RULES["cache_failed"], about=f"CACHES[{alias!r}]: {type(error).__name__}")
        if _waits_for_ever(django_settings.CACHES.get(alias, {})):
            yield found(RULES["cache_no_timeout"], about=f"CACHES[{alias!r}]")


def _waits_for_ever(of_cache: Mapping[str, Any]) -> bool:
    """Tell whether a cache is behind a network and its settings name no timeout of its client, in any of their ways."""
    backend = str(of_cache.get("BACKEND", "")).lower()
    if "redis" not in backend and "memcached" not in backend:
        return False
    # In OPTIONS, in a pool's within them, or in a Redis URL's query. TIMEOUT beside them is how long values live.
    said = f"{of_cache.get('OPTIONS')} {of_cache.get('LOCATION')}".lower()
    return re.search(r"(?<!connect_)timeout'?[:=](?! ?none)", said) is None


def _celery(settings: ShimSettings) -> Iterator[Finding]:
    if settings.copies != "deferred":
        return
    if broker is None:
        yield found(RULES["celery_missing"])  # type: ignore[unreachable]  # a module, or none: see runs.workers
    elif broker.is_eager():
        yield found(RULES["celery_eager"])
    else:
        # Made here: which application is Celery's current one depends on the thread.
        connection = broker.connection(seconds=2.0)
        try:
            timeouts.call(lambda: connection.ensure_connection(max_retries=1, interval_start=0, timeout=5))
        except Exception as error:  # every broker's client raises its own
            yield found(RULES["broker_unreachable"], about=type(error).__name__)
        else:
            connection.release()
        if broker.waits_for_ever():
            yield found(RULES["broker_no_timeout"])


def _storages(settings: ShimSettings) -> Iterator[Finding]:
    if complaint := _storage_complaint(file_storage.storage_in_use, write=True):
        yield found(RULES["storage_unusable"], about=complaint)
    if settings.legacy_storage and (complaint := _storage_complaint(lambda: files.legacy_storage(settings))):
        yield found(RULES["legacy_storage_unusable"], about=complaint)


def _storage_complaint(get: Callable[[], files.Source], *, write: bool = False) -> str:
    """Return why a storage cannot be used, or "". Nothing is written: of a directory the rights are checked."""
    try:
        storage = get()
        if isinstance(storage, FileSystemStorage):
            return _directory_complaint(Path(storage.location), write=write)
        if storage is not None and not isinstance(storage, Downloads):
            timeouts.call(functools.partial(storage.exists, _NOTHING))
    except (ImportError, TypeError, ImproperlyConfigured, ConfigurationError, *storage_errors()) as error:  # type: ignore[misc]  # a star
        return str(error) if isinstance(error, ConfigurationError) else type(error).__name__
    return ""


def _directory_complaint(location: Path, *, write: bool) -> str:
    place, rights = location, os.R_OK | os.X_OK
    if write:  # Django makes directories as it needs them
        rights |= os.W_OK
        place = next(path for path in (location, *location.parents) if path.exists())
    if not place.is_dir():
        return f"{place} is no directory"
    return "" if os.access(place, rights) else f"{place} may not be {'written' if write else 'read'}"
