"""
The faults that are planted, each as its real cause would leave the rows, and what must be found of each.

``prepare`` comes before any reconcile and ``plant`` after one or none; what a reconcile looks at only once a submission
(answer, residue, files) cannot be changed behind it: those faults are planted before the first one only.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from submissions.models import StudentItem

from migration_shim.core.data import DivergenceClass as Class
from migration_shim.core.data import Phase
from migration_shim.core.identity import FENCE
from tests.acceptance.faults.causes import (
    QUEUED,
    both_invalid,
    copy_never_came,
    entry,
    gave_up,
    graded,
    in_flight,
    item,
    legacy,
    legacy_again,
    never_leased,
    no_copy_yet,
    no_legacy,
    no_score,
    no_target,
    only_message,
    other_answer,
    other_file,
    other_learner_inside,
    overtaken,
    real_row_retired,
    refused,
    retention,
    retired_for_nothing,
    reverse_with_real_callback,
    rounded,
    second_detail,
    stuck,
    superseded,
    target,
    target_failed,
    unfenced,
    unfinished,
    unknown,
)
from tests.builders.clean_pairs import Pair, reply
from tests.builders.rows import COURSE, QUEUE

BOTH = (Phase.SHADOW, Phase.LIVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way in which a pair goes wrong."""

    klass: Class
    plant: Callable[[Pair], None]
    prepare: Callable[[Pair], None] = lambda pair: None
    phases: tuple[Phase, ...] = BOTH
    #: Which pairs will do: "plain", "file", or "older" of two attempts.
    on: str = "plain"
    #: Only a first look can find it.
    once: bool = False
    #: A leak that belongs to no entry: it is a number of the course's.
    course_wide: bool = False


HALF = reply(0.5)
FAULTS = {
    "the target's rows are deleted": Fault(klass=Class.PRESENCE, plant=no_target),
    "the copy never came": Fault(klass=Class.PRESENCE, prepare=no_copy_yet, plant=copy_never_came),
    "legacy refused it and has it": Fault(
        # In live the authority is the target, whose refusal is a rollback: there is nothing that could be stored.
        klass=Class.STORED_AFTER_REFUSAL,
        prepare=refused,
        plant=legacy_again,
        phases=(Phase.SHADOW,),
    ),
    "legacy gave up": Fault(klass=Class.STATE, plant=gave_up),
    "the target failed it": Fault(klass=Class.STATE, plant=target_failed),
    "the target retired it for no newer attempt": Fault(klass=Class.STATE, plant=retired_for_nothing),
    "right on one side": Fault(
        klass=Class.CORRECTNESS, plant=lambda pair: graded(pair, reply(0.5, correct=False), HALF, 2)
    ),
    "invalid on one side": Fault(klass=Class.CORRECTNESS, plant=lambda pair: graded(pair, "<html>", HALF, 2)),
    "raises on one side": Fault(
        klass=Class.CORRECTNESS,
        plant=lambda pair: graded(pair, '{"correct": true, "score": 1, "msg": 5}', HALF, 2),
    ),
    "another score": Fault(klass=Class.SCORE, plant=lambda pair: graded(pair, reply(0.25), reply(0.75), 3)),
    "points on the target, a share on legacy": Fault(
        klass=Class.SCALE, plant=lambda pair: graded(pair, HALF, reply(2), 8)
    ),
    "points on both sides": Fault(klass=Class.SCALE, plant=lambda pair: graded(pair, reply(2), reply(2), 8)),
    "above the maximum": Fault(klass=Class.OUT_OF_RANGE, plant=lambda pair: graded(pair, reply(7), reply(7), 28)),
    "the Score was changed": Fault(klass=Class.STORED_POINTS, plant=lambda pair: graded(pair, HALF, HALF, 3)),
    "another answer": Fault(klass=Class.PAYLOAD, plant=other_answer, once=True),
    "another residue": Fault(
        klass=Class.PAYLOAD, plant=lambda pair: entry(pair, grader_payload='{"grader": "other.py"}'), once=True
    ),
    "pulled from edx-submissions' own endpoint": Fault(
        klass=Class.PAYLOAD, plant=lambda pair: target(pair, pullkey="e" * 32)
    ),
    "another file": Fault(klass=Class.FILES, plant=other_file, on="file", once=True),
    "a StudentItem of another learner": Fault(
        klass=Class.IDENTITY,
        plant=lambda pair: item(pair, student_id=pair.item.student_id[:-4] + "beef"),
    ),
    "another learner in student_info": Fault(klass=Class.IDENTITY, plant=other_learner_inside, once=True),
    "the newer attempt was handed out first": Fault(
        klass=Class.ORDER, prepare=never_leased, plant=overtaken, on="older"
    ),
    "two rows under one key": Fault(klass=Class.DUPLICATE, plant=second_detail),
    "legacy has it twice, both alive": Fault(
        # Two reverse shadows of one submission retire each other on legacy: same callback.
        klass=Class.DUPLICATE,
        prepare=in_flight,
        # Within a minute it is the same from two tabs at once.
        plant=lambda pair: legacy_again(pair, **QUEUED, arrival_time=pair.legacy.arrival_time + timedelta(seconds=61)),
        phases=(Phase.SHADOW,),
    ),
    "nothing moves it any more": Fault(klass=Class.STUCK, plant=stuck),
    "two hours on the target": Fault(
        klass=Class.LATENCY,
        plant=lambda pair: target(pair, status_time=pair.detail.created_at + timedelta(hours=2)),
    ),
    "legacy lost it in flight": Fault(klass=Class.LOST, prepare=in_flight, plant=no_legacy),
    "the Score is gone": Fault(klass=Class.LOST, plant=no_score),
    "alive on both": Fault(
        klass=Class.DOUBLE_AUTHORITY,
        prepare=real_row_retired,
        plant=lambda pair: legacy(pair, retired=False, grader_id=""),
        phases=(Phase.LIVE,),
    ),
    "a handoff saw both": Fault(
        # In shadow only a move makes a second authority, and only it can have seen that.
        klass=Class.DOUBLE_AUTHORITY,
        plant=lambda pair: entry(pair, double_authority=True),
    ),
    "no fence at all": Fault(klass=Class.FENCE_LEAK, plant=unfenced, phases=(Phase.SHADOW,)),
    "the learner's own key": Fault(
        klass=Class.FENCE_LEAK,
        plant=lambda pair: target(pair, queue_key=json.loads(pair.entry.raw_header)["lms_key"]),
        phases=(Phase.SHADOW,),
    ),
    "the graders' own queue": Fault(
        klass=Class.FENCE_LEAK, plant=lambda pair: target(pair, queue_name=QUEUE), phases=(Phase.SHADOW,)
    ),
    "the student's half of the fence": Fault(
        klass=Class.FENCE_LEAK,
        plant=lambda pair: item(pair, item_id=pair.item.item_id.removeprefix(FENCE)),
        phases=(Phase.SHADOW,),
        course_wide=True,
    ),
    "the item's half of the fence": Fault(
        klass=Class.FENCE_LEAK,
        plant=lambda pair: item(pair, student_id=pair.item.student_id.removeprefix(FENCE)),
        phases=(Phase.SHADOW,),
        course_wide=True,
    ),
    "a half fence beside real rows": Fault(
        klass=Class.FENCE_LEAK,
        plant=lambda pair: (
            StudentItem.objects.create(
                student_id=FENCE + pair.entry.learner, course_id=COURSE, item_id=pair.entry.item_id, item_type="problem"
            )
            and None
        ),
        phases=(Phase.LIVE,),
        course_wide=True,
    ),
    "a reverse shadow with a learner's callback": Fault(
        klass=Class.FENCE_LEAK, plant=reverse_with_real_callback, phases=(Phase.LIVE,), course_wide=True
    ),
}

