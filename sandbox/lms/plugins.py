"""What the platform does for the plugins that it finds (edx-platform: openedx/core/djangoapps/plugins)."""

from unittest import mock

from edx_django_utils.plugins import connect_plugin_receivers, registry

from migration_shim.apps import MigrationShimConfig

LMS = "lms.djangoapp"


def connect_receivers() -> None:
    """
    Connect what the app's ``signals_config`` names, as ``PluginsConfig.ready`` does.

    An LMS finds the app by its entry point; a clone that is not installed has none, so it is named here.
    """
    with mock.patch.object(registry, "get_plugin_app_configs", lambda project: [MigrationShimConfig]):
        connect_plugin_receivers(LMS)
