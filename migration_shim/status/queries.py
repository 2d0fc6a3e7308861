"""
Queries about many courses at once on the app's own tables; more courses cost no more statements.

The platform's flags are the exception: the platform answers for one course at a time, and its answer is what counts.
Each query is served by an index: owed copies by those on the legs, rows between the systems by that on the move.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, F, Max, Min, Q

from .. import toggles
from ..core.buckets import Flag
from ..core.data import BETWEEN, Authority, DivergenceClass, Leg, Phase, State
from ..core.delivered import Learner
from ..core.evidence import ROUTINE
from ..core.findings import BLOCKER
from ..core.phases import asked_phase
from ..core.wrong_side import PASSED_THROUGH
from ..cutover import invariants
from ..lms import flags as lms_flags
from ..models import Bucket, CoursePhase, Divergence, FlagOverride, LedgerEntry, PhaseChange, Run

#: The keys that are read of a run's document; a reconcile's whole document is long.
_DOCUMENT_KEYS = (
    "verdict",
    "phase",
    "cause",
    "reason_causes",
    "needed",
    "more_pairs",
    "more_by_queue",
    "evidence__arithmetic__pairs",
    "evidence__arithmetic__diverged",
    "compared",
    "diverged",
    "equal",
    "of",
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
_ALARMS = (
    DivergenceClass.FENCE_LEAK,
    DivergenceClass.DOUBLE_AUTHORITY,
    DivergenceClass.WRONG_SIDE,
    DivergenceClass.LOST,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CourseState:
    """
    The phase of one course.

    Args:
        phase: the phase in force.
        asked: the phase that its flags ask for.
        flags: whether dual_write and target_primary are on.
        record: the course's row, if it has one.
        change: its newest step on record, if any.
    """

    phase: Phase
    asked: Phase
    flags: tuple[bool, bool]
    record: CoursePhase | None
    change: PhaseChange | None


def course_states(courses: Collection[Course]) -> dict[Course, CourseState]:
    """
    Return the state of each course. A step that flags flipped by hand have made due is recorded, as by a submission.

    Four statements (five in an LMS), and more only for courses whose flags and record differ.
    """
    flags = _flags(courses)
    records = _records(courses)
    moved = [
        course
        for course in courses
        if asked_phase(**_named(flags[course])) is not Phase(records[course].phase if course in records else "legacy")
    ]
    # Only toggles decides whether the flags are obeyed.
    decisions = {course: toggles.phase_of(course) for course in moved}
    if moved:
        records |= _records(moved)
    # Without look-ups and signatures, which the log holds too.
    steps = PhaseChange.objects.filter(course_id__in=courses).exclude(step_from=F("step_to"))
    newest = steps.order_by().values("course_id").annotate(last=Max("id"))
    changes = PhaseChange.objects.in_bulk([row["last"] for row in newest])
    by_course = {change.course_id: change for change in changes.values()}
    found = {}
    for course in courses:
        asked = asked_phase(**_named(flags[course]))
        found[course] = CourseState(
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
    """Return the flags of each course: its own override, else its organisation's, else the value for everyone."""
    forced = _platform_overrides(courses) if toggles.in_platform() else _own_overrides(courses)
    everyone = {flag: toggles.is_on_for_everyone(flag) for flag in toggles.FLAGS}
    found = {}
    for course in courses:
        said = ((forced[flag, course], everyone[flag]) for flag in toggles.FLAGS)
        dual_write, target_primary = (default if value is None else value for value, default in said)
        found[course] = (dual_write, target_primary)
    return found


def _platform_overrides(courses: Collection[Course]) -> dict[tuple[str, Course], bool | None]:
    """Return what the platform's overrides force, by flag and course; None where they force nothing."""
    lms_flags.forget(*toggles.FLAGS)
    return {(flag, course): lms_flags.forced_value(course, flag) for flag in toggles.FLAGS for course in courses}


