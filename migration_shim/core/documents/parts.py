"""What the types of documents are made of: numbers and times with their limits, and the text of each key."""

from __future__ import annotations

import enum
from typing import Annotated, Any, TypedDict

from msgspec import Meta

#: A moment in ISO 8601, with its offset.
Moment = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
Count = Annotated[int, Meta(ge=0)]
NonNegative = Annotated[float, Meta(ge=0)]


def says(description: str, **limits: Any) -> Meta:
    """Return the description of a value for the schema, with limits of ``msgspec.Meta`` (``ge``, ``pattern``, ...)."""
    return Meta(description=description, **limits)


def one_of(*words: str | type[enum.StrEnum]) -> Meta:
    """
    Return the limit of a text to some words, given one by one or as an enumeration of ours.

    ``Literal`` would be the type; but most of these texts come from a column or a document on record, as ``str``.
    """
    values = [word for given in words for word in ([given] if isinstance(given, str) else given)]
    return Meta(extra_json_schema={"enum": [str(word) for word in values]})


class CourseProblem(TypedDict):
    """A course of several for which something could not be done."""

    course: Annotated[str, says("The course.")]
    said: Annotated[str, says("What went wrong; only its type where its text could be anybody's.")]
