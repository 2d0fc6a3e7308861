"""``get_queuelen``, ``get_submission``, ``put_result``: XQueue: submission_queue/ext_interface.py.

The races are XQueue's and must stay: ``get_submission`` reads without a lock and saves every column, so what another
session wrote in between (``retired`` above all) is lost; ``put_result`` locks its row and never looks at ``retired``.
"""

from __future__ import annotations

import json
import logging
import time

import requests
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from sandbox.network import proxied_session
from sandbox.xqueue.delivery import post_to_lms
from sandbox.xqueue.models import Submission, available
from sandbox.xqueue.protocol import client_address, make_key, read_header, reply

log = logging.getLogger(__name__)

DOCUMENT_TIMEOUT = 2  # seconds


@login_required
def get_queuelen(request: HttpRequest) -> HttpResponse:
    """Answer with the number of rows that wait in a queue, or with the names of all queues."""
    queue_name = request.GET.get("queue_name")
    if queue_name is None:
        return reply(False, "'get_queuelen' must provide parameter 'queue_name'")
    if queue_name not in settings.XQUEUES:
        return reply(False, "Valid queue names are: " + ", ".join(settings.XQUEUES))
    return reply(True, available(queue_name).count())


@login_required
def get_submission(request: HttpRequest) -> HttpResponse:
    """Hand out the oldest available row of a queue under a new pullkey."""
    queue_name = request.GET.get("queue_name")
    if queue_name is None:
        return reply(False, "'get_submission' must provide parameter 'queue_name'")
    if queue_name not in settings.XQUEUES:
        return reply(False, f"Queue '{queue_name}' not found")
    submission = available(queue_name).order_by("arrival_time").first()
    if submission is None:
        return reply(False, f"Queue '{queue_name}' is empty")

    time.sleep(settings.PULL_STALL_SECONDS)
    submission.pull_time = timezone.now()
    submission.pullkey = make_key(f"{submission.pull_time}{submission.pk}")
    submission.grader_id = client_address(request)
    submission.save()  # every column, as it was read: no lock, no update_fields

    files = submission.s3_urls
    if "URL_FOR_EXTERNAL_DICTS" in files:
        files = _fetch_file_urls(json.loads(files)["URL_FOR_EXTERNAL_DICTS"])
        if files is None:
            # The row counts as pulled all the same, until the processing delay is over.
            return reply(False, f"Error fetching submission for {queue_name}. Please try again.")
    header = {"submission_id": submission.pk, "submission_key": submission.pullkey}
    payload = {
        "xqueue_header": json.dumps(header),
        "xqueue_body": submission.xqueue_body,
        "xqueue_files": files,
    }
    return reply(True, json.dumps(payload))


def _fetch_file_urls(url: str) -> str | None:
    """Return the JSON text of the file URLs in a stored document, None when it cannot be had.

    A URL without a scheme, as a relative MEDIA_URL gives, is an error 500, as in XQueue.
    """
    with proxied_session() as session:
        try:
            answer = session.get(url, timeout=DOCUMENT_TIMEOUT)
        except (requests.ConnectionError, requests.Timeout):
            log.error("could not fetch uploaded files at %s", url)
            return None
    if answer.status_code != 200:
        log.error("could not fetch uploaded files at %s: status %d", url, answer.status_code)
        return None
    return json.dumps(json.loads(answer.text)["files"])


@transaction.atomic
@csrf_exempt
@login_required
def put_result(request: HttpRequest) -> HttpResponse:
    """Take a grader's reply and post it to the LMS at once; the grader hears ``return_code`` 0 whatever the LMS says.

    The reply is not looked at: any text goes on to the LMS. Nor is ``retired``: a superseded or finished row takes a
    reply, and posts it again, as long as it has a pullkey.
    """
    if request.method != "POST":
        return reply(False, "'put_result' must use HTTP POST")
    header = read_header(request.POST, ("submission_id", "submission_key"))
    if header is None:
        log.error("invalid reply from grader %s", client_address(request))
        return reply(False, "Incorrect reply format")
    try:
        submission = Submission.objects.select_for_update().get(pk=int(header["submission_id"]))
    except Submission.DoesNotExist:
        log.error("grader %s replied to a submission that does not exist", client_address(request))
        return reply(False, "Submission does not exist")
    if not submission.pullkey or header["submission_key"] != submission.pullkey:
        return reply(False, "Incorrect key for submission")

    submission.return_time = timezone.now()
    submission.grader_reply = request.POST["xqueue_body"]
    submission.lms_ack = post_to_lms(submission.xqueue_header, submission.grader_reply)
    if not submission.lms_ack:
        submission.num_failures += 1
    submission.retired = submission.lms_ack or submission.num_failures > settings.MAX_NUMBER_OF_FAILURES
    submission.save()
    return reply(True, "")
