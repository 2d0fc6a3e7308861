"""The tracking log of every request, as the platform keeps one; and a list of the callbacks that XQueue made."""

import contextlib
import json
import logging
import re
import sys
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from sandbox.lms.models import LegacyCallback

_tracking = logging.getLogger("tracking")
_CENSORED = (
    "password",
    "newpassword",
    "new_password",
    "oldpassword",
    "old_password",
    "new_password1",
    "new_password2",
)


class TrackMiddleware:
    """
    Write an event for every request, with what it sent, as ``common/djangoapps/track/middleware.py`` does.

    Before any view sees the request: the first 512 characters of query and form as JSON, passwords by their names
    starred; but for paths that a pattern of TRACKING_IGNORE_URL_PATTERNS matches from their beginning. Nothing that
    goes wrong on the way stops a request; it is an event of its own.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        """Take the rest of the chain."""
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Write the event, then answer the request."""
        try:
            if self.should_process_request(request):
                self._track(request, json.dumps({"GET": _sent(request.GET), "POST": _sent(request.POST)})[:512])
        except Exception:  # as there: whatever it is, and whatever comes of saying so, the request goes on
            with contextlib.suppress(Exception):
                self._track(request, {"event-type": "exception", "exception": repr(sys.exc_info()[0])})
        return self.get_response(request)

    def should_process_request(self, request: HttpRequest) -> bool:
        """Whether the path is to be tracked."""
        patterns = getattr(settings, "TRACKING_IGNORE_URL_PATTERNS", [])
        return not any(re.match(pattern, request.META["PATH_INFO"]) for pattern in patterns)

    def _track(self, request: HttpRequest, event: Any) -> None:
        path = request.META["PATH_INFO"]
        _tracking.info(
            json.dumps(
                {
                    "name": path,
                    "event_type": path,
                    "event_source": "server",
                    "username": request.user.get_username(),
                    "event": event,
                }
            )
        )


def _sent(values: Any) -> dict[str, Any]:
    return {name: "*" * 8 if name in _CENSORED else given for name, given in dict(values).items()}


class RecordCallbacks:
    """
    Record every request that reached the callback view, with the status that left the LMS.

    A middleware and not the view: a callback that fails is rolled back with its request's transaction.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        """Take the rest of the chain."""
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request and record it."""
        response = self.get_response(request)
        match = request.resolver_match
        if match is not None and match.url_name == "xqueue_callback":
            LegacyCallback.objects.create(
                user_id=match.kwargs["userid"][:255],
                usage_key=match.kwargs["mod_id"][:1024],
                dispatch=match.kwargs["dispatch"][:255],
                status=response.status_code,
            )
        return response
