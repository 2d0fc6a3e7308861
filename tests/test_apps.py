"""The app as an LMS's plugin: settings that never raise, the log filter, and the receiver of a user's retirement."""

import copy
import itertools
import logging.config
from types import SimpleNamespace

import pytest
from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.core import checks
from django.utils.timezone import now
from edx_django_utils.plugins import plugin_signals
from openedx.core.djangoapps.user_api.accounts.signals import USER_RETIRE_LMS_MISC

from migration_shim import conf
from migration_shim.apps import MigrationShimConfig
from migration_shim.checks import TAG
from migration_shim.core.errors import ConfigurationError
from migration_shim.dual_write import QueueInterface
from migration_shim.models import LedgerEntry
from migration_shim.settings import common, production
from sandbox.lms.models import AnonymousUserId
from tests.builders import rows
from tests.builders.rows import fresh  # noqa: F401

ROUTER = "migration_shim.legacy.routers.LegacyRouter"
PLATFORMS_ROUTER = "edx_django_utils.db.read_replica.ReadReplicaRouter"
DATABASE = {"ENGINE": "django.db.backends.mysql", "NAME": "xqueue"}
KEYS = ("MIGRATION_SHIM", "MIGRATION_SHIM_DATABASE", "DATABASES", "DATABASE_ROUTERS", "LOGGING")
#: What a YAML may hold under a key: nothing, or another thing than was meant.
ODD = [None, [], ["a"], "text", 7, True]


def lms(**more):
    """The settings of an LMS as a plugin is given them: each key of the YAML is one of them."""
    made = {
        "DATABASES": {"default": {"ENGINE": "django.db.backends.mysql"}},
        "DATABASE_ROUTERS": [PLATFORMS_ROUTER],
        "LOGGING": {
            "version": 1,
            "filters": {"userid_context": {"()": "logging.Filter"}},
            "handlers": {
                "console": {"class": "logging.StreamHandler", "filters": ["userid_context"]},
                "tracking": {"class": "logging.StreamHandler"},
            },
        },
    }
    return SimpleNamespace(**copy.deepcopy({**made, **more}))


@pytest.mark.parametrize("module", [common, production])
@pytest.mark.parametrize(
    ("key", "value"),
    list(
        itertools.product(
            ["MIGRATION_SHIM", "MIGRATION_SHIM_DATABASE", "DATABASES", "DATABASE_ROUTERS", "LOGGING"], ODD
        )
    ),
)
def test_no_yaml_stops_the_lms(module, key, value):
    settings = lms(**{key: value})
    module.plugin_settings(settings)
    if key == "MIGRATION_SHIM":
        assert value == settings.MIGRATION_SHIM  # for the checks to refuse it by name


@pytest.mark.parametrize(("key", "value"), list(itertools.product(["filters", "handlers"], ODD)))
def test_no_odd_logging_does(key, value):
    settings = lms()
    settings.LOGGING[key] = value
    common.plugin_settings(settings)
    settings = lms()
    settings.LOGGING["handlers"]["console"] = value
    common.plugin_settings(settings)


@pytest.mark.parametrize(("key", "value"), list(itertools.product(["ENGINE", "OPTIONS"], ODD)))
def test_no_odd_database_does(key, value):
    production.plugin_settings(lms(MIGRATION_SHIM_DATABASE={**DATABASE, key: value}))


@pytest.mark.parametrize("value", ODD)
def test_an_alias_that_is_no_database_is_taken_away(value):
    """Django itself would not start with it; the check says that the alias is missing."""
    settings = lms()
    settings.DATABASES["xqueue"] = value
    production.plugin_settings(settings)
    assert "xqueue" not in settings.DATABASES


def test_the_keys_of_the_yaml_are_settings():
    """And nothing else is asked: what a release keeps in ENV_TOKENS is the same once more."""
    given = {"LEGACY_URL": "http://xqueue"}
    settings = lms(
        MIGRATION_SHIM=given, MIGRATION_SHIM_DATABASE=DATABASE, ENV_TOKENS={"MIGRATION_SHIM": {"LEGACY_URL": "other"}}
    )
    production.plugin_settings(settings)
    assert given == settings.MIGRATION_SHIM
    database = settings.DATABASES["xqueue"]
    assert (database["NAME"], database["ATOMIC_REQUESTS"]) == ("xqueue", False)
    assert database["OPTIONS"] == common.LIMITS


def test_without_a_key_there_is_an_empty_one():
    settings = lms()
    production.plugin_settings(settings)
    assert settings.MIGRATION_SHIM == {}


def test_an_alias_of_the_yaml_is_kept_and_limited():
    settings = lms(MIGRATION_SHIM_DATABASE={**DATABASE, "NAME": "other"})
    settings.DATABASES["xqueue"] = {**DATABASE, "OPTIONS": {"read_timeout": 5}}
    production.plugin_settings(settings)
    assert settings.DATABASES["xqueue"]["NAME"] == "xqueue"
    assert settings.DATABASES["xqueue"]["OPTIONS"] == {**common.LIMITS, "read_timeout": 5}


