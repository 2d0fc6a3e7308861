"""The steps of a handoff between which anything may happen: pulls, results, newer attempts, a second session, death."""

from contextlib import contextmanager, suppress
from datetime import timedelta

import pytest
from django.db import connections
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail, Submission

from migration_shim import conf
from migration_shim.backfill.handoff import plan as handoff_plan
from migration_shim.backfill.handoff import steps as handoff_steps
from migration_shim.backfill.handoff.finish import finish, watch
from migration_shim.backfill.handoff.steps import Done
from migration_shim.backfill.request import Mode, Request
from migration_shim.copies import retire_replaced
from migration_shim.core.data import Authority, ExitCode, Leg, Move, Origin
from migration_shim.core.wire import parse_envelope
from migration_shim.ledger import attempts
from migration_shim.legacy import files
from migration_shim.legacy import rows as legacy_rows
from migration_shim.models import LedgerEntry, LegacySubmission
from tests.builders import handing_off as world
from tests.builders import rows
from tests.builders.rows import fresh  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])


def classed(row):
    settings = conf.load()
    policy = handoff_plan.policy(Request(mode=Mode.HANDOFF), settings)
    (candidate,) = handoff_plan.class_page(
        list(legacy_rows.by_id([row.pk]).values()), policy, files.legacy_storage(settings)
    )
    return candidate


def hold(row):
    candidate = classed(row)
    assert candidate.decision.row_class == "imported", candidate.decision
    settings = conf.load()
    return handoff_steps.hold(candidate.parsed, candidate.keys, files.legacy_storage(settings), settings), candidate


def held_and_fenced(row):
    entry, candidate = hold(row)
    assert handoff_steps.fence(entry, candidate.rows, conf.load()) is Done.FENCED
    return LedgerEntry.objects.get(pk=entry.pk)


def released(row):
    held_and_fenced(row)
    assert world.step() == ["released"]
    return LedgerEntry.objects.get(legacy_id=row.pk)


@contextmanager
def before(alias, start, action):
    """Do something once, before the ORM's first statement on a database that begins so."""
    done = []

    def look(execute, sql, params, many, context):
        if sql.startswith((f'{start} "', f"{start} `")) and not done:
            done.append(sql)
            action()
        return execute(sql, params, many, context)

    with connections[alias].execute_wrapper(look):
        yield
    assert done, f"no statement began with {start!r}"


def newer(user=7, **columns):
    """The learner's next attempt at the same input, accepted by the target, as the router leaves it."""
    row = world.submitted(user, age=timedelta(minutes=1), **columns)
    envelope = parse_envelope(row.xqueue_header, row.xqueue_body)
    parsed = classed(row).parsed
    LegacySubmission.objects.filter(pk=row.pk).delete()
    entry = LedgerEntry.objects.create(
        identity=parsed.digests.identity,
        group=parsed.digests.group,
        course_id=rows.COURSE,
        item_id=envelope.callback.item_id,
        input_key=parsed.input_key,
        learner=envelope.body.anonymous_student_id,
        queue_name=rows.QUEUE,
        phase="live",
        authority="target",
        origin="router",
        arrived_at=now(),
        legacy_leg=Leg.NONE,
        target_leg=Leg.STORED,
        raw_header=row.xqueue_header,
        student_info=envelope.body.student_info,
    )
    return entry, lambda: retire_replaced.retire_replaced_attempts(
        entry, attempts.queued([entry]).get(entry.pk), conf.load()
    )


def is_legacys(row, entry=None):
    """Legacy's graders have the row, and the target knows nothing of it."""
    stored = LegacySubmission.objects.get(pk=row.pk)
    assert not stored.retired
    entry = LedgerEntry.objects.get(legacy_id=row.pk)
    assert (entry.move, entry.moved_at, entry.real_submission_id) == (Move.NONE, None, None)
    assert entry.authority == Authority.LEGACY
    assert sum(world.leftovers().values()) == 0
    return entry


# The way through


