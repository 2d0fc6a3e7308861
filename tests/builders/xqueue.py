"""
XQueue in this process: what it does to its table, in the order in which it does it, with the losses that are its own.

The stand-in in ``sandbox/xqueue`` is the same over HTTP, with a test suite; here thousands of steps must be quick.
"""

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta

from django.db.models import Q
from django.utils.timezone import now

from migration_shim.models import LegacySubmission

MAX_NUMBER_OF_FAILURES = 3


class XQueue:
    """XQueue's ``submit``, ``get_submission`` and ``put_result``, and which rows it has retired by itself."""

    def __init__(self, queues: set[str], delay: timedelta, post: Callable[[str, str], int]) -> None:
        """
        Take what XQueue is configured with.

        Args:
            queues: the queues it knows.
            delay: its SUBMISSION_PROCESSING_DELAY.
            post: posts a reply to the LMS: (xqueue_header, reply) to the status of the answer.
        """
        self.queues, self.delay, self.post = queues, delay, post
        self.down = False
        self.retired_by_itself: set[int] = set()

    def submit(self, header: str, body: str) -> tuple[int, str]:
        """Queue one submission (XQueue: submission_queue/lms_interface.py); what ``LegacyClient.submit`` returns."""
        if self.down:
            return 1, "cannot connect to server"
        values = json.loads(header)
        if values["queue_name"] not in self.queues:
            return 1, f"Queue '{values['queue_name']}' not found"
        callback = values["lms_callback_url"][:128]
        older = LegacySubmission.objects.filter(lms_callback_url=callback, retired=False)
        self.retired_by_itself.update(older.values_list("pk", flat=True))
        older.update(retired=True)
        LegacySubmission.objects.create(
            requester_id="10.20.0.11",
            lms_callback_url=callback,
            queue_name=values["queue_name"],
            xqueue_header=header,
            xqueue_body=body,
            s3_keys="{}",
            s3_urls="{}",
            arrival_time=now(),
        )
        return 0, str(self._available(values["queue_name"]).count())

    def _available(self, queue: str):
        free = Q(pull_time=None) | Q(pull_time__lte=now() - self.delay)
        return LegacySubmission.objects.filter(free, queue_name=queue, retired=False)

    def read(self, queue: str) -> LegacySubmission | None:
        """The first half of a pull: the row as it is read, without a lock (submission_queue/ext_interface.py)."""
        return self._available(queue).order_by("arrival_time", "id").first()

    def hand_out(self, row: LegacySubmission) -> str:
        """The second half: every column is saved as it was read, whatever was written in between; the pullkey."""
        row.pull_time, row.grader_id = now(), "10.20.4.7"
        row.pullkey = hashlib.md5(f"{row.pull_time}{row.pk}".encode()).hexdigest()
        row.save()
        return row.pullkey

    def put(self, row_id: int, key: str, reply: str) -> bool:
        """Take a reply and post it to the LMS. ``retired`` is not looked at; False for a wrong key."""
        row = LegacySubmission.objects.get(pk=row_id)
        if not row.pullkey or row.pullkey != key:
            return False
        row.return_time, row.grader_reply = now(), reply
        # XQueue posts five times in a row; nothing happens in between that could change the answer.
        row.lms_ack = self.post(row.xqueue_header, reply) == 200
        row.num_failures += not row.lms_ack
        row.retired = row.lms_ack or row.num_failures > MAX_NUMBER_OF_FAILURES
        row.save()
        return True
