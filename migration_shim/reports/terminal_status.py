"""The status as text for a terminal: the site with one line for each course, or a screen for each course asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from ..core.attention import age

Content = dict[str, Any]
_COLUMNS = ("course", "phase", "since", "verdict", "on legacy", "on target", "look at")


def lines(content: Content) -> list[str]:
    """Return the lines of the status document."""
    found = list(_site(content))
    found += [f"{item['course']}: STATUS UNKNOWN: {item['said']}" for item in content.get("problems", ())]
    if not content["courses"]:
        return [*found, "No course is known to the shim yet."]
    if content["site"]:
        return [*found, "", *_table(content), *_to_do(content)]
    for course in content["courses"]:
        found += ["", *_course(course, readable=content["legacy_readable"])]
    return found


def _on(value: bool) -> str:
    return "on" if value else "off"


def _site(content: Content) -> Iterator[str]:
    yield f"kill switch: {_on(content['kill_switch'])}"
    for leg, state in content["breakers"].items():
        text = "OPEN, copies are paused" if state["open"] else "closed"
        yield f"breaker {leg}: {text}, {state['failures']} failures in a row"
    if not content["legacy_readable"]:
        yield "LEGACY'S DATABASE DOES NOT ANSWER: what it holds is not known."
    past_the_seam = content["watchers_past_the_seam"]
    if past_the_seam["logins"]:
        yield "watchers that poll edx-submissions' own endpoint:"
        for login in past_the_seam["logins"]:
            yield f"  {login['address']}, last login {login['last_seen_at']}, {login['logins']} logins"
        yield f"  point them at {past_the_seam['point_them_at']}: what they pull has lost payload keys and seeds"
    # A course's own screen has its queues among its points of attention.
    for queue in content["queues_without_watcher"] if content["site"] else ():
        yield (
            f"NO WATCHER: queue {queue['queue']} on {queue['side']}: {queue['rows']} rows wait, the oldest for "
            f"{age(queue['oldest_seconds'])}"
        )
    for host in content["callback_hosts"]["unnamed"]:
        yield (
            f"UNNAMED HOST: submissions come through the door with callbacks to {host}. Name it in "
            'MIGRATION_SHIM["CALLBACK_HOSTS"], or find out which LMS submits here.'
        )
    if content["ledger_complaint"]:
        yield f"ANOTHER LMS'S LEDGER: {content['ledger_complaint']}"
    ledger = content["ledger"]
    yield f"ledger: {ledger['rows']} entries, {ledger['residue']} of them with residue"


def _table(content: Content) -> Iterator[str]:
    rows = [_COLUMNS]
    for course in content["courses"]:
        since = _seconds(course["since"], content["at"])
        verdict = course["verdict"] or "none"
        if course["verdict"]:
            verdict += f" ({age(course['verdict_age_seconds'])} old)"
        legacy = _held(course, "legacy") if content["legacy_readable"] else "?"
        what = ", ".join(dict.fromkeys(item["what"].replace("_", " ") for item in course["attention"]))
        rows.append(
            (
                course["course"],
                course["phase"],
                age(since) if since is not None else "",
                verdict,
                legacy,
                _held(course, "target"),
                what,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        yield "  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip()


def _held(course: Content, side: str) -> str:
    """Return a table cell with how many rows one side holds, and the age of the oldest."""
    rows = sum(course["in_flight"][side].values())
    return f"{rows} ({age(max(course['in_flight_oldest_seconds'][side].values()))})" if rows else "0"


def _seconds(then: str | None, at: str) -> float | None:
    return (datetime.fromisoformat(at) - datetime.fromisoformat(then)).total_seconds() if then else None


def _to_do(content: Content) -> Iterator[str]:
    for course in content["courses"]:
        if course["attention"]:
            yield ""
            yield course["course"]
            yield from _attention(course)
    yield ""
    yield "Next: xqueue_status --course ID, for all there is on one course"


def _attention(course: Content) -> Iterator[str]:
    for item in course["attention"]:
        yield f"  {item['text']}"
        yield from (f"    {command}" for command in item["commands"])


def _course(course: Content, *, readable: bool) -> Iterator[str]:
    yield f"{course['course']}: {course['phase']}" + (f" since {course['since']}" if course["since"] else "")
    if course["changed_by"]:
        yield f"  set by {course['changed_by']}: {course['reason']}"
    if course["released_at"]:
        yield f"  released to the platform's own path since {course['released_at']}"
    yield from _attention(course)
    if course["permit"]:
        yield f"  permitted: {course['permit']} until {course['permit_until']}"
        yield f"    xqueue_cutover --course {course['course']} --to {course['permit']} --reason TEXT"
    for side in ("legacy", "target"):
        yield f"  in flight on {side}: " + (_states(course, side) if side == "target" or readable else "not known")
    for kind, counts in course["copies"].items():
        if not counts:
            yield f"  {kind} copies owed: none"
    for kind, run in course["last_runs"].items():
        yield f"  last {kind}: {_run(run)}"
    yield f"  last full reconcile: {course['last_full_reconcile_at'] or 'never'}"
    if course["verdict"]:
        yield f"  verdict: {course['verdict']}, {age(course['verdict_age_seconds'])} old"
        yield from (f"    because {reason}" for reason in course["verdict_reasons"])
    else:
        yield "  verdict: none"
    for key in ("fence_leaks", "double_authority", "undelivered", "wrong_side"):
        unknown = "not checked yet"
        if key == "undelivered" and not course["learners_asked"]:
            unknown = "not applicable, there is no LMS here"
        yield f"  {key.replace('_', ' ')}: {unknown if course[key] is None else course[key]}"
    yield f"  ledger: {course['ledger_rows']} entries"
    for name, value in course.get("watcher_config", {}).items():
        yield f"  {name}:"
        yield from ("    " + line for line in json.dumps(value, indent=2).splitlines())


def _states(course: Content, side: str) -> str:
    counts, oldest = course["in_flight"][side], course["in_flight_oldest_seconds"][side]
    return ", ".join(f"{number} {state} ({age(oldest[state])})" for state, number in counts.items()) or "nothing"


def _run(run: Content | None) -> str:
    if run is None:
        return "never"
    wrote = f" ({run['mode']}, {run['written']} written)" if run.get("mode") else ""
    ended = "still running, or died" if run["finished_at"] is None else run["finished_at"]
    return ended + wrote + ("" if run["complete"] else " (not complete)")
