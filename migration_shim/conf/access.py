"""How to reach XQueue over HTTP."""

from __future__ import annotations

from dataclasses import dataclass, field

from django.conf import settings as django_settings

from ..core.errors import ConfigurationError
from .reading import given, keys, problem_of
from .values import ShimSettings

_KEYS = ("LEGACY_URL", "LEGACY_USERNAME", "LEGACY_PASSWORD", "LEGACY_CONNECT_TIMEOUT", "LEGACY_READ_TIMEOUT")


@dataclass(frozen=True, slots=True, kw_only=True)
class LegacyAccess:
    """How to reach XQueue over HTTP. Timeouts in seconds."""

    url: str
    username: str
    # Left out of the representation: error reporters print the variables of a traceback.
    password: str = field(repr=False)
    basic_auth: tuple[str, str] | None = field(repr=False)
    timeout: tuple[float, float]


def legacy_access() -> LegacyAccess:
    """
    How to reach XQueue, from ``MIGRATION_SHIM`` or else from the platform's ``XQUEUE_INTERFACE``.

    It looks at the legacy keys only, and passes over one that is not usable, so that a mistake in the dictionary never
    cuts a learner off from legacy.

    Raises:
        ConfigurationError: when neither names a URL.
    """
    ours = ShimSettings(
        **{
            keys()[key].field: value
            for key, value in (given() or {}).items()
            if key in _KEYS and problem_of(key, value) is None
        }
    )
    platform = getattr(django_settings, "XQUEUE_INTERFACE", None) or {}
    account = platform.get("django_auth") or {}
    url = ours.legacy_url or platform.get("url")
    if not url:
        raise ConfigurationError('Neither MIGRATION_SHIM["LEGACY_URL"] nor XQUEUE_INTERFACE["url"] is set.')
    basic_auth = platform.get("basic_auth")
    return LegacyAccess(
        url=str(url).rstrip("/"),
        username=ours.legacy_username or account.get("username") or "",
        password=ours.legacy_password or account.get("password") or "",
        basic_auth=(str(basic_auth[0]), str(basic_auth[1])) if basic_auth else None,
        timeout=(ours.legacy_connect_timeout, ours.legacy_read_timeout),
    )
