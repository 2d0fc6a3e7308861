"""Posting a result to the LMS (XQueue: submission_queue/consumer.py, without push queues)."""

from __future__ import annotations

import json
import logging

import requests
from django.conf import settings

from sandbox.network import proxied_session

log = logging.getLogger(__name__)

ATTEMPTS = 5


def post_to_lms(header_text: str, body: str) -> bool:
    """Post a result to the callback URL of a header, up to five times in a row; return whether the LMS answered 200.

    Only refused connections, timeouts and statuses count as a failed attempt. Anything else that ``requests`` raises,
    as for an empty callback URL or one without a scheme, is an error 500 of the caller, as in XQueue.
    """
    url = json.loads(header_text)["lms_callback_url"]
    form = {"xqueue_header": header_text, "xqueue_body": body}
    if any(_post(url, form) for _attempt in range(ATTEMPTS)):
        return True
    log.error("unable to return a result to the LMS in %d attempts", ATTEMPTS)
    return False


def _post(url: str, form: dict[str, str]) -> bool:
    with proxied_session() as session:  # a session for each attempt: XQueue keeps no cookies between them
        try:
            answer = session.post(url, data=form, timeout=settings.REQUESTS_TIMEOUT, verify=False)
        except (requests.ConnectionError, requests.Timeout):
            return False
    return answer.status_code == 200
