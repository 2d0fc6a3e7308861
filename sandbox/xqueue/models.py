"""XQueue's table, column for column (XQueue: submission_queue/models.py after its migration 0005)."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db import models
from django.db.models import Q, QuerySet, Value
from django.utils import timezone

NAME_LENGTH = 128
JSON_LENGTH = 1024


class Submission(models.Model):
    """One submission on its way from the LMS to a grader and back.

    .. pii: Answers, anonymous ids and user ids of invented learners, in the envelope's texts.
    .. pii_types: id, other
    .. pii_retirement: retained
    """

    requester_id = models.CharField(max_length=NAME_LENGTH)
    lms_callback_url = models.CharField(max_length=NAME_LENGTH, db_index=True)
    queue_name = models.CharField(max_length=NAME_LENGTH)
    xqueue_header = models.CharField(max_length=JSON_LENGTH)
    xqueue_body = models.TextField()
    s3_keys = models.CharField(max_length=JSON_LENGTH)
    s3_urls = models.CharField(max_length=JSON_LENGTH)
    arrival_time = models.DateTimeField(auto_now_add=True)
    pull_time = models.DateTimeField(null=True, blank=True)
    push_time = models.DateTimeField(null=True, blank=True)
    return_time = models.DateTimeField(null=True, blank=True)
    grader_id = models.CharField(max_length=NAME_LENGTH)
    pullkey = models.CharField(max_length=NAME_LENGTH)
    grader_reply = models.TextField()
    num_failures = models.IntegerField(default=0)
    lms_ack = models.BooleanField(default=False)
    retired = models.BooleanField(default=False, db_index=True)

    class Meta:
        db_table = "queue_submission"
        indexes = (
            models.Index(
                fields=["queue_name", "retired", "push_time", "arrival_time"], name="queue_submi_queue_n_4c6cd5_idx"
            ),
            models.Index(
                fields=["queue_name", "retired", "pull_time", "arrival_time"], name="queue_submi_queue_n_9fcfbd_idx"
            ),
            models.Index(fields=["lms_callback_url", "retired"], name="queue_submi_lms_cal_367510_idx"),
        )

    def __str__(self) -> str:
        return f"submission {self.pk} of queue {self.queue_name}"


def unretired() -> QuerySet[Submission]:
    """Return the rows with ``retired=0``, compared as a number: ``NOT retired`` would not use MySQL's index."""
    return Submission.objects.filter(retired=Value(0))


def available(queue_name: str) -> QuerySet[Submission]:
    """Return what a grader may pull: unretired, and never pulled or pulled a processing delay ago."""
    pulled_before = timezone.now() - timedelta(minutes=settings.SUBMISSION_PROCESSING_DELAY)
    return unretired().filter(Q(pull_time__lte=pulled_before) | Q(pull_time__isnull=True), queue_name=queue_name)
