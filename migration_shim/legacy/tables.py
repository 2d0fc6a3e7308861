"""XQueue's one table, as XQueue migrates it (``submission_queue/models.py``). Unmanaged: it is never ours to change."""

from __future__ import annotations

from django.db import models


class LegacySubmission(models.Model):
    """
    A row of ``queue_submission``. Read it through ``legacy.rows``, which hands out frozen values.

    .. pii: XQueue's own copy of the submission: user id, anonymous id, answer, reply and keys.
    .. pii_types: id, other
    .. pii_retirement: retained
    """

    is_legacy = True  # for the database router

    requester_id = models.CharField(max_length=128)
    lms_callback_url = models.CharField(max_length=128)
    queue_name = models.CharField(max_length=128)
    xqueue_header = models.CharField(max_length=1024)
    xqueue_body = models.TextField()
    s3_keys = models.CharField(max_length=1024)
    s3_urls = models.CharField(max_length=1024)
    arrival_time = models.DateTimeField()
    pull_time = models.DateTimeField(null=True)
    push_time = models.DateTimeField(null=True)
    return_time = models.DateTimeField(null=True)
    grader_id = models.CharField(max_length=128)
    pullkey = models.CharField(max_length=128)
    grader_reply = models.TextField()
    num_failures = models.IntegerField(default=0)
    lms_ack = models.BooleanField(default=False)
    retired = models.BooleanField(default=False)

    class Meta:
        managed = False
        db_table = "queue_submission"

    def __str__(self) -> str:
        return f"legacy row {self.pk}"
