"""Every document as text for a terminal: the answer first, then the figures, then the next command."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from . import plain
from .shown import counted, visible

Content = dict[str, Any]


def render(content: Content) -> str:
    """The text of any document, chosen by its schema. What a terminal would act on shows as an escape."""
    name = content["schema"].removeprefix("migration_shim.").partition("/")[0]
    return "\n".join(visible(line) for line in _RENDERERS[name](content))


def _preflight(content: Content) -> list[str]:
    blockers = sum(item["severity"] == "blocker" for item in content["findings"])
    lines = [
        f"Preflight of {content['course']}: {blockers} blockers in {content['rows']} legacy rows, "
        f"queues: {', '.join(content['queues']) or 'none'}"
    ]
    if not content["rows"]:
        lines.append("No legacy row names this course: is its id right?")
    by_code: dict[str, list[Content]] = {}
    for item in content["findings"]:
        by_code.setdefault(item["code"], []).append(item)
    for code, items in by_code.items():
        first = items[0]
        rows = sum(item["rows"] for item in items)
        lines += ["", f"{first['severity'].upper():<8} {code}" + (f": {rows} rows" if rows else "")]
        taken_care_of = " (the watcher seam hands out the original)" if first["seam"] else ""
        lines += [f"  {first['effect']}{taken_care_of}", f"  To do: {first['advice']}"]
        lines += [
            f"    {item['rows']:>6}  {item['queue']}  {item['problem']}"
            + (f"  (legacy row {item['example_legacy_id']})" if item["example_legacy_id"] else "")
            for item in items
        ]
    if content["probes"]:
        lines += ["", "Probes, each one graded submission sent once more:"]
        lines += [f"  {sent['queue']}: {'sent' if sent['sent'] else sent['said']}" for sent in content["probes"]]
        lines.append(f"Once its graders had time: xqueue_preflight --course {content['course']}")
    if blockers:
        lines += ["", "The gate stays closed while there are blockers."]
    else:
        lines += ["", f"Next: xqueue_reconcile --course {content['course']}"]
    return lines


def _backfill(content: Content) -> list[str]:
    done = f"{content['written']} written" if content["executed"] else "nothing written: this is the plan"
    lines = [f"Backfill ({content['mode']}): {content['read']} rows read, {done}"]
    if not content["complete"]:
        by = f" by {content['stopped_by']}" if content["stopped_by"] else ""
        left = f", {content['left']} rows left" if "left" in content else ""
        lines.append(f"Stopped before the end{by}{left}; nothing is lost.")
        if content["executed"] and content["checkpoint"]:
            lines.append(f"Done up to legacy row {content['checkpoint']}: the next run goes on behind it.")
    lines += counted({name: number for name, number in content["classes"].items() if number})
    for name, reasons in content["reasons"].items():
        lines.append(f"  {name}, by reason:")
        lines += ["  " + line for line in counted(reasons)]
    for missing in content.get("files_missing", ()):
        lines.append(f"  legacy row {missing['legacy_id']}: {missing['reason']}, key {missing['key']}")
    lines += _handoff(content) if content["mode"] == "handoff" else []
    if content["adds_mb"]:
        verb = "added" if content["executed"] else "will add"
        lines.append(f"This {verb} about {content['adds_mb']:.1f} MB to the LMS's database (an estimate).")
    waited = ", ".join(f"{seconds} s for {kind.replace('_', ' ')}" for kind, seconds in content["waited"].items())
    lines.append(f"{content['seconds']} s" + (f", of which waited: {waited}" if waited else ""))
    return lines + [f"Next: {command}" for command in content.get("next", ())]


def _handoff(content: Content) -> list[str]:
    verb = "moved" if content["executed"] else "would move"
    lines = []
    for queue in content["queues"]:
        pull = "pulled just now by legacy's graders" if queue["pull_seen"] else "no pull seen on legacy"
        counts = f"{queue['move']} {verb}, {queue['drain']} left to legacy, {queue['other']} other"
        lines.append(f"  queue {queue['queue']}: {counts}; {pull}")
    if content["executed"]:
        lines += counted({key.replace("_", " "): content[key] for key in ("released", "dropped", "double_authority")})
    if content["held"]:
        lines.append(f"HELD: {content['held']} rows that no grader has; run the same command again to finish them")
    return lines + content["advice"]


def _gate(content: Content) -> list[str]:
    lines = [f"{content['verdict']}  {content['course']}"]
    lines += [f"  because {reason}" for reason in content["reasons"]]
    lines += [f"  needed: {item}" for item in content["needed"]]
    lines += [f"  way out: {item}" for item in content["ways_out"]]
    for item in content["overrides"]:
        lines.append(
            f"  OVERRIDE to {item['step_to']} by {item['signed_by']} until {item['expires_at']}: {item['reason']}"
        )
    lines += [f"  note: {note}" for note in content["notes"] if not note.startswith("override by ")]
    for item in content["register"]:
        if item["state"] == "in force":
            lines.append(
                f"  known difference {item['id']}, {item['class']} until {item['expires_at']}: {item['reason']}"
            )
    evidence = content.get("evidence")
    if evidence:
        lines += ["", *(f"  {line}" for line in evidence["explained"] if not line.startswith("note: "))]
    if content["verdict"] == "PASS" and content["next_step"]:
        step = content["next_step"]
        lines.append(f"Next: xqueue_cutover --course {content['course']} --to {step} --reason TEXT")
    elif content["verdict"] == "PASS":
        lines.append(f"The course is in {content['phase']}: there is no step that needs the gate.")
    elif evidence is None:
        lines.append(f"Next: xqueue_gate --course {content['course']} --explain")
    return lines


def _cutover(content: Content) -> list[str]:
    step = f"{content['course']}: {content['from']} -> {content['to']}"
    if not content["permitted"]:
        lines = [f"NOT PERMITTED. {step}", f"  gate: {content['verdict']}"]
        lines += [f"  because {reason}" for reason in content["reasons"]]
        lines += [f"  needed: {item}" for item in content["needed"]]
        lines += [f"  Nothing was changed: the course stays in {content['from']}."]
        return [*lines, f"Next: xqueue_gate --course {content['course']} --explain"]
    lines = [f"Done. {step}" if content["executed"] else f"Plan. {step}"]
    if content["overridden"]:
        lines.append(f"  OVERRIDE of a gate that says {content['verdict']}, because: {content['reason']}")
        lines += [f"  the gate: {reason}" for reason in content["reasons"]]
    for flag, after in content["flags_after"].items():
        lines.append(f"  {flag}: {_on(content['flags_before'][flag])} -> {_on(after)}")
    lines.append(f"  authoritative after it: {content['authoritative_after']}")
    for side, counts in content["in_flight"].items():
        text = ", ".join(f"{number} {state}" for state, number in counts.items())
        lines.append(f"  in flight on {side}: {text or 'nothing'}")
    lines.append(f"  {content['remember']}")
    if content["way_back"]:
        lines.append(f"  way back: {content['way_back']}")
    if not content["executed"]:
        lines.append("Next: the same command with --execute")
    return lines


def _known(content: Content) -> list[str]:
    entries = content["known_differences"]
    if not entries:
        return [
            "No known differences.",
            "Next: xqueue_known --add CLASS --reason TEXT, where a difference is understood",
        ]
    lines = [f"{len(entries)} known differences"]
    for entry in entries:
        scope = ", ".join(entry[name] for name in ("course", "queue", "problem") if entry[name]) or "everywhere"
        lines.append(f"  {entry['id']}  {entry['class']}  {entry['state']} until {entry['expires_at']}: {scope}")
        lines.append(f"      covers {entry['covers']} divergences; {entry['owner']}: {entry['reason']}")
    return lines


def _status(content: Content) -> list[str]:
    lines = [f"kill switch: {_on(content['kill_switch'])}"]
    for leg, state in content["breakers"].items():
        text = "OPEN, copies are paused" if state["open"] else "closed"
        lines.append(f"breaker {leg}: {text}, {state['failures']} failures in a row")
    astray = content["watchers_past_the_seam"]
    if astray["logins"]:
        lines.append("watchers that poll edx-submissions' own endpoint:")
        for login in astray["logins"]:
            lines.append(f"  {login['address']}, last login {login['last_seen_at']}, {login['logins']} logins")
        lines.append(f"  point them at {astray['point_them_at']}: what they pull has lost payload keys and seeds")
    if not content["courses"]:
        lines.append("No course is known to the shim yet.")
    for course in content["courses"]:
        lines += ["", *_course_status(course)]
    return lines


def _course_status(course: Content) -> list[str]:
    lines = [f"{course['course']}: {course['phase']}" + (f" since {course['since']}" if course["since"] else "")]
    if course["changed_by"]:
        lines.append(f"  set by {course['changed_by']}: {course['reason']}")
    if course["drift"]:
        command = f"xqueue_cutover --course {course['course']} --to {course['asked']} --reason TEXT"
        lines.append(f"  DRIFT: the flags ask for {course['asked']}, and nothing permits it. To go there: {command}")
        command = f"xqueue_cutover --course {course['course']} --to {course['phase']} --reason TEXT --execute"
        lines.append(f"  To stay and set the flags right: {command}")
    if course["permit"]:
        lines.append(f"  permitted: {course['permit']} until {course['permit_until']}")
    for side, counts in course["in_flight"].items():
        text = ", ".join(f"{number} {state}" for state, number in counts.items())
        lines.append(f"  in flight on {side}: {text or 'nothing'}")
    if course["failed"]:
        lines.append(
            f"  FAILED for good on the target: {course['failed']} submissions; their learners have to submit again"
        )
    if course["held"]["rows"]:
        age = course["held"]["oldest_seconds"]
        lines.append(
            f"  HELD by a handoff: {course['held']['rows']} rows, the oldest for {age:.0f} s; no grader has them"
        )
        lines.append("  To finish them: the same xqueue_backfill --mode handoff once more")
    if course["returning"]["rows"]:
        age = course["returning"]["oldest_seconds"]
        lines.append(
            f"  RETURNING to legacy: {course['returning']['rows']} rows, the oldest for {age:.0f} s; no grader has them"
        )
        lines.append("  To finish them: the same xqueue_backfill --mode return once more")
    for kind, counts in course["copies"].items():
        text = ", ".join(f"{number} {leg}" for leg, number in counts.items())
        lines.append(f"  {kind} copies owed: {text or 'none'}")
    for kind, run in course["last_runs"].items():
        text = "never" if run is None else f"{run['finished_at']}" + ("" if run["complete"] else " (not complete)")
        lines.append(f"  last {kind}: {text}")
    lines.append(f"  verdict: {course['verdict'] or 'none'}")
    for name, value in course.get("watcher_config", {}).items():
        lines += [f"  {name}:", *("    " + line for line in json.dumps(value, indent=2).splitlines())]
    for key in ("fence_leaks", "double_authority"):
        shown = "not checked yet" if course[key] is None else course[key]
        lines.append(f"  {key.replace('_', ' ')}: {shown}")
    return lines


def _removal(content: Content) -> list[str]:
    if content["executed"]:
        return [f"{content['course']}: {content['removed']} of {content['shadows']} shadows removed"]
    lines = [f"{content['course']}: {content['shadows']} shadows would be removed, with their files; no real row"]
    return [*lines, "Next: the same command with --execute"]


def _on(value: bool) -> str:
    return "on" if value else "off"


_RENDERERS: dict[str, Callable[[Content], list[str]]] = {
    "xqueue_preflight": _preflight,
    "xqueue_backfill": _backfill,
    "xqueue_reconcile": plain.brief,
    "xqueue_gate": _gate,
    "xqueue_cutover": _cutover,
    "xqueue_known": _known,
    "xqueue_cutover_removal": _removal,
    "xqueue_status": _status,
}
