"""What must hold of both databases after every step, read from the rows and never from what the app has answered."""

import json
from datetime import datetime

from opaque_keys import InvalidKeyError
from opaque_keys.edx.keys import UsageKey
from submissions.models import ExternalGraderDetail, Submission

from migration_shim.core.data import Authority
from migration_shim.models import LedgerEntry, LegacySubmission
from sandbox.lms.models import AnonymousUserId
from tests.builders import rows
from tests.builders.lms_around_router import (
    COURSE,
    HAND_OUT_LIMIT,
    HOLD,
    LEASE,
    LEASE_LIMIT,
    QUEUE,
    REVERSE,
    SHADOW,
    Sent,
    World,
)
from tests.builders.xqueue import MAX_NUMBER_OF_FAILURES

IN_FLIGHT = ("pending", "pulled", "retry")


def details(**which: object) -> list[ExternalGraderDetail]:
    """Rows of the target, with their StudentItem."""
    return list(ExternalGraderDetail.objects.filter(**which).select_related("submission__student_item"))


def both_sides(world: World) -> None:
    """The ledger, the target and legacy agree with what was sent, and every copy is fenced."""
    by_identity = {sent.identity: sent for sent in world.sent}
    keys = {sent.request.key for sent in world.sent}
    learners = set(AnonymousUserId.objects.values_list("anonymous_user_id", flat=True))
    entries = list(LedgerEntry.objects.all())
    assert len({entry.identity for entry in entries}) == len(entries)
    holders = {entry.target_submission_id: entry for entry in entries if entry.target_submission_id is not None}
    found = details()
    assert sorted(holders) == sorted(row.submission_id for row in found), "a row of the target without its entry"
    assert Submission._objects.count() == len(found), "an orphan Submission"
    for entry in entries:
        sent = by_identity[entry.identity]
        if entry.legacy_reason == "refused":
            assert (sent.authority, entry.target_submission_id) == (None, None), "refused, and it went somewhere"
        else:
            assert entry.authority == sent.authority
    for row in found:
        entry = holders[row.submission_id]
        _placed(row, by_identity[entry.identity], keys, learners)
        _superseded(row, entry)
    on_target = {holders[row.submission_id].identity for row in found}
    legacy = list(LegacySubmission.objects.all())
    for row in legacy:
        final = row.lms_ack or row.num_failures > MAX_NUMBER_OF_FAILURES or row.pk in world.xqueue.retired_by_itself
        assert final or not row.retired or row.pullkey == "", "retired by the shim, and a grader's reply goes through"
    on_legacy = [_legacy_row(row, by_identity, keys) for row in legacy]
    for sent in world.sent:
        if sent.authority is Authority.TARGET:
            assert sent.identity in on_target, "accepted, and not on the target"
        assert on_legacy.count(sent.identity) == (sent.authority is Authority.LEGACY), "on legacy, as its own"


def _placed(row: ExternalGraderDetail, sent: Sent, keys: set[str], learners: set[str]) -> None:
    """The authoritative row has the learner's identity and key; a shadow has neither, nor a queue of real rows."""
    item = row.submission.student_item
    learner, usage_key = rows.anonymous_id(sent.user), rows.usage_key(sent.problem)
    if sent.authority is Authority.TARGET:
        assert (item.student_id, item.course_id, item.item_id) == (learner, COURSE, usage_key)
        assert (row.queue_name, row.queue_key) == (QUEUE, sent.request.key)
        return
    assert item.student_id not in learners, "half a fence: the student"
    assert not _parses(item.item_id), "half a fence: the item"
    assert row.queue_name == SHADOW
    assert row.queue_key not in keys, "a shadow with a learner's key"


def _parses(item_id: str) -> bool:
    try:
        UsageKey.from_string(item_id)
    except InvalidKeyError:
        return False
    return True


def _superseded(row: ExternalGraderDetail, entry: LedgerEntry) -> None:
    done = row.status == "failed" or row.grader_reply is not None
    if entry.superseded_at is not None and entry.authority == Authority.LEGACY and done:
        pass  # a shadow that was done with when its attempt was replaced on legacy
    elif entry.superseded_at is not None:
        assert (row.status, row.pullkey, row.grader_reply) == ("retired", "", None), "superseded, and not harmless"
    elif row.status == "retired":
        assert row.grader_reply is not None, "retired without a reply, and not superseded"


def _legacy_row(row: LegacySubmission, by_identity: dict[str, Sent], keys: set[str]) -> str:
    """The identity of a row of legacy's own; empty for a reverse shadow, which must be fenced."""
    header = json.loads(row.xqueue_header)
    if header["lms_key"] in keys:
        sent = next(sent for sent in by_identity.values() if sent.request.key == header["lms_key"])
        assert (row.xqueue_header, row.queue_name) == (sent.request.header, QUEUE)
        return sent.identity
    assert "/courses/" not in header["lms_callback_url"], "a reverse shadow that calls the LMS back"
    assert row.queue_name == REVERSE
    assert by_identity[header["lms_key"].removeprefix("shadow:")].authority is Authority.TARGET
    return ""


def next_row(queue: list[ExternalGraderDetail], moment: datetime) -> tuple[int | None, set[int]]:
    """Which row of a queue is due, as Submission id, and which rows have died too often and fail on the way."""
    in_order = sorted(queue, key=lambda row: row.status_time)
    for row in in_order:
        if row.status == "pending" and row.status_time <= moment - HOLD:
            return row.submission_id, set()
    for row in in_order:
        if row.status == "retry":
            return row.submission_id, set()
    failing = set()
    for row in in_order:
        if row.status == "pulled" and row.status_time <= moment - LEASE:
            counts, limit = death(row)
            if not counts or row.num_failures + 1 < limit:
                return row.submission_id, failing
            failing.add(row.submission_id)
    return None, failing


def death(row: ExternalGraderDetail) -> tuple[bool, int]:
    """
    Whether the lease of a row counts that has run out, and how many may: all pulls are of one session, whose next
    request is this one. Of a lease that was not given by the seam nothing is known.
    """
    entry = LedgerEntry.objects.filter(target_submission_id=row.submission_id, lease_key=row.pullkey).first()
    if entry is None:
        return True, HAND_OUT_LIMIT
    return entry.lease_taken or (entry.lease_sent and entry.lease_session != ""), LEASE_LIMIT


def nobody_lost(world: World) -> None:
    """
    Every accepted submission that no newer attempt replaced was graded, or its learner was told that it was not.

    What is left out is lost without the shim as well: by XQueue a row that it retired for another input or problem of
    the learner (collided) and one that it gave up because the LMS refused the reply four times, and by edx-submissions'
    own endpoint a row that it failed for good, for it tells nobody.
    """
    for sent in world.sent:
        if sent.authority is None or sent.replaced or sent.outcome:
            continue
        if sent.authority is Authority.TARGET:
            entry = LedgerEntry.objects.get(identity=sent.identity)
            assert entry.target_submission_id in world.failed_upstream, f"lost: {sent.input}"
            continue
        row = LegacySubmission.objects.get(xqueue_header=sent.request.header)
        collided = row.pk in world.xqueue.retired_by_itself
        assert collided or row.num_failures > MAX_NUMBER_OF_FAILURES, f"lost on legacy, and not by it: {sent.input}"
