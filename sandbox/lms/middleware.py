"""Keeps a list of the callbacks that XQueue made and of what they were answered."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from sandbox.lms.models import LegacyCallback


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
