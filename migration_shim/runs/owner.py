"""Whose a run is, and whether it is still at work: what a lock says, and ``xqueue_status --runs`` lists."""

from __future__ import annotations

import enum
import os
import pwd
import socket
from datetime import datetime, timedelta
from typing import Any

from ..core.attention import age
from ..models import Run

#: A run that has not shown a sign of life for this long is dead, and its lock with it.
HEARTBEAT_LIMIT = timedelta(seconds=120)
#: One that shows one every few seconds and has not for this long looks dead. It may be within one long statement.
SILENT = timedelta(seconds=30)
#: The command of a run's kind, where that is not ``xqueue_`` and the kind.
_COMMANDS = {"wave": "xqueue_cutover"}


class RunState(enum.StrEnum):
    """What a run is doing, as far as its signs of life tell. Its process id does not: in containers every one is 1."""

    RUNNING = "running"
    WAITING = "waiting"
    SILENT = "silent"
    DEAD = "dead"


def owner() -> dict[str, Any]:
    """Return who runs this process, as the columns of ``Run``: process id, host and the system's name of the user."""
    return {"pid": os.getpid(), "host": socket.gethostname()[:255], "user": system_user()[:150]}


def system_user() -> str:
    """
    Return the operating system's name of who runs this process; empty where there is none, as in some containers.

    The process's own user id tells. ``getpass`` would believe LOGNAME, which anybody can set.
    """
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return ""


def state(run: Run, moment: datetime) -> RunState:
    """Return what an unfinished run is doing, by its signs of life alone."""
    silent = moment - run.heartbeat_at
    if silent >= HEARTBEAT_LIMIT:
        return RunState.DEAD
    if silent >= SILENT:
        return RunState.SILENT
    return RunState.WAITING if run.waits_for else RunState.RUNNING


def frees_at(run: Run) -> datetime:
    """Return when the lock of a run frees, if no further sign of life comes."""
    return run.heartbeat_at + HEARTBEAT_LIMIT


def command(run: Run) -> str:
    """Return the command that a run belongs to."""
    return _COMMANDS.get(run.kind, f"xqueue_{run.kind}")


def held_by(run: Run, moment: datetime) -> str:
    """Return the message of a lock that a run holds: whose it is, whether it looks dead, and when it frees."""
    of = f" of {run.scope}" if run.scope else ""
    # A run of the release before says only that it is there.
    where = f", pid {run.pid} on {run.host}" + (f" ({run.user})" if run.user else "") if run.host else ""
    silent = max(0.0, (moment - run.heartbeat_at).total_seconds())
    waits = f", waiting: {run.waits_for}" if run.waits_for else ""
    dead = "it looks dead" if state(run, moment) is RunState.SILENT else "if it died"
    return (
        f"{command(run)} run {run.pk}{of}{where} has been at work since {run.started_at:%H:%M:%S} UTC{waits}; "
        f"last sign of life {age(silent)} ago; {dead}, the lock frees at {frees_at(run):%H:%M:%S} UTC."
    )