@pytest.mark.parametrize("shadowed", [False, True])
def test_step_by_step(live, shadowed):
    row = world.submitted()
    if shadowed:
        rows.backfill()
    shadow = LedgerEntry.objects.values_list("target_submission_id", flat=True).first()
    entry, candidate = hold(row)
    detail = ExternalGraderDetail.objects.get(submission_id=entry.real_submission_id)
    item = detail.submission.student_item
    assert (detail.queue_name, detail.status, detail.pullkey or "") == (world.HELD, "pending", "")
    assert (item.student_id, item.item_id) == (rows.anonymous_id(7), rows.usage_key("a" * 32))
    assert detail.created_at == detail.status_time == row.arrival_time
    assert (entry.move, entry.target_submission_id) == (Move.HELD, shadow)
    assert entry.origin == (Origin.BACKFILL if shadowed else Origin.HANDOFF)
    assert not LegacySubmission.objects.get(pk=row.pk).retired

    assert handoff_steps.fence(entry, candidate.rows, conf.load()) is Done.FENCED
    stored = LegacySubmission.objects.get(pk=row.pk)
    assert (stored.retired, stored.pullkey, stored.grader_id) == (True, "", f"migration_shim:{entry.pk}")
    assert (stored.pull_time, stored.return_time, stored.lms_ack) == (None, None, False)
    assert world.grade_on_target() == 0  # nobody has it

    assert world.step() == ["released"]
    entry.refresh_from_db()
    assert (entry.move, entry.authority, entry.target_leg) == (Move.RELEASED, Authority.TARGET, Leg.STORED)
    assert entry.target_submission_id == entry.real_submission_id == detail.submission_id
    assert entry.shadow_submission_id == shadow
    assert world.step() == ["watched"]
    assert world.step() == []
    assert world.grade_on_target() == 1
    assert world.deliveries() == {(7, True): 1}
    if shadowed:
        assert ExternalGraderDetail.objects.get(submission_id=shadow).status == "retired"


def test_what_the_entry_knew_of_the_shadow_is_set_aside(live):
    row = world.submitted()
    rows.backfill()
    LedgerEntry.objects.update(lease_key="k", leased_at=now(), leases=2, echo=True, result="diverged", graded_pair=True)
    entry = released(row)
    assert (entry.shadow_lease_key, entry.lease_key, entry.leased_at, entry.leases) == ("k", "", None, 0)
    assert (entry.echo, entry.result, entry.graded_pair) == (False, "none", False)


def test_a_graded_shadow_stays_as_it_is(live):
    row = world.submitted()
    rows.backfill()
    rows.grade_target()
    entry = released(row)
    shadow = ExternalGraderDetail.objects.get(submission_id=entry.shadow_submission_id)
    assert (shadow.status, shadow.grader_reply) == ("retired", rows.RIGHT)


def test_nothing_is_done_before_its_time(live, shim):
    shim(HANDOFF_SETTLE_SECONDS=60)
    entry = held_and_fenced(world.submitted())
    clock = legacy_rows.clock()
    assert finish(entry, conf.load(), clock + timedelta(seconds=55)) is Done.WAITING
    assert finish(entry, conf.load(), clock + timedelta(seconds=65)) is Done.RELEASED


# Graders of legacy in between


def test_a_row_pulled_before_the_fence_stays_with_legacy(live, shim):
    shim(PROCESSING_DELAY_SECONDS=60)
    row, xqueue = world.submitted(), world.xqueue()
    with before("xqueue", "UPDATE", lambda: xqueue.hand_out(xqueue.read(world.QUEUE))):
        content = world.run().content
    assert (content["released"], content["dropped"], content["held"]) == (0, 1, 0)
    assert content["reasons"]["drain"] == {"under_live_pull": 1}
    is_legacys(row)


def test_a_stalled_pull_brings_the_row_back_before_it_is_released(live):
    row, xqueue = world.submitted(), world.xqueue()
    read = xqueue.read(world.QUEUE)
    held_and_fenced(row)
    key = xqueue.hand_out(read)
    assert world.step() == ["dropped"]
    is_legacys(row)
    assert xqueue.put(row.pk, key, rows.RIGHT)
    assert world.deliveries() == {(7, True): 1}


def test_a_stalled_pull_that_was_answered_before_the_release(live):
    row, xqueue = world.submitted(), world.xqueue()
    read = xqueue.read(world.QUEUE)
    held_and_fenced(row)
    assert xqueue.put(row.pk, xqueue.hand_out(read), rows.RIGHT)
    assert world.step() == ["dropped"]
    assert LedgerEntry.objects.get().move == Move.NONE
    assert sum(world.leftovers().values()) == 0
    assert (world.grade_on_target(), world.deliveries()) == (0, {(7, True): 1})


def test_a_late_grader_is_refused_once_the_row_is_fenced(live):
    row, xqueue = world.submitted(), world.xqueue(timedelta(0))
    key = xqueue.hand_out(xqueue.read(world.QUEUE))
    rows.change([row], pull_time=now() - timedelta(minutes=5))
    held_and_fenced(row)
    assert not xqueue.put(row.pk, key, rows.RIGHT)
    assert world.step() == ["released"]


