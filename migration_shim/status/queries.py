"""
Where many courses stand at once, out of the app's own tables: every question is one statement, however many courses.
Flags of a platform are the exception: it has no question about many courses, and its answer is the one that counts.

Only indexes are used that serve it: what is owed, held or on its way back is found by those on the legs and the move.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, F, Max, Min, Q
from opaque_keys.edx.keys import CourseKey

from .. import toggles
from ..core.buckets import Flag
from ..core.data import BETWEEN, Authority, DivergenceClass, Leg, Phase, State
from ..core.delivered import Learner
from ..core.phases import asked_phase
from ..core.wrong_side import PASSED_THROUGH
from ..cutover import invariants
from ..lms import flags as platform
from ..models import Bucket, CoursePhase, Divergence, FlagOverride, LedgerEntry, PhaseChange, Run

#: What is read of a run's document: whole documents of reconciles are long, and there are many courses.
_SAID = (
    "verdict",
    "mode",
    "written",
    "fence_leaks",
    "double_authority",
    "counters_differed",
    "learners",
    "last_full_at",
    "daily",
    "queues",
    "reasons",
)
Course = str
_ALARMS = (DivergenceClass.FENCE_LEAK, DivergenceClass.DOUBLE_AUTHORITY, DivergenceClass.WRONG_SIDE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The phase of one course, what its flags ask for, what is on record, and how it came there."""

    phase: Phase
    asked: Phase
    flags: tuple[bool, bool]
    record: CoursePhase | None
    change: PhaseChange | None


def phases(courses: Collection[Course]) -> dict[Course, Standing]:
    """
    The phase in force of each course. A flip by hand that has become due is recorded, as by any submission.

    Four statements (five in a platform), and more only for courses whose flags and record differ.
    """
    flags = _flags(courses)
    records = _records(courses)
    moved = [
        course
        for course in courses
        if asked_phase(**_named(flags[course])) is not Phase(records[course].phase if course in records else "legacy")
    ]
    # Whether the flags are obeyed is decided in one place only.
    decisions = {course: toggles.phase_of(course) for course in moved}
    if moved:
        records |= _records(moved)
    # The log also holds look-ups and signatures, which set no phase.
    steps = PhaseChange.objects.filter(course_id__in=courses).exclude(step_from=F("step_to"))
    newest = steps.order_by().values("course_id").annotate(last=Max("id"))
    changes = PhaseChange.objects.in_bulk([row["last"] for row in newest])
    by_course = {change.course_id: change for change in changes.values()}
    found = {}
    for course in courses:
        asked = asked_phase(**_named(flags[course]))
        found[course] = Standing(
            phase=decisions[course].phase if course in decisions else asked,
            asked=decisions[course].asked if course in decisions else asked,
            flags=flags[course],
            record=records.get(course),
            change=by_course.get(course),
        )
    return found


def _named(flags: tuple[bool, bool]) -> dict[str, bool]:
    return dict(zip(("dual_write", "target_primary"), flags, strict=True))


def _records(courses: Collection[Course]) -> dict[Course, CoursePhase]:
    return {record.course_id: record for record in CoursePhase.objects.filter(course_id__in=courses)}


def _flags(courses: Collection[Course]) -> dict[Course, tuple[bool, bool]]:
    """The flags of each course: its own, before its organisation's, before those for everyone."""
    forced = _platform_overrides(courses) if toggles.in_platform() else _own_overrides(courses)
    everyone = {flag: toggles.is_on_for_everyone(flag) for flag in toggles.FLAGS}
    found = {}
    for course in courses:
        said = ((forced[flag, course], everyone[flag]) for flag in toggles.FLAGS)
        dual_write, target_primary = (default if value is None else value for value, default in said)
        found[course] = (dual_write, target_primary)
    return found


def _platform_overrides(courses: Collection[Course]) -> dict[tuple[str, Course], bool | None]:
    """What the platform forces for each course; None: nothing."""
    platform.forget(*toggles.FLAGS)
    return {(flag, course): platform.forced(course, flag) for flag in toggles.FLAGS for course in courses}


def _own_overrides(courses: Collection[Course]) -> dict[tuple[str, Course], bool | None]:
    """The same of the app's own overrides, for a site without a platform."""
    orgs = {course: CourseKey.from_string(course).org or "" for course in courses}
    scopes = Q(scope="course", key__in=courses) | Q(scope="org", key__in=set(orgs.values()))
    newest: dict[tuple[str, str, str], bool | None] = {}
    for own in FlagOverride.objects.filter(scopes, flag__in=toggles.FLAGS).order_by("change_date", "id"):
        newest[own.flag, own.scope, own.key] = own.force if own.enabled else None
    forced: dict[tuple[str, Course], bool | None] = {}
    for flag in toggles.FLAGS:
        for course, org in orgs.items():
            own_value = newest.get((flag, "course", course))
            forced[flag, course] = newest.get((flag, "org", org)) if own_value is None else own_value
    return forced


