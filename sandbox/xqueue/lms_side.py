"""``submit``: the endpoint of the LMS (XQueue: submission_queue/lms_interface.py)."""

from __future__ import annotations

import json
import logging

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.core.files.base import ContentFile, File
from django.core.files.storage import default_storage
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from sandbox.xqueue.models import JSON_LENGTH, NAME_LENGTH, Submission, available, unretired
from sandbox.xqueue.protocol import client_address, make_key, read_header, reply

log = logging.getLogger(__name__)


@transaction.non_atomic_requests
@csrf_exempt
@login_required
def submit(request: HttpRequest) -> HttpResponse:
    """Queue one submission and answer with the number of rows that wait in its queue.

    Not atomic: when storing a file or the row fails, the earlier attempts are retired all the same.
    """
    if request.method != "POST":
        return reply(False, "Queue requests should use HTTP POST")
    header = read_header(request.POST, ("lms_callback_url", "lms_key", "queue_name"))
    if header is None:
        log.error("invalid queue submission from %s", client_address(request))
        return reply(False, "Queue request has invalid format")
    queue_name = str(header["queue_name"])
    if queue_name not in settings.XQUEUES:
        return reply(False, f"Queue '{queue_name}' not found")

    callback_url = header["lms_callback_url"]
    _supersede(callback_url)
    header_text = request.POST["xqueue_header"]
    keys, urls = _store_files(request.FILES, header_text, queue_name)
    Submission.objects.create(
        requester_id=client_address(request),
        lms_callback_url=callback_url[:NAME_LENGTH],
        queue_name=queue_name,
        xqueue_header=header_text,
        xqueue_body=request.POST["xqueue_body"],
        s3_keys=keys,
        s3_urls=urls,
    )
    return reply(True, str(available(queue_name).count()))


def _supersede(callback_url: str) -> None:
    """Retire what is unretired under the same callback, as far as the column holds it.

    Too much on purpose, as XQueue does: sibling inputs share the callback, other problems of the learner may share its
    first 128 characters, and a case-insensitive collation makes no difference between cases.
    """
    unretired().filter(lms_callback_url=callback_url[:NAME_LENGTH]).update(retired=True)


def _store_files(files, header_text: str, queue_name: str) -> tuple[str, str]:
    """Store the uploads; return the texts of the columns ``s3_keys`` and ``s3_urls``."""
    keys = {name: make_key(header_text + name) for name in files}
    urls = {name: _store(files[name], queue_name, key) for name, key in keys.items()}
    if len(json.dumps(urls)) > JSON_LENGTH:
        # Too long for the columns: a stored document takes both dictionaries, the columns lead to it.
        key = make_key(header_text + json.dumps(list(files)))
        document = ContentFile(json.dumps({"files": urls, "keys": keys}))
        urls = {"URL_FOR_EXTERNAL_DICTS": _store(document, queue_name, key)}
        keys = {"KEY_FOR_EXTERNAL_DICTS": key}
    return json.dumps(keys), json.dumps(urls)


def _store(content: File, queue_name: str, key: str) -> str:
    """Store one file and return its URL.

    As in XQueue the URL is that of the name asked for: the same header and file name again are stored under another
    name, and the URL goes on giving the first content.
    """
    name = f"{queue_name}/{key}"
    default_storage.save(name, content)
    return default_storage.url(name)
