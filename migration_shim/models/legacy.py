"""XQueue's one table, unmanaged, in XQueue's database; and the courses that were found in it."""

from __future__ import annotations

from django.db import models
from django.utils.timezone import now

from ..fields import ExactCharField, ForeignCharField


class LegacyCourse(models.Model):
    """
    A course that XQueue has rows of, as the watch has found it: an LMS does not know which of its courses use XQueue.

    ``host`` is the callbacks' (``core.hosts.host_of``): one XQueue may serve several LMSs with the same course ids. How
    far the search has come, and when it last came to its end, is on the checkpoint that ``legacy/course_search.py``
    names.

    .. no_pii:
    """

    course_id = ExactCharField(max_length=255)
    host = ExactCharField(max_length=255, blank=True, default="")
    # Rows that are not retired, when they were counted last; the oldest of them arrived then.
    open_rows = models.PositiveIntegerField(default=0, db_default=0)
    oldest_open_at = models.DateTimeField(null=True)
    first_seen_at = models.DateTimeField(default=now)
    seen_at = models.DateTimeField(default=now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["course_id", "host"], name="shim_legacy_course")]

    def __str__(self) -> str:
        return f"{self.course_id}, in XQueue"


class LegacySubmission(models.Model):
    """
    A row of XQueue's one table, as XQueue's own migrations make it (``submission_queue/models.py``).

    Read it through ``legacy.rows``, which returns frozen values; ``legacy.writes`` holds what may change of it.

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
