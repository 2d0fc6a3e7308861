"""Keep the LMS's database and XQueue's apart: which tables are routed where, and that XQueue's is never migrated."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError
from django.db.models import Model
from django.db.models.signals import pre_migrate

from ..conf import LEGACY_ALIAS


class LegacyRouter:
    """
    Send XQueue's table to the ``xqueue`` alias and nothing else there, ever.

    It must come before any other router: the LMS's ``ReadReplicaRouter`` answers every question, with ``default``.
    Denying migrations here is not enough (``migrate --database xqueue`` would still create and fill
    ``django_migrations`` there), so ``refuse_legacy_alias`` refuses the alias as well.
    """

    def _is_legacy(self, model: type[Model]) -> bool:
        return getattr(model, "is_legacy", False)

    def db_for_read(self, model: type[Model], **hints: Any) -> str | None:
        """Return the alias for reading ``model``; None leaves the answer to the next router."""
        return LEGACY_ALIAS if self._is_legacy(model) else None

    def db_for_write(self, model: type[Model], **hints: Any) -> str | None:
        """Return the alias for writing ``model``; None leaves the answer to the next router."""
        return LEGACY_ALIAS if self._is_legacy(model) else None

    def allow_relation(self, obj1: Model, obj2: Model, **hints: Any) -> bool | None:
        """Forbid relations between the two databases."""
        if self._is_legacy(type(obj1)) != self._is_legacy(type(obj2)):
            return False
        return None

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        """Forbid every migration on XQueue's database, ours and the LMS's."""
        return False if db == LEGACY_ALIAS else None


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
    """Connect the receiver. Calling it again changes nothing."""
    pre_migrate.connect(refuse_legacy_alias, dispatch_uid="migration_shim.refuse_legacy_alias")
