"""A round of ``xqueue_watch`` as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from ..core import codes
from ..core.documents.watch import CampaignRound, StepProblem, WatchDocument, WatchedCourse
from ..core.wording import counted, said_once


def lines(content: WatchDocument) -> list[str]:
    """Return the lines of a round: each course, what was tidied up, what failed, and the next commands."""
    ended = f"stopped by {content['stopped_by']}" if content["stopped_by"] else f"{content['seconds']} s"
    breaches = sum(len(course["breaches"]) for course in content["courses"])
    found = [f"Watch: {counted(len(content['courses']), 'course')}, {counted(breaches, 'breach', 'breaches')}, {ended}"]
    if content["kill_switch"]:
        found.append("The kill switch is on: nothing was compared, and no copy was written.")
    if content["waiting"]:
        found.append(f"Nothing was compared, and no copy was written: {content['waiting']}")
    for course in content["courses"]:
        found += ["", *_course(course)]
    for campaign in content["campaigns"]:
        found += ["", *_campaign(campaign)]
    found += _tidied(content)
    found += _not_done(content["problems"])
    if breaches:
        found.append(f"What each bound means: {codes.index()}")
    for campaign in content["campaigns"]:
        found += _waits_for_you(campaign)
    return found + [f"Next: {command}" for command in content["next"]]


def _course(course: WatchedCourse) -> list[str]:
    compared = course["reconcile"]
    text = "not compared"
    if compared is not None:
        text = (
            f"{compared['compared']} of {compared['of']} compared, {compared['diverged']} diverged, "
            f"{compared['waiting']} waiting, {compared['overdue']} overdue"
        )
    found = [f"{course['course']}: {course['phase'] or 'phase unknown'}, {text}"]
    found += [f"  BREACH {breach['bound']}: {breach['text']}" for breach in course["breaches"]]
    for queue in course["new_queues"]:
        found.append(
            f"  NEW QUEUE {queue['queue']}: {counted(queue['rows'], 'submission')} since {queue['since']}; is it meant?"
        )
    if course["stepped_back"]:
        found.append("  STEPPED BACK to legacy")
    elif course["not_stepped_back"]:
        found.append(f"  not stepped back: {course['not_stepped_back']}")
    if course["redelivery"]:
        done = ", ".join(f"{number} {what}" for what, number in course["redelivery"].items())
        found.append(f"  delivered again: {done}")
    for kind, rows in (("handoff", course["handoff"]), ("return", course["return"])):
        if rows:
            done = ", ".join(f"{number} {what}" for what, number in rows.items())
            found.append(f"  rows left by a {kind}: {done}")
    reverse = course["reverse"]
    if reverse and reverse["owed"]:
        found.append(f"  reverse shadows: {reverse['started']} of {reverse['owed']} owed were started")
    return found


def _not_done(problems: list[StepProblem]) -> Iterator[str]:
    """Yield what failed, each cause once: a server that is down concerns every course alike."""
    steps = [
        {"said": one["said"], "at": one["step"] + (f" of {one['course']}" * bool(one["course"]))} for one in problems
    ]
    for at, said in said_once(steps, by="at"):
        yield f"NOT DONE: {at}: {said.rstrip('.')}. The next round tries again."
        if page := codes.page_of(said):
            yield f"  See: {page}"


def _campaign(campaign: CampaignRound) -> list[str]:
    said = f": {campaign['said']}" if campaign["said"] else ""
    found = [f"Campaign {campaign['name']}: {campaign['state']}{said}"]
    for course in campaign["courses"]:
        did = f"{', '.join(course['did'])}; " if course["did"] else ""
        found.append(f"  {course['course']}: {did}{course['says']}")
    return found


def _waits_for_you(campaign: CampaignRound) -> list[str]:
    """Return last what a campaign does not get over by itself: the exit code of the watch does not say it."""
    stopped = campaign["stopped"]
    numbers = (("parked", stopped["parked"]), ("failed", stopped["failed"]))
    stands = [f"{counted(number, 'course')} {state}" for state, number in numbers if number]
    stands = ["paused"] * (campaign["state"] == "paused") + stands
    if not stands:
        return []
    see = f"Next: xqueue_campaign status --name {campaign['name']}"
    return [f"CAMPAIGN {campaign['name']} waits for a person: {', '.join(stands)}", see]


def _tidied(content: WatchDocument) -> list[str]:
    found = []
    if done := {word: number for word, number in (content["outbox"] or {}).items() if number}:
        found.append("Owed by the outbox: " + ", ".join(f"{number} {word}" for word, number in sorted(done.items())))
    if content["repaired"]:
        found.append(f"Shadows that were owed: {content['repaired']['written']} written")
    if content["forgotten"]:
        found.append(
            f"Retired learners: {counted(content['forgotten'], 'entry names', 'entries name')} nobody any more"
        )
    purged, swept = content["purge"], content["sweep"]
    if purged and purged["found"]:
        verb = "dropped" if purged["executed"] else "to drop (--purge does it)"
        kept = ", ".join(f"{number} {reason}" for reason, number in purged["kept"].items())
        least = "at least " if purged["more"] else ""
        found.append(f"Residue: {least}{purged['dropped']} {verb}" + (f", kept: {kept}" if kept else ""))
    if swept and swept["old"]:
        verb = f"{swept['removed']} removed" if swept["executed"] else "--purge removes them"
        found.append(f"Stored contents without a row: {swept['old']}, {verb}")
    return [""] * bool(found) + found
