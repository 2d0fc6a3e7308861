"""
The platform's queue interfaces of the generations before today's, as far as the Python door can tell them apart.

Their shape is that of: V1, ``xmodule/capa/xqueue_interface.py`` and ``xqueue_submission.py`` of
SuriyaPasupathi/Open_edx at eb259c8 (autumn 2025); V1b, ``xqueue_submission.py`` of edx/edx-platform at 8ef0c30c, whose
interface is V1's. Signatures, where the flag is read and what is handed to edx-submissions are theirs; the rest is not
here.
"""

import json
from types import ModuleType
from typing import Any

from openedx.core.djangoapps.waffle_utils import CourseWaffleFlag
from submissions.api import create_external_grader_detail

NAME = "xmodule.capa.xqueue_interface"
FLAG = "send_to_submission_course.enable"


class Sender:
    """What both senders do: read the submission, and leave the queue's key to the one that knows it."""

    def __init__(self, block: Any) -> None:
        self.block = block

    def params(self, header: str, body: str) -> tuple[dict[str, str], dict[str, Any]]:
        payload, queue_name = json.loads(body), json.loads(header)["queue_name"]
        student = json.loads(payload["student_info"])["anonymous_student_id"]
        usage_id = self.block.scope_ids.usage_id
        item = {"item_id": str(usage_id), "item_type": "problem", "course_id": str(usage_id.context_key)}
        rest = {"queue_name": queue_name, "points_possible": self.block.max_score(), "grader_file_name": "grade.py"}
        return {**item, "student_id": student}, {"answer": payload["student_response"], **rest}


class SenderV1(Sender):
    def send_to_submission(self, header, body, files_to_upload=None):
        student_item, rest = self.params(header, body)
        return create_external_grader_detail(student_item, files=files_to_upload, **rest)


class SenderV1b(Sender):
    def send_to_submission(self, header, body, files_to_upload=None):
        student_item, rest = self.params(header, body)
        queue_key = json.loads(header).get("lms_key", "")
        return create_external_grader_detail(student_item, queue_key=queue_key, files=files_to_upload, **rest)


def module(sender: type[Sender], *, flag: str | None = FLAG) -> ModuleType:
    """The module of one generation; ``flag`` is the course flag that it reads, None for a release that has another."""
    made = ModuleType(NAME)
    course_flag = CourseWaffleFlag(flag, NAME) if flag else None

    class XQueueInterface:
        called = 0

        def __init__(self, url, django_auth, requests_auth=None, block=None):
            self.block, self.submission = block, sender(block)

        def send_to_queue(self, header, body, files_to_upload=None):
            type(self).called += 1
            return self._send_to_queue(header, body, files_to_upload)

        def _send_to_queue(self, header, body, files_to_upload):
            course_key = self.block.scope_ids.usage_id.context_key
            if course_flag.is_enabled(course_key):
                self.submission.send_to_submission(header, body, {})
                return None, ""
            raise AssertionError("the router has this submission, and XQueue was asked past it")

    XQueueInterface.__module__ = sender.__module__ = NAME
    made.XQueueInterface, made.XQueueInterfaceSubmission = XQueueInterface, sender
    if course_flag:
        made.SEND_TO_SUBMISSION_COURSE_FLAG = course_flag
    return made
