"""The log of every course's steps, which is only added to."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from django.db import models
from django.utils.timezone import now

from ..core import hash_chain
from ..core.data import Phase
from ..core.errors import LogIsAddedTo
from ..db import text_columns
from ..fields import ExactCharField
from .choices import choices
from .phases import CoursePhase


class _Log(models.QuerySet):
    """A log: rows are appended one by one, and neither one nor many of them can be changed or removed."""

    def update(self, **kwargs: Any) -> int:
        raise LogIsAddedTo

    def delete(self) -> tuple[int, dict[str, int]]:
        raise LogIsAddedTo

    def bulk_create(self, *args: Any, **kwargs: Any) -> list[Any]:
        raise LogIsAddedTo

    def bulk_update(self, *args: Any, **kwargs: Any) -> int:
        raise LogIsAddedTo

    def append(self, record: CoursePhase, phase: Phase, *, by: str, reason: str, evidence: dict[str, Any]) -> None:
        """
        Append an entry: the course goes from the phase of ``record`` to ``phase``; by whom, why, and on what evidence.

        The caller holds the lock of ``record`` in a transaction and saves it there, because the head of the log is on
        it. So the logs of two courses never wait for each other, a log cannot fork, and the chain costs no statement
        of its own.
        """
        if record.log_length is None:  # entries older than the chain keep their places
            record.log_length = self.filter(course_id=record.course_id).count()
        position, previous = record.log_length + 1, record.log_digest or hash_chain.START
        entry = PhaseChange(
            course_id=record.course_id,
            step_from=record.phase,
            step_to=phase,
            changed_at=now(),
            # Cut to what the columns can hold: what is hashed is what is stored, and no text blocks a way back.
            changed_by=text_columns.fitted(PhaseChange, "changed_by", by)[:150],
            reason=text_columns.fitted(PhaseChange, "reason", reason),
            evidence=evidence,
            position=position,
            previous=previous,
        )
        digest = entry.digest = hash_chain.digest(previous, position, entry.said())
        entry.save(force_insert=True)
        record.log_length, record.log_digest = position, digest


class PhaseChange(models.Model):
    """
    One change of a course's phase: who, when, why, and on what evidence. Rows are only added, by ``objects.append``.

    The rows of a course form a hash chain (``core/hash_chain.py``), whose head is on the course's CoursePhase. A row
    without a digest is older than the chain.

    .. pii: The name of the operator who changed the phase.
    .. pii_types: username
    .. pii_retirement: retained
    """

    course_id = ExactCharField(max_length=255, db_index=True)
    step_from = models.CharField(max_length=16, choices=choices(Phase))
    step_to = models.CharField(max_length=16, choices=choices(Phase))
    changed_at = models.DateTimeField(default=now)
    changed_by = models.CharField(max_length=150)
    reason = models.TextField()
    evidence = models.JSONField(default=dict)
    position = models.PositiveIntegerField(null=True)
    previous = models.CharField(max_length=64, null=True)  # noqa: DJ001  (null: older than the chain)
    digest = models.CharField(max_length=64, null=True)  # noqa: DJ001  (null: older than the chain)

    objects = _Log.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["course_id", "position"], name="shim_phase_change_place")]

    def __str__(self) -> str:
        return f"{self.course_id}: {self.step_from} to {self.step_to}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """
        Insert the row.

        Raises:
            LogIsAddedTo: the row is in the table already, or has no place in the chain.
        """
        if not self._state.adding or not self.digest:
            raise LogIsAddedTo
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """
        Refuse: no row of the log is removed.

        Raises:
            LogIsAddedTo: always.
        """
        raise LogIsAddedTo

    def said(self) -> dict[str, Any]:
        """Return all that the row says as plain data, which its digest covers."""
        return {
            "course": self.course_id,
            "from": str(self.step_from),
            "to": str(self.step_to),
            "at": self.changed_at.astimezone(UTC).isoformat(timespec="microseconds"),
            "by": self.changed_by,
            "reason": self.reason,
            "evidence": self.evidence,
        }
