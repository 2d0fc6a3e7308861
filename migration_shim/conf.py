"""
The settings of the app: one dictionary, ``MIGRATION_SHIM``, typed and defaulted here.

Read it with ``load()`` inside functions, never at import: in a plugin app a setting read at import is the default.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings as django_settings

from .core.gate import Thresholds
from .errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class ShimSettings:
    """The settings in force. A field ``legacy_url`` is the key ``LEGACY_URL`` of the dictionary."""

    # .. setting_name: MIGRATION_SHIM["LEGACY_URL"]
    # .. setting_default: None
    # .. setting_description: XQueue's base URL, as in XQUEUE_INTERFACE["url"]. None takes it, and the account below,
    #   from the platform's XQUEUE_INTERFACE, so that an LMS configures them once.
    legacy_url: str | None = None
    # .. setting_name: MIGRATION_SHIM["LEGACY_USERNAME"]
    # .. setting_default: None
    # .. setting_description: The XQueue account that submits. None: XQUEUE_INTERFACE["django_auth"]["username"].
    legacy_username: str | None = None
    # .. setting_name: MIGRATION_SHIM["LEGACY_PASSWORD"]
    # .. setting_default: None
    # .. setting_description: Its password. None: XQUEUE_INTERFACE["django_auth"]["password"].
    legacy_password: str | None = None
    # .. setting_name: MIGRATION_SHIM["LEGACY_CONNECT_TIMEOUT"]
    # .. setting_default: 3.05
    # .. setting_description: Seconds to wait for a connection to XQueue. The default is the LMS's own.
    legacy_connect_timeout: float = 3.05
    # .. setting_name: MIGRATION_SHIM["LEGACY_READ_TIMEOUT"]
    # .. setting_default: 10.0
    # .. setting_description: Seconds to wait for XQueue's answer. The default is the LMS's own.
    legacy_read_timeout: float = 10.0
    # .. setting_name: MIGRATION_SHIM["LEGACY_STORAGE"]
    # .. setting_default: {}
    # .. setting_description: Where XQueue keeps uploaded files, as {"BACKEND": path of a Django storage class,
    #   "OPTIONS": {...}}; files are read as <queue name>/<key>. Empty: rows with files stay on legacy (class drain).
    legacy_storage: dict = field(default_factory=dict)
    # .. setting_name: MIGRATION_SHIM["LEGACY_FILE_LIMIT"]
    # .. setting_default: 8388608
    # .. setting_description: The largest file, in bytes, that is copied from XQueue's storage. The LMS
    #   itself allows 4 MB.
    legacy_file_limit: int = 8 * 1024 * 1024
    # .. setting_name: MIGRATION_SHIM["SHADOW_QUEUE_SUFFIX"]
    # .. setting_default: ".shadow"
    # .. setting_description: Appended to a queue's name for its shadows on the target. A grader must poll that queue.
    shadow_queue_suffix: str = ".shadow"
    # .. setting_name: MIGRATION_SHIM["ECHO_QUEUE_SUFFIX"]
    # .. setting_default: ".echo"
    # .. setting_description: Appended to a queue's name for imported history. No grader polls that queue.
    echo_queue_suffix: str = ".echo"
    # .. setting_name: MIGRATION_SHIM["OVERLAP_SECONDS"]
    # .. setting_default: 60
    # .. setting_description: Legacy ids commit out of order. A checkpoint never passes the oldest id that arrived
    #   within this many seconds; that tail is read again by the next run.
    overlap_seconds: int = 60
    # .. setting_name: MIGRATION_SHIM["PRESENCE_GRACE_SECONDS"]
    # .. setting_default: 120
    # .. setting_description: How long after its arrival a submission may lack its copy before that is a divergence.
    presence_grace_seconds: int = 120
    # .. setting_name: MIGRATION_SHIM["GRADING_DEADLINE_SECONDS"]
    # .. setting_default: 3600
    # .. setting_description: How long one side may still be grading when the other has finished (waiting); after that
    #   the pair is overdue.
    grading_deadline_seconds: int = 3600
    # .. setting_name: MIGRATION_SHIM["EVIDENCE_MAX_AGE_SECONDS"]
    # .. setting_default: 86400
    # .. setting_description: A reconcile, a preflight or a permit older than this is stale. Nothing stale opens
    #   a gate.
    evidence_max_age_seconds: int = 24 * 3600
    # .. setting_name: MIGRATION_SHIM["GATE_THRESHOLD"]
    # .. setting_default: 0.01
    # .. setting_description: The rate of unexplained divergences that a course must be shown to be under. 0.01 needs
    #   449 clean pairs, 0.05 needs 88.
    gate_threshold: float = 0.01
    # .. setting_name: MIGRATION_SHIM["GATE_ERROR"]
    # .. setting_default: 0.05
    # .. setting_description: The chance, over all looks together, that a course at the threshold is let through.
    gate_error: float = 0.05
    # .. setting_name: MIGRATION_SHIM["GATE_MIN_PAIRS_PER_QUEUE"]
    # .. setting_default: 5
    # .. setting_description: Pairs that a real grader must have graded on both sides, for every queue.
    gate_min_pairs_per_queue: int = 5
    # .. setting_name: MIGRATION_SHIM["GATE_MIN_PAIRS_PER_PROBLEM"]
    # .. setting_default: 20
    # .. setting_description: Graded pairs a problem needs, or all it has if it has fewer; with fewer it is thin.
    gate_min_pairs_per_problem: int = 20
    # .. setting_name: MIGRATION_SHIM["GATE_THIN_SHARE"]
    # .. setting_default: 0.05
    # .. setting_description: Thin problems block unless together they carry less than this share of the traffic.
    gate_thin_share: float = 0.05

    def thresholds(self) -> Thresholds:
        """The gate's part of the settings."""
        return Thresholds(
            rate=self.gate_threshold,
            error=self.gate_error,
            pairs_per_queue=self.gate_min_pairs_per_queue,
            pairs_per_problem=self.gate_min_pairs_per_problem,
            thin_share=self.gate_thin_share,
            max_age_seconds=self.evidence_max_age_seconds,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LegacyAccess:
    """How to reach XQueue over HTTP. Timeouts in seconds."""

    url: str
    username: str
    password: str
    basic_auth: tuple[str, str] | None
    timeout: tuple[float, float]


def _types() -> dict[str, tuple[str, Any]]:
    hints = typing.get_type_hints(ShimSettings)
    return {name.upper(): (name, hint) for name, hint in hints.items()}


def _accepts(hint: Any, value: Any) -> bool:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if isinstance(value, bool):
        return bool in options
    if float in options and isinstance(value, int):
        return True
    return isinstance(value, options)


def _range_problem(key: str, value: Any) -> str | None:
    rates = {"GATE_THRESHOLD", "GATE_ERROR", "GATE_THIN_SHARE"}
    if key in rates and not 0 < value < 1:
        return f"MIGRATION_SHIM[{key!r}] must lie between 0 and 1."
    if isinstance(value, int | float) and not isinstance(value, bool) and value < 0:
        return f"MIGRATION_SHIM[{key!r}] must not be negative."
    if key.endswith("_SUFFIX") and not value:
        return f"MIGRATION_SHIM[{key!r}] must not be empty: a copy needs a queue of its own."
    return None


def problems() -> list[str]:
    """Every reason why the dictionary is not usable, each naming its key; empty when it is."""
    given = getattr(django_settings, "MIGRATION_SHIM", {})
    if not isinstance(given, dict):
        return ["MIGRATION_SHIM must be a dictionary."]
    known = _types()
    found = []
    for key, value in given.items():
        if key not in known:
            found.append(f"MIGRATION_SHIM[{key!r}] is not a setting of migration_shim.")
        elif not _accepts(known[key][1], value):
            # The value is not shown: it may be a password.
            found.append(f"MIGRATION_SHIM[{key!r}] is a {type(value).__name__}, which does not fit {known[key][1]}.")
        elif (problem := _range_problem(key, value)) is not None:
            found.append(problem)
    return found


def load() -> ShimSettings:
    """
    The settings in force.

    Raises:
        ConfigurationError: naming every bad key. The router answers it by passing through to legacy.
    """
    if found := problems():
        raise ConfigurationError(" ".join(found))
    given = getattr(django_settings, "MIGRATION_SHIM", {})
    known = _types()
    return ShimSettings(**{known[key][0]: value for key, value in given.items()})


def legacy_access() -> LegacyAccess:
    """
    How to reach XQueue, from ``MIGRATION_SHIM`` or else from the platform's ``XQUEUE_INTERFACE``.

    It looks at the legacy keys only, so that a mistake in another key never cuts a learner off from legacy.

    Raises:
        ConfigurationError: when neither names a URL.
    """
    given = getattr(django_settings, "MIGRATION_SHIM", {})
    ours = given if isinstance(given, dict) else {}
    platform = getattr(django_settings, "XQUEUE_INTERFACE", None) or {}
    account = platform.get("django_auth") or {}
    url = ours.get("LEGACY_URL") or platform.get("url")
    if not url:
        raise ConfigurationError('Neither MIGRATION_SHIM["LEGACY_URL"] nor XQUEUE_INTERFACE["url"] is set.')
    defaults = {item.name: item.default for item in dataclasses.fields(ShimSettings)}
    basic_auth = platform.get("basic_auth")
    return LegacyAccess(
        url=str(url).rstrip("/"),
        username=ours.get("LEGACY_USERNAME") or account.get("username") or "",
        password=ours.get("LEGACY_PASSWORD") or account.get("password") or "",
        basic_auth=tuple(basic_auth) if basic_auth else None,
        timeout=(
            ours.get("LEGACY_CONNECT_TIMEOUT", defaults["legacy_connect_timeout"]),
            ours.get("LEGACY_READ_TIMEOUT", defaults["legacy_read_timeout"]),
        ),
    )
