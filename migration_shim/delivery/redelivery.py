"""
Stored results that have not arrived are delivered again: at most three times, and only while the learner waits.

It takes the ordinary path, the score event with the row's own stored reply. A submission that was superseded by mistake
is instead put back into its queue, by the outbox. What three tries have not mended is ``undeliverable``.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from django.db.models import F, Q
from django.utils.timezone import now

from ..conf import ShimSettings
from ..core.data import Authority
from ..core.delivered import TRIES
from ..cutover import invariants
from ..ledger import attempts
from ..ledger.buckets import counted
from ..lms import receivers, state
from ..metrics import count
from ..models import LedgerEntry
from ..target import results, score_events
from ..target.score_events import ResendResult

log = logging.getLogger(__name__)

#: Between two tries: a receiver that fails for some minutes must not use them up.
PAUSE = timedelta(minutes=5)
#: Submissions of one course in one round; the next one goes on.
AT_ONCE = 500


def run(course_id: str, settings: ShimSettings, check: Callable[[], None]) -> dict[str, int]:
    """
    Deliver again what the learners of a course wait for; return how many submissions came to which end.

    Where the platform has no receiver nothing is tried: it would use up the tries that work once there is one.

    Args:
        course_id: the course, whose learners' states were asked before.
        settings: the settings in force.
        check: called before each submission; it may raise to stop.
    """
    wanted = invariants.undelivered_entries(course_id).filter(authority=Authority.TARGET, undeliverable="")
    wanted = wanted.filter(delivery_tries__lt=TRIES)  # if a process died in the last try, the next look finds it
    if not wanted.exists():
        return {}
    if not receivers.reaches_platform(settings.score_receivers):
        return {"no_receiver": wanted.count()}
    done: Counter[str] = Counter()
    due = Q(delivery_tried_at=None) | Q(delivery_tried_at__lte=now() - PAUSE)
    for entry in list(wanted.filter(due).defer("grader_payload", "extra_body").order_by("id")[:AT_ONCE]):
        check()
        done[_deliver(entry, settings)] += 1
    return dict(sorted(done.items()))


def _deliver(entry: LedgerEntry, settings: ShimSettings) -> str:
    """Try once, and return what came of it. The try is counted first, so that no crash leads to more than TRIES."""
    mine = LedgerEntry.objects.filter(pk=entry.pk, delivery_tries=entry.delivery_tries)
    if not mine.update(delivery_tries=F("delivery_tries") + 1, delivery_tried_at=now()):
        return "by_another"
    told = json.dumps(results.COULD_NOT_BE_GRADED) if settings.tell_learner_of_failure else None
    came = score_events.resend(entry.target_submission_id or 0, partial(_is_awaited, entry), for_failed=told)
    still = invariants.still_waiting([entry])
    if still is not None and not still:
        with counted([entry.pk]):  # the next comparison notes what is there
            LedgerEntry.objects.filter(pk=entry.pk).update(learner_said="")
        if came is ResendResult.SENT:
            count("delivered_again")
            return "delivered"
        count("delivery_not_awaited")
        return "not_awaited"
    word = "without_effect"
    if came is ResendResult.NOTHING and entry.superseded_at is not None:
        LedgerEntry.objects.filter(pk=entry.pk, supersession_due=None).update(supersession_due=now())
        word = "looked_at_again"
    count("delivery_without_effect")
    if entry.delivery_tries + 1 >= TRIES:
        LedgerEntry.objects.filter(pk=entry.pk).update(undeliverable="three_deliveries")
        count("undeliverable")
        log.error(
            "migration_shim.undeliverable: ledger entry %d is undeliverable: three deliveries had no effect", entry.pk
        )
        return "undeliverable"
    return word


def _is_awaited(entry: LedgerEntry, key: str) -> bool:
    """Tell whether the learner's state waits for the row's key, which is the entry's own; the state stays locked."""
    one = attempts.submitted(entry.raw_header, entry.student_info, entry.learner)
    if one is None or one.key != key:
        return False
    problem = state.problems([one.place], lock=True).get(one.place)
    return problem is not None and problem.waits_for(key)
