"""The values of an enumeration as choices of a column."""

from __future__ import annotations

import enum


def choices(values: type[enum.StrEnum]) -> list[tuple[str, str]]:
    """Return each value as (stored, shown), which are the same."""
    return [(value.value, value.value) for value in values]
