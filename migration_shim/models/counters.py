"""The counters over the ledger: buckets (``core/buckets.py``) and the bins of histograms (``core/histograms.py``)."""

from __future__ import annotations

from django.db import models

from ..fields import ExactCharField


class Bucket(models.Model):
    """
    A counter: the number of ledger entries that are alike in all that is counted of them.

    ``core/buckets.py`` says what the facts mean. The id is a digest of the facts. A row changes only by an addition to
    its ``number`` (``ledger.buckets.Changes``), in the transaction that changes the entries.

    .. no_pii:
    """

    id = models.BigIntegerField(primary_key=True)
    course_id = ExactCharField(max_length=255, db_index=True)
    queue_name = ExactCharField(max_length=128)
    item_id = ExactCharField(max_length=255)
    arrived_on = models.DateField()
    moved_on = models.DateField(null=True)
    graded_on = models.DateField(null=True)
    authority = models.CharField(max_length=16)
    result = models.CharField(max_length=16)
    known = models.CharField(max_length=64)
    differences = models.CharField(max_length=512)
    legacy_state = models.CharField(max_length=16)
    target_state = models.CharField(max_length=16)
    legacy_reply = models.CharField(max_length=16)
    target_reply = models.CharField(max_length=16)
    flags = models.IntegerField()
    number = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.number} ledger entries of {self.course_id}"


class Histogram(models.Model):
    """
    A counter: the number of ledger entries in one bin of a histogram.

    Scores and seconds are counted here, because they have too many values for buckets. The id is a digest of the bin's
    place. See ``Bucket`` and ``core/histograms.py``.

    .. no_pii:
    """

    id = models.BigIntegerField(primary_key=True)
    course_id = ExactCharField(max_length=255)
    queue_name = ExactCharField(max_length=128)
    authority = models.CharField(max_length=16)
    day = models.DateField(null=True)
    kind = models.CharField(max_length=16)
    bin = models.CharField(max_length=64)
    number = models.BigIntegerField()

    class Meta:
        indexes = [models.Index(fields=["course_id", "kind"], name="shim_histogram_course")]

    def __str__(self) -> str:
        return f"{self.number} ledger entries of {self.course_id} in a bin of {self.kind}"
