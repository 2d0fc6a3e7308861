"""
The login of graders: Django users of the group ``xqueue``, whose door must tell nothing of the LMS's other accounts.

The password of an account outside the group is never looked at, and every refusal costs the same hash and says the
same. Wrong guesses are counted in the LMS's cache by account and address together, so that nobody is locked out by what
others do elsewhere. See docs/decisions/0024.
"""

from __future__ import annotations

import hashlib
import logging

from django.contrib.auth import authenticate, get_user_model
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.core.cache import cache
from django.http import HttpRequest
from django.views.decorators.debug import sensitive_variables

from ..metrics import count

log = logging.getLogger(__name__)

#: The Django group whose members may pull submissions and return results; edx-submissions' own.
GROUP = "xqueue"
#: Refusals of one account at one address after which its passwords are not looked at any more, for so many seconds.
FAILURES, SECONDS = 10, 300
#: No user name is longer (AbstractUser).
_NAME_LIMIT = 150


@sensitive_variables("password")
def authenticate_grader(request: HttpRequest, username: str, password: str) -> User | None:
    """
    The grader whose account and password these are, or None.

    Whoever is refused ten times is refused for some minutes, right or wrong, at that address.
    """
    key = _key(username, request)
    if _failures(key) >= FAILURES:
        count("login_limited")
        return None
    user = None
    if _is_grader(username):
        user = authenticate(request, username=username, password=password)
    else:
        make_password(password)  # as much work as a password that is looked at
    # The platform's backend lets in who is not active, and every poll after that would be refused.
    if user is None or not user.is_active or not user.groups.filter(name=GROUP).exists():
        _failed(key)
        return None
    return user


def _is_grader(username: str) -> bool:
    """Whether an account of this very name, not of one that the database takes for it, is in the group."""
    if len(username) > _NAME_LIMIT or not username.isprintable() or any(char > "\uffff" for char in username):
        return False  # no column holds it, and some databases raise
    users = get_user_model()
    field = users.USERNAME_FIELD
    found = users._default_manager.filter(**{field: username}, groups__name=GROUP).values_list(field, flat=True)
    return username in list(found)


def _key(username: str, request: HttpRequest) -> str:
    """
    A name in the cache for an account at an address.

    The address is the connection's, which behind a proxy is the proxy's unless the platform has put the client in its
    place (its middleware for ``X-Forwarded-For``). That header itself is not read: whoever sends a request writes it.
    """
    text = f"{request.META.get('REMOTE_ADDR', '')}\n{username}"
    return "migration_shim.login." + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _failures(key: str) -> int:
    try:
        return cache.get(key, 0)
    except Exception as error:  # backends raise what they like, and graders must get in
        _unlimited(error)
        return 0


def _failed(key: str) -> None:
    try:
        if not cache.add(key, 1, SECONDS):
            cache.incr(key)
    except ValueError:
        pass  # it has just run out
    except Exception as error:  # see above
        _unlimited(error)


def _unlimited(error: Exception) -> None:
    count("login_not_limited", error)
    log.error("migration_shim: the cache does not answer, and guesses are not limited: %s", type(error).__name__)