def newest_runs(kinds: Collection[str], courses: Collection[Course]) -> dict[tuple[str, Course], list[dict[str, Any]]]:
    """
    By kind and course: the newest run, and where that is not complete also the newest complete one, newest first.

    Each is a row of Run, with some of what its document says. Three statements.
    """
    runs = Run.objects.filter(kind__in=kinds, scope__in=courses).order_by().values("kind", "scope")
    wanted: set[int] = set()
    for chosen in (runs, runs.filter(complete=True)):
        wanted |= {row["last"] for row in chosen.annotate(last=Max("id"))}
    found: dict[tuple[str, Course], list[dict[str, Any]]] = defaultdict(list)
    for row in _read(wanted):
        found[row["kind"], row["scope"]].append(row)
    return found


def newest_backfills(courses: Collection[Course]) -> dict[Course, dict[str, Any]]:
    """
    The newest backfill of each course that wrote: one that named it, or one over all courses. Two statements.

    Backfills by queue name no course, and are left out.
    """
    scopes = Run.objects.filter(kind="backfill").order_by().values("scope").annotate(last=Max("id"))
    newest: dict[Course | None, int] = {}
    for row in scopes:
        words = row["scope"].split(" ")
        named = [word for word in words if word in courses]
        everything = not any(":" in word or "/" in word for word in words)
        everywhere: list[Course | None] = [None] if everything else []
        for course in named or everywhere:
            newest[course] = max(row["last"], newest.get(course, 0))
    by_id = {row["id"]: row for row in _read(set(newest.values()))}
    found = {}
    for course in courses:
        if last := max(newest.get(course, 0), newest.get(None, 0)):
            found[course] = by_id[last]
    return found


def _read(ids: Collection[int]) -> list[dict[str, Any]]:
    columns = ("id", "kind", "scope", "started_at", "finished_at", "complete")
    return list(
        Run.objects.filter(id__in=ids).order_by("-id").values(*columns, *(f"document__{name}" for name in _SAID))
    )


def moves(courses: Collection[Course]) -> dict[tuple[Course, str], tuple[int, datetime | None]]:
    """By course and move: how many entries are between the systems, and since when the oldest. One statement."""
    between = LedgerEntry.objects.filter(move__in=BETWEEN, course_id__in=courses)
    rows = between.order_by().values("course_id", "move").annotate(number=Count("id"), oldest=Min("moved_at"))
    return {(row["course_id"], row["move"]): (row["number"], row["oldest"]) for row in rows}


def owed(courses: Collection[Course], leg: str, authority: Authority) -> dict[Course, dict[str, int]]:
    """
    By course: how many copies of a leg are missing, and how many have failed. One statement.

    Args:
        courses: the courses.
        leg: the copy's.
        authority: the other system's: a leg that failed on the authoritative side is no copy, its learner was told.
    """
    rows = LedgerEntry.objects.filter(
        **{f"{leg}__in": (Leg.MISSING, Leg.FAILED)}, course_id__in=courses, authority=authority
    )
    found: dict[Course, dict[str, int]] = defaultdict(dict)
    for row in rows.values("course_id", leg).annotate(number=Count("id")).order_by("course_id", leg):
        found[row["course_id"]][row[leg]] = row["number"]
    return found


def alarms(courses: Collection[Course]) -> dict[tuple[Course, str], int]:
    """By course and class: the alarms among the divergences on record. One statement."""
    rows = Divergence.objects.filter(course_id__in=courses, klass__in=_ALARMS, cured_at=None)
    # What the target has by now, or legacy has answered, calls for no handoff.
    rows = rows.filter(~Q(klass=DivergenceClass.WRONG_SIDE) | invariants.waits_on_legacy())
    counted = rows.order_by().values("course_id", "klass").annotate(number=Count("id"))
    return {(row["course_id"], row["klass"]): row["number"] for row in counted}


def undelivered(courses: Collection[Course]) -> dict[Course, tuple[int, int]]:
    """By course: how many learners wait in vain, and for how many of them nothing can be done. One statement."""
    rows = Divergence.objects.filter(course_id__in=courses, klass=DivergenceClass.UNDELIVERED, cured_at=None)
    rows = rows.filter(entry__learner_settled_at=None, entry__learner_said=Learner.WAITS)
    counted = (
        rows.order_by()
        .values_list("course_id")
        .annotate(number=Count("id"), lost=Count("id", filter=~Q(entry__undeliverable="")))
    )
    return {course: (number, lost) for course, number, lost in counted}


def passed_through(courses: Collection[Course]) -> dict[Course, int]:
    """
    By course: what the router has to pass to legacy though the target is authoritative, and legacy has not answered.
    Two statements.

    No copy of it was wanted, so it is found in the buckets of such entries, or loose, and not among all that is open.
    """
    final = [state.value for state in State if state.is_final]
    alike = Bucket.objects.annotate(bit=F("flags").bitand(int(Flag.NO_COPY))).exclude(bit=0)
    alike = alike.filter(course_id__in=courses).exclude(number=0).exclude(legacy_state__in=final)
    places = Q(bucket_id__in=list(alike.values_list("id", flat=True))) | Q(bucket_id=None)
    rows = LedgerEntry.objects.filter(places, course_id__in=courses, settled_at=None, legacy_reason=PASSED_THROUGH)
    rows = rows.exclude(legacy_state__in=final)
    return dict(rows.order_by().values_list("course_id").annotate(number=Count("id")))
