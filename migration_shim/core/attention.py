"""What an operator should look at in a course, with the commands to run: the same for screen and dashboard."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from . import codes, overrides
from .data import Authority, Phase
from .documents.status_course import Attention, SeenOfCourse
from .wording import counted, verb

#: (what, in words; the commands). Each check looks at one thing, and yields nothing where all is well.
Finding = tuple[str, list[str]]


def attention(course: SeenOfCourse) -> list[Attention]:
    """
    Return what there is to look at, the worst first: ``what`` (one of ``CHECKS``), ``text``, ``commands`` and
    the ``page`` of the runbook.

    Args:
        course: a course of the status document, without this part.
    """
    return [
        {"what": what, "text": text, "commands": commands, "page": codes.page("attention", what)}
        for what, check in CHECKS.items()
        for text, commands in check(course)
    ]


def age(seconds: float | None) -> str:
    """Return a time span in one unit: ``45 s``, ``12 min``, ``3 h``, ``5 d``."""
    if seconds is None:
        return "unknown"
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _fence_leaks(course: SeenOfCourse) -> Iterator[Finding]:
    if course["fence_leaks"]:
        text = (
            f"FENCE LEAK: {counted(course['fence_leaks'], 'copy', 'copies')} "
            f"{verb(course['fence_leaks'], 'has', 'have')} reached a learner, or could. No step past it."
        )
        yield text, [f"xqueue_reconcile --course {course['course']} --divergences leaks.jsonl"]


def _double_authority(course: SeenOfCourse) -> Iterator[Finding]:
    if course["double_authority"]:
        text = (
            f"DOUBLE AUTHORITY: both systems had {counted(course['double_authority'], 'submission')} for "
            "real. No step past it."
        )
        yield text, [f"xqueue_reconcile --course {course['course']} --divergences double.jsonl"]


def _undelivered(course: SeenOfCourse) -> Iterator[Finding]:
    if course["undelivered"]:
        lost = course["undeliverable"]
        text = (
            f"UNDELIVERED: {counted(course['undelivered'], 'learner')} "
            f"{verb(course['undelivered'], 'waits', 'wait')} for a grade that nobody brings"
        )
        more = f"; {lost} of them are undeliverable, and have to submit again" if lost else ""
        yield text + more + ".", [f"xqueue_watch --once --course {course['course']}"]


def _wrong_side(course: SeenOfCourse) -> Iterator[Finding]:
    if course["wrong_side"]:
        target = Phase(course["phase"]).authority is Authority.TARGET
        yield (
            f"WRONG SIDE: {counted(course['wrong_side'], 'submission')} reached legacy while the target "
            "was authoritative; their "
            "learners wait for legacy's graders",
            [f"xqueue_backfill --mode handoff --course {course['course']} --execute"] if target else [],
        )


def _passed_through(course: SeenOfCourse) -> Iterator[Finding]:
    if course["passed_through"]:
        yield (
            f"PASSED to legacy by rule: {counted(course['passed_through'], 'plot')}; legacy's graders have to go on",
            [],
        )


def _counters(course: SeenOfCourse) -> Iterator[Finding]:
    if course["counters_differed"]:
        yield (
            f"COUNTERS DIFFER: {course['counters_differed']} did not say what the ledger says, and were set right. "
            "Count once more; if it comes again, somebody writes to the tables past the shim",
            [f"xqueue_reconcile --course {course['course']} --full"],
        )


def _platform_flag(course: SeenOfCourse) -> Iterator[Finding]:
    if course["platform_flag"] and course["released_at"] is None:
        yield (
            "PAST THE SHIM: the platform's send_to_submission_course.enable is on, and nobody has released the course. "
            "Its submissions bypass the router. Turn the flag off.",
            [],
        )


def _drift(course: SeenOfCourse) -> Iterator[Finding]:
    if not course["drift"]:
        return
    words = f"xqueue_cutover --course {course['course']} --to"
    text = f"DRIFT: the flags ask for {course['asked']}, and nothing permits it: {course['drift_because']}."
    go = f"{words} {course['asked']} --reason TEXT"
    yield text, [go, f"{words} {course['phase']} --reason TEXT --execute"]


def _held(course: SeenOfCourse) -> Iterator[Finding]:
    if course["held"]["rows"]:
        held = course["held"]
        yield (
            f"HELD by a handoff: {counted(held['rows'], 'row')}, the oldest for {held['oldest_seconds']:.0f} s; "
            "no grader has them",
            [f"xqueue_backfill --mode handoff --course {course['course']} --execute"],
        )


def _returning(course: SeenOfCourse) -> Iterator[Finding]:
    if course["returning"]["rows"]:
        moving = course["returning"]
        yield (
            f"RETURNING to legacy: {counted(moving['rows'], 'row')}, the oldest for {moving['oldest_seconds']:.0f} s; "
            "no grader has them",
            [f"xqueue_backfill --mode return --course {course['course']} --execute"],
        )


def _failed(course: SeenOfCourse) -> Iterator[Finding]:
    if course["failed"]:
        yield (
            f"FAILED for good on the target: {counted(course['failed'], 'submission')}; their learners "
            "have to submit again",
            [],
        )


def _in_vain(course: SeenOfCourse) -> Iterator[Finding]:
    if course["handed_out_in_vain"]:
        yield (
            f"HANDED OUT IN VAIN: {counted(course['handed_out_in_vain'], 'submission')}, again and again, "
            "and no result comes. Is "
            "the seam slower than its graders wait, or do they die of them? Then end them.",
            [f"xqueue_fail --course {course['course']} --reason TEXT"],
        )


def _no_watcher(course: SeenOfCourse) -> Iterator[Finding]:
    for queue in course["queues_without_watcher"]:
        yield (
            f"NO WATCHER: {counted(queue['rows'], 'row')} {verb(queue['rows'], 'waits', 'wait')} in {queue['queue']} "
            f"on {queue['side']}, the oldest for {age(queue['oldest_seconds'])}, and nobody pulls",
            [f"xqueue_status --course {course['course']} --watcher-config"],
        )


def _unknown_queues(course: SeenOfCourse) -> Iterator[Finding]:
    for item in course["unknown_queues"]:
        yield (
            f"UNKNOWN QUEUE: XQueue does not know {item['copies']}, and has refused "
            f"{counted(item['rows'], 'copy', 'copies')} of {item['queue']}; add it to XQUEUES, or mend the "
            "queue name in the course",
            [f"xqueue_preflight --course {course['course']}"],
        )


def _new_queues(course: SeenOfCourse) -> Iterator[Finding]:
    for item in course["new_queues"]:
        yield f"NEW QUEUE: {item['queue']} has its first submissions since {item['since']}; is it meant?", []


def _stuck_leases(course: SeenOfCourse) -> Iterator[Finding]:
    if course["stuck_leases"]["rows"]:
        stuck = course["stuck_leases"]
        yield (
            f"STUCK: {counted(stuck['rows'], 'row')} of the target {verb(stuck['rows'], 'was', 'were')} "
            "pulled and not answered, the oldest "
            f"{age(stuck['oldest_seconds'])} ago; the next poll offers them again",
            [],
        )


def _strangers(course: SeenOfCourse) -> Iterator[Finding]:
    for host, rows in (course["strangers"] or {}).items():
        yield (
            f"UNKNOWN LMS: {counted(rows, 'open row')} of legacy {verb(rows, 'names', 'name')} the course and the host "
            f"{host}, and no setting says whose it is. "
            'Name it in MIGRATION_SHIM["CALLBACK_HOSTS"] or ["FOREIGN_CALLBACK_HOSTS"]; until then there is no '
            "step to live or complete.",
            [],
        )


def _copies(course: SeenOfCourse) -> Iterator[Finding]:
    for kind, counts in (("shadow", course["copies"]["shadow"]), ("reverse", course["copies"]["reverse"])):
        if counts:
            text = ", ".join(f"{number} {leg}" for leg, number in counts.items())
            command = f"xqueue_backfill --mode shadow --course {course['course']} --execute"
            yield (
                f"{kind} copies owed: {text}",
                [command] if kind == "shadow" else ["xqueue_watch --once"],
            )


def _overrides(course: SeenOfCourse) -> Iterator[Finding]:
    for item in course["overrides"]:
        yield overrides.used(item), []


def _override_proposals(course: SeenOfCourse) -> Iterator[Finding]:
    for item in course["override_proposals"]:
        step = f"xqueue_cutover --course {course['course']} --to {item['step_to']} --override"
        yield overrides.proposed(item), [f"{step} --reason TEXT"]


#: What is looked at, the worst first.
CHECKS: dict[str, Callable[[SeenOfCourse], Iterator[Finding]]] = {
    "fence_leak": _fence_leaks,
    "double_authority": _double_authority,
    "undelivered": _undelivered,
    "wrong_side": _wrong_side,
    "counters_differ": _counters,
    "past_the_shim": _platform_flag,
    "drift": _drift,
    "held": _held,
    "returning": _returning,
    "handed_out_in_vain": _in_vain,
    "failed": _failed,
    "no_watcher": _no_watcher,
    "unknown_queue": _unknown_queues,
    "stuck_leases": _stuck_leases,
    "unknown_lms": _strangers,
    "copies_owed": _copies,
    "passed_through": _passed_through,
    "new_queue": _new_queues,
    "override_proposed": _override_proposals,
    "override": _overrides,
}
