"""A platform around the shim: the stand-in's ``waffle_utils`` installed, with its tables, in this process only."""

import pytest
from django.apps import apps
from django.conf import settings
from django.db import connection
from django.test.utils import override_settings

APP = "openedx.core.djangoapps.waffle_utils"


@pytest.fixture(scope="module")
def platform_tables(databases_ready, django_db_blocker):
    """The app, installed for a module; its tables cannot be made within a test's transaction."""
    with override_settings(INSTALLED_APPS=[*settings.INSTALLED_APPS, APP]), django_db_blocker.unblock():
        models = list(apps.get_app_config("waffle_utils").get_models())
        with connection.schema_editor() as editor:
            for model in models:
                editor.create_model(model)
        yield
        with connection.schema_editor() as editor:
            for model in models:
                editor.delete_model(model)
        connection.close()


@pytest.fixture
def platform(platform_tables, db):
    """An LMS, as far as flags go: its own override models, course and organisation."""
    return {name: apps.get_model("waffle_utils", f"WaffleFlag{name}OverrideModel") for name in ("Course", "Org")}
