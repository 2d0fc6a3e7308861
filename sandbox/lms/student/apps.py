"""App configuration of the stand-in's learners."""

from django.apps import AppConfig


class StudentConfig(AppConfig):
    """The platform's app of this label (common/djangoapps/student), reduced to learners' anonymous ids."""

    name = "sandbox.lms.student"
    label = "student"
    default_auto_field = "django.db.models.BigAutoField"
