"""Where the systems differ: each difference of a submission, and those that an operator answers for."""

from __future__ import annotations

from django.db import models
from django.utils.timezone import now

from ..core.data import DivergenceClass
from ..fields import ExactCharField
from .choices import choices
from .ledger import LedgerEntry


class KnownDifference(models.Model):
    """
    A difference that an operator has looked into and answers for: every report counts it, none hides it.

    An empty course, queue or problem stands for all. Once the row has expired or was withdrawn, what it covered counts
    against the course again.

    .. pii: The name of the operator who owns it.
    .. pii_types: username
    .. pii_retirement: retained
    """

    klass = models.CharField(max_length=32, choices=choices(DivergenceClass))
    course_id = ExactCharField(max_length=255, blank=True, default="", db_index=True)
    queue_name = ExactCharField(max_length=128, blank=True, default="")
    item_id = ExactCharField(max_length=255, blank=True, default="")
    reason = models.TextField()
    owner = models.CharField(max_length=150)
    created_at = models.DateTimeField(default=now)
    expires_at = models.DateTimeField()
    withdrawn_at = models.DateTimeField(null=True)
    hits = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return f"known difference {self.pk}: {self.klass}"


class Divergence(models.Model):
    """
    One difference of one submission, as its newest comparison found it; ``found_at`` is when it was found first.

    .. no_pii:
    """

    entry = models.ForeignKey(LedgerEntry, on_delete=models.CASCADE, related_name="differences")
    course_id = ExactCharField(max_length=255)
    klass = models.CharField(max_length=32, choices=choices(DivergenceClass))
    what = models.CharField(max_length=255)
    found_at = models.DateTimeField(default=now)
    known = models.ForeignKey(KnownDifference, null=True, on_delete=models.SET_NULL, related_name="+")
    # Of a grave class: when an operator signed for it. Unsigned it stays, whatever a later comparison finds.
    cured_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["course_id", "klass", "id"], name="shim_divergence_course")]
        constraints = [models.UniqueConstraint(fields=["entry", "klass"], name="shim_divergence_once")]

    def __str__(self) -> str:
        return f"{self.klass} of ledger entry {self.entry_id}"
