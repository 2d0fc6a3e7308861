"""
What must hold after every schedule, once workers, watch and graders of both systems have had their time.

Each rule gives the words for what it finds wrong; what a rule may excuse is what a page of the app shows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from django.utils.timezone import now
from submissions.models import ExternalGraderDetail

from migration_shim import toggles
from migration_shim.core.data import Authority, DivergenceClass, Move, Origin, PairStatus, Phase, Verdict
from migration_shim.core.phases import needs_permit
from migration_shim.cutover import gate
from migration_shim.models import CoursePhase, Divergence, LedgerEntry, LegacySubmission, PhaseChange, Run
from tests.acceptance.interleavings.operations import (
    COURSE,
    DIVERGED,
    FAILED,
    ON_LEGACY,
    ON_TARGET,
    QUEUE,
    STEPS,
    Attempt,
    Operation,
    World,
)
from tests.acceptance.interleavings.scheduler import Played
from tests.ledger.counters.oracle import complaints

#: Classes that say of one learner what went wrong; any other between equal graders was made by the app.
TOLD = {
    *(DivergenceClass.DOUBLE_AUTHORITY, DivergenceClass.LOST, DivergenceClass.STUCK, DivergenceClass.UNDELIVERED),
}
ROUNDS = 8


def broken(world: World, operations: tuple[Operation, Operation], played: list[Played]) -> list[str]:
    """Everything that does not hold after a schedule; the world is finished on the way."""
    found = list(_died_of_an_error(operations, played))
    passed = gate.evaluate_course(COURSE)[0].verdict is Verdict.PASS
    found += at_once(world)
    found += complaints()
    kept, open_rows = {user: _known_key(world, user) for user in (ON_LEGACY, ON_TARGET)}, _ungraded()
    try:
        rounds = world.finish(ROUNDS)
    except Exception as error:
        return [*found, f"what finishes the rest raised {type(error).__name__}: {error}"]
    if rounds == ROUNDS:
        found.append(f"after {rounds} rounds of the watch there is still something to do")
    for rule in (_learners, _copies, _left_over, _divergences, _register, _moves, _counters):
        found += rule(world)
    found += _replaced(world, kept, open_rows)
    return found + list(_permit(world, passed))


def _known_key(world: World, user: int) -> str:
    """The key that a state waits for, if the router has taken its attempt: one may have gone past the shim."""
    key = world.waits_for(user)
    entries = [attempt.entry for attempt in world.attempts if attempt.request.key == key]
    return key if any(entry is not None and entry.origin == Origin.ROUTER for entry in entries) else ""


def _died_of_an_error(operations: tuple[Operation, Operation], played: list[Played]) -> Iterator[str]:
    """An operation may refuse, with a reason; nothing else."""
    for operation, one in zip(operations, played, strict=True):
        if one.error is not None and not one.died and not isinstance(one.error, operation.refusals):
            yield f"{operation.name} raised {type(one.error).__name__}: {one.error}"


def _learners(world: World) -> Iterator[str]:
    """Accepted means graded, once: nobody waits, unless a page says so, and of several attempts one has a grade."""
    for user in (ON_LEGACY, ON_TARGET):
        key = world.waits_for(user)
        attempts = [attempt for attempt in world.attempts if attempt.user == user and attempt.answer]
        accepted = [attempt for attempt in attempts if not attempt.answer[0]]
        waiting = next((attempt for attempt in accepted if attempt.request.key == key), None)
        if waiting is not None and not _is_visible(world, waiting.entry) and not _left_by_xqueue(world, waiting):
            number = world.attempts.index(waiting)
            yield f"learner {user} waits for ever for attempt {number}, and no page says so: {_state(waiting.entry)}"


def _left_by_xqueue(world: World, attempt: Attempt) -> bool:
    """
    Whether XQueue itself has retired the row of an attempt, for another one that CAPA did not save after it.

    Of two tabs at once, or a sender that dies, it does so without the shim, too.
    """
    row = LegacySubmission.objects.filter(xqueue_header=attempt.request.header).first()
    return row is not None and row.pk in world.xqueue.retired_by_itself


def _is_visible(world: World, entry: LedgerEntry | None) -> bool:
    """Whether status, reconcile or the watch reports it."""
    if entry is not None and (entry.divergences or entry.result == PairStatus.OVERDUE):
        return True
    return any(course["breaches"] for course in world.watched["courses"])


def _state(entry: LedgerEntry | None) -> str:
    if entry is None:
        return "no entry"
    row = ExternalGraderDetail.objects.filter(submission_id=entry.target_submission_id).first()
    target = f"{row.status} on {row.queue_name}, {'graded' if row.grader_reply else 'no reply'}" if row else "no row"
    superseded = "superseded" if entry.superseded_at else "not superseded"
    return f"authority {entry.authority}, {superseded}, result {entry.result}; target {target}"


def _ungraded() -> set[int]:
    """The target's rows that no grader has answered for, by Submission id."""
    return set(ExternalGraderDetail.objects.filter(grader_reply=None).values_list("submission_id", flat=True))