def _own_overrides(courses: Collection[Course]) -> dict[tuple[str, Course], bool | None]:
    """Return what the app's own overrides force, by flag and course, outside an LMS; None where they force nothing."""
    orgs = {course: toggles.org_of(course) for course in courses}
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
    Return, by kind and course, the newest run and, if that is not complete, the newest complete one behind it.

    Each run is a dict of columns, with keys of its document as ``document__<key>``. Three statements.
    """
    runs = Run.objects.filter(kind__in=kinds, scope__in=courses).order_by().values("kind", "scope")
    wanted: set[int] = set()
    for chosen in (runs, runs.filter(complete=True)):
        wanted |= {row["last"] for row in chosen.annotate(last=Max("id"))}
    found: dict[tuple[str, Course], list[dict[str, Any]]] = defaultdict(list)
    for row in _read(wanted):
        found[row["kind"], row["scope"]].append(row)
    return found


def blockers(runs: Collection[int]) -> dict[Course, list[str]]:
    """
    Return the codes of the blockers that preflights found, by course, each once; those that only ``live`` waits for are
    left out. One statement; none without runs, which are ids.
    """
    found: dict[Course, list[str]] = {}
    for course, findings in Run.objects.filter(id__in=runs).values_list("scope", "document__findings").iterator():
        codes = dict.fromkeys(item["code"] for item in findings or () if item["severity"] == BLOCKER)
        found[course] = [code for code in codes if code not in ROUTINE]
    return found


def runs_before(
    newest: Collection[dict[str, Any]], kinds: Collection[str], courses: Collection[Course]
) -> dict[tuple[str, Course], dict[str, Any]]:
    """
    Return, by kind and course, the newest complete run behind those of ``newest``. Two statements.

    For the shape of a run see ``newest_runs``.
    """
    runs = Run.objects.filter(kind__in=kinds, scope__in=courses, complete=True).order_by().values("kind", "scope")
    runs = runs.exclude(id__in=[run["id"] for run in newest])
    return {(row["kind"], row["scope"]): row for row in _read({row["last"] for row in runs.annotate(last=Max("id"))})}


def newest_backfills(courses: Collection[Course]) -> dict[Course, dict[str, Any]]:
    """
    Return the newest backfill run of each course: one that named the course, or one of all courses. Two statements.

    Backfills by queue name no course and are left out. For the shape of a run see ``newest_runs``.
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
    keys = [f"document__{name}" for name in _DOCUMENT_KEYS]
    return list(Run.objects.filter(id__in=ids).order_by("-id").values(*columns, *keys))


def rows_between_systems(courses: Collection[Course]) -> dict[tuple[Course, str], tuple[int, datetime | None]]:
    """Return, by course and move, how many entries are between the systems and since when. One statement."""
    between = LedgerEntry.objects.filter(move__in=BETWEEN, course_id__in=courses)
    rows = between.order_by().values("course_id", "move").annotate(number=Count("id"), oldest=Min("moved_at"))
    return {(row["course_id"], row["move"]): (row["number"], row["oldest"]) for row in rows}


def owed_copies(courses: Collection[Course], leg: str, authority: Authority) -> dict[Course, dict[str, int]]:
    """
    Count the copies of a leg that are missing or failed, by course and state of the leg. One statement.

    Args:
        courses: the courses.
        leg: ``target_leg`` for shadows, ``legacy_leg`` for reverse shadows.
        authority: the system that is authoritative for the submissions, and so not the copies' own. On its own leg a
            failure is no missing copy: the learner was told.
    """
    rows = LedgerEntry.objects.filter(
        **{f"{leg}__in": (Leg.MISSING, Leg.FAILED)}, course_id__in=courses, authority=authority
    )
    found: dict[Course, dict[str, int]] = defaultdict(dict)
    for row in rows.values("course_id", leg).annotate(number=Count("id")).order_by("course_id", leg):
        found[row["course_id"]][row[leg]] = row["number"]
    return found


def alarms(courses: Collection[Course]) -> dict[tuple[Course, str], int]:
    """Count the divergences on record that raise an alarm, by course and class. One statement."""
    rows = Divergence.objects.filter(course_id__in=courses, klass__in=_ALARMS, cured_at=None)
    # A submission that was moved since, or that legacy has answered, needs no handoff.
    rows = rows.filter(~Q(klass=DivergenceClass.WRONG_SIDE) | invariants.waits_on_legacy())
    counted = rows.order_by().values("course_id", "klass").annotate(number=Count("id"))
    return {(row["course_id"], row["klass"]): row["number"] for row in counted}


def undelivered(courses: Collection[Course]) -> dict[Course, tuple[int, int]]:
    """Return, by course, how many learners wait in vain and how many of those cannot be reached. One statement."""
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
    Count, by course, the submissions that the router passed to legacy while the target was authoritative, unanswered.

    They have no copy, so they are looked for only in the buckets of entries without one, and among entries that are not
    yet in a bucket. Two statements.
    """
    final = [one.value for one in State if one.is_final]
    alike = Bucket.objects.annotate(bit=F("flags").bitand(int(Flag.NO_COPY))).exclude(bit=0)
    alike = alike.filter(course_id__in=courses).exclude(number=0).exclude(legacy_state__in=final)
    places = Q(bucket_id__in=list(alike.values_list("id", flat=True))) | Q(bucket_id=None)
    rows = LedgerEntry.objects.filter(places, course_id__in=courses, settled_at=None, legacy_reason=PASSED_THROUGH)
    rows = rows.exclude(legacy_state__in=final)
    return dict(rows.order_by().values_list("course_id").annotate(number=Count("id")))