@pytest.mark.parametrize("answered", [False, True])
def test_a_pull_that_stalled_longer_than_the_settle_time_is_double_authority(live, answered):
    row, xqueue = world.submitted(), world.xqueue()
    read = xqueue.read(world.QUEUE)
    entry = released(row)
    key = xqueue.hand_out(read)
    if answered:
        assert xqueue.put(row.pk, key, rows.RIGHT)
    assert world.step() == ["double_authority"]
    entry.refresh_from_db()
    assert (entry.double_authority, entry.move) == (True, Move.WATCHED)
    assert LegacySubmission.objects.get(pk=row.pk).retired
    assert not xqueue.put(row.pk, key, rows.RIGHT) or answered
    document, _ = rows.reconcile()
    assert document.content["double_authority"] == 1
    assert document.exit_code & ExitCode.DIFFERENCES


def test_a_row_that_comes_back_after_the_watch_is_retired_again_by_the_next_run(live):
    row, xqueue = world.submitted(), world.xqueue()
    read = xqueue.read(world.QUEUE)
    entry = released(row)
    assert world.step() == ["watched"]
    key = xqueue.hand_out(read)
    document = world.run()
    assert document.content["double_authority"] == 1
    assert document.exit_code & ExitCode.DIFFERENCES
    assert not xqueue.put(row.pk, key, rows.RIGHT)
    entry.refresh_from_db()
    assert entry.double_authority


def test_a_double_authority_that_reconcile_finds_outlives_legacys_row(live):
    """A pull stalled for longer than settle time and watch together; then retention takes the row that shows it."""
    row, xqueue = world.submitted(), world.xqueue()
    read = xqueue.read(world.QUEUE)
    released(row)
    assert world.step() == ["watched"]
    key = xqueue.hand_out(read)
    assert xqueue.put(row.pk, key, rows.RIGHT)
    assert rows.reconcile()[0].content["double_authority"] == 1
    LegacySubmission.objects.all().delete()
    document, found = rows.reconcile()
    assert document.content["double_authority"] == 1
    assert [item["class"] for item in found] == ["double_authority"]


def test_a_watch_leaves_a_row_alone_that_a_return_has_revived(live):
    row = world.submitted()
    entry = released(row)

    def give_back():
        LedgerEntry.objects.update(move=Move.RETURNED, authority=Authority.LEGACY)
        rows.change([row], retired=False, grader_id="")

    with before("xqueue", "SELECT", give_back):
        assert watch(entry) is Done.ELSEWHERE
    assert not LegacySubmission.objects.get(pk=row.pk).retired
    assert not LedgerEntry.objects.get().double_authority


def test_a_watch_gives_back_what_it_has_fenced_under_a_return(live):
    """A stalled pull had brought the row back, the watch is about to fence it, and a return comes between."""
    row, xqueue = world.submitted(), world.xqueue()
    read = xqueue.read(world.QUEUE)
    entry = released(row)
    xqueue.hand_out(read)

    def give_back():
        LedgerEntry.objects.update(move=Move.RETURNED, authority=Authority.LEGACY)

    with before("xqueue", "UPDATE", give_back):
        assert watch(entry) is Done.ELSEWHERE
    left = LegacySubmission.objects.get(pk=row.pk)
    assert (left.retired, left.pull_time, left.pullkey, left.grader_id) == (False, None, "", "")


def test_every_row_of_a_submission_that_was_sent_twice_is_taken(live):
    row = world.submitted()
    columns = LegacySubmission.objects.filter(pk=row.pk).values().get() | {"id": None}
    twin = LegacySubmission.objects.create(**columns)
    content = world.run().content
    assert content["classes"] | {"imported": 1, "duplicate": 1} == content["classes"]
    assert content["dropped"] == 0
    assert not LegacySubmission.objects.filter(retired=False).exists()
    assert ExternalGraderDetail.objects.count() == 1
    assert LedgerEntry.objects.get().legacy_id == twin.pk


def test_a_twin_that_comes_back_keeps_the_submission_on_legacy(live):
    row, xqueue = world.submitted(), world.xqueue()
    twin = LegacySubmission.objects.create(**LegacySubmission.objects.filter(pk=row.pk).values().get() | {"id": None})
    read = LegacySubmission.objects.get(pk=row.pk)
    held_and_fenced(twin)
    xqueue.hand_out(read)
    assert world.step() == ["dropped"]
    is_legacys(row)


