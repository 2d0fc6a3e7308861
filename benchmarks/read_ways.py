"""What people and machines ask for all day: the gate, the status, the dashboard."""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks import names
from benchmarks.legacy_rows import BURST, COURSES

#: One question takes less than the clock of the server's CPU shows; this many are asked, and the mean is given.
REPEAT = 10
_HOST = {"HTTP_HOST": "courses.example.edu", "HTTP_X_FORWARDED_PROTO": "https"}


def gate(options: argparse.Namespace) -> dict[str, Any]:
    """The verdict on one course, and how many counters it has: what a gate reads."""
    from migration_shim import api
    from migration_shim.models import Bucket, Histogram

    course = api.known_courses()[0]
    for _ in range(REPEAT):
        api.new_work_cycle()
        verdict = api.gate(course).content["verdict"]
    wrong = f"{verdict}, with differences" if options.odd and verdict != "FAIL" else ""
    counters = sum(model.objects.filter(course_id=course).count() for model in (Bucket, Histogram))
    return {"repeat": REPEAT, "counters": counters, "wrong": wrong}


def status(options: argparse.Namespace) -> dict[str, Any]:
    """The status of the whole site."""
    from migration_shim import api

    courses = api.known_courses()
    for _ in range(REPEAT):
        api.new_work_cycle()
        content = api.status(courses).content
    found, wanted = len(content["courses"]), min(COURSES, options.rows // BURST)
    return {"repeat": REPEAT, "wrong": "" if found == wanted else f"{found} of {wanted} courses"}


def dashboard(options: argparse.Namespace) -> dict[str, Any]:
    """The overview in Django's admin, of somebody who is logged in."""
    from django.contrib.auth import get_user_model
    from django.test import Client
    from django.urls import reverse

    from migration_shim import api

    user, _ = get_user_model().objects.get_or_create(
        username="bench", defaults={"is_staff": True, "is_superuser": True}
    )
    client = Client(**_HOST)
    client.force_login(user)
    page = reverse("admin:migration_shim_dashboard")
    for _ in range(REPEAT):
        api.new_work_cycle()
        code = client.get(page).status_code
    return {"repeat": REPEAT, "wrong": "" if code == 200 else f"answered {code}"}


WAYS = {names.GATE: gate, names.STATUS: status, names.DASHBOARD: dashboard}
