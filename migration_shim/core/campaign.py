"""
The next step of a course on its way through a campaign or a wave: a pure function of what is known of it.

A campaign goes the way that an operator would go by hand, and waits wherever a person would have to.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime, timedelta

from .data import Phase
from .windows import said_length
from .wording import counted, verb

#: A course that has been in its phase for so long without being shown well there no longer counts in the limit.
LEAVES_SLOT_AFTER = timedelta(days=14)
_ORDER = tuple(Phase)


class CampaignState(enum.StrEnum):
    """Where a campaign stands."""

    RUNNING = "running"
    PAUSED = "paused"  # by an operator, or because of what concerns all of its courses
    STOPPED = "stopped"  # for good, by an operator
    DONE = "done"  # every course has arrived


class MemberState(enum.StrEnum):
    """Where a course of a campaign stands."""

    GOING = "going"
    PARKED = "parked"  # somebody else has moved it
    FAILED = "failed"
    DONE = "done"


#: What waits for a person.
STOPPED = (MemberState.FAILED, MemberState.PARKED)


class Action(enum.StrEnum):
    """What a campaign does with a course."""

    PREFLIGHT = "preflight"
    HISTORY = "history"
    RECONCILE = "reconcile"
    PROBE = "probe"
    GATE = "gate"
    SHADOW = "shadow"
    LIVE = "live"
    COMPLETE = "complete"

    @property
    def phase(self) -> Phase | None:
        """The phase that the action steps to; None for one that leaves the course in its phase."""
        return Phase(self.value) if self in (Action.SHADOW, Action.LIVE, Action.COMPLETE) else None


#: What changes something on either system, and is done inside windows only. The others read, or are evidence.
IN_WINDOWS = (Action.HISTORY, Action.PROBE, Action.SHADOW, Action.LIVE, Action.COMPLETE)
#: What reads all of XQueue before it has done anything: cut off, it would begin anew in every round.
READS_ALL = (Action.PREFLIGHT, Action.PROBE, Action.HISTORY)


class Health(enum.StrEnum):
    """Whether a course is well in its phase, by the evidence since its step."""

    WELL = "well"
    UNKNOWN = "unknown"  # nothing speaks against it, and not enough has been seen yet
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """What the newest complete preflight says; ``age`` is None where there is none."""

    age: timedelta | None = None
    #: Blockers, each in one line, without those of reverse-shadow queues.
    blockers: tuple[str, ...] = ()
    #: Blockers of reverse-shadow queues that no probe lifts. They keep a course from ``live``, and not from ``shadow``.
    unready: tuple[str, ...] = ()
    #: Reverse-shadow queues that no grader had polled, and whether one has polled each of them since.
    unpolled: tuple[str, ...] = ()
    polled_since: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CourseFacts:
    """
    What is known of one course, all of it read from records.

    ``since`` is how long it has been in its phase, which it ``entered`` at a moment. ``stopped`` says why the course is
    parked or has failed; ``drift`` what its flags ask for and do not get.
    ``reconciled`` says that a complete reconcile began since the step and is fresh. ``lacks`` is what the gate still
    asks for besides the preflight, in one line; where only pairs are lacking, ``more_pairs`` is how many, beside the
    ``pairs`` that count by now. ``probed`` is how long ago a probe was sent, ``unprobed`` how long ago one was tried
    that did not reach every queue, ``cut_off`` how long ago one of ``READS_ALL`` took longer than a round has for it,
    ``permitted`` whether the gate has passed the next step.
    """

    phase: Phase
    since: timedelta
    entered: datetime | None = None
    stopped: str = ""
    drift: str = ""
    health: Health = Health.UNKNOWN
    health_said: str = ""
    preflight: Preflight = Preflight()
    history: bool = False
    reconciled: bool = False
    lacks: str = ""
    more_pairs: int = 0
    pairs: int = 0
    probed: timedelta | None = None
    unprobed: timedelta | None = None
    cut_off: timedelta | None = None
    permitted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a campaign asks for, as far as one course's next step depends on it."""

    to: Phase
    soak: timedelta = timedelta(0)
    fresh_for: timedelta = timedelta(hours=12)
    preflight_again: timedelta = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Next:
    """The next step of a course: an action, or why there is none now, in one line. ``done``: there is no other."""

    action: Action | None = None
    waits: str = ""
    done: bool = False


def next_step(course: CourseFacts, wish: Wish, *, closed: str, turn: str) -> Next:
    """
    Return the next step of a course.

    Args:
        course: what is known of it.
        wish: what the campaign asks for.
        closed: why nothing may be done at this moment (window, freeze, first day, pause); empty if it may.
        turn: why no step to the next phase may be taken now (``waits_for_turn``); empty if one may.
    """
    if course.stopped:
        return Next(waits=course.stopped)
    if course.drift:
        return Next(waits=f"waits for its flags, which ask for {course.drift}")
    found = _wanted(course, wish)
    if found.action in READS_ALL and course.cut_off is not None and course.cut_off <= wish.preflight_again:
        return Next(waits=f"waits for an operator: its {found.action} takes longer than a round; the history says more")
    if found.action in IN_WINDOWS and closed:
        return Next(waits=closed)
    if found.action is not None and (found.action.phase or found.action is Action.GATE) and turn:
        return Next(waits=turn)
    return found