def _replaced(world: World, kept: dict[int, str], open_rows: set[int]) -> Iterator[str]:
    """What the learner's state had left behind, ungraded, is replaced: no grader of the target works on it."""
    for attempt in world.attempts:
        key, entry = kept.get(attempt.user), attempt.entry
        if not key or attempt.request.key == key or not attempt.answer or attempt.answer[0] or entry is None:
            continue
        if entry.target_submission_id in open_rows and entry.target_submission_id not in _ungraded():
            yield f"attempt {world.attempts.index(attempt)} was graded on the target after a newer one had replaced it"


def _copies(world: World) -> Iterator[str]:
    """Each reply came from the system that had the submission for real; that both had it is on record."""
    sources = defaultdict(set)
    for key, source in world.delivered:
        sources[key].add(source)
    keys = {attempt.request.key: attempt for attempt in world.attempts}
    for key, found in sources.items():
        if key not in keys:
            yield f"a reply for a key that no learner has had, by {sorted(found)}"
            continue
        entry = keys[key].entry
        if found == {"callback", "event"} and not (entry and entry.double_authority):
            yield f"attempt {world.attempts.index(keys[key])} was graded by both systems, and that is not on record"
        moved = entry is not None and entry.move != Move.NONE
        authority = entry.authority if entry else Authority.LEGACY
        expected = "event" if authority == Authority.TARGET else "callback"
        if len(found) == 1 and found != {expected} and not moved:
            yield f"attempt {world.attempts.index(keys[key])} was graded by a copy, by {found}"


def _left_over(world: World) -> Iterator[str]:
    """No row is held, or leased, or on its way, by nobody."""
    for status, queue in ExternalGraderDetail.objects.filter(status="pulled").values_list("status", "queue_name"):
        yield f"a row on {queue} is {status}, and nobody has it"
    if held := ExternalGraderDetail.objects.filter(queue_name=f"{QUEUE}.held").exclude(status="retired").count():
        yield f"{held} rows are held, by nobody"
    known = {
        number
        for columns in LedgerEntry.objects.values_list(
            "target_submission_id", "real_submission_id", "shadow_submission_id"
        )
        for number in columns
    }
    if unknown := ExternalGraderDetail.objects.exclude(submission_id__in=known - {None}).count():
        yield f"{unknown} rows of the target that no entry knows"


def _moves(world: World) -> Iterator[str]:
    for move in LedgerEntry.objects.exclude(move__in=(Move.NONE, Move.WATCHED, Move.RETURNED)).values_list(
        "move", flat=True
    ):
        yield f"an entry is {move}, and nobody goes on with it"


def _divergences(world: World) -> Iterator[str]:
    """Graders agree here: a divergence that nobody has planted was invented."""
    planted = [f"{user:032x}" for user in (DIVERGED, FAILED)]
    rows = Divergence.objects.exclude(klass__in=TOLD).exclude(entry__learner__in=planted)
    # An XQueue that dies between its two statements has retired a row for nothing, and that is a difference.
    rows = rows.exclude(klass=DivergenceClass.STATE, entry__legacy_id__in=world.xqueue.retired_by_itself)
    for klass, what, origin in rows.values_list("klass", "what", "entry__origin"):
        yield f"an invented divergence ({klass}) of an entry by {origin}: {what}"


def _register(world: World) -> Iterator[str]:
    """An entry counts as known if, and only if, the register covers all in which it differs."""
    for entry in LedgerEntry.objects.filter(result__in=(PairStatus.KNOWN, PairStatus.DIVERGED)).exclude(divergences=""):
        open_ones = entry.differences.filter(known=None).values_list("klass", flat=True)
        if bool(open_ones) == (entry.result == PairStatus.KNOWN):
            yield f"an entry is {entry.result}, and the register does not cover: {', '.join(open_ones) or 'nothing'}"


def _counters(world: World) -> Iterator[str]:
    """The counters say what a count of the entries says."""
    return iter(complaints())


def at_once(world: World) -> list[str]:
    """
    What depends on who was first, and is asked after every schedule: two that end alike may differ in it.

    No course steps towards the target by hand after a run has found what speaks against it.
    """
    found = []
    for change in PhaseChange.objects.filter(course_id=COURSE, changed_by="flag"):
        before = Run.objects.filter(kind="reconcile", finished_at__lt=change.changed_at, complete=True).last()
        towards = needs_permit(Phase(change.step_from), Phase(change.step_to))
        if towards and before is not None and before.document["diverged"]:
            found.append(f"the course stepped to {change.step_to} by flag after a reconcile had found differences")
    return found


def _permit(world: World, passed: bool) -> Iterator[str]:
    """A permit that the evidence contradicts does not exist, and one that it bears out was not taken away."""
    toggles.new_work_cycle()
    record = CoursePhase.objects.get(course_id=COURSE)
    result, _ = gate.evaluate_course(COURSE)
    permitted = bool(record.permit) and record.permit_until > now()
    if permitted and result.verdict is Verdict.FAIL:
        yield f"a permit for {record.permit} beside a verdict of {result.verdict}: {result.reasons[0]}"
    stood = (
        world.had_permit
        and record.phase == world.phase
        and not PhaseChange.objects.filter(course_id=COURSE, changed_at__gt=world.began)
    )
    if stood and passed and result.verdict is Verdict.PASS and record.permit != STEPS[world.phase]:
        yield "a good permit was taken away, though the evidence bore it out before and does so now"
