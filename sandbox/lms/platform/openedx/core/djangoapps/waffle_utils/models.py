"""
The platform's override models, as far as external grading asks them.

Source: edx-platform's ``waffle_utils/models.py`` (read at eb259c8 of a public copy of autumn 2025): the newest row of a
flag and a course counts, if it is enabled; the answer is kept for the rest of the request. Names, columns and the
values of ``override_value`` are the platform's.
"""

import functools
from collections.abc import Callable
from typing import Any

from config_models.models import ConfigurationModel
from django.db import models
from edx_django_utils.cache import RequestCache
from model_utils import Choices
from opaque_keys.edx.django.models import CourseKeyField


class PlatformText(models.CharField):
    """
    Text as MySQL compares it in the platform's tables: without case and without blanks at the end.

    There it is the collation of the table; the stand-in names it, so that SQLite finds the same rows.
    """

    COLLATIONS = {"sqlite": "platform_ci", "mysql": "utf8mb4_unicode_ci"}

    def db_parameters(self, connection: Any) -> dict[str, Any]:
        """Add the collation of the database in use."""
        return {**super().db_parameters(connection), "collation": self.COLLATIONS.get(connection.vendor)}


def request_cached(wrapped: Callable[..., str]) -> Callable[..., str]:
    """As ``openedx/core/lib/cache_utils.py``: the key is made of the function's name and the arguments alone."""

    @functools.wraps(wrapped)
    def ask(cls: type, *args: Any) -> str:
        cache = RequestCache()
        key = ".".join([wrapped.__module__, wrapped.__name__, *map(str, args)])
        cached = cache.get_cached_response(key)
        if cached.is_found:
            return cached.value
        cache.set(key, answer := wrapped(cls, *args))
        return answer

    return ask


class Override(ConfigurationModel):
    """What the two models have in common."""

    OVERRIDE_CHOICES = Choices(("on", "Force On"), ("off", "Force Off"))
    ALL_CHOICES = OVERRIDE_CHOICES + Choices("unset")

    waffle_flag = PlatformText(max_length=255, db_index=True)
    override_choice = models.CharField(choices=OVERRIDE_CHOICES, default=OVERRIDE_CHOICES.on, max_length=3)
    note = models.TextField(blank=True)

    class Meta(ConfigurationModel.Meta):
        """No table of its own."""

        abstract = True

    @classmethod
    def newest(cls, **scope: Any) -> str:
        """Return what the newest row of a flag and a scope says."""
        row = cls.objects.filter(**scope).order_by("-change_date").first()
        return row.override_choice if row and row.enabled else cls.ALL_CHOICES.unset


class WaffleFlagCourseOverrideModel(Override):
    """
    A flag forced for one course.

    .. no_pii:
    """

    KEY_FIELDS = ("waffle_flag", "course_id")

    course_id = CourseKeyField(max_length=255, db_index=True)

    class Meta(Override.Meta):
        """In the platform's table."""

        app_label = "waffle_utils"

    def __str__(self) -> str:
        """Say what is forced where."""
        return f"{self.waffle_flag} {self.override_choice} for {self.course_id}"

    @classmethod
    @request_cached
    def override_value(cls, waffle_flag: str, course_id: Any) -> str:
        """Return "on", "off" or "unset"."""
        return cls.newest(waffle_flag=waffle_flag, course_id=course_id)


class WaffleFlagOrgOverrideModel(Override):
    """
    A flag forced for one organisation.

    .. no_pii:
    """

    KEY_FIELDS = ("waffle_flag", "org")

    org = PlatformText(max_length=255, db_index=True)

    class Meta(Override.Meta):
        """In the platform's table."""

        app_label = "waffle_utils"

    def __str__(self) -> str:
        """Say what is forced where."""
        return f"{self.waffle_flag} {self.override_choice} for {self.org}"

    @classmethod
    @request_cached
    def override_value(cls, waffle_flag: str, org: str) -> str:
        """Return "on", "off" or "unset"."""
        return cls.newest(waffle_flag=waffle_flag, org=org)
