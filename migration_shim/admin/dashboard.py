"""
The dashboard in Django's admin: all courses, one course, and the page where a permitted operator steps it.

A step is taken by ``cutover.steps.run``, as by the command: the plan first, then the step with a reason.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import update_wrapper
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST
from opaque_keys import InvalidKeyError
from opaque_keys.edx.keys import CourseKey

from .. import checks
from ..core.data import Phase
from ..core.documents.cutover import CutoverDocument
from ..core.errors import ShimError
from ..cutover import overrides
from ..cutover import steps as cutover_steps
from ..models import CoursePhase, PhaseChange
from ..reports import terminal_cutover
from ..status import document as status_document
from . import dashboard_context
from .policy import policy
from .records import ReadOnlyAdmin

#: The permission that lets a user step courses.
STEP = "migration_shim.step_course"
#: Steps of a course's log on its page; the admin's list of phase changes has all of them.
LOG = 10


def _course(value: str) -> str:
    try:
        return str(CourseKey.from_string(value))
    except InvalidKeyError as error:
        raise forms.ValidationError("This is no course key (course-v1:Org+Course+Run).") from error


class CourseForm(forms.Form):
    """The course to show."""

    course = forms.CharField(max_length=255, label="Course")

    def clean_course(self) -> str:
        """Return the course key in its canonical form."""
        return _course(self.cleaned_data["course"])


_PHASES = [(phase.value, phase.value) for phase in Phase]


class PlanForm(CourseForm):
    """The course, and the phase to step to."""

    to = forms.ChoiceField(choices=_PHASES)


class StepForm(PlanForm):
    """
    The step to take: the planned one, with its reason and the phase that the plan started from.

    To pass a closed gate it also has the codes of what is open and the course's id, both typed by the person.
    """

    expected = forms.ChoiceField(choices=_PHASES)
    reason = forms.CharField(max_length=1000)
    override = forms.BooleanField(required=False)
    causes = forms.CharField(max_length=500, required=False)
    confirm = forms.CharField(max_length=255, required=False)


View = Callable[..., HttpResponse]


@admin.register(CoursePhase)
class CoursePhaseAdmin(ReadOnlyAdmin):
    """The phase of each course, and the dashboard."""

    list_display = ("course_id", "phase", "since", "permit", "permit_until")
    list_filter = ("phase",)
    search_fields = ("course_id",)
    ordering = ("course_id",)

    def get_urls(self) -> list[URLPattern]:
        """Return the dashboard's URLs before those of every admin, the last of which matches any path."""
        pages: tuple[tuple[str, View, str], ...] = (
            ("dashboard/", self.overview, "dashboard"),
            ("dashboard/course/", self.course, "course"),
            ("dashboard/plan/", self.plan, "plan"),
            ("dashboard/step/", self.step, "step"),
        )
        ours = [path(route, self._page(view), name=f"migration_shim_{name}") for route, view, name in pages]
        return ours + super().get_urls()

    def _page(self, view: View) -> View:
        # A step locks the course's row and then reads again. In a transaction of the whole request it would read what
        # was there when the request began.
        own = update_wrapper(lambda *args, **kwargs: view(*args, **kwargs), view)  # noqa: PLW0108  (a method takes no attributes)
        wrapped = transaction.non_atomic_requests(own)
        return self.admin_site.admin_view(wrapped)

    @method_decorator([require_GET, never_cache])
    def overview(self, request: HttpRequest) -> HttpResponse:
        """Show all courses."""
        self._may_view(request)
        try:
            content = status_document.run().content
        except ShimError as error:
            return self._render(request, "dashboard", {"title": "Courses", "refused": str(error)}, status=503)
        shown = {"head": dashboard_context.head(content), "courses": dashboard_context.courses(content)}
        return self._render(request, "dashboard", {"title": "Courses", "site": content} | shown)

    @method_decorator([require_GET, never_cache])
    def course(self, request: HttpRequest) -> HttpResponse:
        """Show one course and the steps that it may take."""
        self._may_view(request)
        form = CourseForm(request.GET)
        if not form.is_valid():
            return self._refuse(request, form)
        return self._course_page(request, form.cleaned_data["course"])

    @method_decorator([require_POST, never_cache])
    def plan(self, request: HttpRequest) -> HttpResponse:
        """Show what a step would do, and change nothing."""
        self._may_step(request)
        form = PlanForm(request.POST)
        if not form.is_valid():
            return self._refuse(request, form)
        return self._plan_page(request, form.cleaned_data["course"], form.cleaned_data["to"])

    @method_decorator([require_POST, never_cache])
    def step(self, request: HttpRequest) -> HttpResponse:
        """Take the planned step, if the course is still in the phase that the plan started from."""
        self._may_step(request)
        form = StepForm(request.POST)
        if not form.is_valid():
            if set(form.errors) == {"reason"}:
                messages.error(request, "Say why: the reason goes on record. Nothing was changed.")
                return self._plan_page(request, form.cleaned_data["course"], form.cleaned_data["to"], status=400)
            return self._refuse(request, form)
        course_id, to = form.cleaned_data["course"], form.cleaned_data["to"]
        passing = _passing(form.cleaned_data)
        name = request.user.get_username()
        try:
            self._check(to)
            content = cutover_steps.run(
                course_id,
                Phase(to),
                reason=form.cleaned_data["reason"],
                execute=True,
                user=name,
                login=name,
                override=passing,
                expected=Phase(form.cleaned_data["expected"]),
            ).content
        except ShimError as error:
            messages.error(request, f"Nothing was changed. {error}")
            return self._course_page(request, course_id, status=409)
        if content["override"] is not None and not content["executed"]:
            messages.warning(request, f"Proposed. {course_id} stays in {content['from']} until a second person signs.")
            return _to_course(course_id)
        if not content["executed"]:
            messages.error(request, "The gate is closed by now. Nothing was changed.")
            return self._show_plan(request, content, status=409)
        messages.success(request, f"Done. {course_id} is in {to} now.")
        return _to_course(course_id)

    def _may_view(self, request: HttpRequest) -> None:
        if not (self.has_view_permission(request) or request.user.has_perm(STEP)):
            raise PermissionDenied

    def _may_step(self, request: HttpRequest) -> None:
        if not request.user.has_perm(STEP):
            raise PermissionDenied

    def _check(self, to: str) -> None:
        """Raise ``ConfigurationError`` where the app's checks find anything, unless the step is the way back."""
        if to != Phase.LEGACY:
            checks.refuse_on_complaints()

    def _refuse(self, request: HttpRequest, form: forms.Form) -> HttpResponse:
        """Answer 400 to a form that no page of ours sent, or to a course key that is none."""
        reasons = " ".join(f"{name}: {text}" for name, texts in form.errors.items() for text in texts)
        return self._render(request, "dashboard", {"title": "Courses", "refused": reasons}, status=400)

    def _course_page(self, request: HttpRequest, course_id: str, *, status: int = 200) -> HttpResponse:
        try:
            content = status_document.run([course_id]).content
        except ShimError as error:
            return self._render(request, "dashboard", {"title": "Courses", "refused": str(error)}, status=503)
        shown = dashboard_context.course(content["courses"][0], content["at"])
        log = PhaseChange.objects.filter(course_id=course_id).order_by("-id")[:LOG]
        return self._render(
            request, "course", {"title": course_id, "site": content, "course": shown, "log": log}, status=status
        )

    def _plan_page(self, request: HttpRequest, course_id: str, to: str, *, status: int = 200) -> HttpResponse:
        name = request.user.get_username()
        try:
            self._check(to)
            content = cutover_steps.run(course_id, Phase(to), reason="", execute=False, user=name, login=name).content
        except ShimError as error:
            messages.error(request, str(error))
            return self._course_page(request, course_id, status=409)
        return self._show_plan(request, content, status=status)

    def _show_plan(self, request: HttpRequest, content: CutoverDocument, *, status: int) -> HttpResponse:
        lines = [
            line.removeprefix("  ") for line in terminal_cutover.cutover(content)[1:] if "the same command" not in line
        ]
        shown = {"title": "Plan of a step", "plan": content, "lines": "\n".join(lines)}
        return self._render(request, "plan", shown, status=status)

    def _render(self, request: HttpRequest, page: str, shown: dict[str, Any], *, status: int = 200) -> HttpResponse:
        context = self.admin_site.each_context(request) | {"opts": self.opts, "may_step": request.user.has_perm(STEP)}
        nonce = secrets.token_urlsafe(16)
        headers = {"Content-Security-Policy": policy(nonce)}
        context |= {"style_nonce": nonce} | shown
        return TemplateResponse(request, f"admin/migration_shim/{page}.html", context, status=status, headers=headers)


def _passing(fields: dict[str, Any]) -> overrides.Request | None:
    """Return the override that a form asks for; None where it asks for none."""
    if not fields["override"]:
        return None
    return overrides.Request(causes=overrides.named(fields["causes"]), confirmed=fields["confirm"])


def _to_course(course_id: str) -> HttpResponseRedirect:
    return HttpResponseRedirect(f"{reverse('admin:migration_shim_course')}?{urlencode({'course': course_id})}")