#: Classes that one phase cannot have, and why.
IMPOSSIBLE = {
    (Class.STORED_AFTER_REFUSAL, Phase.LIVE): "the target refuses by rolling back; a reverse shadow is owed to nobody",
    # An entry of its own, and no pair: planted in tests/comparison/test_wrong_side.py.
    (Class.WRONG_SIDE, Phase.SHADOW): "legacy is the right side",
    (Class.WRONG_SIDE, Phase.LIVE): "it has no copy that it could differ from",
    # Not of the two systems but of the learner's state: planted in tests/delivery.
    (Class.UNDELIVERED, Phase.SHADOW): "legacy's own losses hold no course back",
    (Class.UNDELIVERED, Phase.LIVE): "no fault of a pair",
}


def in_shadow(cause: Callable[[Pair], None]) -> Callable[[Pair], None]:
    """A cause that a pair of shadow can have, and no other."""
    return lambda pair: cause(pair) if pair.entry.phase == Phase.SHADOW else None


#: What looks like a fault and is none; of each the class that it would have.
CLEAN = {
    "gone by retention": Fault(klass=Class.LOST, plant=retention),
    "rounded": Fault(klass=Class.STORED_POINTS, plant=rounded),
    "other words": Fault(klass=Class.CORRECTNESS, plant=only_message),
    "both invalid": Fault(klass=Class.CORRECTNESS, plant=both_invalid),
    # The linker finds it, and a worker makes its copy. In live there is no such row.
    "a row that the router never saw": Fault(
        klass=Class.PRESENCE, prepare=in_shadow(unknown), plant=in_shadow(legacy_again)
    ),
    "both in flight": Fault(klass=Class.STATE, prepare=unfinished, plant=lambda pair: None),
    "superseded on both": Fault(klass=Class.STATE, prepare=superseded, plant=lambda pair: None, on="older"),
}
