"""App configuration of the LMS stand-in."""

from django.apps import AppConfig


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

        if settings.SANDBOX_SCORE_RECEIVER:
            receivers.connect_score_receiver()
