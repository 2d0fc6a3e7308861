"""App configuration of the XQueue stand-in."""

from django.apps import AppConfig


class XQueueConfig(AppConfig):
    """The app under XQueue's own label, so that table contents such as ``django_migrations`` look like XQueue's."""

    name = "sandbox.xqueue"
    label = "submission_queue"
    default_auto_field = "django.db.models.AutoField"
