"""
Values as SQL literals on MySQL and MariaDB, many at once.

The driver too writes a parameter into the text of the statement. It looks up each value by its type and escapes seven
characters of it, which takes longer than all that the server then does with it. Here a whole list of values becomes one
parameter that needs no more work. It is still a parameter: whoever records or shows statements has them without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any


class Ready:
    """A parameter that is SQL already. It contains what learners wrote, and so it is left out of the representation."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return "<values>"


class Literals:
    """
    Writes literals for one connection, and teaches the connection ``Ready``.

    Args:
        driver: mysqlclient's connection, which is open.
    """

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        driver.encoders[Ready] = _as_it_is
        # Only these two characters can end a literal or change what follows. How they are escaped depends on the
        # server's mode (NO_BACKSLASH_ESCAPES), which the driver knows.
        self._backslash, self._quote = (driver.escape_string(character).decode() for character in "\\'")

    def of(self, values: Sequence[Any]) -> list[str]:
        """Return a literal for each value of one column. What is neither text nor number is left to the driver."""
        kinds = set(map(type, values))
        if None in values and len(kinds) > 1:
            others = iter(self.of([value for value in values if value is not None]))
            return ["NULL" if value is None else next(others) for value in values]
        if all(issubclass(kind, str) for kind in kinds):
            backslash, quote = self._backslash, self._quote
            whole = "".join(values)
            if "\\" not in whole and "'" not in whole:  # hexadecimal, names and keys
                return [f"'{text}'" for text in values]
            return ["'" + text.replace("\\", backslash).replace("'", quote) + "'" for text in values]
        if kinds <= {int, bool}:
            return [str(int(value)) for value in values]
        if kinds == {float} and all(map(isfinite, values)):
            # With an exponent it is a double and no decimal, as the driver writes it.
            return [text if "e" in text else f"{text}e0" for text in map(repr, values)]
        return [self._driver.literal(value).decode() for value in values]


def _as_it_is(ready: Ready, encoders: object) -> str:
    return ready.text
