"""The unfinished runs as text for a terminal: two lines a run, with what to do about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from ..core.attention import age
from ..core.documents.status_runs import StatusRunsDocument, UnfinishedRun
from ..core.wording import counted


def lines(content: StatusRunsDocument) -> list[str]:
    """Return the lines of the document."""
    runs = content["runs"]
    if not runs:
        return ["No run is at work, and none has died."]
    states = Counter(run["state"] for run in runs)
    summary = ", ".join(
        f"{states[state]} {state}" for state in ("running", "waiting", "silent", "dead") if states[state]
    )
    found = [f"{counted(len(runs), 'run')}: {summary}"]
    for run in runs:
        found += _run(run)
    if content["more"]:
        found.append("There are more; these are the newest.")
    return [*found, f"See: {content['page']}"]


def _run(run: UnfinishedRun) -> Iterator[str]:
    yield f"{run['id']:>6}  {run['command']}  {run['scope']}".rstrip()
    where = f", pid {run['pid']} on {run['host']}" if run["host"] else ""
    yield f"        {run['state']}, since {_time(run['started_at'])}{where}" + (
        f" ({run['user']})" if run["user"] else ""
    )
    sign = f"        last sign of life {age(run['last_sign_seconds'])} ago"
    if run["state"] == "dead":
        yield f"{sign}; its lock is free: run the command again"
    elif run["state"] == "silent":
        yield f"{sign}; looks dead: its lock frees at {_time(run['frees_at'])[11:]}"
    elif run["state"] == "waiting":
        yield f"{sign}; it waits: {run['waits_for']}"


def _time(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%S} UTC"
