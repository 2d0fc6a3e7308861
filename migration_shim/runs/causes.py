"""Which known cause an error has: the app's own errors, the databases, the broker, the cache, files and people."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator
from pathlib import Path

from django.db import InterfaceError, OperationalError
from django.utils.connection import ConnectionDoesNotExist

from ..conf import LEGACY_ALIAS
from ..core import failures
from ..core.data import ExitCode
from ..core.errors import (
    BrokerDown,
    ConfigurationError,
    LegacyNotReadable,
    LegacyNotWritable,
    RunLocked,
    ShimError,
    WorkersFailed,
)
from ..core.failures import Failure
from ..db import causes

_APP = Path(__file__).resolve().parent.parent
#: The packages of caches' clients. Each has errors of its own, without a class in common; some pass on the system's.
_CACHES = ("redis", "pymemcache", "pylibmc", "django_redis", "memcache")
_DJANGOS_CACHES = "django.core.cache."
_FULL = (errno.ENOSPC, errno.EDQUOT)
#: What the app's own errors are called, the particular before the general.
_OWN: tuple[tuple[type[ShimError], str, ExitCode], ...] = (
    (RunLocked, "run_locked", ExitCode.LOCKED),
    (WorkersFailed, "workers_failed", ExitCode.ERROR),
    (ConfigurationError, "settings_unusable", ExitCode.ERROR),
    (LegacyNotReadable, "legacy_unreadable", ExitCode.ERROR),
    (LegacyNotWritable, "legacy_not_writable", ExitCode.ERROR),
    (ShimError, "refused", ExitCode.ERROR),
)
#: A database's causes for which one of our errors that came of it says more: it has the GRANT to run.
_BETTER_SAID = ("denied", "read_only")


def known(error: BaseException) -> Failure | None:
    """Return the failure that an error is, or None if nobody thought of it."""
    if isinstance(error, BrokerDown):
        return failures.broker_down(error.address)
    for one in _chain(error):
        found = _of_one(one)
        if found is None:
            continue
        own = isinstance(error, ShimError) and not isinstance(one, ShimError)
        if own and found.code.endswith(_BETTER_SAID):
            break
        return found
    if isinstance(error, ShimError):
        code, exit_code = next((code, exit_code) for kind, code, exit_code in _OWN if isinstance(error, kind))
        return failures.refused(str(error), code, exit_code)
    return None


def failure_of(error: BaseException) -> Failure:
    """Return the failure that an error is. Of one that nobody thought of only class and place are told."""
    return known(error) or failures.unexpected(type(error).__name__, place(error))


def of_legacy(error: Exception) -> Failure:
    """Return the failure of XQueue's database, by the error of asking it: one of ``AWAY``, or no answer in time."""
    if isinstance(error, TimeoutError):
        return _at(LEGACY_ALIAS, "timeout")
    return known(error) or _at(LEGACY_ALIAS, "other", kind=type(error).__name__)


def place(error: BaseException) -> str:
    """Return the last line of our code that an error came through; empty if there is none."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if _APP in Path(frame.filename).parents]
    return f"{Path(ours[-1].filename).relative_to(_APP)}:{ours[-1].lineno}" if ours else ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was raised from. What it was merely raised beside is another matter."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__


def _of_one(error: BaseException) -> Failure | None:
    """Return the failure of an error of another library's, looking at nothing else."""
    if isinstance(error, causes.DATABASE_ERRORS):
        return _of_database(error)
    if isinstance(error, ConnectionDoesNotExist):
        return failures.no_alias() if LEGACY_ALIAS in str(error) else None
    if isinstance(error, KeyboardInterrupt):
        return failures.interrupted()
    package = type(error).__module__.partition(".")[0]
    if package in _CACHES or (isinstance(error, OSError) and _came_from_a_cache(error)):
        return failures.cache_down(type(error).__name__)
    if isinstance(error, OSError) and error.errno and (error.filename is not None or error.errno in _FULL):
        why = errno.errorcode.get(error.errno, str(error.errno))
        name = str(error.filename) if error.filename is not None else "stdout or a temporary file"
        return failures.file_not_written(name, f"{error.strerror} ({why})", full=error.errno in _FULL)
    return None


def _came_from_a_cache(error: OSError) -> bool:
    """Tell whether an error of the system's came through a cache's client: its class says little, and no file."""
    modules = [str(frame.f_globals.get("__name__", "")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    return error.filename is None and any(
        name.startswith(_DJANGOS_CACHES) or name.partition(".")[0] in _CACHES for name in modules
    )


def _of_database(error: Exception) -> Failure | None:
    alias, cause = causes.alias_of(error), causes.cause_of(error)
    if not alias or (cause == "other" and not isinstance(error, OperationalError | InterfaceError)):
        return None  # of nobody's database, or refused because of what we sent
    number = causes.number_of(error)
    return _at(
        alias,
        cause,
        table=causes.table_of(error),
        right=causes.right_of(error),
        kind=f"{type(error).__name__}{f' {number}' if number is not None else ''}",
    )


def _at(alias: str, cause: str, **details: str) -> Failure:
    """Return the failure that a cause is at one of the databases."""
    server, user, name = causes.server_of(alias)
    where = failures.Place(alias=alias, is_xqueue=alias == LEGACY_ALIAS, server=server, user=user, name=name)
    return failures.of_database(cause, where, **details)