# Newer attempts in between


def superseded(row):
    assert LedgerEntry.objects.get(legacy_id=row.pk).superseded_at is not None
    assert world.grade_on_target() == 0
    assert not LegacySubmission.objects.filter(retired=False).exists()
    assert world.leftovers()["held"] == world.leftovers()["unknown"] == 0


@pytest.mark.parametrize("shadowed", [False, True])
def test_a_newer_attempt_between_hold_and_fence(live, shadowed):
    row = world.submitted()
    if shadowed:
        rows.backfill()
    entry, candidate = hold(row)
    newer()[1]()
    assert handoff_steps.fence(entry, candidate.rows, conf.load()) is Done.DROPPED
    superseded(row)


@pytest.mark.parametrize("shadowed", [False, True])
def test_a_newer_attempt_between_fence_and_release(live, shadowed):
    row = world.submitted()
    if shadowed:
        rows.backfill()
    held_and_fenced(row)
    newer()[1]()
    superseded_at = LedgerEntry.objects.get(legacy_id=row.pk).superseded_at
    assert superseded_at is not None
    assert world.step() == ["dropped"]
    superseded(row)
    assert LedgerEntry.objects.get(legacy_id=row.pk).superseded_at == superseded_at


def test_a_newer_attempt_after_the_release(live):
    row = world.submitted()
    entry = released(row)
    newer()[1]()
    superseded(row)
    assert ExternalGraderDetail.objects.get(submission_id=entry.real_submission_id).status == "retired"


def test_a_newer_attempt_that_looked_before_the_hold_and_again_after_the_fence(live):
    """The router's two looks, at the ledger and at legacy, may miss a row that is held and fenced between them."""
    row = world.submitted()
    newer()
    LedgerEntry.objects.update(arrived_at=now() + timedelta(seconds=1))
    entry, candidate = None, classed(row)
    assert candidate.decision.reason == "newer_attempt_on_target"
    settings = conf.load()
    entry = handoff_steps.hold(candidate.parsed, candidate.keys, None, settings)
    assert handoff_steps.fence(entry, candidate.rows, settings) is Done.FENCED
    assert world.step() == ["dropped"]
    superseded(row)


def test_a_row_that_the_router_could_not_retire_is_retired_and_not_moved(live):
    row = world.submitted()
    rows.backfill()
    newer()
    content = world.run().content
    assert content["reasons"]["superseded"] == {"newer_attempt_on_target": 1}
    assert (content["released"], content["held"]) == (0, 0)
    superseded(row)


def test_an_attempt_at_a_sibling_input_replaces_nothing(live):
    row = world.submitted()
    held_and_fenced(row)
    newer(response=3)[1]()
    assert world.step() == ["released"]
    assert LedgerEntry.objects.get(legacy_id=row.pk).superseded_at is None


def test_a_release_between_the_routers_look_and_its_lock(live, monkeypatch):
    row = world.submitted()
    entry = held_and_fenced(row)
    supersede = newer()[1]
    LedgerEntry.objects.filter(origin="router").update(student_info="", arrived_at=now() - timedelta(days=1))
    look = retire_replaced._supersede_held

    def late(pk):
        assert world.step() == ["released"]
        return look(pk)

    monkeypatch.setattr(retire_replaced, "_supersede_held", late)
    supersede()
    assert ExternalGraderDetail.objects.get(submission_id=entry.real_submission_id).status == "retired"
    superseded(row)


def test_supersession_and_release_take_turns_at_the_entry(live):
    """The router reads ``fenced``, the row is released, and only then does the router get the entry's lock."""
    row = world.submitted()
    entry = held_and_fenced(row)
    assert world.step() == ["released"]
    assert retire_replaced._supersede_held(entry.pk) == entry.real_submission_id
    entry.refresh_from_db()
    assert entry.superseded_at is None  # its target row is what is retired


# A second session, or none


def test_a_held_row_is_held_once(live):
    row = world.submitted()
    candidate = classed(row)
    hold(row)
    again = classed(row).decision
    assert (again.row_class, again.reason) == ("present", "held")
    assert handoff_steps.hold(candidate.parsed, candidate.keys, None, conf.load()) is None
    assert Submission.objects.count() == 1


