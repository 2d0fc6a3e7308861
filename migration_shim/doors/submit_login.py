"""
Who may submit through the HTTP door: accounts of its own, by HTTP Basic or by a signed cookie.

Not Django's session, users or ``login()``: an LMS's cookie domain, Secure flag and one-session rule would refuse real
submissions, and the door's account must not be able to do anything else.
"""

from __future__ import annotations

import base64
import binascii

from django.core import signing
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare, salted_hmac
from django.views.decorators.debug import sensitive_variables

from ..conf import ShimSettings

#: The name stays as it is: during an upgrade one process answers the login, and one of the release before the submit.
COOKIE = "migration_shim_submit"
_SALT = "migration_shim.submit"
#: How long a login lasts, in seconds; the LMS logs in again when it is told ``login_required``.
COOKIE_AGE = 12 * 3600


@sensitive_variables()
def is_account(username: str, password: str, settings: ShimSettings) -> bool:
    """Whether this is an account of the door; every account is compared, in constant time."""
    found = False
    for name, secret in settings.submit_users.items():
        same_name = constant_time_compare(name, username)
        same_secret = constant_time_compare(secret, password)
        found |= same_name and same_secret
    return found


@sensitive_variables()
def is_authenticated(request: HttpRequest, settings: ShimSettings) -> bool:
    """
    Whether a request carries an account of the door, by HTTP Basic or by the door's cookie.

    Either will do: an LMS goes on sending the Basic account of the proxy that stood before XQueue, which the door need
    not know, while it logs in with another one through the form. The cookie is taken off the request: a report of an
    error further on would show it.
    """
    cookie = request.COOKIES.pop(COOKIE, "")
    basic = _basic(request)
    if basic is not None and is_account(*basic, settings):
        return True
    try:
        said = signing.loads(cookie, salt=_SALT, max_age=COOKIE_AGE)
    except signing.BadSignature:
        return False
    if not (isinstance(said, list) and len(said) == 2 and all(isinstance(text, str) for text in said)):
        return False
    name, mark = said
    secret = settings.submit_users.get(name)
    # An account that was removed is out at once, and so is one whose password was changed.
    return secret is not None and constant_time_compare(mark, _mark(secret))


@sensitive_variables()
def set_cookie(response: HttpResponse, request: HttpRequest, username: str, password: str) -> None:
    """Log an account in: a cookie for this host only, which nothing but the door can read."""
    value = signing.dumps([username, _mark(password)], salt=_SALT)
    # Secure only over TLS: an LMS speaks plain HTTP to a door beside it, and would never send it back.
    response.set_cookie(COOKIE, value, max_age=COOKIE_AGE, httponly=True, samesite="Lax", secure=request.is_secure())


@sensitive_variables()
def _mark(password: str) -> str:
    """What stands for a password in the cookie, as Django's sessions have it."""
    return salted_hmac(_SALT, password, algorithm="sha256").hexdigest()


@sensitive_variables()
def _basic(request: HttpRequest) -> tuple[str, str] | None:
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        # requests sends latin-1 (RFC 7617 leaves it open), and so a wrong guess is a wrong password, not an error.
        username, _, password = base64.b64decode(encoded, validate=True).decode("latin-1").partition(":")
    except (binascii.Error, ValueError):
        return "", ""
    return username, password
