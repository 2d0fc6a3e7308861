"""The status as text for a terminal: the site with a row for each course, or the screen of the one course asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..core.attention import age
from ..core.documents.cutover import SIDES, Side
from ..core.documents.status import StatusDocument
from ..core.documents.status_course import Attention
from ..core.documents.status_judgement import CourseStatus, Forecast
from ..core.wording import counted
from . import terminal_courses
from .course_words import actor_of, ago, clock, head_lines, in_force, missing, word_of


def lines(content: StatusDocument) -> list[str]:
    """
    Return the lines of the status document.

    On a terminal no line is longer than it is wide. In a pipe the table is as wide as on a terminal of 80 columns, and
    sentences are not broken: whoever searches them finds them.
    """
    wide = content["site"] or len(content["courses"]) > 1
    found = list(head_lines(content)) if wide else []
    found += _site(content)
    found += [f"{item['course']}: STATUS UNKNOWN: {item['said']}" for item in content.get("problems", ())]
    if not content["courses"]:
        found.append("No course is known to the shim yet.")
    elif not wide:
        found += ["", *_course(content["courses"][0], content)]
    found = terminal_courses.fitted(found)
    return [*found, "", *terminal_courses.table(content)] if wide and content["courses"] else found


def _on(value: bool) -> str:
    return "on" if value else "off"


def _site(content: StatusDocument) -> Iterator[str]:
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


def _attention(items: list[Attention]) -> Iterator[str]:
    for item in items:
        yield f"  {item['text']}"
        yield from (f"    {command}" for command in item["commands"])


def _course(course: CourseStatus, content: StatusDocument) -> Iterator[str]:
    at, readable = content["at"], content["legacy_readable"]
    since = f" since {clock(course['since'])} ({ago(course['since'], at)})" if course["since"] else ""
    yield f"{course['course']}: {course['phase']}{since}"
    if course["changed_by"]:
        yield f"  set by {course['changed_by']}: {course['reason']}"
    if course["released_at"]:
        yield f"  released to the platform's own path since {clock(course['released_at'])}"
    yield from _may_it_move(course, at)
    said = {reason["text"] for reason in course["because"]}
    yield from _attention([item for item in course["attention"] if item["text"] not in said])
    if course["permit"]:
        yield f"  permitted: {course['permit']} until {clock(course['permit_until'])}"
        yield f"    xqueue_cutover --course {course['course']} --to {course['permit']} --reason TEXT"
    for side in SIDES:
        yield f"  in flight on {side}: " + (_states(course, side) if side == "target" or readable else "not known")
    for kind, counts in course["copies"].items():
        if not counts:
            yield f"  {kind} copies owed: none"
    runs: Mapping[str, Any] = course["last_runs"]
    for kind, run in runs.items():
        yield f"  last {kind}: {_run(run, at)}"
    yield f"  last full reconcile: {ago(course['last_full_reconcile_at'], at)}"
    verdict = f"{course['verdict']}, {age(course['verdict_age_seconds'])} old" if course["verdict"] else "none"
    yield f"  verdict: {verdict}"
    yield from (f"    because {reason}" for reason in course["verdict_reasons"])
    for key in ("fence_leaks", "double_authority", "undelivered", "wrong_side"):
        unknown = "not checked yet"
        if key == "undelivered" and not course["learners_asked"]:
            unknown = "not applicable, there is no LMS here"
        yield f"  {key.replace('_', ' ')}: {unknown if course[key] is None else course[key]}"
    yield f"  ledger: {course['ledger_rows']} entries"
    for name, value in course.get("watcher_config", {}).items():
        yield f"  {name}:"
        yield from ("    " + line for line in json.dumps(value, indent=2).splitlines())


def _may_it_move(course: CourseStatus, at: str) -> Iterator[str]:
    """Yield whether the course may move, why not, who must do what, since when, and what changed since."""
    step, by = course["may_move"]["to"], course["may_move"]["by"] or ""
    answers = {
        "anybody": "yes, no permit is needed",
        "permit": "yes, by the gate's permit",
        "override": "yes, by a signed override",
    }
    yield f"  may it move: {f'to {step}: ' + answers.get(by, 'no') if step else 'there is no further step'}"
    yield f"  stands at: {word_of(course['word'])}" + _since(course, at)
    commands = {item["text"]: item["commands"] for item in course["attention"]}
    for reason in course["because"]:
        yield f"    because {reason['text']}"
        yield from (f"      {command}" for command in commands.get(reason["text"], ()))
    if wanted := missing(course, at):
        yield f"  needs: {wanted}" + _per_day(course["forecast"])
    yield f"  who acts next: {actor_of(course)}"
    if course["next"]:
        yield f"    {course['next']}"
    yield from (f"  for a later step: {item}" for item in course["todo"])
    yield from (f"  in force: {item}" for item in in_force(course))
    for change in course["changes"]:
        said = f"{_said(change['was'])} then, {_said(change['is'])} now"
        yield f"  changed since the {change['run']} of {clock(change['since'])}: {change['what']} {said}"
    if (found := course["found_in_xqueue"]) is not None:
        rows = counted(found["open_rows"], "open row")
        yield f"  in XQueue: {rows}, seen {ago(found['seen_at'], at)}"


def _since(course: CourseStatus, at: str) -> str:
    return f", judged {ago(course['judged_at'], at)}" if course["judged_at"] else ", never judged"


def _per_day(forecast: Forecast | None) -> str:
    return f" ({forecast['per_day']:g} submissions a day)" if forecast and forecast["per_day"] else ""


def _said(value: Any) -> str:
    return "nothing" if value is None else str(value).replace("_", " ")


def _states(course: CourseStatus, side: Side) -> str:
    counts, oldest = course["in_flight"][side] or {}, course["in_flight_oldest_seconds"][side] or {}
    return ", ".join(f"{number} {state} ({age(oldest[state])})" for state, number in counts.items()) or "nothing"


def _run(run: Mapping[str, Any] | None, at: str) -> str:
    if run is None:
        return "never"
    wrote = f" ({run['mode']}, {run['written']} written)" if run.get("mode") else ""
    ended = "still running, or died" if run["finished_at"] is None else ago(run["finished_at"], at)
    return ended + wrote + ("" if run["complete"] else " (not complete)")