def test_two_sessions_finish_one_row_once(live):
    row = world.submitted()
    seen = held_and_fenced(row)
    later = legacy_rows.clock() + timedelta(hours=1)
    assert finish(seen, conf.load(), later) is Done.RELEASED
    assert finish(seen, conf.load(), later) is Done.ELSEWHERE
    assert ExternalGraderDetail.objects.get().queue_name == world.QUEUE


def test_a_session_that_died_before_the_fence(live):
    row = world.submitted()
    hold(row)
    assert world.step() == ["dropped"]
    is_legacys(row)
    assert world.run().content["released"] == 1


def test_a_session_that_was_thought_dead_fences_nothing_any_more(live):
    row = world.submitted()
    entry, candidate = hold(row)
    assert world.step() == ["dropped"]
    assert not handoff_steps.writes.fence(candidate.row, f"migration_shim:{entry.pk}")  # and dies at last
    assert handoff_steps.fence(entry, candidate.rows, conf.load()) is Done.ELSEWHERE
    is_legacys(row)


def test_a_session_that_lost_its_hold_gives_back_what_it_fenced(live):
    row = world.submitted()
    entry, candidate = hold(row)
    handoff_steps.drop(entry, [], conf.load())  # by somebody who has not looked at legacy
    assert handoff_steps.fence(entry, candidate.rows, conf.load()) is Done.ELSEWHERE
    is_legacys(row)


def test_a_session_that_died_between_the_fence_and_the_ledger(live):
    row = world.submitted()
    entry, candidate = hold(row)
    assert handoff_steps.writes.fence(candidate.row, f"migration_shim:{entry.pk}")
    assert world.step() == ["fenced"]
    assert LedgerEntry.objects.get().moved_at > entry.moved_at
    assert world.step() == ["released"]


def test_legacys_retention_takes_the_row_and_the_learner_is_not_lost(live):
    row = world.submitted()
    held_and_fenced(row)
    LegacySubmission.objects.all().delete()
    assert world.step() == ["released"]
    assert world.grade_on_target() == 1


def test_a_held_row_that_somebody_deleted_goes_back_to_legacy(live):
    row = world.submitted()
    held_and_fenced(row)
    Submission._objects.all().delete()
    assert world.step() == ["dropped"]
    is_legacys(row)
    assert world.xqueue().read(world.QUEUE).pk == row.pk


def test_a_drop_never_touches_a_row_that_graders_have(live):
    row = world.submitted()
    entry = released(row)
    handoff_steps.transitions.drop(entry.real_submission_id, world.HELD)
    assert ExternalGraderDetail.objects.filter(submission_id=entry.real_submission_id).exists()


def test_a_reconcile_holds_nothing_against_a_row_that_was_handed_off(live):
    row = world.submitted()
    rows.backfill()
    held_and_fenced(row)
    for _ in range(3):
        content = rows.reconcile()[0].content
        assert [content[key] for key in ("diverged", "double_authority", "fence_leaks")] == [0] * 3
        world.step()


def test_a_row_that_waited_for_hours_on_legacy_is_not_overdue_at_the_moment_of_its_move(live):
    row = world.submitted()
    LegacySubmission.objects.using("xqueue").filter(pk=row.pk).update(arrival_time=now() - timedelta(hours=5))
    released(LegacySubmission.objects.using("xqueue").get(pk=row.pk))
    content = rows.reconcile()[0].content
    assert (content["overdue"], content["diverged"]) == (0, 0)


class Killed(BaseException):
    """The process is gone."""


@contextmanager
def death(number):
    """Die before the so-manieth statement that writes, on either database: what was committed before it stays."""
    seen = []

    def look(execute, sql, params, many, context):
        if sql.startswith(("INSERT", "UPDATE", "DELETE")) and "migration_shim_run" not in sql and len(seen) <= number:
            seen.append(sql)
            if len(seen) > number:
                raise Killed
        return execute(sql, params, many, context)

    with connections["default"].execute_wrapper(look), connections["xqueue"].execute_wrapper(look):
        yield seen


def prepare():
    world.forget()
    world.submitted()
    rows.backfill()


def test_death_before_any_statement_changes_nothing_of_the_end(live):
    prepare()
    world.run()
    ((expected, *rest),) = world.end_state()
    for number in range(100):
        prepare()
        with death(number) as seen, suppress(Killed):
            world.run()
        world.run()
        ((entry, *others),) = world.end_state()
        assert (entry[1:], others) == (expected[1:], rest), seen[-1]
        assert sum(world.leftovers().values()) == 0, seen[-1]
        if len(seen) <= number:
            break
    assert 10 < number < 99
