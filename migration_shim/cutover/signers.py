"""Who may sign: the accounts behind the names that an operator gives. No command can prove who has typed a name."""

from __future__ import annotations

import unicodedata
from typing import Any

from django.contrib.auth import get_user_model

from ..core.errors import IllegalStep, ShimError


def lms_user(login: str | None) -> Any:
    """
    Return the LMS user with exactly this name, whom flag overrides name as their author; None for None.

    Raises:
        ShimError: there is no such user.
    """
    if login is None:
        return None
    found = _account(login)
    if found is None:
        raise ShimError(f"There is no LMS user {login!r} to sign with.")
    return found


def refuse(signer: Any) -> None:
    """
    Refuse an account that cannot answer for a course: one whose holder has left, or a learner's.

    Raises:
        IllegalStep: the account is not active, or neither staff nor a superuser's.
    """
    if lacks := _lacks(signer):
        raise IllegalStep(f"The account {signer.get_username()!r} is not {lacks}: it cannot sign an override.")


def may_sign(name: str) -> bool:
    """Tell whether whoever has signed under this name may still sign: an account may have been closed since."""
    user = _account(name)
    return user is not None and not _lacks(user)


def look_alike(one: str, other: str) -> bool:
    """Tell whether two names are one to a reader, who sees neither case nor width nor blanks around them."""
    first, second = (unicodedata.normalize("NFKC", name).casefold().strip() for name in (one, other))
    return first == second


def _lacks(user: Any) -> str:
    """Return what an account is not that signs; empty where it may sign."""
    if not user.is_active:
        return "active"
    return "" if user.is_staff or user.is_superuser else "staff"


def _account(name: str) -> Any:
    """Return the account of this name; None where there is none. MySQL also finds one that only looks alike."""
    return next((user for user in get_user_model().objects.filter(username=name) if user.username == name), None)
