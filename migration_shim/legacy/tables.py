"""XQueue's one table, as XQueue migrates it (``submission_queue/models.py``). Unmanaged: it is never ours to change."""

from __future__ import annotations

from django.db import models

from .charsets import ForeignCharField


class LegacySubmission(models.Model):
    """
    A row of ``queue_submission``. Read it through ``legacy.rows``, which hands out frozen values.

    .. pii: XQueue's own copy of the submission: user id, anonymous id, answer, reply and keys.
    .. pii_types: id, other
    .. pii_retirement: retained
    """

    is_legacy = True  # for the database router

    requester_id = ForeignCharField(max_length=128)
    lms_callback_url = ForeignCharField(max_length=128)
    queue_name = ForeignCharField(max_length=128)
    xqueue_header = ForeignCharField(max_length=1024)
    xqueue_body = models.TextField()
    s3_keys = ForeignCharField(max_length=1024)
    s3_urls = ForeignCharField(max_length=1024)
    arrival_time = models.DateTimeField()
    pull_time = models.DateTimeField(null=True)
    push_time = models.DateTimeField(null=True)
    return_time = models.DateTimeField(null=True)
    grader_id = ForeignCharField(max_length=128)
    pullkey = ForeignCharField(max_length=128)
    grader_reply = models.TextField()
    num_failures = models.IntegerField(default=0)
    lms_ack = models.BooleanField(default=False)
    retired = models.BooleanField(default=False)

    class Meta:
        managed = False
        db_table = "queue_submission"

    def __str__(self) -> str:
        return f"legacy row {self.pk}"
