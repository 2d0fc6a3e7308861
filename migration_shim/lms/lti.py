"""Learners who come from another platform over LTI. Source: edx-platform, ``lms/djangoapps/lti_provider/models.py``."""

from __future__ import annotations

from django.apps import apps
from opaque_keys.edx.keys import CourseKey

_LTI_PROVIDER = "lms.djangoapps.lti_provider"


def returns_scores(course_id: str) -> bool:
    """Return whether any platform has ever asked for scores of the course over LTI; False outside an LMS."""
    if not apps.is_installed(_LTI_PROVIDER):
        return False
    launches = apps.get_model("lti_provider", "GradedAssignment").objects  # type: ignore[misc]  # the platform's
    return launches.filter(course_key=CourseKey.from_string(course_id)).exists()
