"""The anonymous ids of a user, by which an LMS names a learner towards graders and edx-submissions."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.apps import apps


def anonymous_ids(user: Any) -> list[str]:
    """Return all anonymous ids of a user, for whatever course. Works only inside an LMS."""
    model = apps.get_model("student", "AnonymousUserId")
    return list(model.objects.filter(user=user).values_list("anonymous_user_id", flat=True))


def user_ids(anonymous: Collection[str]) -> dict[str, int]:
    """Return the ids of the users with these anonymous ids, by anonymous id; outside an LMS nothing is known."""
    try:
        model = apps.get_model("student", "AnonymousUserId")
    except LookupError:
        return {}
    rows = model.objects.filter(anonymous_user_id__in=list(anonymous))
    return dict(rows.values_list("anonymous_user_id", "user_id"))
