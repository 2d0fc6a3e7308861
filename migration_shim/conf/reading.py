"""The dictionary read: what is wrong with it, and what is in force."""

from __future__ import annotations

import functools
import types
import typing
from dataclasses import dataclass
from typing import Any

from django.conf import settings as django_settings

from ..core.errors import ConfigurationError
from ..core.hosts import named_host
from .rules import Rule
from .values import ShimSettings

_DEFAULTS = ShimSettings()


@dataclass(frozen=True, slots=True)
class Key:
    """A key of the dictionary: the field that it fills, its type, and what else its value has to be."""

    field: str
    type: Any
    rules: tuple[Rule, ...]


@functools.cache
def keys() -> dict[str, Key]:
    """Every key that there is, in the order of ``ShimSettings``."""
    found = {}
    for name, hint in typing.get_type_hints(ShimSettings, include_extras=True).items():
        plain, *rules = typing.get_args(hint) if typing.get_origin(hint) is typing.Annotated else (hint,)
        found[name.upper()] = Key(name, plain, tuple(rules))
    return found


def problem_of(key: str, value: Any) -> str | None:
    """What is wrong with one key and its value, which is not shown: it may be a password."""
    what = keys().get(key)
    if what is None:
        return f"MIGRATION_SHIM[{key!r}] is not a setting of migration_shim."
    if not _fits(what.type, value):
        return f"MIGRATION_SHIM[{key!r}] is a {type(value).__name__}, which does not fit {what.type}."
    broken = (rule.must for rule in what.rules if value is not None and not rule.holds(value))
    return next((f"MIGRATION_SHIM[{key!r}] must {must}." for must in broken), None)


def _fits(hint: Any, value: Any) -> bool:
    """Whether a value is of a type; an int is a float as well, but True is no number."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if isinstance(value, bool):
        return bool in options
    return isinstance(value, options) or (float in options and isinstance(value, int))


def given() -> dict[str, Any] | None:
    """The dictionary as the site has it, empty where it has none; None where it is no dictionary."""
    found = getattr(django_settings, "MIGRATION_SHIM", {})
    return found if isinstance(found, dict) else None


def problems() -> list[str]:
    """Every reason why the dictionary is not usable, each naming its key; empty when it is."""
    return [text for _, text in _found()]


def _found() -> list[tuple[str, str]]:
    """What is wrong with the dictionary: key by key, the key itself (empty: all of them) and the reason."""
    values = given()
    if values is None:
        return [("", "MIGRATION_SHIM must be a dictionary.")]
    found = [(key, text) for key, value in values.items() if (text := problem_of(key, value)) is not None]
    return [*found, *_at_odds(values)]


def _at_odds(values: dict[str, Any]) -> list[tuple[str, str]]:
    """The same of keys that are right, each by itself, and do not go together."""
    found = []
    shadow = values.get("SHADOW_QUEUE_SUFFIX", _DEFAULTS.shadow_queue_suffix)
    echo = values.get("ECHO_QUEUE_SUFFIX", _DEFAULTS.echo_queue_suffix)
    if shadow == echo:
        text = 'MIGRATION_SHIM["ECHO_QUEUE_SUFFIX"] must not be that of shadows: no grader may poll its queues.'
        found.append(("ECHO_QUEUE_SUFFIX", text))
    if values.get("HELD_QUEUE_SUFFIX", _DEFAULTS.held_queue_suffix) in (shadow, echo):
        text = 'MIGRATION_SHIM["HELD_QUEUE_SUFFIX"] must be one of its own: no grader may poll its queues.'
        found.append(("HELD_QUEUE_SUFFIX", text))
    if both := frozenset.intersection(*callback_hosts()):
        names = ", ".join(sorted(both))
        text = f'MIGRATION_SHIM["CALLBACK_HOSTS"] and ["FOREIGN_CALLBACK_HOSTS"] both name {names}.'
        found.append(("FOREIGN_CALLBACK_HOSTS", text))
    return found


def callback_hosts() -> tuple[frozenset[str], frozenset[str]]:
    """
    The hosts that CALLBACK_HOSTS and FOREIGN_CALLBACK_HOSTS name, each as ``core.hosts.host_of`` gives it.

    It looks at these keys only, and a list that is not usable names none: then the rows of its hosts are left alone.
    """
    values = given() or {}
    return _hosts(values.get("CALLBACK_HOSTS")), _hosts(values.get("FOREIGN_CALLBACK_HOSTS"))


def _hosts(named: object) -> frozenset[str]:
    if not isinstance(named, list):
        return frozenset()
    return frozenset(named_host(host) for host in named if isinstance(host, str)) - {""}


def load() -> ShimSettings:
    """
    The settings in force.

    Raises:
        ConfigurationError: naming every bad key. Who serves learners or graders asks ``usable`` instead.
    """
    if found := problems():
        raise ConfigurationError(" ".join(found))
    return usable()[0]


def usable() -> tuple[ShimSettings, frozenset[str]]:
    """
    What can be used of the settings, and the keys that cannot; a bad key has its default.

    For the doors and the watcher seam: a mistake in one key disables what that key configures, and nothing else. Which
    system is authoritative for a course needs no key at all.
    """
    return _usable(repr(given()))


@functools.lru_cache(maxsize=1)  # every submission asks, and every poll
def _usable(written: str) -> tuple[ShimSettings, frozenset[str]]:
    """Return ``usable()`` of the dictionary, which is ``written`` like this now: one that was changed is read anew."""
    values = given()
    if values is None:
        return ShimSettings(), frozenset(keys())
    bad = frozenset(key for key, _ in _found())
    good = {keys()[key].field: value for key, value in values.items() if key in keys() and key not in bad}
    return ShimSettings(**good), bad