@pytest.mark.parametrize("routers", [[PLATFORMS_ROUTER], (PLATFORMS_ROUTER, ROUTER)])
def test_our_router_is_the_first_however_often_it_is_put_there(routers):
    settings = lms(DATABASE_ROUTERS=routers)
    common.plugin_settings(settings)
    production.plugin_settings(settings)
    assert settings.DATABASE_ROUTERS == [ROUTER, PLATFORMS_ROUTER]


def test_the_log_filter_is_on_every_handler_once_and_the_others_stay():
    settings = lms()
    common.plugin_settings(settings)
    production.plugin_settings(settings)
    handlers = settings.LOGGING["handlers"]
    assert handlers["console"]["filters"] == ["userid_context", "fenced_results"]
    assert handlers["tracking"]["filters"] == ["fenced_results"]


def test_the_settings_hold_what_logging_takes(capfd):
    settings = lms(LOGGING={"version": 1, "disable_existing_loggers": False, "handlers": {}, "loggers": {}})
    name = "lms.djangoapps.grades.signals.handlers"
    settings.LOGGING["handlers"]["console"] = {"class": "logging.StreamHandler"}
    settings.LOGGING["loggers"][name] = {"handlers": ["console"], "propagate": False}
    common.plugin_settings(settings)
    logging.config.dictConfig(settings.LOGGING)
    try:
        logging.getLogger(name).error("Invalid usage key: shadow:%s", rows.usage_key("a"))
        logging.getLogger(name).error("Invalid usage key: %s", "another")
    finally:
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    assert capfd.readouterr().err == "Invalid usage key: another\n"


@pytest.mark.parametrize("value", ODD)
@pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)
def test_what_is_no_dictionary_is_refused_by_name_and_costs_no_learner_anything(settings, value, monkeypatch):
    settings.MIGRATION_SHIM = value
    with pytest.raises(ConfigurationError, match="MIGRATION_SHIM must be a dictionary"):
        conf.load()
    MigrationShimConfig("migration_shim", __import__("migration_shim")).ready()
    found = {message.id for message in checks.run_checks(tags=[TAG])}
    assert "migration_shim.E001" in found
    sent = []
    monkeypatch.setattr("migration_shim.dual_write.LegacyClient.submit", lambda *a, **k: sent.append(a) or (0, "1"))
    answer = QueueInterface().send_to_queue(rows.header(7, "a" * 32, "k"), rows.body(7, "x", "20261122090000"))
    assert (answer, len(sent)) == ((0, "1"), 1)


def test_the_stand_ins_settings_are_what_the_plugin_makes_of_them():
    assert django_settings.DATABASE_ROUTERS == [ROUTER]
    assert django_settings.LOGGING["handlers"]["stderr"]["filters"] == ["fenced_results"]


# A user's retirement


def retirement_receivers():
    return [receiver for receiver in USER_RETIRE_LMS_MISC.receivers if "migration_shim" in str(receiver[0])]


def test_the_plugin_loader_connects_one_receiver():
    config = MigrationShimConfig.plugin_app["signals_config"]["lms.djangoapp"]
    module = __import__("migration_shim.retention.user_retirement").retention.user_retirement
    ((signal, receiver, _),) = plugin_signals._iter_receivers(module, config)
    assert signal is USER_RETIRE_LMS_MISC
    assert receiver is module.retire_user
    assert len(retirement_receivers()) == 1


@pytest.mark.django_db(databases=["default", "xqueue"])
def test_a_user_who_is_retired_is_forgotten():
    """As ``retire_misc`` of the platform's retirement API does it, for every anonymous id of the user."""
    rows.in_phase("shadow")
    user, other = (get_user_model().objects.create_user(name) for name in ("leaver", "stayer"))
    for number, (owner, course) in enumerate([(user, ""), (user, rows.COURSE), (other, "")]):
        learner = f"{number:032x}"
        AnonymousUserId.objects.create(user=owner, anonymous_user_id=learner, course_id=course)
        rows.entries(1, settled_at=now())
        LedgerEntry.objects.filter(learner=rows.anonymous_id(0)).update(learner=learner)
    USER_RETIRE_LMS_MISC.send(sender=None, user=user)
    learners = set(LedgerEntry.objects.values_list("learner", flat=True))
    assert f"{2:032x}" in learners
    assert not learners & {f"{0:032x}", f"{1:032x}"}
    assert LedgerEntry.objects.count() == 3


@pytest.mark.django_db(databases=["default", "xqueue"])
def test_what_keeps_the_shim_from_it_is_the_pipelines_to_hear(settings):
    """Its step answers 500 then, and is repeated."""
    settings.MIGRATION_SHIM = None
    user = get_user_model().objects.create_user("leaver")
    with pytest.raises(ConfigurationError):
        USER_RETIRE_LMS_MISC.send(sender=None, user=user)
