"""The Django app, as the LMS's plugin loader and any other Django project install it. No logic here."""

from django.apps import AppConfig


class MigrationShimConfig(AppConfig):
    """App configuration; ``plugin_app`` is what ``edx_django_utils.plugins`` reads."""

    name = "migration_shim"
    verbose_name = "XQueue migration shim"
    default_auto_field = "django.db.models.BigAutoField"

    plugin_app = {
        "settings_config": {
            "lms.djangoapp": {
                "common": {"relative_path": "settings.common"},
                "production": {"relative_path": "settings.production"},
            },
        },
    }

    def ready(self) -> None:
        """Connect the receiver that guards the legacy database, and the tagged checks."""
        from . import checks  # noqa: F401  (registers itself)
        from .legacy import guard

        guard.connect()
