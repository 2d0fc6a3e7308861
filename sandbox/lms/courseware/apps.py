"""App configuration of the stand-in's courseware."""

from django.apps import AppConfig


class CoursewareConfig(AppConfig):
    """The platform's app of this label (lms/djangoapps/courseware), reduced to its learners' state."""

    name = "sandbox.lms.courseware"
    label = "courseware"
    default_auto_field = "django.db.models.BigAutoField"
