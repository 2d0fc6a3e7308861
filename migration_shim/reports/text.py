"""Every document as text for a terminal: the answer first, then the figures, then the next command."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Content = dict[str, Any]


def render(content: Content) -> str:
    """The text of any document, chosen by its schema."""
    name = content["schema"].removeprefix("migration_shim.").partition("/")[0]
    return "\n".join(_RENDERERS[name](content))


def _counts(counts: dict[str, int]) -> list[str]:
    width = max((len(name) for name in counts), default=0)
    return [f"  {name:<{width}}  {number:>7}" for name, number in counts.items()]


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
    if blockers:
        lines += ["", "The gate stays closed while there are blockers."]
    else:
        lines += ["", f"Next: xqueue_reconcile --course {content['course']}"]
    return lines


def _backfill(content: Content) -> list[str]:
    done = f"{content['written']} written" if content["executed"] else "nothing written: this is the plan"
    lines = [f"Backfill ({content['mode']}): {content['read']} rows read, {done}"]
    if not content["complete"]:
        lines.append("Stopped before the end; run the same command again to go on.")
    lines += _counts({name: number for name, number in content["classes"].items() if number})
    for name, reasons in content["reasons"].items():
        lines.append(f"  {name}, by reason:")
        lines += ["  " + line for line in _counts(reasons)]
    lines.append(f"{content['seconds']} s")
    if not content["executed"]:
        lines.append("Next: the same command with --execute")
    return lines


def _reconcile(content: Content) -> list[str]:
    lines = []
    for course in content["courses"]:
        lines += [*_course(course), ""]
    if not content["courses"]:
        lines += ["No course is known to the shim yet.", ""]
    if not content["complete"]:
        lines.append("Stopped before the end: this is not evidence.")
    lines.append(f"Not compared by this version: {', '.join(content['not_compared'])}")
    lines += [f"Next: xqueue_gate --course {course['course']}" for course in content["courses"]]
    return lines


def _course(course: Content) -> list[str]:
    lines = [f"{course['course']}: compared {course['compared']} of {course['of']}"]
    keys = ("equal", "diverged", "waiting", "overdue", "fence_leaks", "double_authority")
    lines += _counts({key.replace("_", " "): course[key] for key in keys})
    if course["known_differences"]:
        lines += ["  known differences:", *("  " + line for line in _counts(course["known_differences"]))]
    if course["diverged"]:
        found = {name: number for name, number in course["classes"].items() if number}
        lines += ["  divergences by class:", *("  " + line for line in _counts(found))]
    lines.append("  problem by problem:")
    for cohort in course["cohorts"]:
        parts = [f"{cohort['pairs']} pairs"]
        parts += [f"{cohort[key]} {key}" for key in ("equal", "diverged", "waiting", "overdue") if cohort.get(key)]
        lines.append(f"    {cohort['queue']}  {cohort['problem']}: {', '.join(parts)}")
    for side, latency in course["latency"].items():
        if latency["median"] is not None:
            lines.append(
                f"  {side} grading time: median {latency['median']} s, 95 % within {latency['p95']} s "
                f"({latency['graded']} graded)"
            )
    return lines


def _gate(content: Content) -> list[str]:
    lines = [f"{content['verdict']}  {content['course']}"]
    lines += [f"  because {reason}" for reason in content["reasons"]]
    lines += [f"  needed: {item}" for item in content["needed"]]
    evidence = content.get("evidence")
    if evidence:
        arithmetic = evidence["arithmetic"]
        lines += [
            "",
            f"  {arithmetic['pairs']} pairs, {arithmetic['diverged']} unexplained divergences, "
            f"threshold {arithmetic['threshold']:.2%}",
            f"  evidence against a rate at the threshold: {arithmetic['evidence']} "
            f"(at least {arithmetic['evidence_needed']:g} needed)",
        ]
        for tally in (*evidence["queues"], *evidence["problems"]):
            pairs = f"{tally['graded_pairs']} pairs of {tally['entries']}"
            lines.append(f"    {tally['name']}: {pairs}, {tally['diverged']} diverged")
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


def _status(content: Content) -> list[str]:
    lines = [f"kill switch: {_on(content['kill_switch'])}"]
    for leg, state in content["breakers"].items():
        text = "OPEN, copies are paused" if state["open"] else "closed"
        lines.append(f"breaker {leg}: {text}, {state['failures']} failures in a row")
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
    "xqueue_reconcile": _reconcile,
    "xqueue_gate": _gate,
    "xqueue_cutover": _cutover,
    "xqueue_cutover_removal": _removal,
    "xqueue_status": _status,
}
