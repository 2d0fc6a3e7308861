"""Who may pull and return results: edx-submissions' own answer, in a statement that is made once a process."""

from __future__ import annotations

import functools
from typing import Any

from django.contrib.auth.models import Group, User
from django.db import DEFAULT_DB_ALIAS, connection, router
from rest_framework.request import Request
from submissions.permissions import IsXQueueUser

from ..db.prepared import Prepared, prepared
from .logins import GROUP

#: A user that nobody is.
_SAMPLE = -1_234_567


class IsGrader(IsXQueueUser):
    """Edx-submissions' permission. Its question takes Django four times as long to make as the server to answer."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Tell whether the user is a member of the group ``xqueue`` now; nothing is kept of an earlier answer."""
        if not isinstance(request.user, User) or not _is_here(request.user):  # nobody, or a platform's own kind of user
            return bool(super().has_permission(request, view))
        question = _statement(connection.vendor)
        with connection.cursor() as cursor:
            cursor.execute(question.sql, question.parameters({"user": request.user.pk}))
            return cursor.fetchone() is not None


def _is_here(user: User) -> bool:
    """Tell whether a site's routers would have the groups of a user read from ``default``, as the statement is."""
    return router.db_for_read(Group, instance=user) == DEFAULT_DB_ALIAS


@functools.cache
def _statement(vendor: str) -> Prepared:
    """Return the statement, as the ORM builds it. ``vendor`` is the database's."""
    members = User(pk=_SAMPLE).groups.filter(name=GROUP)
    return prepared(members.query.exists().sql_with_params(), {"user": _SAMPLE})
