"""
The login of graders: Django users of the group ``xqueue``. It reveals nothing about other accounts of the LMS.

The password of an account outside the group is never checked, and every refusal costs the same hash and has the same
text. Failures are counted in the LMS's cache by account and address together, so that a client cannot lock out an
account for other addresses. See docs/decisions/0024.
"""

from __future__ import annotations

import hashlib
import logging

from django.contrib.auth import authenticate, get_user_model
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.views.decorators.debug import sensitive_variables

from ..lms import shared_cache
from ..metrics import count

log = logging.getLogger(__name__)

#: The Django group whose members may pull submissions and return results; edx-submissions' own.
GROUP = "xqueue"
#: After so many failures of one account at one address its passwords are no longer checked, for so many seconds.
FAILURES, SECONDS = 10, 300
#: No user name is longer (AbstractUser).
_NAME_LIMIT = 150


@sensitive_variables("password")
def authenticate_grader(request: HttpRequest, username: str, password: str) -> User | None:
    """
    Return the grader with this account and password, or None.

    After ``FAILURES`` failures an account is refused at that address for ``SECONDS``, even with the right password.
    """
    key = _key(username, request)
    if _failures(key) >= FAILURES:
        count("login_limited")
        return None
    user = None
    if _is_grader(username):
        user = authenticate(request, username=username, password=password)
    else:
        make_password(password)  # as much work as checking a password
    # The platform's backend accepts inactive users, whose polls would all be refused.
    if user is None or not user.is_active or not user.groups.filter(name=GROUP).exists():
        _failed(key)
        return None
    return user


def _is_grader(username: str) -> bool:
    """Return whether the group has an account of exactly this name; the database may ignore case when it compares."""
    if len(username) > _NAME_LIMIT or not username.isprintable() or any(char > "\uffff" for char in username):
        return False  # the column cannot hold it, and some databases raise
    users = get_user_model()
    field = users.USERNAME_FIELD
    found = users._default_manager.filter(**{field: username}, groups__name=GROUP).values_list(field, flat=True)
    return username in list(found)


def _key(username: str, request: HttpRequest) -> str:
    """
    Return the cache key of an account at an address.

    The address is that of the connection. Behind a proxy it is the proxy's, unless the platform's middleware for
    ``X-Forwarded-For`` has replaced it by the client's. The header itself is not read: clients write it.
    """
    text = f"{request.META.get('REMOTE_ADDR', '')}\n{username}"
    return "migration_shim.login." + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _failures(key: str) -> int:
    try:
        return int(shared_cache.ask(lambda cache: cache.get(key, 0)))
    except Exception as error:  # a cache backend may raise anything, and graders must get in
        _unlimited(error)
        return 0


def _failed(key: str) -> None:
    try:
        if not shared_cache.ask(lambda cache: cache.add(key, 1, SECONDS)):
            shared_cache.ask(lambda cache: cache.incr(key))
    except ValueError:
        pass  # the count has just expired
    except Exception as error:  # see above
        _unlimited(error)


def _unlimited(error: Exception) -> None:
    count("login_not_limited", error)
    log.error(
        "migration_shim.login_not_limited: the cache does not answer, and guesses are not limited: %s",
        type(error).__name__,
    )
