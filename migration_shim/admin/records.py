"""
The records in Django's admin, to be read only: runs, the log of steps, divergences, known differences, overrides,
campaigns.

The ledger is not among them: it holds what learners sent, and the keys with which grades can be posted. An entry has a
page that shows what may be shown of it.
"""

from __future__ import annotations

import secrets
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from ..models import (
    Campaign,
    CampaignCourse,
    CampaignLine,
    Divergence,
    GateOverride,
    KnownDifference,
    LedgerEntry,
    PhaseChange,
    Run,
)
from . import records_context
from .policy import policy

#: Who may read graders' replies on an entry's page: the permission to view the ledger itself.
REPLIES = "migration_shim.view_ledgerentry"


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
    """The divergences on record; each has a page of its own, and so has the ledger entry that it was found at."""

    list_display = ("id", "course_id", "klass", "what", "entry_link", "found_at", "known_id")
    list_filter = ("klass",)

    @admin.display(description="entry")
    def entry_link(self, row: Divergence) -> str:
        """Return the entry's number as a link to its page."""
        return format_html('<a href="{}">{}</a>', _entry_url(row.entry_id), row.entry_id)

    def get_urls(self) -> list[URLPattern]:
        """Return the admin's own URLs and that of an entry's page."""
        page = self.admin_site.admin_view(self.entry_view)
        return [path("entry/<int:entry_id>/", page, name="migration_shim_entry"), *super().get_urls()]

    @method_decorator(never_cache)
    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show one divergence: what it means, who acts, and both sides of its submission."""
        if request.method not in ("GET", "HEAD"):
            raise PermissionDenied
        row = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404
        return self._page(request, row.entry, row)

    @method_decorator([require_GET, never_cache])
    def entry_view(self, request: HttpRequest, entry_id: int) -> HttpResponse:
        """Show what may be shown of a ledger entry: both sides and its divergences, never a header, key or payload."""
        entry = LedgerEntry.objects.filter(pk=entry_id).first()
        if entry is None:
            raise Http404
        return self._page(request, entry, None)

    def _page(self, request: HttpRequest, entry: LedgerEntry, row: Divergence | None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        shown = records_context.entry_page(entry, row, replies=request.user.has_perm(REPLIES))
        nonce = secrets.token_urlsafe(16)
        title = f"Divergence {row.pk}" if row else f"Ledger entry {entry.pk}"
        context = self.admin_site.each_context(request) | {"opts": self.opts, "style_nonce": nonce, "title": title}
        headers = {"Content-Security-Policy": policy(nonce)}
        return TemplateResponse(request, "admin/migration_shim/entry.html", context | shown, headers=headers)


def _entry_url(entry_id: int) -> str:
    return reverse("admin:migration_shim_entry", args=[entry_id])


@admin.register(KnownDifference)
class KnownDifferenceAdmin(ReadOnlyAdmin):
    """The register of known differences; ``xqueue_known`` writes it."""

    list_display = ("id", "klass", "course_id", "queue_name", "item_id", "owner", "expires_at", "withdrawn_at", "hits")
    list_filter = ("klass",)


@admin.register(GateOverride)
class GateOverrideAdmin(ReadOnlyAdmin):
    """The signed overrides of the gate."""

    list_display = (
        *("id", "course_id", "step_to", "causes", "signed_by", "seconded_by"),
        *("created_at", "used_at", "expires_at", "withdrawn_at", "verdict"),
    )


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
