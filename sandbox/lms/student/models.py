"""A learner's anonymous ids, in the platform's table (edx-platform: common/djangoapps/student/models/user.py)."""

from django.conf import settings
from django.db import models


class AnonymousUserId(models.Model):
    """
    What graders and edx-submissions see of a learner.

    The course is empty for the global id, the one that CAPA puts into student_info and that becomes
    StudentItem.student_id.

    .. pii: The link between a user and an anonymous id. Sandbox only, learners are invented.
    .. pii_types: id, other
    .. pii_retirement: local_api
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, db_index=True, on_delete=models.CASCADE)
    anonymous_user_id = models.CharField(max_length=32, unique=True)
    course_id = models.CharField(max_length=255, db_index=True, blank=True, default="")

    def __str__(self) -> str:
        """Name the row, not the learner."""
        return f"anonymous id {self.pk}"
