"""Campaigns: what an operator wants of many courses, their places in it, and its history."""

from __future__ import annotations

from django.db import models
from django.utils.timezone import now

from ..core.campaign import CampaignState, MemberState
from ..core.data import Phase
from ..fields import ExactCharField
from .choices import choices


class Campaign(models.Model):
    """
    A record of a wish: to bring courses to a phase, by rules for when and how many at a time.

    Where its courses stand is read from their own records. ``plan`` holds the rules as the operator gave them. The row
    is the lock of the campaign's steps: who takes or forbids one holds it.

    .. pii: The name of the operator who started it.
    .. pii_types: username
    .. pii_retirement: retained
    """

    name = ExactCharField(max_length=64, unique=True)
    state = models.CharField(max_length=16, choices=choices(CampaignState), default=CampaignState.RUNNING.value)
    to = models.CharField(max_length=16, choices=choices(Phase))
    canary = ExactCharField(max_length=255)
    plan = models.JSONField(default=dict)
    reason = ExactCharField(max_length=500)
    started_at = models.DateTimeField(default=now)
    started_by = ExactCharField(max_length=150)
    # Why it is paused or was stopped, and since when it goes on after a pause.
    said = ExactCharField(max_length=500, blank=True, default="")
    resumed_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"campaign {self.name}"


class CampaignCourse(models.Model):
    """
    One course of a campaign. Which courses a campaign has is settled at its start.

    ``held`` is true while the campaign has the course, and null afterwards: no course is in two campaigns at once, and
    MySQL has no unique index on a part of the rows.

    .. no_pii:
    """

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="courses")
    course_id = ExactCharField(max_length=255)
    place = models.PositiveIntegerField()
    held = models.BooleanField(null=True, default=True)
    state = models.CharField(max_length=16, choices=choices(MemberState), default=MemberState.GOING.value)
    said = ExactCharField(max_length=500, blank=True, default="")
    # The newest entry of the course's log that is taken for granted: of the start, or of the last ``resume``.
    log_seen = models.BigIntegerField(default=0)
    resumed_at = models.DateTimeField(null=True)
    # The ``since`` of the phase in which it was last shown well (``core/campaign.is_well``).
    well_since = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["course_id", "held"], name="shim_campaign_course_held"),
            models.UniqueConstraint(fields=["campaign", "course_id"], name="shim_campaign_course_once"),
        ]

    def __str__(self) -> str:
        return f"{self.course_id} of campaign {self.campaign_id}"


class CampaignLine(models.Model):
    """
    A line of a campaign's history: what was done or changed, of which course (empty: of all), by whom and why.

    .. pii: The name of the operator who changed the campaign.
    .. pii_types: username
    .. pii_retirement: retained
    """

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="lines")
    at = models.DateTimeField(default=now)
    by = ExactCharField(max_length=150)
    course_id = ExactCharField(max_length=255, blank=True, default="")
    what = models.CharField(max_length=16)
    text = ExactCharField(max_length=500, blank=True, default="")

    class Meta:
        indexes = [models.Index(fields=["campaign", "course_id", "what", "id"], name="shim_campaign_line")]

    def __str__(self) -> str:
        return f"{self.what} of campaign {self.campaign_id}"
