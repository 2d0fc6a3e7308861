"""The anonymous ids of a user: what an LMS names a learner by towards graders and edx-submissions."""

from __future__ import annotations

from typing import Any

from django.apps import apps


def anonymous_ids(user: Any) -> list[str]:
    """All of them, whatever course they are for. Only inside an LMS."""
    model = apps.get_model("student", "AnonymousUserId")
    return list(model.objects.filter(user=user).values_list("anonymous_user_id", flat=True))
