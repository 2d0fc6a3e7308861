"""Courses in words for people: what stands in the way, what is missing and when it will be there, and times."""

from __future__ import annotations

from datetime import UTC, datetime

from ..core import ranking
from ..core.attention import age
from ..core.documents.status import StatusDocument, XQueueCourses
from ..core.documents.status_judgement import CourseStatus
from ..core.evidence import Cause
from ..core.forecast import Why
from ..core.overrides import signers
from ..core.wording import counted

#: What a head line says of courses with a word. Of one course and of several it is the same, unless a pair is given.
_IN_HEAD_LINE = {Cause.NEEDS_PAIRS.value: ("needs pairs", "need pairs"), Cause.DIFFERS.value: ("differs", "differ")}
_ACTORS = {
    ranking.NextActor.OPERATOR: "the operator",
    ranking.NextActor.GRADER_TEAM: "the grader team",
    ranking.NextActor.COURSE_TEAM: "the course team",
    ranking.NextActor.NOBODY: "nobody",
}
_NO_DATE = {
    Why.NO_TRAFFIC.value: "no traffic",
    Why.TOO_LITTLE.value: "not at this traffic",
    Why.UNKNOWN.value: "no reconcile has counted yet",
}


def head_lines(content: StatusDocument) -> list[str]:
    """Return how many courses there are of each word, and how many of XQueue's courses the shim knows."""
    found = content["counts"]
    alarms = [word for word in ranking.ORDER if word in found and word in (*ranking.ALARMS, ranking.UNKNOWN)]
    # Alarms first; then what can be moved, and behind it what is worse and worse; then what is left alone.
    last = (ranking.NOT_BEGUN, Cause.MOVED)
    others = [word for word in reversed(ranking.ORDER) if word in found and word not in (*alarms, *last)]
    words = [*alarms, *others, *(word for word in last if word in found)]
    total = sum(found.values())
    said = ", ".join(how_many(word, found[word]) for word in words)
    courses = [f"{counted(total, 'course')}: {said}"] if total else []
    return [*courses, in_xqueue(content["xqueue"], content["at"])]


def how_many(word: str, many: int) -> str:
    """Return how many courses have a word, in words: ``1 differs``, ``3 differ``, ``2 ready``."""
    one, several = _IN_HEAD_LINE.get(word, (word_of(word), word_of(word)))
    return f"{many} {one if many == 1 else several}"


def in_xqueue(xqueue: XQueueCourses, at: str) -> str:
    """Return what is known of XQueue's courses, with the age of the look; that nobody has looked is no zero."""
    if xqueue["courses"] is None:
        return "courses in XQueue: not known, nothing has looked yet (xqueue_watch looks)"
    looked = f"looked {ago(xqueue['looked_at'], at)}" if xqueue["looked_at"] else "the first look is not at its end"
    if xqueue["looked_at"] and xqueue["under_way"]:
        looked += ", a new look is under way"
    strangers = f"; {xqueue['unknown_lms']} more of LMSs that no setting names" if xqueue["unknown_lms"] else ""
    at_least = "" if xqueue["looked_at"] else "at least "
    courses = counted(xqueue["courses"], "course")
    return f"{at_least}{courses} in XQueue, {xqueue['known']} known to the shim ({looked}){strangers}"


def word_of(word: str) -> str:
    """Return a course's word as text. An alarm is in capitals."""
    text = word.replace("_", " ")
    return text.upper() if word in ranking.ALARMS else text


def reason_of(course: CourseStatus) -> str:
    """Return the first reason why a course stands where it does, or what there is to say without one."""
    if course["because"]:
        return str(course["because"][0]["text"]).removeprefix(ranking.BLOCKER)
    if course["word"] == ranking.NOT_BEGUN:
        found = course["found_in_xqueue"]
        if course["known"] or found is None:
            return "nothing was begun"
        rows = counted(found["open_rows"], "open row") if found["open_rows"] else "no open row"
        return f"found in XQueue, {rows}"
    if course["word"] == Cause.READY:
        return f"may go to {course['may_move']['to']}"
    return "released to the platform's own path" if course["released_at"] else ""


def overrides_in_force(course: CourseStatus) -> list[str]:
    """Return the signed overrides that the course's phase rests on, each in words."""
    return [
        f"override to {item['step_to']} by {signers(item['signed_by'], item['seconded_by'])}, used "
        f"{clock(item['used_at'])}"
        for item in course["overrides"]
    ]


def permit_in_force(course: CourseStatus) -> str:
    """Return the permit by which the course may move now, in words; empty where there is none."""
    if course["may_move"]["by"] != "permit":
        return ""
    return f"permit for {course['permit']} until {clock(course['permit_until'])}"


def in_force(course: CourseStatus) -> list[str]:
    """Return all that is in force: signed overrides, and the permit."""
    return [said for said in (*overrides_in_force(course), permit_in_force(course)) if said]


def missing(course: CourseStatus, at: str) -> str:
    """Return what pairs are missing and about when they will be there; empty where pairs are not what is missing."""
    forecast = course["forecast"]
    if forecast is None:
        return ""
    if forecast["pairs"] is None:
        return "no number of pairs would do"
    pairs = counted(forecast["pairs"], "pair")
    if forecast["at"]:
        return f"{pairs}, about {day(forecast['at'], at)}"
    return f"{pairs}, {_NO_DATE.get(forecast['why'] or '', 'no date')}"


def actor_of(course: CourseStatus) -> str:
    """Return who has to act next."""
    if course["word"] == Cause.NEEDS_PAIRS:
        return "nobody, pairs come with learners' submissions"
    return _ACTORS[ranking.NextActor(course["actor"])]


def shortened(command: str, course: CourseStatus) -> str:
    """Return a command with the course's shortest name, which every command takes."""
    return command.replace(course["course"], course["short"])


def ago(then: str | None, at: str) -> str:
    """Return how long ago a time was: ``12 min ago``, ``just now``, ``never``."""
    if then is None:
        return "never"
    seconds = (datetime.fromisoformat(at) - datetime.fromisoformat(then)).total_seconds()
    return "just now" if seconds < 10 else f"{age(seconds)} ago"


def clock(then: str | None) -> str:
    """Return a time as people read it: ``Mon 30 Nov 14:02 UTC``; empty for None."""
    if then is None:
        return ""
    moment = datetime.fromisoformat(then).astimezone(UTC)
    return f"{moment:%a} {moment.day} {moment:%b %H:%M} UTC"


def day(then: str, at: str) -> str:
    """Return a day as people read it: ``today``, ``Thu 3 Dec``, with the year where it is another one."""
    moment, present = (datetime.fromisoformat(text).astimezone(UTC) for text in (then, at))
    if moment.date() == present.date():
        return "today"
    year = f" {moment.year}" if moment.year != present.year else ""
    return f"{moment:%a} {moment.day} {moment:%b}{year}"
