"""
The HTTP seams: the submit door for an LMS that cannot take the Python door, and the sink of reverse shadows.

The submit door answers only in a process started with ``MIGRATION_SHIM_SUBMIT_DOOR=1``. In the workers that serve
learners it would starve them: each submission would need a second worker, and learners would be told "failed to read
from the server" though XQueue had accepted.
"""

from __future__ import annotations

import json
import logging
import os
from typing import Any

from django.contrib.auth import login as django_login
from django.core.files.uploadedfile import UploadedFile
from django.db import DatabaseError, transaction
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.utils.crypto import constant_time_compare
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_POST

from ..conf import ShimSettings, usable
from ..copies.sink import is_probe, is_token
from ..core.cross_site import from_another_site
from ..core.errors import ConfigurationError, Malformed, PhaseUnreadable
from ..core.wire import parse_header
from ..dual_write import QueueInterface
from ..legacy.client import SENT_BY_SHIM, is_sent_by_shim
from ..metrics import count
from ..models import LedgerEntry
from . import grader_login, submit_login

log = logging.getLogger(__name__)

DOOR_VARIABLE = "MIGRATION_SHIM_SUBMIT_DOOR"
#: Reasons for which XQueue itself calls a request's format invalid (XQueue, ``submission_queue/lms_interface.py``).
_REFUSED_BY_XQUEUE = frozenset({"header_not_json", "header_not_object", "header_incomplete"})
DOOR_CLOSED = f"This process does not take submissions: it was started without {DOOR_VARIABLE}=1"


def reply(success: bool, content: Any) -> HttpResponse:
    """
    Return a reply in XQueue's form, always with status 200.

    The content type is JSON, where XQueue's is text/html: its clients ignore the type, but a browser would render text
    that others wrote.
    """
    content_type, headers = "application/json", {"X-Content-Type-Options": "nosniff"}
    text = json.dumps({"return_code": 0 if success else 1, "content": content})
    return HttpResponse(text, content_type=content_type, headers=headers)


@transaction.non_atomic_requests
@csrf_exempt
@sensitive_post_parameters()
@sensitive_variables()
def login(request: HttpRequest) -> HttpResponse:
    """
    Log in an account of the submit door, or else a grader: a Django user of the group ``xqueue``.

    GET answers 0 and sets the CSRF cookie, which a watcher needs before it posts.
    """
    if request.method != "POST":
        get_token(request)
        return reply(True, "")
    if from_another_site(request.headers, request.get_host()):
        # Another site could log its visitors in here under any account it has.
        count("seam_refused_other_site")
        return reply(False, "Requests of other sites are refused")
    if "username" not in request.POST or "password" not in request.POST:
        return reply(False, "Insufficient login info")
    username, password = request.POST["username"], request.POST["password"]
    response = reply(True, "Logged in")
    if _is_submitter(username, password):
        submit_login.set_cookie(response, request, username, password)
        return response
    user = grader_login.authenticate_grader(request, username, password)
    if user is None:
        log.warning("migration_shim.login_refused: a login was refused")
        return reply(False, "Incorrect login credentials")
    django_login(request, user)
    return response


@sensitive_variables()
def _is_submitter(username: str, password: str) -> bool:
    try:
        return submit_login.is_account(username, password, _settings())
    except ConfigurationError as error:
        count("door_not_configured", error)
        return False


def _settings() -> ShimSettings:
    """
    Return the settings in force as far as they are usable.

    Raises:
        ConfigurationError: the accounts of the door are not usable.
    """
    settings, not_usable = usable()
    if "SUBMIT_USERS" in not_usable:
        raise ConfigurationError
    return settings


@transaction.non_atomic_requests
@csrf_exempt
@sensitive_post_parameters()
@sensitive_variables()
def submit(request: HttpRequest) -> HttpResponse:
    """Take one submission as XQueue's ``submit`` does, and answer in XQueue's words."""
    # Read the whole request before any answer: else the server closes the connection of a large one, and an LMS that
    # only has to log in shows its learner "cannot connect to server".
    form = request.POST
    if os.environ.get(DOOR_VARIABLE) != "1":
        return reply(False, DOOR_CLOSED)
    if is_sent_by_shim(request.headers.get(SENT_BY_SHIM)):
        count("door_refused_loop")
        log.error('migration_shim.legacy_url_is_door: MIGRATION_SHIM["LEGACY_URL"] leads to the submit door itself')
        return reply(False, "cannot connect to server")
    try:
        settings = _settings()
    except ConfigurationError as error:
        # Without usable accounts every submission is refused, with the text that the LMS shows for a missing server.
        count("door_not_configured", error)
        return reply(False, "cannot connect to server")
    if not submit_login.is_authenticated(request, settings):
        return reply(False, "login_required")
    if request.method != "POST":
        return reply(False, "Queue requests should use HTTP POST")
    header, body = form.get("xqueue_header"), form.get("xqueue_body")
    if header is None or body is None:
        return _refused("field_missing")
    try:
        parse_header(header)
    except Malformed as odd:
        # Any other odd header is passed on by the router: XQueue takes it, or refuses it in its own words.
        if odd.reason in _REFUSED_BY_XQUEUE:
            return _refused(odd.reason)
    files = [_named(name, upload) for name, upload in request.FILES.items() if isinstance(upload, UploadedFile)]
    try:
        refused, content = QueueInterface(seconds=settings.http_door_seconds).send_to_queue(header, body, files)
    except PhaseUnreadable as unreadable:
        return reply(False, str(unreadable))
    return reply(not refused, content)


def _refused(reason: str) -> HttpResponse:
    count(f"door_refused_{reason}")
    return reply(False, "Queue request has invalid format")


def _named(name: str, upload: UploadedFile) -> UploadedFile:
    # XQueue names a file by the name of its form part, which may differ from the file name that the part gives.
    upload._name = name  # type: ignore[attr-defined]  # the setter of ``name`` would take a path's last part
    return upload


@transaction.non_atomic_requests
@csrf_exempt
@require_POST
@sensitive_post_parameters()
def sink(request: HttpRequest, token: str) -> HttpResponse:
    """
    Take the grade of a reverse shadow and deliver it to no learner.

    The answer is always 200, so that XQueue regards the grade as delivered and retires the row. A token that no entry
    has is counted.
    """
    if not is_token(token):
        count("sink_unknown_token")
        return HttpResponse("")
    if is_probe(token):
        count("sink_probe")
        return HttpResponse("")
    try:
        tokens = LedgerEntry.objects.filter(sink_token=token).order_by("-id").values_list("sink_token", flat=True)
        if not constant_time_compare(tokens.first() or "", token):
            count("sink_unknown_token")
    except DatabaseError as error:
        count("sink_not_recorded", error)
    return HttpResponse("")


def healthz(request: HttpRequest) -> HttpResponse:
    """Answer that this process is up, and whether its submit door is open."""
    door = "open" if os.environ.get(DOOR_VARIABLE) == "1" else "closed"
    return HttpResponse(json.dumps({"status": "ok", "submit_door": door}), content_type="application/json")
