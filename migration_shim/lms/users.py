"""The anonymous ids of a user, by which an LMS names a learner towards graders and edx-submissions."""

from __future__ import annotations

from typing import Any

from django.apps import apps


def anonymous_ids(user: Any) -> list[str]:
    """Return all anonymous ids of a user, for whatever course. Works only inside an LMS."""
    model = apps.get_model("student", "AnonymousUserId")
    return list(model.objects.filter(user=user).values_list("anonymous_user_id", flat=True))
