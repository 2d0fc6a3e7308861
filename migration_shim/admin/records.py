"""
The records in Django's admin, to be read only: runs, the log of steps, divergences, known differences, overrides,
campaigns.

The ledger is not among them: it holds what learners sent, and the keys with which grades can be posted.
"""

from __future__ import annotations

from django.contrib import admin
from django.db import models
from django.http import HttpRequest

from ..models import Campaign, CampaignCourse, CampaignLine, Divergence, GateOverride, KnownDifference, PhaseChange, Run


class ReadOnlyAdmin(admin.ModelAdmin):
    """An admin that lists records and changes none: the app alone writes them."""

    list_per_page = 50
    show_full_result_count = False
    ordering = ("-id",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    """The runs of commands."""

    list_display = ("id", "kind", "scope", "started_at", "finished_at", "complete")
    list_filter = ("kind", "complete")

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Run]:
        """Return the runs without their documents, which are long and read on the page of one run only."""
        return super().get_queryset(request).defer("document", "settings")


@admin.register(PhaseChange)
class PhaseChangeAdmin(ReadOnlyAdmin):
    """The log of steps."""

    list_display = ("changed_at", "course_id", "step_from", "step_to", "changed_by", "reason")
    list_filter = ("step_to",)
    search_fields = ("course_id",)


@admin.register(Divergence)
class DivergenceAdmin(ReadOnlyAdmin):
    """The divergences on record."""

    list_display = ("id", "course_id", "klass", "what", "entry_id", "found_at", "known_id")
    list_filter = ("klass",)


@admin.register(KnownDifference)
class KnownDifferenceAdmin(ReadOnlyAdmin):
    """The register of known differences; ``xqueue_known`` writes it."""

    list_display = ("id", "klass", "course_id", "queue_name", "item_id", "owner", "expires_at", "withdrawn_at", "hits")
    list_filter = ("klass",)


@admin.register(GateOverride)
class GateOverrideAdmin(ReadOnlyAdmin):
    """The signed overrides of the gate."""

    list_display = ("id", "course_id", "step_to", "signed_by", "created_at", "expires_at", "withdrawn_at", "verdict")


@admin.register(Campaign)
class CampaignAdmin(ReadOnlyAdmin):
    """The campaigns; ``xqueue_campaign`` writes them."""

    list_display = ("id", "name", "state", "to", "canary", "started_at", "started_by", "reason", "said")
    list_filter = ("state",)


@admin.register(CampaignCourse)
class CampaignCourseAdmin(ReadOnlyAdmin):
    """The courses of campaigns."""

    list_display = ("id", "campaign", "course_id", "state", "said")
    list_filter = ("state",)
    list_select_related = ("campaign",)


@admin.register(CampaignLine)
class CampaignLineAdmin(ReadOnlyAdmin):
    """The history of campaigns."""

    list_display = ("at", "campaign", "course_id", "what", "by", "text")
    list_filter = ("what",)
    list_select_related = ("campaign",)
