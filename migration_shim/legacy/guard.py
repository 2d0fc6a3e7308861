"""Refuses ``migrate --database xqueue`` before it can touch XQueue's own ``django_migrations`` table."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError
from django.db.models.signals import pre_migrate

from ..conf import LEGACY_ALIAS


def refuse_legacy_alias(sender: Any, using: str, **kwargs: Any) -> None:
    """
    Stop a migration of the legacy database.

    Raises:
        CommandError: when ``using`` is the ``xqueue`` alias. The schema there is XQueue's; on a real XQueue a migrate
            from the LMS would mark the apps that both share as migrated.
    """
    if using == LEGACY_ALIAS:
        raise CommandError(
            f"The database alias {LEGACY_ALIAS!r} is XQueue's own. migration_shim never migrates it: "
            "run migrate without --database, or with --database default."
        )


def connect() -> None:
    """Connect the receiver once."""
    pre_migrate.connect(refuse_legacy_alias, dispatch_uid="migration_shim.refuse_legacy_alias")
