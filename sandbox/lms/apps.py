"""App configuration of the LMS stand-in."""

from typing import Any

from django.apps import AppConfig
from django.db.backends.signals import connection_created


class SandboxLmsConfig(AppConfig):
    """The part of an LMS that external grading touches."""

    name = "sandbox.lms"
    label = "sandbox_lms"
    verbose_name = "LMS stand-in"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connect the receivers; for that of scores (``submissions.models``) importing the module is enough."""
        from django.conf import settings

        from sandbox.lms import receivers, sessions  # noqa: F401
        from sandbox.lms.plugins import connect_receivers

        connection_created.connect(add_collation, dispatch_uid="sandbox_lms.add_collation")
        connect_receivers()
        if settings.SANDBOX_SCORE_RECEIVER:
            receivers.connect_score_receiver()


def add_collation(sender: Any, connection: Any, **kwargs: Any) -> None:
    """Teach SQLite how MySQL compares text in the platform's tables: without case, and without blanks at the end."""
    if connection.vendor == "sqlite":
        connection.connection.create_collation("platform_ci", compare)


def compare(one: str, other: str) -> int:
    """Order two texts as such a collation does."""
    one, other = (text.rstrip(" ").casefold() for text in (one, other))
    return (one > other) - (one < other)
