"""
Where a course stands in one word, and the ranking of courses by it: the worst first.

The word comes from what is on record: the causes that the last gate named, and what the status sees now. The worst
counts. A word says what is the matter with the phase that the course is in, and with its next step. What concerns only
a later step is a thing to do, and no word.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from opaque_keys import InvalidKeyError
from opaque_keys.edx.keys import CourseKey

from .data import Phase
from .evidence import ROUTINE, Cause

if TYPE_CHECKING:  # its schema lists the words, which are here
    from .documents.status_judgement import CourseToRank

#: Words that no gate says: the course could not be read; nothing was begun with it.
UNKNOWN, NOT_BEGUN = "unknown", "not_begun"
#: Rows that a handoff or a return holds are on their way for so many seconds at most, unless nobody finishes it.
MOVING_SECONDS = 600
#: How the gate begins the reason of a blocker; its code comes next.
BLOCKER = "preflight blocker: "


def _order() -> tuple[str, ...]:
    """Return all words: the causes in their order, ``unknown`` behind the alarms, ``not_begun`` before the end."""
    words = [cause.value for cause in Cause]
    words.insert(words.index(Cause.DIFFERS), UNKNOWN)
    words.insert(words.index(Cause.MOVED), NOT_BEGUN)
    return tuple(words)


#: All words, the worst first.
ORDER = _order()
#: Words of which every single one is an emergency.
ALARMS = ORDER[: ORDER.index(UNKNOWN)]


class NextActor(enum.StrEnum):
    """Who has to act next."""

    OPERATOR = "operator"
    GRADER_TEAM = "grader_team"
    COURSE_TEAM = "course_team"
    NOBODY = "nobody"  # it only takes time, or nothing is to be done


_ACTORS = {
    Cause.DIFFERS: NextActor.GRADER_TEAM,
    Cause.OVERDUE: NextActor.GRADER_TEAM,
    Cause.SLOW: NextActor.GRADER_TEAM,
    Cause.NEEDS_PAIRS: NextActor.NOBODY,
    Cause.MOVED: NextActor.NOBODY,
}
#: Blockers that a course's authors cure.
_OF_COURSE_TEAM = frozenset({"queue_reserved", "names_alike"})
#: What the status sees by itself: the point of attention, and its word.
_LIVE = {
    "past_the_shim": Cause.BLOCKED,
    "drift": Cause.BLOCKED,
    "unknown_queue": Cause.BLOCKED,
    "unknown_lms": Cause.BLOCKED,
    "no_watcher": Cause.OVERDUE,
    "handed_out_in_vain": Cause.OVERDUE,
}
#: What is counted of a course, by its word: the key, the text, and what there is one of or several.
_COUNTED = {
    Cause.LEAK: ("fence_leaks", "{} {s} reached a learner, or could", "copy has", "copies have"),
    Cause.DOUBLE_AUTHORITY: ("double_authority", "both systems had {} {s} for real", "submission", "submissions"),
    Cause.LOST: ("lost", "{} {s} lost", "submission or score is", "submissions or scores are"),
    Cause.UNDELIVERED: ("undelivered", "{} {s} for a grade that nobody brings", "learner waits", "learners wait"),
    Cause.WRONG_SIDE: (
        "wrong_side",
        "{} {s} reached legacy while the target was authoritative",
        "submission",
        "submissions",
    ),
}
_NEXT_PHASE = {Phase.LEGACY: Phase.SHADOW, Phase.SHADOW: Phase.LIVE, Phase.LIVE: Phase.COMPLETE}


class Reason(NamedTuple):
    """One thing that stands between a course and its next step, in one word and in words."""

    word: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """
    Where a course stands.

    ``because`` has the reasons, the worst first; empty where nothing is the matter. ``todo`` are routine steps that a
    later step waits for. ``next`` is the command to run now, empty where there is only to wait.
    """

    word: str
    because: tuple[Reason, ...]
    todo: tuple[str, ...]
    actor: NextActor
    next: str


def standing(course: CourseToRank) -> Standing:
    """
    Return where a course stands.

    Args:
        course: a course of the status document, with its ``attention``, its ``gate`` and the ``blockers`` of its last
            preflight, and without what is made here.
    """
    phase = Phase(course["phase"])
    begun = phase is not Phase.LEGACY or course["ledger_rows"] > 0 or course["gate"] is not None
    reasons = [*_counted(course), *(_seen(course) if begun else ())]
    of_gate, todo = _of_gate(course, phase) if begun else ([], [])
    alone = not reasons and all(reason.word == Cause.READY for reason in of_gate)
    if todo and alone and phase is Phase.SHADOW:  # nothing else is missing: now the step waits for them
        of_gate, todo = [Reason(Cause.BLOCKED, BLOCKER + item) for item in todo], []
    because = tuple(sorted((*reasons, *of_gate), key=lambda reason: ORDER.index(reason.word)))
    word = because[0].word if because else _quiet(phase, begun=begun)
    if word == NOT_BEGUN:
        todo = course["blockers"]
    return Standing(
        word=word,
        because=tuple(reason for reason in because if reason.text),
        todo=tuple(todo),
        actor=_actor(word, because),
        next=_next(course, phase, word, because[0].text if because else ""),
    )


def _quiet(phase: Phase, *, begun: bool) -> str:
    if phase is Phase.COMPLETE:
        return Cause.MOVED
    return Cause.READY if begun else NOT_BEGUN


def _counted(course: CourseToRank) -> Iterator[Reason]:
    numbers: Mapping[str, Any] = course
    for word, (key, text, one, several) in _COUNTED.items():
        if number := numbers[key]:
            yield Reason(word, text.format(number, s=one if number == 1 else several))


def _seen(course: CourseToRank) -> Iterator[Reason]:
    for item in course["attention"]:
        if item["what"] in _LIVE:
            yield Reason(_LIVE[item["what"]], item["text"])
        elif item["what"] in ("held", "returning"):
            moving = course["held"] if item["what"] == "held" else course["returning"]
            oldest = moving["oldest_seconds"]
            if oldest is None or oldest > MOVING_SECONDS:
                yield Reason(Cause.OVERDUE, item["text"])


def _of_gate(course: CourseToRank, phase: Phase) -> tuple[list[Reason], list[str]]:
    """Return what the last gate has against the next step, and the routine blockers in it."""
    if phase is Phase.COMPLETE:
        return [], []  # its verdict was about a step that was taken; the course's health is seen otherwise
    gate = course["gate"]
    if gate is None:
        return [Reason(Cause.STALE, "no gate has judged the course")], []
    if gate["phase"] != phase:
        return [Reason(Cause.STALE, f"the last gate judged it in {gate['phase']}")], []
    found, todo = [], []
    for word, text in zip(gate["causes"], gate["reasons"], strict=True):
        code = text.removeprefix(BLOCKER).partition(" ")[0] if word == Cause.BLOCKED else ""
        if code in ROUTINE and phase in (Phase.LEGACY, Phase.SHADOW):
            todo.append(text.removeprefix(BLOCKER))
        else:
            found.append(Reason(word if word in ORDER else UNKNOWN, text))
    found += [Reason(Cause.STALE, text) for text in gate["old"]]
    if not found and not todo and phase is not Phase.LEGACY and course["permit"] != _NEXT_PHASE[phase]:
        found.append(Reason(Cause.STALE, "the permit has ended, or was withdrawn: ask the gate again"))
    return found or [Reason(Cause.READY, "")], todo


def _actor(word: str, because: Iterable[Reason]) -> NextActor:
    if word == Cause.BLOCKED:
        codes = {text.removeprefix(BLOCKER).partition(" ")[0] for of, text in because if of == word}
        return NextActor.COURSE_TEAM if codes <= _OF_COURSE_TEAM else NextActor.OPERATOR
    return _ACTORS.get(Cause(word), NextActor.OPERATOR) if word in list(Cause) else NextActor.OPERATOR


def _next(course: CourseToRank, phase: Phase, word: str, text: str) -> str:
    """Return the command that an operator runs now; empty where there is only to wait, or nothing to do."""
    name, runs = course["course"], course["last_runs"]
    for item in course["attention"]:
        if item["commands"] and (item["text"] == text or _OF_ALARM.get(item["what"]) == word):
            return str(item["commands"][0])
    step = _NEXT_PHASE.get(phase)
    if word == NOT_BEGUN and runs["preflight"] is not None and not course["blockers"]:
        return f"xqueue_cutover --course {name} --to {step} --reason TEXT"
    if word == Cause.READY:
        return f"xqueue_cutover --course {name} --to {step} --reason TEXT"
    if word == Cause.STALE:
        kinds = [kind for kind in ("preflight", "reconcile") if _is_due(kind, course)]
        return f"xqueue_{kinds[0] if kinds else 'gate'} --course {name}"
    return command_for(word, name)


def command_for(word: str, course_id: str) -> str:
    """Return the command that leads on from a word, whatever else is known of the course; empty for some words."""
    return _COMMANDS.get(word, "").format(course_id)


def _is_due(kind: str, course: CourseToRank) -> bool:
    runs: Mapping[str, Any] = course["last_runs"]
    run = runs[kind]
    old = course["gate"]["old"] if course["gate"] else ()
    return run is None or not run["complete"] or any(text.startswith(f"the last {kind} ") for text in old)


_OF_ALARM = {
    "fence_leak": Cause.LEAK,
    "double_authority": Cause.DOUBLE_AUTHORITY,
    "undelivered": Cause.UNDELIVERED,
    "wrong_side": Cause.WRONG_SIDE,
}
_COMMANDS = {
    Cause.LEAK: "xqueue_reconcile --course {} --divergences leaks.jsonl",
    Cause.DOUBLE_AUTHORITY: "xqueue_reconcile --course {} --divergences double.jsonl",
    Cause.LOST: "xqueue_reconcile --course {} --divergences lost.jsonl",
    Cause.UNDELIVERED: "xqueue_watch --once --course {}",
    Cause.WRONG_SIDE: "xqueue_backfill --mode handoff --course {} --execute",
    UNKNOWN: "xqueue_status --course {}",
    Cause.DIFFERS: "xqueue_reconcile --course {} --report differs.html",
    Cause.OVERDUE: "xqueue_status --course {}",
    Cause.BLOCKED: "xqueue_preflight --course {}",
    Cause.SLOW: "xqueue_status --course {}",
    NOT_BEGUN: "xqueue_preflight --course {}",
}


def rank(courses: Iterable[tuple[str, str]]) -> list[str]:
    """Return course ids by (course id, word), the worst first and then by id."""
    return [name for name, _ in sorted(courses, key=lambda item: (ORDER.index(item[1]), item[0]))]


def counts(words: Iterable[str]) -> dict[str, int]:
    """Return how many courses have each word, by the words' order; words that no course has are left out."""
    found = Counter(words)
    return {word: found[word] for word in ORDER if found[word]}


def short_names(courses: Iterable[str]) -> dict[str, str]:
    """
    Return the shortest name of each course that no other has: its number, with its organisation or run where needed.

    Two ids that differ in case only are told apart by eye, and not by whoever types them: they stay whole.
    """
    forms = {course: _forms(course) for course in courses}
    taken = Counter(form.lower() for names in forms.values() for form in set(names))
    return {
        course: next((form for form in names if taken[form.lower()] == 1), course) for course, names in forms.items()
    }


def _forms(course: str) -> list[str]:
    """Return the names of a course, the shortest first; the last one is its id."""
    try:
        key = CourseKey.from_string(course)
    except InvalidKeyError:
        return [course]
    if not course.startswith("course-v1:"):
        return [str(key.course), course]  # an old id: Org/Course/Run
    return [str(key.course), f"{key.org}+{key.course}", course.removeprefix("course-v1:"), course]
