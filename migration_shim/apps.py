"""The Django app, as the LMS's plugin loader and any other Django project install it. No logic here."""

from django.apps import AppConfig
from django.conf import settings as django_settings


class MigrationShimConfig(AppConfig):
    """App configuration; ``plugin_app`` is what ``edx_django_utils.plugins`` reads."""

    name = "migration_shim"
    verbose_name = "XQueue migration shim"
    default_auto_field = "django.db.models.BigAutoField"

    plugin_app = {
        "url_config": {
            "lms.djangoapp": {"namespace": "migration_shim", "regex": r"^migration_shim/", "relative_path": "urls"},
        },
        "settings_config": {
            "lms.djangoapp": {
                "common": {"relative_path": "settings.common"},
                "production": {"relative_path": "settings.production"},
            },
        },
        "signals_config": {
            "lms.djangoapp": {
                "relative_path": "retention.user_retirement",
                "receivers": [
                    {
                        "receiver_func_name": "retire_user",
                        "signal_path": "openedx.core.djangoapps.user_api.accounts.signals.USER_RETIRE_LMS_MISC",
                    }
                ],
            },
        },
    }

    def ready(self) -> None:
        """Connect receivers (of both databases, logins, a request's end) and tagged checks; hide our passwords."""
        from .copies import after_request
        from .ledger import unmigrate
        from .legacy import routers, timeouts
        from .settings import passwords
        from .target import logins

        after_request.connect()
        routers.connect()
        unmigrate.connect()
        timeouts.connect()
        logins.connect()
        passwords.hide(django_settings)
        given = getattr(django_settings, "MIGRATION_SHIM", {})
        if isinstance(given, dict) and given.get("PYTHON_DOOR") is True:
            from .doors.python_door import route
            from .lms import capa

            capa.install(route)
