"""What every XQueue endpoint shares: the reply's form, the client's address, the hash for keys."""

from __future__ import annotations

import hashlib
import json

from django.http import HttpRequest, HttpResponse


def reply(success: bool, content: object) -> HttpResponse:
    """Answer in XQueue's form: status 200 and ``{"return_code": 0|1, "content": ...}``, sent as text/html."""
    return HttpResponse(json.dumps({"return_code": 0 if success else 1, "content": content}))


def client_address(request: HttpRequest) -> str:
    """Return the address that XQueue records: the proxy's ``X-Real-IP``, else the peer's."""
    return request.META.get("HTTP_X_REAL_IP") or request.META.get("REMOTE_ADDR", "None")


def make_key(text: str) -> str:
    """Return the MD5 hex digest that XQueue uses for pullkeys and for names of stored files."""
    return hashlib.md5(text.encode()).hexdigest()


def read_header(form, required: tuple[str, ...]) -> dict | None:
    """Return the posted ``xqueue_header`` as a dictionary, or None when the request has not XQueue's form.

    The form needs a body as well, and the header every name in ``required``; their values are not looked at.
    """
    if "xqueue_header" not in form or "xqueue_body" not in form:
        return None
    try:
        header = json.loads(form["xqueue_header"])
    except ValueError:
        return None
    if not isinstance(header, dict) or any(name not in header for name in required):
        return None
    return header
