"""
The login of the submit door: its own accounts (``SUBMIT_USERS``), by HTTP Basic or by a signed cookie.

Django's sessions and users are not used: an LMS's cookie domain, Secure flag and one-session rule would refuse real
submissions, and an account of the door must not be able to do anything else.
"""

from __future__ import annotations

import base64
import binascii

from django.core import signing
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare, salted_hmac
from django.views.decorators.debug import sensitive_variables

from ..conf import ShimSettings

#: The name must not change: during an upgrade a process of one release may answer the login, of another the submit.
COOKIE = "migration_shim_submit"
_SALT = "migration_shim.submit"
#: Seconds that a login lasts; the LMS logs in again when the answer is ``login_required``.
COOKIE_AGE = 12 * 3600


@sensitive_variables()
def is_account(username: str, password: str, settings: ShimSettings) -> bool:
    """Return whether name and password are an account of the door; every account is compared, in constant time."""
    found = False
    for name, secret in settings.submit_users.items():
        same_name = constant_time_compare(name, username)
        same_secret = constant_time_compare(secret, password)
        found |= same_name and same_secret
    return found


@sensitive_variables()
def is_authenticated(request: HttpRequest, settings: ShimSettings) -> bool:
    """
    Return whether a request carries an account of the door, by HTTP Basic or by the door's cookie.

    One of the two is enough: an LMS may still send the Basic account of the proxy before XQueue, which the door does
    not know, and log in with another account through the form. The cookie is removed from the request, so that no error
    report shows it.
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
    # A removed account, or a changed password, ends its logins at once.
    return secret is not None and constant_time_compare(mark, _mark(secret))


@sensitive_variables()
def set_cookie(response: HttpResponse, request: HttpRequest, username: str, password: str) -> None:
    """Log an account in: set a signed cookie for this host only."""
    value = signing.dumps([username, _mark(password)], salt=_SALT)
    # Secure only over TLS: an LMS that speaks plain HTTP to the door would never send a Secure cookie back.
    response.set_cookie(COOKIE, value, max_age=COOKIE_AGE, httponly=True, samesite="Lax", secure=request.is_secure())


@sensitive_variables()
def _mark(password: str) -> str:
    """Return the keyed hash that stands for a password in the cookie, as in Django's sessions."""
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
