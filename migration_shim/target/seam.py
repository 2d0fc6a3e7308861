"""
The watcher seam: XQueue's grader API over edx-submissions' own viewset. Differences from it: docs/decisions/0009.
"""

from __future__ import annotations

import json
import logging
import time
from typing import Any

from django.contrib.auth import logout
from django.http import HttpRequest
from django.views.decorators.debug import sensitive_variables
from rest_framework.authentication import SessionAuthentication
from rest_framework.decorators import action
from rest_framework.exceptions import ParseError, PermissionDenied, UnsupportedMediaType
from rest_framework.parsers import BaseParser, FormParser, MultiPartParser
from rest_framework.permissions import AllowAny
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from submissions.models import ExternalGraderDetail, StudentItem, SubmissionFile
from submissions.permissions import IsXQueueUser
from submissions.views.xqueue import XQueueViewSet

from ..conf import ShimSettings, usable
from ..core import json_text
from ..core.cross_site import from_another_site
from ..core.errors import Malformed
from ..db.storage import storage_errors
from ..ledger import entries as ledger_entries
from ..metrics import count
from . import leases, polling, results
from .permission import IsGrader

log = logging.getLogger(__name__)

#: Rows that one poll may find unreadable, and fail, before it says that there is nothing.
_UNREADABLE_A_POLL = 5

_ANSWERS = {
    results.ResultStatus.STORED: (True, ""),
    results.ResultStatus.REPEATED: (True, ""),
    results.ResultStatus.COUNTED: (True, ""),
    results.ResultStatus.UNKNOWN: (False, "Submission does not exist"),
    results.ResultStatus.WRONG_KEY: (False, "Incorrect key for submission"),
    results.ResultStatus.BUSY: (False, "Submission is currently being processed"),
}


class GraderSession(SessionAuthentication):
    """
    Django's session without the CSRF token: XQueue asks for none, and graders that were made for it send none.

    The token protects against another site's page that uses a logged-in browser. Here the headers that browsers send
    about themselves do that. See docs/decisions/0024.
    """

    def enforce_csrf(self, request: Request) -> None:
        """Refuse what a browser sends for another site's page."""
        if request.method == "POST" and from_another_site(request.headers, request.get_host()):
            count("seam_refused_other_site")
            raise PermissionDenied("Requests of other sites are refused")


class _BoundedJSON(BaseParser):
    """
    A parser of the JSON that upstream accepts beside XQueue's forms, with the same limit of depth as everywhere here.
    """

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        """
        Return the value.

        Raises:
            ParseError: there is none.
        """
        try:
            return json_text.loads(stream.read())
        except ValueError as error:
            raise ParseError from error


