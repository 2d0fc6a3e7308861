"""Changing the rows of a pair as the causes of faults would, and as harmless things would that look like one."""

import copy
import json
from datetime import timedelta

from django.utils.timezone import now
from submissions.models import ExternalGraderDetail, Score, StudentItem, Submission, SubmissionFile

from migration_shim.core.data import Leg, Move, Origin, Phase
from migration_shim.core.identity import FENCE
from migration_shim.models import LedgerEntry, LegacySubmission
from tests.builders.clean_pairs import POINTS, Pair, reply
from tests.builders.rows import QUEUE

# Changing rows


def entry(pair: Pair, **columns: object) -> None:
    assert LedgerEntry.objects.filter(identity=pair.identity).update(**columns) == 1


def legacy(pair: Pair, **columns: object) -> None:
    assert LegacySubmission.objects.filter(pk=pair.legacy.pk).update(**columns) == 1


def target(pair: Pair, **columns: object) -> None:
    assert ExternalGraderDetail.objects.filter(pk=pair.detail.pk).update(**columns) == 1


def item(pair: Pair, **columns: object) -> None:
    assert StudentItem.objects.filter(pk=pair.item.pk).update(**columns) == 1


def graded(pair: Pair, mine: str, theirs: str, stored: int) -> None:
    """Legacy's reply, the target's reply, and the points that edx-submissions 4.0.2 keeps for the latter."""
    legacy(pair, grader_reply=mine)
    target(pair, grader_reply=theirs)
    Score.objects.filter(pk=pair.score.pk).update(points_earned=stored)


def no_score(pair: Pair) -> None:
    assert Score.objects.filter(pk=pair.score.pk).delete()[0]


def no_target(pair: Pair) -> None:
    """The rows of the target are gone, the StudentItem apart."""
    ExternalGraderDetail.objects.filter(pk=pair.detail.pk).delete()
    Score.objects.filter(pk=pair.score.pk).delete()
    assert Submission._objects.filter(pk=pair.submission.pk).delete()[0]


def no_legacy(pair: Pair) -> None:
    assert LegacySubmission.objects.filter(pk=pair.legacy.pk).delete()[0]


def legacy_again(pair: Pair, **columns: object) -> None:
    """The same row once more, with an id of its own."""
    row = copy.copy(pair.legacy)
    row.pk, row._state = None, copy.copy(row._state)
    row._state.adding = True
    for name, value in columns.items():
        setattr(row, name, value)
    row.save(force_insert=True)


QUEUED = {"retired": False, "lms_ack": False, "pull_time": None, "return_time": None, "grader_reply": "", "pullkey": ""}


def in_flight(pair: Pair) -> None:
    """Neither side has begun."""
    legacy(pair, **QUEUED)
    target(pair, status="pending", grader_reply=None, pullkey=None, status_time=pair.detail.created_at)
    no_score(pair)
    entry(pair, lease_key="", leased_at=None, leases=0)


# The faults


def just_arrived(pair: Pair) -> None:
    entry(pair, arrived_at=now(), created_at=now())


def no_copy_yet(pair: Pair) -> None:
    """The learner's submission is accepted a moment ago, and its copy is on the way."""
    just_arrived(pair)
    if pair.entry.phase == Phase.SHADOW:
        no_target(pair)
        entry(pair, target_leg=Leg.MISSING, target_submission_id=None)
        legacy(pair, arrival_time=now())
    else:
        no_legacy(pair)
        entry(pair, legacy_leg=Leg.MISSING, legacy_id=None)
        target(pair, created_at=now())


def copy_never_came(pair: Pair) -> None:
    """Time passes."""
    entry(pair, arrived_at=pair.entry.arrived_at)
    if pair.entry.phase == Phase.SHADOW:
        legacy(pair, arrival_time=pair.legacy.arrival_time)
    else:
        target(pair, created_at=pair.detail.created_at)


def unknown(pair: Pair) -> None:
    no_legacy(pair)
    no_target(pair)
    LedgerEntry.objects.filter(identity=pair.identity).delete()


def refused(pair: Pair) -> None:
    no_legacy(pair)
    no_target(pair)
    entry(
        pair,
        legacy_leg=Leg.FAILED,
        legacy_reason="refused",
        target_leg=Leg.NONE,
        target_submission_id=None,
        lease_key="",
        leased_at=None,
        leases=0,
    )


def gave_up(pair: Pair) -> None:
    legacy(pair, num_failures=4, lms_ack=False, grader_reply="")


