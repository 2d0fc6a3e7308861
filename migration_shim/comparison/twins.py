"""
Twins: shadows that are graded twice on the target, to learn how often its graders disagree with themselves.

A reconcile of a course in shadow writes a twin for a sample of the submissions that both systems have graded. A twin is
no side of a pair: nothing waits for it, and its entry's own shadow is not touched. See docs/decisions/0012.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import cast

from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils.timezone import now

from .. import toggles
from ..conf import ShimSettings
from ..core.buckets import Flag
from ..core.data import Authority, Leg, Move, Phase, State
from ..core.documents.reconcile_course import Noise
from ..core.errors import FileUnavailable, TargetWriteFailed, Unfit
from ..core.noise import same_outcome, sample_end
from ..db import bulk
from ..ledger import buckets
from ..ledger.counts import Numbers
from ..metrics import count
from ..models import CoursePhase, LedgerEntry
from ..target import twins

log = logging.getLogger(__name__)

#: Twins of one course that may wait for a grader at one time: shadows must not queue up behind statistics.
AT_ONCE = 200
PAGE = 500
#: Twins without a judgement. An entry that was moved since has another target row, and no pair of gradings any more.
_UNJUDGED = (
    f"SELECT id, target_submission_id, twin_submission_id, twin_lease_key FROM {LedgerEntry._meta.db_table}"
    f" WHERE course_id = %s AND authority = '{Authority.LEGACY}' AND move = '{Move.NONE}' AND twin_submission_id > %s"
    " AND twin_agrees IS NULL ORDER BY twin_submission_id LIMIT %s"
)


def judge_and_write(course_id: str, settings: ShimSettings, check: Callable[[], None]) -> None:
    """
    Judge the twins that were graded since the last run, and write new ones.

    Args:
        course_id: the course, whose entries were just compared.
        settings: the settings in force.
        check: called before each twin is written; may raise, and drops what the process has cached of the flags.
    """
    room = AT_ONCE - judge(course_id)
    for pk, shadow_id, queue_name in _wanted(course_id, settings):
        if room <= 0:
            return
        check()
        if toggles.phase_of(course_id).phase is not Phase.SHADOW:
            return
        room -= _write(pk, shadow_id, queue_name, settings)


def twin_counts(numbers: Numbers) -> Noise:
    """Return how many shadows have ``twins``, how many twins were ``judged``, and how many of these ``differ``."""
    found = {"twins": Flag.TWIN, "judged": Flag.TWIN | Flag.TWIN_JUDGED, "differ": Flag.TWIN | Flag.TWIN_DIFFERS}
    of_twins = [(facts.flags, number) for facts, number in numbers if facts.flags & int(Flag.TWIN)]
    sums = {
        name: sum(number for flags, number in of_twins if flags & wanted == wanted)
        for name, wanted in ((name, int(flag)) for name, flag in found.items())
    }
    return cast(Noise, sums)


def judge(course_id: str) -> int:
    """
    Record for each graded twin whether its outcome is the shadow's; return how many twins still wait for a grader.

    Outcomes are the same if a comparison calls them the same. A twin that was not handed out by the watcher seam is
    never judged: its grader was given a reduced payload, so a difference would be no noise.
    """
    waiting = after = 0
    while page := bulk.ask(_UNJUDGED, [course_id, after, PAGE]):
        after = page[-1][2]
        waiting += twins.count_ungraded(twin_id for _, _, twin_id, _ in page)
        graded = twins.graded(pk for _, *pair, _ in page for pk in pair)
        agree: dict[bool, list[int]] = {True: [], False: []}
        for pk, shadow_id, twin_id, lease_key in page:
            shadow, twin = graded.get(shadow_id), graded.get(twin_id)
            if shadow is not None and twin is not None and lease_key and twin.pullkey == lease_key:
                agree[same_outcome(shadow.reply, twin.reply, now())].append(pk)
        for agrees, ids in agree.items():
            with buckets.counted(ids):
                LedgerEntry.objects.filter(id__in=ids, twin_agrees=None).update(twin_agrees=agrees)
    return waiting


def _wanted(course_id: str, settings: ShimSettings) -> Iterator[tuple[int, int, str]]:
    """Yield the sampled entries without a twin: (id, the shadow's Submission id, queue), in the order of their hash."""
    if not settings.twin_percent:
        return
    entries = _eligible(settings).filter(course_id=course_id, identity__lt=sample_end(settings.twin_percent))
    after = ""
    while page := list(
        entries.filter(identity__gt=after)
        .order_by("identity")
        .values_list("id", "target_submission_id", "queue_name", "identity")[:PAGE]
    ):
        yield from ((pk, target_id, queue_name) for pk, target_id, queue_name, _ in page if target_id is not None)
        after = page[-1][3]


def _eligible(settings: ShimSettings) -> QuerySet[LedgerEntry]:
    """
    Return the entries whose shadow may be graded again: the watcher seam's grader and legacy's have graded it.

    Both are final, so that no newer attempt, handoff or return has anything to do with the twin.
    """
    entries = LedgerEntry.objects.filter(
        phase=Phase.SHADOW,
        authority=Authority.LEGACY,
        target_leg=Leg.STORED,
        target_state=State.GRADED,
        legacy_state=State.GRADED,
        graded_pair=True,
        leases__gt=0,
        history=False,
        echo=False,
        move=Move.NONE,
        superseded_at=None,
        twin_submission_id=None,
        twin_agrees=None,
        purged_at=None,
    )
    # Their graders must not grade a submission twice, let alone three times.
    return entries.exclude(queue_name__in=settings.side_effect_queues)


def _write(pk: int, shadow_id: int, queue_name: str, settings: ShimSettings) -> bool:
    """
    Write the twin of one entry and note it on the entry, in one transaction; return whether it was written.

    The course is locked, so that no twin is written once it has left shadow, and the entry, so that only one of two
    runs writes. If another session holds a lock, the twin is left to the next run.
    """
    try:
        twin = twins.prepare(shadow_id, queue_name + settings.shadow_queue_suffix)
        with transaction.atomic():
            entry = _locked(_eligible(settings).filter(pk=pk, target_submission_id=shadow_id))
            if entry is None:
                return False
            if _locked(CoursePhase.objects.filter(course_id=entry.course_id, phase=Phase.SHADOW)) is None:
                return False
            twin_id = twins.write(twin)
            with buckets.counted([pk]):
                LedgerEntry.objects.filter(pk=pk).update(twin_submission_id=twin_id)
    except (FileUnavailable, TargetWriteFailed, Unfit) as error:
        count("twin_not_written", error)
        log.warning("migration_shim.twin_not_written: a shadow is not graded twice: %s", error.reason)
        return False
    count("twin_written")
    return True


def _locked(rows: QuerySet) -> LedgerEntry | CoursePhase | None:
    return rows.select_for_update(skip_locked=connection.features.has_select_for_update_skip_locked).first()
