"""What a step means for operations: queues that graders must poll, XQueue's settings, and the rows in flight."""

from __future__ import annotations

from ..conf import usable
from ..core.data import HELD, Authority, Move, Phase
from ..core.documents.cutover import FateOfRows, GraderTasks, InFlight
from ..core.grader_queues import served
from ..db import schema
from ..fields import exact
from ..ledger import counts
from ..legacy import open_rows as legacy_open_rows
from ..legacy.timeouts import AWAY, soon
from ..models import LedgerEntry
from ..runs import records as run_records
from ..target import open_rows as target_open_rows

#: Seconds that a step waits for legacy's counts.
COUNT_SECONDS = 1.0
_MOVES = {
    Authority.LEGACY: (
        "handoff",
        "They stay with legacy's graders until they are graded; XQueue delivers their grades.",
    ),
    Authority.TARGET: ("return", "They stay with the target's graders until they are graded; the target delivers."),
}


def queues_of(course_id: str) -> list[str]:
    """Return the queues that submissions of a course go to, by name, from the ledger and the last preflight."""
    if schema.is_behind():  # a step back to legacy must work on the tables of an older release
        names = exact(LedgerEntry.objects.filter(course_id=course_id), "queue_name")
    else:
        names = counts.queues(course_id)
    preflight = run_records.last_complete("preflight", course_id)
    return sorted(set(names) | set(preflight.document.get("queues", []) if preflight else []))


def in_flight(course_id: str) -> InFlight:
    """Count the rows of a course in flight by side and state; None for legacy if it does not answer in time."""
    legacy: dict[str, int] | None
    try:
        legacy = soon(lambda: legacy_open_rows.count_ours(legacy_open_rows.our_rows(), course_id), COUNT_SECONDS)
    except (*AWAY, TimeoutError):
        legacy = None  # flags can be flipped without the counts, and a step back must not wait for them
    return {Authority.LEGACY.value: legacy, Authority.TARGET.value: target_open_rows.count_by_status(course_id)}


def _on(side: Authority, counts: InFlight) -> dict[str, int] | None:
    return counts["legacy"] if side is Authority.LEGACY else counts["target"]


def rows_of_unknown_lms(course_id: str) -> dict[str, int] | None:
    """
    Count legacy's unretired rows of a course by callback host, of hosts that no setting names as anybody's.

    None where legacy's database does not answer.
    """
    try:
        return legacy_open_rows.count_unclaimed(legacy_open_rows.all_rows(), course_id)
    except AWAY:
        return None


def fate_of_rows(course_id: str, to: Phase, in_flight_now: InFlight) -> list[FateOfRows]:
    """
    Describe what a step does to the rows in flight.

    Args:
        course_id: the course.
        to: the phase to step to.
        in_flight_now: the counts of ``in_flight``.

    Returns:
        For each side that holds rows, and for rows between the systems: ``side``, ``rows`` (None where unknown),
        ``what`` (``stay``, ``drain``, ``held`` or ``returning``), ``how`` in words, and ``instead``: the command by
        which the rows change sides or are finished, or None.
    """
    found: list[FateOfRows] = []
    for side in Authority:
        by_state = _on(side, in_flight_now)
        if by_state is None or by_state:
            mode, drain = _MOVES[side]
            stays = side is to.authority
            found.append(
                {
                    "side": side.value,
                    "rows": None if by_state is None else sum(by_state.values()),
                    "what": "stay" if stays else "drain",
                    "how": f"They are graded on {side}, as new ones are." if stays else drain,
                    "instead": None if stays else f"xqueue_backfill --mode {mode} --course {course_id}",
                }
            )
    for what, mode, moves in (
        ("held", "handoff", HELD),
        ("returning", "return", (Move.RETURNING,)),
    ):
        rows = LedgerEntry.objects.filter(course_id=course_id, move__in=moves).count()
        if rows:
            how = "They are between the systems, and no grader has them: the move has to be finished."
            command = f"xqueue_backfill --mode {mode} --course {course_id} --execute"
            found.append({"side": "between", "rows": rows, "what": what, "how": how, "instead": command})
    return found


def grader_tasks(course_id: str, to: Phase, in_flight_now: InFlight) -> GraderTasks:
    """
    Return which queues graders must poll after a step (``serve``), and the entries of XQUEUES for them (``xqueues``).

    A queue is polled on a side for as long as that side holds rows of it, or may hold some.
    """
    settings, _ = usable()
    polled = list(
        served(
            to,
            queues_of(course_id),
            shadow_suffix=settings.shadow_queue_suffix,
            reverse_suffix=settings.reverse_queue_suffix,
            left=frozenset(side for side in Authority if _on(side, in_flight_now) != {}),
        )
    )
    return {
        "serve": [
            {"queue": queue.queue, "seam": queue.seam, "holds": queue.holds, "until_empty": queue.until_empty}
            for queue in polled
        ],
        # No URL: XQueue pushes the submissions of a queue that has one.
        "xqueues": {queue.queue: None for queue in polled if queue.seam is Authority.LEGACY},
    }