def _wanted(course: CourseFacts, wish: Wish) -> Next:
    """Return the next step of a course that nothing outside it holds up."""
    if _ORDER.index(course.phase) >= _ORDER.index(wish.to):
        return _shown_well(course, wish) or Next(done=True)
    if course.phase is Phase.LEGACY:
        return _preflight(course, wish, probe=False) or Next(action=Action.SHADOW)
    if course.phase is Phase.SHADOW and not course.history:
        return Next(action=Action.HISTORY)
    if before := _shown_well(course, wish):
        return before
    if course.lacks:
        return Next(waits=f"waits for {course.lacks}")
    if before := _preflight(course, wish, probe=True):
        return before
    step = Action.LIVE if course.phase is Phase.SHADOW else Action.COMPLETE
    return Next(action=step if course.permitted else Action.GATE)


def _shown_well(course: CourseFacts, wish: Wish) -> Next | None:
    """Return what is missing until a course is shown well in its phase, the soak included; None if nothing is."""
    if not course.reconciled:
        return Next(action=Action.RECONCILE)
    if course.health is not Health.WELL:
        return Next(waits=f"waits for its health: {course.health_said}")
    if course.phase is Phase.LIVE and course.since < wish.soak:
        return Next(waits=f"soaks in live for another {said_length(wish.soak - course.since)}")
    return None


def _preflight(course: CourseFacts, wish: Wish, *, probe: bool) -> Next | None:
    """Return what has to be done about the preflight before the next phase; None if it is fresh and blocks nothing."""
    found = course.preflight
    if found.age is None or found.age > wish.fresh_for:
        return Next(action=Action.PREFLIGHT)
    if blockers := (*found.blockers, *(found.unready if probe else ())):
        if found.age > wish.preflight_again:
            return Next(action=Action.PREFLIGHT)
        return Next(waits=f"waits for an operator: preflight blocker {blockers[0]}")
    if not (probe and found.unpolled):
        return None
    if found.polled_since:
        return Next(action=Action.PREFLIGHT)
    if course.unprobed is not None and course.unprobed <= wish.preflight_again:
        return Next(waits="its probe was not sent; it is tried again every hour, and the history says why")
    if course.probed is None or course.probed > wish.fresh_for:
        return Next(action=Action.PROBE)
    return Next(waits=f"waits for a grader to pull the probe of queue {found.unpolled[0]}")


def is_well(course: CourseFacts, wish: Wish) -> bool:
    """Tell whether a course needs no slot any more: it is well in its phase, and has soaked there where it has to."""
    return course.health is Health.WELL and not (course.phase is Phase.LIVE and course.since < wish.soak)


def in_flight(phase: Phase, *, well: bool, stopped: bool, waited: timedelta) -> bool:
    """
    Tell whether a course counts in the limit: it was moved, and is not shown well in its phase yet.

    A course that stands still in ``shadow`` puts no learner at risk. One that stands still in ``live`` keeps its slot,
    so that trouble does not pile up. After ``LEAVES_SLOT_AFTER`` any course leaves its slot.

    Args:
        phase: the phase that it is in.
        well: whether it was shown well since its step; see ``is_well``.
        stopped: whether it is parked or has failed.
        waited: how long it has been in the phase, or since somebody resumed it.
    """
    if phase is Phase.LEGACY or well or waited >= LEAVES_SLOT_AFTER:
        return False
    return not (stopped and phase is Phase.SHADOW)


def waits_for_turn(
    course_id: str, to: Phase, *, canary: str, canary_is_there: bool, moved: int, limit: int, option: str = "--limit"
) -> str:
    """
    Return why a course may not step to a phase now: the canary goes first, and no more are in flight than allowed.

    Args:
        course_id: the course that is to step.
        to: the phase.
        canary: the course that goes first.
        canary_is_there: whether the canary is in that phase, or past it, and well.
        moved: how many other courses are in flight.
        limit: how many may be.
        option: the option that named the limit.
    """
    if course_id != canary and not canary_is_there:
        return f"the canary {canary} is not healthy in {to} yet"
    if moved >= limit:
        return f"{counted(moved, 'course')} {verb(moved, 'is', 'are')} in flight, and {option} allows {limit}"
    return ""


def reaches(phase: Phase, to: Phase) -> bool:
    """Tell whether a phase is another one, or lies behind it."""
    return _ORDER.index(phase) >= _ORDER.index(to)


def steps_to(phase: Phase) -> Phase | None:
    """Return the phase after a phase; None after the last."""
    place = _ORDER.index(phase) + 1
    return _ORDER[place] if place < len(_ORDER) else None