class WatcherSeam(XQueueViewSet):
    """What a grader polls. It answers in XQueue's words, with status 200, so that a watcher logs in for logins only."""

    authentication_classes = [GraderSession]
    parser_classes = [FormParser, MultiPartParser, _BoundedJSON]
    renderer_classes = [JSONRenderer]

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        """Note the time before anything else."""
        self.began = time.monotonic()
        return super().initialize_request(request, *args, **kwargs)

    def in_time(self, settings: ShimSettings) -> bool:
        """Tell whether a grader still waits for the answer: official watchers wait for a second."""
        return time.monotonic() - self.began < settings.hand_out_seconds

    def get_permissions(self) -> list[Any]:
        """
        Return upstream's permissions: members of the group ``xqueue``; anybody may ask for the status of the service.
        """
        if self.action == "status":
            return [AllowAny()]
        upstream = super().get_permissions()
        return [IsGrader()] if [type(one) for one in upstream] == [IsXQueueUser] else upstream

    @action(detail=False, methods=["get"], url_name="get_submission")
    @sensitive_variables("payload")
    def get_submission(self, request: Request) -> Response:
        """Hand out the next submission of a queue, with the payload that XQueue would have handed out."""
        queue_name = request.query_params.get("queue_name")
        if not queue_name:
            return self._reply(False, "'get_submission' must provide parameter 'queue_name'")
        settings, _ = usable()  # a bad key is no reason to let learners wait
        session = leases.session_of(request.session.session_key)
        if not self._may_pull(queue_name, settings):
            leases.note_heard_from(session)
            return self._reply(False, f"Queue '{queue_name}' not found")
        waits = leases.note_poll(queue_name, settings, session)
        for _ in range(_UNREADABLE_A_POLL if waits else 0):
            lease, given_up = leases.lease_next(queue_name, settings, session, waits=waits)
            waits = False
            for row in given_up:
                results.tell_learner(row, settings)
            if lease is None:
                break
            try:
                payload = json.dumps(_payload(lease, request))
            except (Malformed, RecursionError):  # this will not change, so a grader that waits gets the next row
                results.fail_unreadable(lease.detail, settings)
            except storage_errors() as error:
                # This may pass; the row is handed out again when its lease has run out.
                count("hand_out_failed", error)
                log.error("migration_shim.files_not_handed_out: files cannot be handed out: %s", type(error).__name__)
                return self._reply(False, "Error fetching submission")
            else:
                if self.in_time(settings):
                    leases.note_sent(lease)
                return self._reply(True, payload)
        return self._reply(False, f"Queue '{queue_name}' is empty")

    @action(detail=False, methods=["post"], url_name="put_result")
    def put_result(self, request: Request) -> Response:
        """Store a grader's result. Repeating one is no error, and no finished grade is refused because of a lock."""
        try:
            result = results.parse(request.data)
        except (Malformed, ParseError, UnsupportedMediaType):
            return self._reply(False, "Incorrect reply format")
        settings = usable()[0]
        # The row's key proves that it was handed out. An account that may not pull it has the key from another one.
        if settings.grader_queues and not self._may_pull(results.queue_of(result), settings):
            return self._reply(*_ANSWERS[results.ResultStatus.WRONG_KEY])
        stored = results.store(result, settings)
        count(f"put_result_{stored}")
        return self._reply(*_ANSWERS[stored])

    @action(detail=False, methods=["get"], url_name="get_queuelen")
    def get_queuelen(self, request: Request) -> Response:
        """Return how many submissions of a queue could be handed out now. An unknown queue counts as an empty one."""
        queue_name = request.query_params.get("queue_name")
        if not queue_name:
            return self._reply(False, "'get_queuelen' must provide parameter 'queue_name'")
        settings = usable()[0]
        if not self._may_pull(queue_name, settings):
            return self._reply(False, f"Queue '{queue_name}' not found")
        return self._reply(True, polling.waiting(queue_name, settings).count())

    @action(detail=False, methods=["get", "post"], url_name="status")
    def status(self, request: Request) -> Response:
        """Tell that the seam answers."""
        return self._reply(True, "OK")

    @action(detail=False, methods=["post"], url_name="logout")
    def logout(self, request: Request) -> Response:
        """End the grader's session."""
        logout(request)
        return self._reply(True, "Goodbye")

    def _may_pull(self, queue_name: str, settings: ShimSettings) -> bool:
        if settings.may_pull(self.request.user.get_username(), queue_name):
            return True
        count("seam_refused_queue")
        return False

    def _reply(self, success: bool, content: Any) -> Response:
        return Response(self.compose_reply(success, content))


@sensitive_variables()
def _payload(lease: leases.Lease, request: Request) -> dict[str, str]:
    """
    Return what a grader is handed, as XQueue's three texts.

    Raises:
        Malformed, RecursionError: the answer cannot be read back.
        Exception: whatever the storage raises.
    """
    detail = lease.detail
    header = {"submission_id": detail.submission_id, "submission_key": detail.pullkey}
    rows = polling.answer_and_files(detail.pk)
    answer = rows[0][0]
    if lease.entry is None:
        count("handed_out_without_residue")
        body = _upstream_body(detail, answer)
    else:
        body = ledger_entries.legacy_body(lease.entry, answer)
    files = {
        name: request.build_absolute_uri(SubmissionFile(file=stored).file.url)
        for _, name, stored in rows
        if name is not None
    }
    return {"xqueue_header": json.dumps(header), "xqueue_body": body, "xqueue_files": json.dumps(files)}


@sensitive_variables()
def _upstream_body(detail: ExternalGraderDetail, answer: Any) -> str:
    """
    Return what edx-submissions' own endpoint hands out, for rows whose residue the shim does not have
    (views/xqueue.py).
    """
    info = {
        "anonymous_student_id": str(StudentItem.objects.get(submission=detail.submission_id).student_id),
        "submission_time": str(int(detail.created_at.timestamp())),
        "random_seed": 1,
    }
    body = {
        "grader_payload": json.dumps({"grader": detail.grader_file_name}),
        "student_info": json.dumps(info),
        "student_response": answer,
    }
    return json.dumps(body)
