"""What an LMS keeps about externally graded problems, and a record of everything that such a grade set off."""

import hashlib
import json
from typing import Any, Self

from django.conf import settings
from django.db import models


def usage_digest(usage_key: str) -> str:
    """Return the 40 hex digits that stand for a usage key in look-ups and in the unique constraint."""
    return hashlib.sha1(usage_key.encode()).hexdigest()


class AnonymousUserId(models.Model):
    """
    A learner's anonymous id, as the platform's table of this name: what graders and edx-submissions see.

    The course is empty for the global id, the one that CAPA puts into student_info and that becomes
    StudentItem.student_id.

    .. pii: The link between a user and an anonymous id. Sandbox only, learners are invented.
    .. pii_types: id, other
    .. pii_retirement: local_api
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="anonymous_ids")
    anonymous_user_id = models.CharField(max_length=32, unique=True)
    course_id = models.CharField(max_length=255, db_index=True, blank=True, default="")

    def __str__(self) -> str:
        """Name the row, not the learner."""
        return f"anonymous id {self.pk}"


class ProblemState(models.Model):
    """
    One learner's state of one problem, as the platform's StudentModule: correct map, attempts and published grade.

    .. pii: Grades and grader messages of a learner. Sandbox only, learners are invented.
    .. pii_types: id, other
    .. pii_retirement: local_api
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="problem_states")
    course_id = models.CharField(max_length=255, db_index=True)
    usage_key = models.CharField(max_length=255)
    # MariaDB compares text without case, and courses that differ in case only do exist.
    usage_digest = models.CharField(max_length=40, editable=False)
    state = models.TextField(default='{"correct_map": {}, "attempts": 0}')
    # The published grade, null until something was published.
    earned = models.FloatField(null=True)
    possible = models.FloatField(null=True)
    modified = models.DateTimeField(auto_now=True)

    class Meta:
        """One state for a learner and a problem."""

        constraints = [models.UniqueConstraint(fields=["user", "usage_digest"], name="sandbox_lms_one_state")]

    def __str__(self) -> str:
        """Name the problem, not the learner."""
        return f"state {self.pk} of {self.usage_key}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Keep the digest true."""
        self.usage_digest = usage_digest(self.usage_key)
        super().save(*args, **kwargs)

    @classmethod
    def find(cls, user_id: int, usage_key: str, *, lock: bool = False) -> Self | None:
        """Return the state of a learner and a problem, locked until the end of the transaction if asked, or None."""
        states = cls.objects.select_for_update() if lock else cls.objects.all()
        return states.filter(user_id=user_id, usage_digest=usage_digest(usage_key)).first()

    @property
    def correct_map(self) -> dict[str, dict]:
        """CAPA's correct map: answer id to {correctness, npoints, msg, queuestate}; a copy, write with `store`."""
        return json.loads(self.state)["correct_map"]

    @property
    def attempts(self) -> int:
        """How many attempts the learner has used."""
        return json.loads(self.state)["attempts"]

    def store(self, correct_map: dict[str, dict], *, attempts: int | None = None) -> None:
        """Put a correct map (and a number of attempts) into the state; does not save."""
        used = self.attempts if attempts is None else attempts
        self.state = json.dumps({"correct_map": correct_map, "attempts": used})


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
