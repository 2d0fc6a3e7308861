"""What a worker does once the door has returned, at once: tests wait for no hold and no backoff."""

from collections import Counter
from datetime import timedelta

from django.db import transaction
from django.utils.timezone import now

from migration_shim import conf
from migration_shim.copies import outbox
from migration_shim.models import LedgerEntry
from sandbox.lms import capa, grading


def drain() -> Counter[str]:
    """Do all that the ledger owes, as if its time had come; what came of it."""
    _bring_forward()
    return outbox.drain(conf.load(), seconds=300)


def _bring_forward() -> None:
    past = now() - timedelta(seconds=1)
    for column in ("supersession_due", "copy_due"):
        LedgerEntry.objects.filter(**{f"{column}__isnull": False}).update(**{column: past})


@transaction.atomic
def save_queue_state(user, course_id: str, usage_key: str, answer_id: str, key: str) -> None:
    """CAPA's save, after the door has accepted: the learner's state waits for this key now."""
    state = grading.locked_state(user, course_id, usage_key)
    waits = capa.entry(correctness="incomplete", queuestate={"key": key, "time": "20261122120000"})
    state.store(state.correct_map | {answer_id: waits}, attempts=state.attempts + 1, submitted_at=now())
    state.save()
