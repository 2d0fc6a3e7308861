"""Steps of courses as text for a terminal: one course, a wave, the removal of shadows, a release, and the log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..core import overrides
from ..core.documents.audit import AuditDocument
from ..core.documents.cutover import CutoverDocument, FateOfRows, InFlight
from ..core.documents.cutover_adoption import CutoverAdoptionDocument
from ..core.documents.cutover_forget import CutoverForgetDocument
from ..core.documents.cutover_release import CutoverReleaseDocument
from ..core.documents.cutover_removal import CutoverRemovalDocument
from ..core.documents.cutover_wave import CutoverWaveDocument
from ..core.documents.overrides import Override
from ..core.wording import counted, verb

_HOLDS = {"real": "", "shadow": " (shadows)", "reverse": " (reverse shadows)"}
_SEAM = {"legacy": "XQueue", "target": "the watcher seam"}


def cutover(content: CutoverDocument) -> list[str]:
    """Return the lines of one course's step, planned or taken."""
    step = f"{content['course']}: {content['from']} -> {content['to']}"
    if not content["permitted"]:
        lines = [f"NOT PERMITTED. {step}", f"  gate: {content['verdict']}"]
        if content["causes"]:
            lines.append(f"  open: {', '.join(content['causes'])}")
        lines += [f"  because {reason}" for reason in content["reasons"]]
        lines += [f"  needed: {item}" for item in content["needed"]]
        lines += [f"  Nothing was changed: the course stays in {content['from']}."]
        return lines + [f"Next: {command}" for command in content["next"]]
    if (proposal := _proposal(content)) is not None:
        return _proposed(f"PROPOSED. {step}", proposal, content["reasons"])
    lines = [f"Done. {step}" if content["executed"] else f"Plan. {step}"]
    if content["overridden"]:
        lines.append(f"  OVERRIDE of a gate that says {content['verdict']}, because: {content['reason']}")
        lines.append(f"  passed: {', '.join(content['causes'])}")
        lines += [f"  the gate: {reason}" for reason in content["reasons"]]
        lines += _signed(content)
    elif content["gated"]:
        lines.append(f"  gate: {content['verdict']}")
    before: Mapping[str, Any] = content["flags_before"]
    after: Mapping[str, Any] = content["flags_after"]
    lines += [f"  {flag}: {_on(before[flag])} -> {_on(after[flag])}" for flag in after]
    if content["platform_flag_before"]:
        lines.append("  the platform's own flag, which sends past the shim: on -> off, first")
    lines.append(f"  authoritative after it: {content['authoritative_after']}")
    lines += [f"  in flight on {side}: {counts}" for side, counts in _sides(content["in_flight"])]
    lines += _becomes(content["becomes"])
    lines.append(f"  {content['remember']}")
    lines += _asked(content)
    if content["way_back"]:
        lines.append(f"  way back: {content['way_back']}")
    if not content["executed"]:
        return [*lines, _next_with(content, content["causes"] if content["overridden"] else [])]
    return lines + [f"Next: {command}" for command in content["next"]]


def _proposal(content: CutoverDocument | CutoverReleaseDocument) -> Override | None:
    """Return the override that the call has put on record and that waits for a second person; None without one."""
    return None if content["executed"] else content["override"]


def _proposed(head: str, item: Override, reasons: list[str]) -> list[str]:
    return [
        head,
        f"  {overrides.proposed(item)}",
        *(f"  the gate: {reason}" for reason in reasons or item["reasons"]),
        "  Nothing was changed.",
        f"Next: another person: the same command, --user LOGIN of their own, before {item['expires_at']}",
    ]


def _signed(content: CutoverDocument | CutoverReleaseDocument) -> list[str]:
    item = content["override"]
    return [f"  signed by {overrides.signers(item['signed_by'], item['seconded_by'])}"] if item else []


