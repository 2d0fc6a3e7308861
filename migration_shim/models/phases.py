"""A course's phase, and what lets it take a step: its permit, overrides of the gate, and of the flags."""

from __future__ import annotations

from config_models.models import ConfigurationModel
from django.db import models
from django.utils.timezone import now

from ..core.data import Phase, Verdict
from ..fields import ExactCharField
from .choices import choices
from .runs import Run


class CoursePhase(models.Model):
    """
    The phase in force of one course, and the permit for its next step. Every submission reads its course's one row.

    .. no_pii:
    """

    course_id = ExactCharField(max_length=255, unique=True)
    phase = models.CharField(max_length=16, choices=choices(Phase), default=Phase.LEGACY)
    since = models.DateTimeField(default=now)
    permit = models.CharField(max_length=16, blank=True, default="")
    permit_until = models.DateTimeField(null=True)
    permit_run = models.ForeignKey(Run, null=True, on_delete=models.SET_NULL, related_name="+")
    # A digest of all that the permit was given for; see ledger/permits.py. Without one no permit holds.
    permit_basis = models.CharField(max_length=64, blank=True, default="", db_default="")
    # The most fence leaks that a reconcile has seen since the last signed cure. Leaks without a ledger entry are on
    # record nowhere else, and mending their rows does not clear them.
    fence_leaks = models.PositiveIntegerField(default=0, db_default=0)
    # Since when the platform's own flag sends the course's submissions past the shim because we let it.
    released_at = models.DateTimeField(null=True)
    # The head of the course's log. Null, like the columns of the log itself: processes of the release before write rows
    # without them while an upgrade is rolled out.
    log_length = models.PositiveIntegerField(null=True)
    log_digest = models.CharField(max_length=64, null=True)  # noqa: DJ001  (see above)

    class Meta:
        permissions = [("step_course", "Can step a course to another phase")]

    def __str__(self) -> str:
        return f"{self.course_id}: {self.phase}"


class GateOverride(models.Model):
    """
    A person's signed wish to let a course take one step past a gate that is not open, with the verdict at the time.

    It ends with that step: ``used_at``, and ``expires_at`` with it. A proposal waits for its second person until
    ``expires_at``. A release before wrote rows without ``used_at``, each with its step.

    .. pii: The names of the operators who signed it.
    .. pii_types: username
    .. pii_retirement: retained
    """

    course_id = ExactCharField(max_length=255, db_index=True)
    step_to = models.CharField(max_length=16, choices=choices(Phase))
    reason = models.TextField()
    signed_by = models.CharField(max_length=150)
    created_at = models.DateTimeField(default=now)
    expires_at = models.DateTimeField()
    withdrawn_at = models.DateTimeField(null=True)
    verdict = models.CharField(max_length=16, choices=choices(Verdict))
    evidence = models.JSONField(default=dict)
    # The codes of the open reasons, as the signer has named them.
    causes = models.JSONField(default=list, db_default=[])
    # The proposal of a first person: no step was taken. It stays set when the second person signs.
    proposal = models.BooleanField(default=False, db_default=False)
    seconded_by = models.CharField(max_length=150, blank=True, default="", db_default="")
    used_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"override of the gate of {self.course_id}, to {self.step_to}"


class FlagOverride(ConfigurationModel):
    """
    A flag that is forced on or off for one course or organisation, where the platform's waffle_utils is not installed.

    The newest row of a (flag, scope, key) counts; if ``enabled`` is off in it, nothing is forced. Read it through
    ``toggles``, never through ``current()`` or ``is_enabled()``: these cache for ten minutes in a process.

    .. no_pii:
    """

    KEY_FIELDS = ("flag", "scope", "key")

    flag = models.CharField(max_length=255)
    scope = models.CharField(max_length=8, choices=[("course", "course"), ("org", "org")])
    key = ExactCharField(max_length=255)
    force = models.BooleanField(default=False)
    note = models.CharField(max_length=255, blank=True, default="")

    class Meta(ConfigurationModel.Meta):
        indexes = [models.Index(fields=["scope", "key", "flag"], name="shim_flag_override")]

    def __str__(self) -> str:
        return f"{self.flag} forced {'on' if self.force else 'off'} for {self.key}"
