"""Findings about installed versions: supported ranges, the platform's pins, and whether its sender still works."""

from __future__ import annotations

from collections.abc import Iterator

import django
from django.utils.version import get_version_tuple

from ..core.errors import PredictionUnavailable
from ..core.findings import Finding, found
from ..core.site_rules import SITE_RULES as RULES
from ..lms import pins
from ..target import installed, prediction

#: Supported from the first version on and below the second, as in requirements/constraints.txt.
DJANGO = ((5, 2, 7), (5, 3))


def findings() -> Iterator[Finding]:
    """Yield the findings about installed versions."""
    yield from _versions()
    if replaced := pins.replaced_pins():
        yield found(RULES["pins_replaced"], about="; ".join(map(str, replaced)))
    sender = pins.sender_without_queue_key()
    if sender and installed.needs_queue_key():
        yield found(RULES["sender_unusable"], about=sender)
    yield from _scaling()


def _versions() -> Iterator[Finding]:
    if not installed.is_supported():
        yield found(RULES["submissions_unsupported"], about=installed.version())
    if not DJANGO[0] <= get_version_tuple(django.get_version()) < DJANGO[1]:
        yield found(RULES["django_unsupported"], about=django.get_version())


def _scaling() -> Iterator[Finding]:
    """Yield a finding if edx-submissions stores scores unscaled, as releases before 4.0.2 do."""
    try:
        scales = prediction.scales()
    except PredictionUnavailable:
        scales = True  # reported once, as scores_unpredictable
    if not scales:
        yield found(RULES["scores_not_scaled"], about=f"edx-submissions {installed.version()}")
