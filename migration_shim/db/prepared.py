"""
Statements of the ORM's that are made once a process, for values that nobody asks for; those of a request come in later.

To build a statement takes Django longer than the server takes to answer it, and graders ask all day long.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Prepared:
    """
    A statement with its parameters in their order.

    Each parameter is either (a name, True), whose value differs from time to time, or (the value itself, False).
    """

    sql: str
    places: tuple[tuple[Any, bool], ...]

    def parameters(self, values: Mapping[str, Any]) -> list[Any]:
        """Return the parameters, where these are the values by name, in the form that the database takes."""
        return [values[place] if known else place for place, known in self.places]


def prepared(built: tuple[str, Iterable[Any]], samples: Mapping[str, Any]) -> Prepared:
    """
    Return a statement that was built for ``samples``: values by name, no two of them alike, and each among its
    parameters.
    """
    sql, parameters = built
    names = {value: name for name, value in samples.items()}
    places = tuple((names[value], True) if value in names else (value, False) for value in parameters)
    assert {name for name, known in places if known} == set(names.values())
    return Prepared(sql, places)
