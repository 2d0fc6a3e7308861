"""
What to do about each class of divergence: who acts, what mends it, what ends it for the gate, what support says. Pure.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from .data import DETERMINISTIC, GRAVE, DivergenceClass
from .documents import reconcile_report as documents


class Actor(enum.StrEnum):
    """Who has to act first."""

    GRADERS = "grader team"
    COURSE = "course team"
    OPERATOR = "operator"


class Ending(enum.StrEnum):
    """What ends a divergence for the gate, in the order of what it asks."""

    PAIRS = "newer clean pairs of the same problem outweigh it; or mend it, or register it as a known difference"
    MENDED = "no number of clean pairs: mend it and reconcile, or register it as a known difference"
    FREED = "no number of clean pairs: the gate waits while a row is stuck, until it has an outcome or is registered"
    SIGNED = "no number of clean pairs, and no register: mend it, then a signed cure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """
    What to do about one class of divergence.

    Args:
        means: what the class says, in one sentence.
        actor: who has to act first.
        todo: what they have to do.
        learner: what support does for the learner.
        page: the runbook's heading about it, as an anchor.
    """

    means: str
    actor: Actor
    todo: str
    learner: str
    page: str


#: For classes that say nothing about the grade that reaches a learner.
_NOTHING = "Nothing: the learner's grade does not depend on it."
#: In shadow the learner has legacy's grade; later the target's is the learner's.
_MAY_DIFFER = "In shadow, where legacy's grade counts, nothing. Else ask the course team which grade is right."

REMEDIES: Mapping[DivergenceClass, Remedy] = {
    DivergenceClass.PRESENCE: Remedy(
        means="One side has no row of the submission, and its time for that is over.",
        actor=Actor.OPERATOR,
        todo="Missing on the target: run the shadow backfill. Missing on legacy, in live: see why copies are paused.",
        learner=_NOTHING,
        page="a-divergence",
    ),
    DivergenceClass.STORED_AFTER_REFUSAL: Remedy(
        means="Legacy has the row, though the sender was told that it had failed.",
        actor=Actor.OPERATOR,
        todo="Look at XQueue's load and at the time limits between the LMS and XQueue.",
        learner="The learner was told to try again: see that the newest attempt is graded.",
        page="stored-after-refusal",
    ),
    DivergenceClass.STATE: Remedy(
        means="Both sides are final, in different ways: graded here, failed there.",
        actor=Actor.GRADERS,
        todo="Target failed: see why in the grader's log of the shadow queue, mend it. Else look at both rows.",
        learner="Where the side that failed is the one that counts, ask the learner to submit again; else nothing.",
        page="failed-submissions",
    ),
    DivergenceClass.CORRECTNESS: Remedy(
        means="One side says correct, and the other does not; or only one reply is one that CAPA can read.",
        actor=Actor.GRADERS,
        todo="Compare the graders of both queues: another version, another payload, random tests.",
        learner=_MAY_DIFFER,
        page="a-divergence",
    ),
    DivergenceClass.SCORE: Remedy(
        means="The score that the learner sees differs.",
        actor=Actor.GRADERS,
        todo="Compare the graders of both queues: another version, another payload, random tests.",
        learner=_MAY_DIFFER,
        page="a-divergence",
    ),
    DivergenceClass.SCALE: Remedy(
        means="Points on one side, a share of 1 on the other.",
        actor=Actor.GRADERS,
        todo="Configure the graders of both queues alike; see that the problem's maximum is known.",
        learner=_MAY_DIFFER,
        page="a-divergence",
    ),
    DivergenceClass.OUT_OF_RANGE: Remedy(
        means="The score is more than the problem's maximum.",
        actor=Actor.COURSE,
        todo="Mend the problem's grader script or its maximum, so that no score is above it.",
        learner=_MAY_DIFFER,
        page="a-divergence",
    ),
    DivergenceClass.STORED_POINTS: Remedy(
        means="The target stores other points than its own rule makes of the reply.",
        actor=Actor.OPERATOR,
        todo="Look for another program that writes scores, or for another release of edx-submissions; report it.",
        learner=_MAY_DIFFER,
        page="a-divergence",
    ),
    DivergenceClass.PAYLOAD: Remedy(
        means="A grader would get another answer, payload, seed or time than on legacy.",
        actor=Actor.OPERATOR,
        todo="Point the graders at the watcher seam, and see which fields differ.",
        learner=_MAY_DIFFER,
        page="payload-divergence",
    ),
    DivergenceClass.FILES: Remedy(
        means="A grader would get other files, or other contents.",
        actor=Actor.OPERATOR,
        todo="See that the files are still in both storages, and copy what is missing.",
        learner=_MAY_DIFFER,
        page="missing-files",
    ),
    DivergenceClass.IDENTITY: Remedy(
        means="The two rows name another learner or problem.",
        actor=Actor.OPERATOR,
        todo="Look at both rows before anything else is done with this course.",
        learner="Wait for the operator: it is not known whose grade it is.",
        page="payload-divergence",
    ),
    DivergenceClass.ORDER: Remedy(
        means="The target handed out a later attempt of the same learner and input first.",
        actor=Actor.OPERATOR,
        todo="See that the learner's last attempt won; report it.",
        learner="See that the grade is that of the learner's last attempt.",
        page="a-divergence",
    ),
    DivergenceClass.DUPLICATE: Remedy(
        means="A side has more than one row of the submission that may be graded.",
        actor=Actor.OPERATOR,
        todo="Find what wrote the second row: another program, or an LMS that sent it twice.",
        learner=_NOTHING,
        page="a-divergence",
    ),
    DivergenceClass.STUCK: Remedy(
        means="A grader has had the row for longer than all its leases.",
        actor=Actor.GRADERS,
        todo="See whether the queue's graders are alive; then let an operator set the row free.",
        learner="Where the stuck side is the one that counts, tell the learner that grading is late; else nothing.",
        page="stuck-submissions",
    ),
    DivergenceClass.LATENCY: Remedy(
        means="The target took longer than legacy by more than the bound.",
        actor=Actor.GRADERS,
        todo="Run more graders on the target's queue; a single pair counts for little.",
        learner=_NOTHING,
        page="a-divergence",
    ),
    DivergenceClass.LOST: Remedy(
        means="An unfinished row has vanished, or a graded one holds no score.",
        actor=Actor.OPERATOR,
        todo="Find what removed it, stop that, then sign the cure.",
        learner="Ask the learner to submit again, unless a grade has arrived.",
        page="lost-submissions",
    ),
    DivergenceClass.UNDELIVERED: Remedy(
        means="The learner's state waits for this submission's grade, and nobody is at work on it.",
        actor=Actor.OPERATOR,
        todo="Let the watch deliver again what is stored, help those who are undeliverable, then sign the cure.",
        learner="Ask the learner to submit again, unless the grade has arrived by now.",
        page="undelivered",
    ),
    DivergenceClass.WRONG_SIDE: Remedy(
        means="XQueue accepted it while the target was authoritative.",
        actor=Actor.OPERATOR,
        todo="Hand the row off to the target, find the sender that went past the shim, then sign the cure.",
        learner="Nothing yet: the learner is graded when the row is handed off.",
        page="wrong-side",
    ),
    DivergenceClass.DOUBLE_AUTHORITY: Remedy(
        means="The submission was alive on both systems for real.",
        actor=Actor.OPERATOR,
        todo="Retire one of the two rows, find what revived it, then sign the cure.",
        learner="See that the learner has one grade, and the right one.",
        page="double-authority",
    ),
    DivergenceClass.FENCE_LEAK: Remedy(
        means="A copy reached, or could reach, a learner's grade.",
        actor=Actor.OPERATOR,
        todo="Stop all copies at once, mend the rows, then sign the cure.",
        learner="See that the learner's grade is legacy's; correct it in the gradebook if it is not.",
        page="fence-leak",
    ),
}


def ending(klass: DivergenceClass) -> Ending:
    """Return what ends a divergence of a class for the gate."""
    if klass in GRAVE:
        return Ending.SIGNED
    if klass is DivergenceClass.STUCK:
        return Ending.FREED
    return Ending.MENDED if klass in DETERMINISTIC else Ending.PAIRS


def described(name: str) -> documents.Remedy:
    """
    Return what to do about a class as plain data, for documents and pages.

    A class of another release, which this one does not know, is the operator's.
    """
    if name not in list(DivergenceClass):
        return {
            "means": "A class of another release.",
            "actor": Actor.OPERATOR.value,
            "todo": "Look it up in that release's runbook.",
            "ends": "Not known.",
            "page": "a-divergence",
        }
    klass = DivergenceClass(name)
    remedy = REMEDIES[klass]
    ends = ending(klass).value
    if klass in GRAVE:
        ends += f" (xqueue_known --cure {klass.value} --course ID --reason TEXT)"
    return {
        "means": remedy.means,
        "actor": remedy.actor.value,
        "todo": remedy.todo,
        "ends": ends,
        "page": remedy.page,
    }
