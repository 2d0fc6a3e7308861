"""A learner's state of a problem, in the platform's table (edx-platform: lms/djangoapps/courseware/models.py)."""

import json
from datetime import UTC, datetime
from typing import Self

from django.conf import settings
from django.db import models
from opaque_keys.edx.django.models import CourseKeyField, UsageKeyField

from sandbox.lms.courseware.keys import EXACT


class StudentModule(models.Model):
    """
    One learner's state of one problem: correct map and attempts in ``state``, and the published grade.

    Names, columns and constraint are the platform's. Its keys are compared without case on MySQL; these are not, since
    courses that differ in case only do exist.

    .. pii: Grades and grader messages of a learner. Sandbox only, learners are invented.
    .. pii_types: id, other
    .. pii_retirement: local_api
    """

    module_type = models.CharField(max_length=32, default="problem", db_index=True)
    module_state_key = UsageKeyField(max_length=255, db_column="module_id", **EXACT)
    student = models.ForeignKey(settings.AUTH_USER_MODEL, db_index=True, on_delete=models.CASCADE)
    course_id = CourseKeyField(max_length=255, db_index=True, **EXACT)
    state = models.TextField(null=True, blank=True)  # noqa: DJ001  (the platform's)
    # The published grade and its maximum, null until something was published.
    grade = models.FloatField(null=True, blank=True, db_index=True)
    max_grade = models.FloatField(null=True, blank=True)
    done = models.CharField(max_length=8, default="na")
    created = models.DateTimeField(auto_now_add=True, db_index=True)
    modified = models.DateTimeField(auto_now=True, db_index=True)

    class Meta:
        """One state for a learner and a problem."""

        unique_together = (("student", "module_state_key", "course_id"),)

    def __str__(self) -> str:
        """Name the problem, not the learner."""
        return f"state {self.pk} of {self.module_state_key}"

    @classmethod
    def find(cls, user_id: int, usage_key: str, *, lock: bool = False) -> Self | None:
        """Return the state of a learner and a problem, locked until the end of the transaction if asked, or None."""
        states = cls.objects.select_for_update() if lock else cls.objects.all()
        return states.filter(student_id=user_id, module_state_key=usage_key).first()

    @property
    def usage_key(self) -> str:
        """The problem."""
        return str(self.module_state_key)

    @property
    def correct_map(self) -> dict[str, dict]:
        """CAPA's correct map: answer id to {correctness, npoints, msg, queuestate}; a copy, write with `store`."""
        return json.loads(self.state or "{}").get("correct_map", {})

    @property
    def attempts(self) -> int:
        """How many attempts the learner has used."""
        return json.loads(self.state or "{}").get("attempts", 0)

    def store(
        self, correct_map: dict[str, dict], *, attempts: int | None = None, submitted_at: datetime | None = None
    ) -> None:
        """Put a correct map, a number of attempts and the time of a submission into the state; does not save."""
        state = json.loads(self.state or "{}")
        state |= {"correct_map": correct_map, "attempts": self.attempts if attempts is None else attempts}
        if submitted_at is not None:  # in whole seconds, as the platform's Date field writes it
            state["last_submission_time"] = submitted_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.state = json.dumps(state)
