"""What graders, learners and operators do to submissions, written into both databases as the real systems leave it."""

import contextlib
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail, Score, SubmissionFile

from migration_shim.models import Divergence, LedgerEntry, LegacySubmission
from tests.builders import rows
from tests.builders.rows import RIGHT, WRONG

HALF = '{"correct": true, "score": 0.5, "msg": "<p>half</p>"}'
INVALID = '{"correct": true, "score": 1}'
KEPT = (
    "result",
    "divergences",
    "known",
    "graded_pair",
    "legacy_state",
    "legacy_correct",
    "legacy_score",
    "legacy_seconds",
    "target_state",
    "target_correct",
    "target_score",
    "target_seconds",
)


def stored() -> list[tuple[Any, ...]]:
    """All that a reconcile has stored, but for when."""
    entries = LedgerEntry.objects.order_by("id").values_list("id", *KEPT)
    found = Divergence.objects.order_by("entry_id", "klass").values_list("entry_id", "klass", "what", "known")
    return [*entries, *found]


@contextlib.contextmanager
def undone():
    """Whatever happens inside has not happened, in either database."""
    with transaction.atomic(), transaction.atomic(using="xqueue"):
        yield
        transaction.set_rollback(True)
        transaction.set_rollback(True, using="xqueue")


def entry_of(row: LegacySubmission) -> LedgerEntry:
    """The entry of a legacy row."""
    return LedgerEntry.objects.get(legacy_id=row.pk)


def detail_of(row: LegacySubmission) -> ExternalGraderDetail:
    """The target row of a legacy row's submission."""
    return ExternalGraderDetail.objects.get(submission_id=entry_of(row).target_submission_id)


def legacy_graded(row: LegacySubmission, reply: str = RIGHT, ago: timedelta = timedelta(0)) -> None:
    """A grader of legacy pulls and returns it, so long ago."""
    rows.change([row], **rows.graded(reply, ago=ago))


def target_pulled(row: LegacySubmission, ago: timedelta = timedelta(0)) -> None:
    """A grader of the target pulls it from the watcher seam."""
    moment, key = now() - ago, f"key-{row.pk}"
    ExternalGraderDetail.objects.filter(pk=detail_of(row).pk).update(status="pulled", pullkey=key, status_time=moment)
    LedgerEntry.objects.filter(legacy_id=row.pk).update(lease_key=key, leased_at=moment, leases=1)


def target_graded(row: LegacySubmission, reply: str = RIGHT, ago: timedelta = timedelta(0)) -> None:
    """A grader of the target pulls it from the watcher seam and returns it."""
    target_pulled(row, ago)
    Score.objects.filter(submission_id=detail_of(row).submission_id).delete()
    rows.grade_target(reply, pk=detail_of(row).pk)
    ExternalGraderDetail.objects.filter(pk=detail_of(row).pk).update(status_time=now() - ago)


def both_graded(row: LegacySubmission, legacy: str = RIGHT, target: str | None = None, **options: Any) -> None:
    """Both systems grade it."""
    legacy_graded(row, legacy, **options)
    target_graded(row, legacy if target is None else target, **options)


def target_superseded(row: LegacySubmission) -> None:
    """The router retires it on the target for a newer attempt."""
    ExternalGraderDetail.objects.filter(pk=detail_of(row).pk).update(status="retired", pullkey="", status_time=now())


def again(row: LegacySubmission, **columns: Any) -> LegacySubmission:
    """The same submission once more, as a repeated post leaves it on legacy."""
    same = {"xqueue_header": row.xqueue_header, "xqueue_body": row.xqueue_body}
    return rows.legacy_row(lms_callback_url=row.lms_callback_url, **(same | columns))


__all__ = [
    "HALF",
    "INVALID",
    "RIGHT",
    "WRONG",
    "SubmissionFile",
    "again",
    "both_graded",
    "detail_of",
    "entry_of",
    "legacy_graded",
    "stored",
    "target_graded",
    "target_pulled",
    "target_superseded",
    "undone",
]
