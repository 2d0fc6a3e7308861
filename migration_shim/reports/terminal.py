"""Any document as text for a terminal: the result first, then the figures, then the next command."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..core import codes, overrides
from ..core.documents.backfill import BackfillDocument
from ..core.documents.fail import FailDocument
from ..core.documents.gate import GateDocument
from ..core.documents.known import Cure, KnownDifference, KnownDocument
from ..core.documents.learners import LearnersDocument
from ..core.documents.undelivered import UndeliveredDocument
from ..core.wording import counted, verb
from . import (
    terminal_campaign,
    terminal_cutover,
    terminal_preflight,
    terminal_runs,
    terminal_several,
    terminal_status,
    terminal_watch,
    text_report,
)
from .escape import columns, printable
from .terminal_courses import fitted


def render(content: Mapping[str, Any]) -> str:
    """
    Return a document as text; its schema picks the renderer. Control characters are shown as escapes.

    On a terminal lines are broken to fit it, in a pipe they are whole, so that one can be searched for.
    """
    name = content["schema"].removeprefix("migration_shim.").partition("/")[0]
    return "\n".join(fitted(printable(line) for line in _RENDERERS[name](content)))


def _backfill(content: BackfillDocument) -> list[str]:
    done = f"{content['written']} written" if content["executed"] else "nothing written: this is the plan"
    lines = [f"Backfill ({content['mode']}): {counted(content['read'], 'row')} read, {done}"]
    if not content["complete"]:
        by = f" by {content['stopped_by']}" if content["stopped_by"] else ""
        left = f", {counted(content['left'], 'row')} left" if "left" in content else ""
        lines.append(f"Stopped before the end{by}{left}; nothing is lost.")
        if content["executed"] and content["checkpoint"]:
            lines.append(f"Done up to legacy row {content['checkpoint']}: the next run goes on behind it.")
    classes: Mapping[str, Any] = content["classes"]
    lines += columns({name: number for name, number in classes.items() if number})
    for name, reasons in content["reasons"].items():
        lines.append(f"  {name}, by reason:")
        lines += ["  " + line for line in columns(reasons)]
    for missing in content.get("files_missing", ()):
        lines.append(f"  legacy row {missing['legacy_id']}: {missing['reason']}, key {missing['key']}")
    lines += _handoff(content) if content["mode"] == "handoff" else []
    lines += content.get("advice", ())
    if content["adds_mb"]:
        verb = "added" if content["executed"] else "will add"
        lines.append(f"This {verb} about {content['adds_mb']:.1f} MB to the LMS's database (an estimate).")
    waited = ", ".join(f"{seconds} s for {kind.replace('_', ' ')}" for kind, seconds in content["waited"].items())
    lines.append(f"{content['seconds']} s" + (f", of which waited: {waited}" if waited else ""))
    return lines + [f"Next: {command}" for command in content.get("next", ())]


def _handoff(content: BackfillDocument) -> list[str]:
    verb = "moved" if content["executed"] else "would move"
    lines = []
    for queue in content["queues"]:
        pull = "pulled just now by legacy's graders" if queue["pull_seen"] else "no pull seen on legacy"
        counts = f"{queue['move']} {verb}, {queue['drain']} left to legacy, {queue['other']} other"
        lines.append(f"  queue {queue['queue']}: {counts}; {pull}")
    if content["executed"]:
        lines += columns({key.replace("_", " "): content[key] for key in ("released", "dropped", "double_authority")})
    if content["held"]:
        lines.append(
            f"HELD: {counted(content['held'], 'row')} that no grader has; run the same command again to finish"
        )
    return lines


def _gate(content: GateDocument) -> list[str]:
    lines = [f"{content['verdict']}  {content['course']}"]
    for reason in content["reasons"]:
        lines.append(f"  because {reason}")
        if page := codes.page_of(reason):
            lines.append(f"    See: {page}")
    lines += [f"  needed: {item}" for item in content["needed"]]
    lines += [f"  way out: {item}" for item in content["ways_out"]]
    for item in content["overrides"]:
        lines.append(f"  {overrides.used(item)}")
    lines += [f"  note: {note}" for note in content["notes"] if not note.startswith("override by ")]
    for known in content["register"]:
        if known["state"] == "in force":
            until = f"{known['class']} until {known['expires_at']}"
            lines.append(f"  known difference {known['id']}, {until}: {known['reason']}")
    explains = "evidence" in content  # the command leaves it out of a text that is not to explain
    if explains:
        lines += ["", *(f"  {line}" for line in content["evidence"]["explained"] if not line.startswith("note: "))]
    if content["verdict"] == "PASS" and content["next_step"]:
        step = content["next_step"]
        lines.append(f"Next: xqueue_cutover --course {content['course']} --to {step} --reason TEXT")
    elif content["verdict"] == "PASS":
        lines.append(f"The course is in {content['phase']}: there is no step that needs the gate.")
    elif not explains:
        lines.append(f"Next: xqueue_gate --course {content['course']} --explain")
    return lines


def _known(content: KnownDocument) -> list[str]:
    return [*_register(content["known_differences"]), *map(_cure, content.get("cures", ()))]


def _cure(cure: Cure) -> str:
    return f"cured: {cure['number']} {cure['class']} of {cure['course']}, {cure['at']}, {cure['by']}: {cure['reason']}"


def _register(entries: list[KnownDifference]) -> list[str]:
    if not entries:
        return [
            "No known differences.",
            "Next: xqueue_known --add CLASS --reason TEXT, where a difference is understood",
        ]
    lines = [counted(len(entries), "known difference")]
    for entry in entries:
        scope = ", ".join(entry[name] for name in ("course", "queue", "problem") if entry[name]) or "everywhere"
        lines.append(f"  {entry['id']}  {entry['class']}  {entry['state']} until {entry['expires_at']}: {scope}")
        lines.append(f"      covers {counted(entry['covers'], 'divergence')}; {entry['owner']}: {entry['reason']}")
    return lines


def _fail(content: FailDocument) -> list[str]:
    done = f"Done. {content['failed']} of" if content["executed"] else "Plan."
    lines = [f"{done} {counted(len(content['rows']), 'submission')} of {content['course']} to be failed on the target"]
    lines += [
        f"  {row['submission']}  {row['queue']}  handed out {counted(row['leases'], 'time')}, arrived "
        f"{row['arrived_at']}"
        for row in content["rows"]
    ]
    if content["not_found"]:
        lines.append(f"  not in flight in this course: {', '.join(map(str, content['not_found']))}")
    if content["rows"] and not content["executed"]:
        lines.append("Next: the same command with --execute; their learners are told that they could not be graded")
    return lines


def _undelivered(content: UndeliveredDocument) -> list[str]:
    if not content["applies"]:
        return ["There is no LMS here: nobody can say what learners wait for."]
    waiting = len(content["rows"])
    who = f"{counted(waiting, 'learner')} of {content['course']}"
    lines = [f"{who} {verb(waiting, 'waits', 'wait')} for a grade that nobody brings"]
    for row in content["rows"]:
        who = f"user {row['user_id']}, " if row["user_id"] else ""
        end = f"; undeliverable: {row['undeliverable']}" if row["undeliverable"] else ""
        lines.append(f"  {row['submission']}  {who}{row['problem']}, arrived {row['arrived_at']}")
        lines.append(f"      {row['what']}; delivered again {counted(row['deliveries'], 'time')}{end}")
    if content["looked_up"]:
        lines.append("That they were looked up stands in the course's log (xqueue_audit).")
    return lines


def _learners(content: LearnersDocument) -> list[str]:
    lines = []
    if "file" in content:
        lines.append(
            f"{content['learners']} learners with {content['rows']} divergences of {content['course']} are in "
            f"{content['file']}, which only its owner may read"
        )
    for person in content.get("people", ()):
        user = f"user {person['user_id']}" if person["user_id"] else "a user that cannot be told any more"
        name = f", {person['username']}" if person["username"] else ""
        lines.append(f"{person['learner']} is {user}{name}")
    for item in content.get("divergences", ()):
        lines.append(f"  ledger entry {item['entry']}, {item['class']}: {item['what']}")
        lines.append(f"      {item['problem']}, submitted {item['submitted_at']}")
        lines.append(f"      {item['what_to_do']}")
    return [*lines, "That they were looked up stands in the course's log (xqueue_audit)."]


_RENDERERS: dict[str, Callable[[Any], list[str]]] = {
    "xqueue_preflight": terminal_preflight.lines,
    "xqueue_backfill": _backfill,
    "xqueue_reconcile": text_report.reconcile_lines,
    "xqueue_gate": _gate,
    "xqueue_cutover": terminal_cutover.cutover,
    "xqueue_cutover_wave": terminal_cutover.wave,
    "xqueue_cutover_release": terminal_cutover.release,
    "xqueue_known": _known,
    "xqueue_cutover_removal": terminal_cutover.removal,
    "xqueue_cutover_adoption": terminal_cutover.adoption,
    "xqueue_cutover_forget": terminal_cutover.forget,
    "xqueue_audit": terminal_cutover.audit,
    "xqueue_fail": _fail,
    "xqueue_undelivered": _undelivered,
    "xqueue_learners": _learners,
    "xqueue_status": terminal_status.lines,
    "xqueue_status_runs": terminal_runs.lines,
    "xqueue_watch": terminal_watch.lines,
    "xqueue_preflight_courses": terminal_several.preflight,
    "xqueue_gate_courses": terminal_several.gate,
    "xqueue_fail_courses": terminal_several.fail,
    "xqueue_undelivered_courses": terminal_several.undelivered,
    "no_courses": terminal_several.nobody,
    "xqueue_campaign": terminal_campaign.lines,
}
