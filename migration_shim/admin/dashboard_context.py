"""What the pages of the dashboard show: the status document, in the words and figures of a page."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any

from ..core import ranking
from ..core.attention import age
from ..core.data import Phase
from ..core.documents.cutover import SIDES, Side
from ..core.documents.reconcile_course import Day
from ..core.documents.status import StatusDocument
from ..core.documents.status_judgement import CourseStatus
from ..core.evidence import Cause
from ..core.phases import allowed_steps
from ..reports.course_words import ago, head_lines, missing, overrides_in_force, permit_in_force, reason_of, word_of

Content = dict[str, Any]
#: Words that are marked: what is wrong, not what only takes time.
_BAD = ranking.ORDER[: ranking.ORDER.index(Cause.STALE)]
#: Days in a trend, up to that of the status.
DAYS = 14
#: A bar and the gap behind it, and the height of the tallest, in units of the drawing.
_STEP, _BAR, _HEIGHT = 8, 6, 28


def head(content: StatusDocument) -> list[str]:
    """Return the lines that count the courses, as on the command line."""
    return head_lines(content)


def courses(content: StatusDocument) -> list[Content]:
    """Return the courses of the status document, each with what its row on the overview shows."""
    return [course(item, content["at"]) for item in content["courses"]]


def course(item: CourseStatus, at: str) -> Content:
    """Return one course of the status document with ages in words, its trend and the steps that it may take."""
    moment = datetime.fromisoformat(at)
    runs: Mapping[str, Any] = item["last_runs"]
    return {
        **item,
        "cause": word_of(item["word"]),
        "grave": item["word"] in _BAD,
        "good": item["word"] in (Cause.READY, Cause.MOVED),
        "why": reason_of(item),
        "missing": missing(item, at),
        "overrides_in_force": overrides_in_force(item),
        "permit_in_force": permit_in_force(item),
        "judged": ago(item["judged_at"], at) if item["judged_at"] else "",
        "since_age": _since(item["since"], moment),
        "verdict_age": age(item["verdict_age_seconds"]) if item["verdict"] else "",
        "sides": [_side(item, side) for side in SIDES],
        "runs": [_run(kind, run, moment) for kind, run in runs.items()],
        "last_full": _since(item["last_full_reconcile_at"], moment),
        "trend": trend(item["daily"], moment.date()),
        "steps": steps(Phase(item["phase"]), drift=item["drift"] or bool(item["platform_flag"])),
        "words": list(dict.fromkeys(found["what"].replace("_", " ") for found in item["attention"])),
    }


def steps(phase: Phase, *, drift: bool) -> list[str]:
    """
    Return the phases that a page offers to step to.

    Legacy is always among them, unless the course and its flags are there already. With ``drift`` the phase in force
    is among them too: that step sets the flags back to it.
    """
    return [step.value for step in Phase if step in allowed_steps(phase) or (step is phase and drift)]


def trend(days: list[Day], today: date) -> Content:
    """
    Return the last days as bars: ``bars`` with their places in a drawing, ``text`` with the sums in words.

    A bar's height is the number of pairs compared, by their day of arrival; its lower part is those that diverge, drawn
    no smaller than can be seen.
    """
    known = {day["day"]: day for day in days}
    wanted = [(today - timedelta(days=back)).isoformat() for back in reversed(range(DAYS))]
    counts = [(day, known[day]["compared"], known[day]["diverged"]) for day in wanted if day in known]
    most = max((compared for _, compared, _ in counts), default=0)
    bars = []
    for place, day in enumerate(wanted):
        compared, diverged = next(((all_, bad) for name, all_, bad in counts if name == day), (0, 0))
        height = max(_HEIGHT * compared / most, 1.0) if compared else 0.0
        bad = min(max(_HEIGHT * diverged / most, 2.0), height) if diverged else 0.0
        bars.append(
            {
                "day": day,
                "compared": compared,
                "diverged": diverged,
                "x": place * _STEP,
                "y": round(_HEIGHT - height, 1),
                "height": round(height - bad, 1),
                "bad_y": round(_HEIGHT - bad, 1),
                "bad_height": round(bad, 1),
            }
        )
    compared, diverged = sum(count[1] for count in counts), sum(count[2] for count in counts)
    text = f"{diverged} of {compared} diverge" if compared else "nothing compared"
    return {"bars": bars, "bar": _BAR, "width": DAYS * _STEP, "height": _HEIGHT, "text": text, "days": DAYS}


def _since(then: str | None, moment: datetime) -> str:
    return age((moment - datetime.fromisoformat(then)).total_seconds()) if then else ""


def _side(item: CourseStatus, side: Side) -> Content:
    """Return what one side holds of a course; ``rows`` is None where its database does not answer."""
    counts, oldest = item["in_flight"][side], item["in_flight_oldest_seconds"][side]
    if counts is None or oldest is None:
        return {"side": side, "rows": None, "oldest": "", "states": []}
    states = [{"state": state, "rows": rows, "oldest": age(oldest[state])} for state, rows in counts.items()]
    eldest = age(max(oldest.values())) if oldest else ""
    return {"side": side, "rows": sum(counts.values()), "oldest": eldest, "states": states}


def _run(kind: str, run: Mapping[str, Any] | None, moment: datetime) -> Content:
    if run is None:
        return {"kind": kind, "ago": "", "complete": None}
    return {"kind": kind, "ago": _since(run["finished_at"], moment), "complete": run["complete"]}
