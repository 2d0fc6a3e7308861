"""What has changed in a course since an earlier reconcile: which divergences came, which went, verdict and counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from ..core.documents.reconcile_course import ReconciledCourse
from ..core.documents.reconcile_since import ClassThenAndNow, CountsThenAndNow, CourseSince, GoneDivergence
from ..core.errors import ShimError
from ..cutover import gate
from ..models import Divergence, LedgerEntry, Run
from ..runs import records as run_records

LAST = "last"
#: Divergences that are listed of those that came, and of those that went.
LISTED = 100
COUNTS = ("of", "compared", "equal", "diverged", "waiting", "overdue", "fence_leaks", "double_authority")
_AT_ONCE = 1000


def base_of(course_id: str, wanted: str) -> Run | None:
    """
    Return the reconcile to compare with; call it before the new one begins.

    Args:
        course_id: the course.
        wanted: a run's id, or ``last`` for the newest complete one; there may be none of that.

    Raises:
        ShimError: no complete reconcile of the course has this id.
    """
    if wanted == LAST:
        return run_records.last_complete("reconcile", course_id)
    scope = run_records.scope_name(course_id)
    found = Run.objects.filter(pk=int(wanted), kind="reconcile", scope=scope, complete=True).first()
    if found is None:
        raise ShimError(f"--since {wanted}: that is no complete reconcile of {course_id}. See the runs in the admin.")
    return found


def changes(base: Run, course: ReconciledCourse) -> CourseSince:
    """
    Return what has changed in a course since a reconcile.

    What went is listed by what is on record of the earlier run, which a run of an older release does not have: then
    ``listed_gone`` is None, and only the numbers are known.

    Args:
        base: the earlier reconcile.
        course: the course's part of the new document.
    """
    course_id = course["course"]
    then, now_there = base.document, Divergence.objects.filter(course_id=course_id, cured_at=None)
    came = now_there.filter(found_at__gt=base.finished_at)
    listed = came.order_by("-id").values_list("entry_id", "klass", "what", "found_at")[:LISTED]
    by_class: dict[str, int] = {}
    for klass in came.order_by().values_list("klass", flat=True).iterator():
        by_class[klass] = by_class.get(klass, 0) + 1
    classes: list[ClassThenAndNow] = []
    now: Mapping[str, Any] = course
    for klass, number in now["classes"].items():
        before, new = then.get("classes", {}).get(klass, 0), by_class.get(klass, 0)
        if before or number or new:
            gone = max(before + new - number, 0)
            classes.append({"class": klass, "then": before, "new": new, "gone": gone, "now": number})
    return {
        "course": course_id,
        "run": base.pk,
        "finished_at": base.finished_at.isoformat() if base.finished_at else None,
        "verdict": {"then": _verdict_then(base), "now": str(gate.evaluate_course(course_id)[0].verdict)},
        "counts": cast(CountsThenAndNow, {key: {"then": then.get(key), "now": now[key]} for key in COUNTS}),
        "classes": classes,
        "new": sum(by_class.values()),
        "gone": sum(item["gone"] for item in classes),
        "listed_new": [
            {"entry": entry, "class": klass, "what": what, "found_at": at.isoformat()}
            for entry, klass, what, at in listed
        ],
        "listed_gone": _gone(base),
    }


def _verdict_then(base: Run) -> str | None:
    """Return the gate's last verdict before the next reconcile; None where the gate was not asked."""
    later = Run.objects.filter(kind="reconcile", scope=base.scope, id__gt=base.pk).order_by("id")
    runs = Run.objects.filter(kind="gate", scope=base.scope, complete=True).order_by("-id")
    upto = later.values_list("id", flat=True).first()
    found = (runs if upto is None else runs.filter(id__lt=upto)).first()
    return found.document.get("verdict") if found else None


def _gone(base: Run) -> list[GoneDivergence] | None:
    """Return those on record then that are not on record any more, with what their entries say now."""
    if (record := base.document.get("on_record")) is None:
        return None
    gone: list[GoneDivergence] = []
    for klass, found in record.items():
        for start in range(0, len(found["entries"]), _AT_ONCE):
            part = found["entries"][start : start + _AT_ONCE]
            rows = Divergence.objects.filter(entry__in=part, klass=klass)
            there = dict(rows.values_list("entry_id", "cured_at"))
            left = [entry for entry in part if entry not in there or there[entry] is not None]
            results = dict(LedgerEntry.objects.filter(pk__in=left).values_list("id", "result"))
            for entry in left:
                cured = there.get(entry) is not None
                gone.append(
                    {"entry": entry, "class": klass, "is_now": "cured" if cured else results.get(entry, "removed")}
                )
    return gone[:LISTED]
