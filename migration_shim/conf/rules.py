"""
What the value of a setting has to be beside its type, as types: ``gate_threshold: Rate = 0.01``.

A rule is read twice: where a dictionary is checked, and by docs/generate.py. No rule shows the value: under a wrong key
it may be a password.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from ..core.hosts import named_host

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Rule:
    """What a value has to be: ``must`` ends the sentence that begins with the setting's name."""

    must: str
    #: Asked of values that have the setting's type, and are not None.
    holds: Callable[[Any], bool]


def _all(of: Callable[[Any], object]) -> Callable[[list[Any]], bool]:
    return lambda values: all(isinstance(value, str) and of(value) for value in values)


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 100


def _are_names(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)


# NaN is neither above nor under anything, so each rule says what is right, and not what is wrong.
_NOT_NEGATIVE = Rule("not be negative", lambda value: value >= 0)
_ANY_NAME = _all(lambda name: True)

Count = Annotated[int, _NOT_NEGATIVE]
Number = Annotated[float, _NOT_NEGATIVE]
OptionalCount = Annotated[int | None, _NOT_NEGATIVE]
OptionalNumber = Annotated[float | None, _NOT_NEGATIVE]
AtLeastOne = Annotated[int, Rule("be above 0", lambda value: value >= 1)]
Rate = Annotated[float, Rule("lie between 0 and 1", lambda value: 0 < value < 1)]
Percent = Annotated[float, Rule("be a number from 0 to 100", lambda value: 0 <= value <= 100)]
_LONGEST = 36500
Days = Annotated[
    float, Rule("be a number of days above 0, of a hundred years at most", lambda value: 0 < value <= _LONGEST)
]
Deadline = Annotated[float, Rule("be a number of seconds above 0", lambda value: 0 < value < math.inf)]

Suffix = Annotated[str, Rule("not be empty: a copy needs a queue of its own", bool)]
WhenCopied = Annotated[str, Rule("be 'deferred' or 'inline'", lambda value: value in ("deferred", "inline"))]

Aliases = Annotated[list, Rule("be a list of database aliases", _ANY_NAME)]
Queues = Annotated[list, Rule("be a list of queue names", _ANY_NAME)]
Packages = Annotated[list, Rule("be a list of Python packages or modules", _all(bool))]
_HOSTS = "be a list of host names, as name or name:port"
FileHosts = Annotated[list, Rule(_HOSTS, _all(_HOST.fullmatch))]
CallbackHosts = Annotated[list, Rule(_HOSTS, _all(named_host))]

_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+")
Addresses = Annotated[list, Rule("be a list of e-mail addresses", _all(_ADDRESS.fullmatch))]

Passwords = Annotated[
    dict,
    Rule(
        "map user names to passwords that are not empty",
        lambda value: all(isinstance(text, str) for text in (*value, *value.values())) and all(value.values()),
    ),
]
Shares = Annotated[
    dict, Rule("map courses to numbers from 0 to 100", lambda value: all(map(_is_share, value.values())))
]
QueuesByUser = Annotated[
    dict,
    Rule(
        "map user names to lists of queue names",
        lambda value: all(isinstance(user, str) and _are_names(queues) for user, queues in value.items()),
    ),
]
