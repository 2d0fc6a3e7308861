"""What an LMS keeps about externally graded problems, and a record of everything that such a grade set off."""

from typing import Any

from django.conf import settings
from django.db import models

from sandbox.lms.student.models import AnonymousUserId

__all__ = ["AnonymousUserId", "LearnerEffect", "LegacyCallback", "LoginSession"]


class LearnerEffect(models.Model):
    """
    One thing that a grade set off in the LMS and that a learner, a teacher or another platform can see.

    Append-only: this table is the witness of what a copy must never cause.

    .. pii: Which learner an effect hit. Sandbox only, learners are invented.
    .. pii_types: id
    .. pii_retirement: local_api
    """

    class Kind(models.TextChoices):
        """What happened."""

        SCORE_SET = "score_set", "weighted score signal, tracking event and regrade task"
        COMPLETION = "completion", "block marked complete"
        LTI = "lti", "outcome pushed to an external LMS"
        GRADE_PUBLISHED = "grade_published", "CAPA published the grade"
        REPLY_WIPED = "reply_wiped", "an invalid grader reply reset the learner's result"

    class Source(models.TextChoices):
        """What caused it."""

        SCORE = "score_set", "edx-submissions' score_set signal"
        EVENT = "external_grader_event", "EXTERNAL_GRADER_SCORE_SUBMITTED"
        CALLBACK = "callback", "XQueue's callback"
        SUBMIT = "submit", "the learner's own submission"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    course_id = models.CharField(max_length=255, db_index=True)
    usage_key = models.CharField(max_length=255)
    kind = models.CharField(max_length=32, choices=Kind.choices)
    source = models.CharField(max_length=32, choices=Source.choices)
    detail = models.TextField(default="{}")
    time = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        """Say what happened where."""
        return f"{self.kind} by {self.source} on {self.usage_key}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Refuse to change a row that is there."""
        if self.pk is not None:
            raise TypeError("learner effects are append-only")
        super().save(*args, **kwargs)


class LegacyCallback(models.Model):
    """
    One callback that XQueue made to this LMS: whose, and what was answered. Neither header nor reply is kept.

    .. pii: The user id of the callback URL. Sandbox only, learners are invented.
    .. pii_types: id
    .. pii_retirement: local_api
    """

    # Whatever the URL held: it may name no user and no problem at all.
    user_id = models.CharField(max_length=255)
    usage_key = models.CharField(max_length=1024)
    dispatch = models.CharField(max_length=255)
    status = models.PositiveSmallIntegerField()
    time = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        """Say what was answered."""
        return f"{self.dispatch}: {self.status}"


class LoginSession(models.Model):
    """
    The one session that a user may have (the platform keeps it in UserProfile.meta).

    .. pii: A session key of a user. Sandbox only, learners are invented.
    .. pii_types: id
    .. pii_retirement: local_api
    """

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    session_key = models.CharField(max_length=40)

    def __str__(self) -> str:
        """Name the row, not the user."""
        return f"login session {self.pk}"