def _next_with(content: CutoverDocument | CutoverReleaseDocument, causes: list[str]) -> str:
    """Return the line that says how to go on from a plan; an override asks for more than ``--execute``."""
    if not causes:
        return "Next: the same command with --execute"
    return (
        f"Next: the same command with --override-reasons {','.join(causes)} --user LOGIN --execute; without a terminal "
        f"also --confirm {content['course']}"
    )


def in_flight(counts: dict[str, int] | None) -> str:
    """Return the counts of rows by state in words."""
    if counts is None:
        return "unknown, its database does not answer"
    return ", ".join(f"{number} {state}" for state, number in counts.items()) or "nothing"


def _sides(counts: InFlight) -> list[tuple[str, str]]:
    return [("legacy", in_flight(counts["legacy"])), ("target", in_flight(counts["target"]))]


def _becomes(moves: list[FateOfRows]) -> Iterator[str]:
    for move in moves:
        rows = "rows" if move["rows"] is None else counted(move["rows"], "row")
        yield f"    {rows} {move['what']} ({move['side']}): {move['how']}"
        if move["instead"]:
            yield f"      {'to finish it' if move['side'] == 'between' else 'or'}: {move['instead']}"


def _asked(content: CutoverDocument) -> Iterator[str]:
    if not content["serve"]:
        yield "  No queue of the course is known yet: xqueue_preflight finds them."
        return
    yield "  graders must poll:"
    for queue in content["serve"]:
        until = ", until it is empty" if queue["until_empty"] else ""
        yield f"    {queue['queue']} at {_SEAM[queue['seam']]}{_HOLDS[queue['holds']]}{until}"
    if content["xqueues"]:
        yield "  XQUEUES in XQueue's settings:"
        yield from (f'    "{queue}": None,' for queue in content["xqueues"])


def wave(content: CutoverWaveDocument) -> list[str]:
    """Return the lines of a wave, with the state of each course."""
    there = content["counts"]["done"]
    word = "Wave" if content["executed"] else "Plan of a wave"
    lines = [
        f"{word} to {content['to']}: {there} of {counted(len(content['courses']), 'course')} "
        f"{verb(len(content['courses']), 'is', 'are')} there and well, "
        f"no more than {content['limit']} in flight; canary {content['canary']}"
    ]
    if content["stopped"]:
        lines.append(f"STOPPED: {content['stopped']}. Nothing further is moved.")
    for course in content["courses"]:
        lines.append(f"  {course['state']:<8} {course['course']} (was in {course['from']})")
        if course["overridden"]:
            lines.append(f"      OVERRIDE of a gate that says {course['verdict']}, because: {content['reason']}")
        lines += [f"      because {reason}" for reason in course["reasons"]]
        lines += [f"      needed: {item}" for item in course["needed"]]
        if course["in_flight"] is not None:
            sides = ", ".join(f"{counts} on {side}" for side, counts in _sides(course["in_flight"]))
            lines.append(f"      in flight: {sides}")
    lines += [f"Next: {command}" for command in content["next"]]
    if content["counts"]["planned"]:
        lines.append("Next: the same command with --execute")
    elif content["counts"]["waits"] and not content["stopped"]:
        lines.append("Then: the same command again")
    return lines


def removal(content: CutoverRemovalDocument) -> list[str]:
    """Return the lines of the removal of a course's shadows."""
    if content["executed"]:
        return [f"{content['course']}: {content['removed']} of {counted(content['shadows'], 'shadow')} removed"]
    lines = [
        f"{content['course']}: {counted(content['shadows'], 'shadow')} would be removed, with their files; no real row"
    ]
    return [*lines, "Next: the same command with --execute"]


def adoption(content: CutoverAdoptionDocument) -> list[str]:
    """Return the lines of the ledger's adoption by this LMS."""
    before = content["from"] or "nobody yet"
    if content["executed"]:
        return [f"Done. The ledger is that of the LMS at {content['to']}; before it was that of {before}."]
    lines = [f"Plan. The ledger is that of {before}, and would be that of the LMS at {content['to']}."]
    return [*lines, "Next: the same command with --execute"]