def target_failed(pair: Pair) -> None:
    target(pair, status="failed", grader_reply=None, num_failures=5)
    no_score(pair)


def retired_for_nothing(pair: Pair) -> None:
    target(pair, grader_reply=None)
    no_score(pair)


def other_answer(pair: Pair) -> None:
    Submission._objects.filter(pk=pair.submission.pk).update(answer="y = 1\n")


def other_learner_inside(pair: Pair) -> None:
    info = json.loads(pair.entry.student_info) | {"anonymous_student_id": "f" * 32}
    entry(pair, student_info=json.dumps(info))


def other_file(pair: Pair) -> None:
    stored = SubmissionFile.objects.get(external_grader_id=pair.detail.pk).file
    name, storage = stored.name, stored.storage
    storage.delete(name)
    with storage.open(name, "wb") as file:
        file.write(b"another learner's")


def never_leased(pair: Pair) -> None:
    """The older attempt is still waiting for a grader of the target."""
    target(pair, status="pending", grader_reply=None, pullkey=None, status_time=pair.detail.created_at)
    no_score(pair)
    entry(pair, lease_key="", leased_at=None, leases=0)


def overtaken(pair: Pair) -> None:
    assert pair.newer is not None
    late = pair.newer.entry.leased_at + timedelta(seconds=60)
    entry(pair, lease_key=pair.entry.lease_key, leased_at=late, leases=1)
    target(
        pair,
        status="retired",
        grader_reply=pair.detail.grader_reply,
        pullkey=pair.entry.lease_key,
        status_time=late + timedelta(seconds=5),
    )
    if not Score.objects.filter(pk=pair.score.pk).exists():
        Score.objects.bulk_create([pair.score])


def second_detail(pair: Pair) -> None:
    """Two writers have written the same copy, or the same submission, under one key."""
    again = Submission._objects.create(student_item_id=pair.item.pk, attempt_number=2, answer=pair.submission.answer)
    ExternalGraderDetail.objects.create(
        submission=again,
        queue_name=pair.detail.queue_name,
        queue_key=pair.detail.queue_key,
        points_possible=POINTS,
        status="pending",
    )


def stuck(pair: Pair) -> None:
    target(pair, status="pulled", grader_reply=None, status_time=now() - timedelta(hours=2))
    no_score(pair)


def real_row_alive(pair: Pair) -> None:
    """A handoff has released the target's row, and legacy's own came back to life."""
    url = json.loads(pair.entry.raw_header)["lms_callback_url"]
    legacy(pair, **(QUEUED | {"xqueue_header": pair.entry.raw_header, "lms_callback_url": url[:128]}), queue_name=QUEUE)
    entry(pair, move=Move.RELEASED, moved_at=now(), origin=Origin.HANDOFF, legacy_id=pair.legacy.pk)


def real_row_retired(pair: Pair) -> None:
    """The clean end of a handoff: legacy's row is retired, with our mark."""
    real_row_alive(pair)
    legacy(pair, retired=True, grader_id="migration_shim:handoff")


def unfenced(pair: Pair) -> None:
    item(
        pair,
        student_id=pair.item.student_id.removeprefix(FENCE),
        course_id=pair.item.course_id.removeprefix(FENCE),
        item_id=pair.item.item_id.removeprefix(FENCE),
    )


def reverse_with_real_callback(pair: Pair) -> None:
    header = json.loads(pair.entry.raw_header) | {"queue_name": pair.legacy.queue_name}
    legacy_again(
        pair,
        xqueue_header=json.dumps(header),
        lms_callback_url=header["lms_callback_url"][:128],
    )


# What looks like a fault and is none


def retention(pair: Pair) -> None:
    """Legacy's own clean-up removes what it has graded."""
    no_legacy(pair)


def rounded(pair: Pair) -> None:
    graded(pair, reply(0.3), reply(0.3), 1)


def only_message(pair: Pair) -> None:
    legacy(pair, grader_reply=pair.legacy.grader_reply.replace("ok", "fine"))


def both_invalid(pair: Pair) -> None:
    """No message in either; edx-submissions stores the score of such a reply, and CAPA wipes the result."""
    graded(pair, "<html>", '{"correct": true, "score": 1}', 4)


def unfinished(pair: Pair) -> None:
    in_flight(pair)


def superseded(pair: Pair) -> None:
    """Both sides have replaced the older attempt before it was graded."""
    legacy(pair, lms_ack=False, return_time=None, grader_reply="")
    target(pair, grader_reply=None)
    no_score(pair)
    entry(pair, superseded_at=now())