def forget(content: CutoverForgetDocument) -> list[str]:
    """Return the lines of the removal of a course's record."""
    if not content["permitted"]:
        lines = [f"NOT PERMITTED. The record of {content['course']} stays."]
        return [*lines, *(f"  because {reason}" for reason in content["reasons"])]
    if content["executed"]:
        return [f"Done. The shim has no record of {content['course']} any more."]
    lines = [f"Plan. The record of {content['course']} would be removed: it never had a submission, or a flag on."]
    return [*lines, "Next: the same command with --execute"]


def release(content: CutoverReleaseDocument) -> list[str]:
    """Return the lines of a course's release to the platform's own path."""
    if (proposal := _proposal(content)) is not None:
        return _proposed(f"PROPOSED. Release of {content['course']}", proposal, content["reasons"])
    if content["executed"]:
        head = f"Done. {content['course']} is released: the platform sends its submissions itself."
    elif content["permitted"]:
        head = f"Plan. {content['course']} can be released."
    else:
        head = f"NOT PERMITTED. {content['course']} is not released."
    lines = [head] + [f"  because {reason}" for reason in content["reasons"]]
    for item in content["findings"]:
        word = "accepted" if item["code"] in content["accepted"] else "found"
        lines.append(
            f"  {word}: {item['code']}, {counted(item['rows'], 'row')} on {item['side']}  {item['queue']}  "
            f"{item['problem']}"
        )
    if content["permitted"]:
        lines += [f"  {content['flag']}: {_on(content['flag_before'])} -> on", f"  way back: {content['way_back']}"]
        lines += _signed(content)
        return lines if content["executed"] else [*lines, _next_with(content, content["accepted"])]
    if any("preflight" in reason for reason in content["reasons"]):
        return [*lines, f"Next: xqueue_preflight --course {content['course']}"]
    if content["reasons"]:
        return [*lines, "The course stays complete until the platform's own path can be taken."]
    left = {item["code"] for item in content["findings"]} - set(content["accepted"])
    if left <= set(content["acceptable"]):
        return [*lines, "Next: the same command with --override, if the course's graders do not need it"]
    return [*lines, "The course stays complete, with its graders at the watcher seam: that may be for good."]


def audit(content: AuditDocument) -> list[str]:
    """Return the lines of the log of phase changes, and whether it is whole."""
    lines = []
    for course in content["courses"]:
        lines.append(f"{course['course']}: {course['phase'] or 'no phase on record'}")
        if course["older"]:
            lines.append(
                f"  {counted(course['older'], 'entry', 'entries')} {verb(course['older'], 'is', 'are')} "
                "older than the chain: nothing shows whether they were changed"
            )
        for entry in course["entries"]:
            place = entry["position"] or "-"
            lines.append(
                f"  {place:>4}  {entry['at']}  {entry['from']} -> {entry['to']}  {entry['by']}: {entry['reason']}"
            )
            lines += _override_of(entry["evidence"])
        lines += [f"  BROKEN: {what}" for what in course["broken"]]
        if course["head"]:
            lines.append(f"  head: place {course['length']}, {course['head']}")
    if content["broken"]:
        verdict = f"The log is BROKEN in {counted(content['broken'], 'place')}: see the runbook, 'The log is broken'."
    else:
        noted = ", and holds all that was noted earlier" if content["compared_with_noted"] else ""
        verdict = f"The log is whole{noted}."
    return [*lines, verdict, f"Digest of all heads: {content['digest']}. Keep the JSON of this outside the database."]


def _override_of(evidence: dict[str, Any]) -> list[str]:
    """Return the line that marks a step that was taken with an override; no line for any other."""
    if (item := evidence.get("override")) is not None:
        who = overrides.signers(item["signed_by"], item["seconded_by"])
        where = f" on {item['host']}" if item.get("host") else ""  # a release before kept no host
        return [f"        OVERRIDE of {', '.join(item['causes'])}, signed by {who}{where}"]
    return ["        OVERRIDE"] if evidence.get("overridden") else []


def _on(value: bool) -> str:
    return "on" if value else "off"
