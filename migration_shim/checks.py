"""
System checks of the app's settings and databases. They never stop another command of the LMS.

Each check gives warnings, whatever their ids begin with: an Error would stop every command of the LMS that runs checks,
``migrate`` and the kill switch among them. The same warnings do refuse ``manage.py check --tag migration_shim
--fail-level WARNING`` and the app's own commands (``management.command``), and ``xqueue_preflight`` reports them. See
docs/decisions/0030.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core import checks

from . import conf
from .conf import LEGACY_ALIAS
from .copies import sink
from .core.errors import ConfigurationError
from .core.wire import NAME_LIMIT
from .db import schema
from .lms import capa, pins
from .target import installed

TAG = "migration_shim"
#: Seconds that the LMS waits for an answer. Source: edx-platform, ``capa/xqueue_interface.py``.
LMS_READ_TIMEOUT = 10
_LIMITS = ("connect_timeout", "read_timeout", "write_timeout")
#: Seconds that one request may take in XQueue; a worker that needs longer is killed.
XQUEUE_REQUEST_SECONDS = 10


def complaints() -> list[checks.CheckMessage]:
    """
    Return the warnings of the app's checks, without those that the site has silenced (``SILENCED_SYSTEM_CHECKS``).

    Messages below a warning are left out: ``check`` prints them, and the preflight has findings of its own for them.
    """
    found = (message for message in checks.run_checks(tags=[TAG]) if not message.is_silenced())
    return [message for message in found if message.level >= checks.WARNING]


def refuse_on_complaints() -> None:
    """
    Refuse to go on while the app's checks complain.

    Raises:
        ConfigurationError: with every complaint.
    """
    if found := complaints():
        raise ConfigurationError(" ".join(f"{message.msg} ({message.id})" for message in found))


@checks.register(TAG)
def check_settings(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """Check ``MIGRATION_SHIM`` for unknown keys and wrong values."""
    return [checks.Warning(problem, id="migration_shim.E001") for problem in conf.problems()]


@checks.register(TAG)
def check_doors(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """Check the settings of the doors, the watcher seam and a handoff against the limits of XQueue and the LMS."""
    try:
        settings_in_force = conf.load()
    except ConfigurationError:
        return []  # check_settings says which
    found: list[checks.CheckMessage] = []
    if settings_in_force.python_door:
        found += [checks.Warning(problem, id="migration_shim.E010") for problem in capa.problems()]
    if settings_in_force.http_door_seconds >= LMS_READ_TIMEOUT:
        message = f"HTTP_DOOR_SECONDS must be under {LMS_READ_TIMEOUT}, the LMS's own read timeout."
        found.append(checks.Warning(message, id="migration_shim.E011"))
    needed = 2 * settings_in_force.publish_seconds + 1
    if settings_in_force.hold_seconds < needed:
        hint = "CAPA saves its queue state after the door has returned; a grade that is quicker is lost."
        message = f"HOLD_SECONDS must be at least {needed:g}: a door may still run that long after its commit."
        found.append(checks.Warning(message, hint=hint, id="migration_shim.E013"))
    if settings_in_force.handoff_settle_seconds < XQUEUE_REQUEST_SECONDS:
        hint = "A pull that XQueue has begun brings a row back for as long as one of its requests may take."
        message = f"HANDOFF_SETTLE_SECONDS must be at least {XQUEUE_REQUEST_SECONDS}."
        found.append(checks.Warning(message, hint=hint, id="migration_shim.E014"))
    url = sink.url("0" * 32, settings_in_force)
    if len(url) > NAME_LIMIT:
        hint = 'Set MIGRATION_SHIM["SINK_ROOT"] to a shorter URL.'
        message = f"The sink's URL has {len(url)} characters; XQueue compares the first {NAME_LIMIT} only."
        found.append(checks.Warning(message, hint=hint, id="migration_shim.E012"))
    return found


@checks.register(TAG)
def check_databases(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """The legacy alias must exist, must be routed by our router first, and must not open a transaction a request."""
    found: list[checks.CheckMessage] = []
    if LEGACY_ALIAS not in settings.DATABASES:
        hint = "Add XQueue's database to DATABASES under this alias."
        return [checks.Warning(f"There is no database alias {LEGACY_ALIAS!r}.", hint=hint, id="migration_shim.E002")]
    first = (settings.DATABASE_ROUTERS or [""])[0]
    if first != "migration_shim.legacy.routers.LegacyRouter":
        hint = "Put migration_shim.legacy.routers.LegacyRouter at the head of DATABASE_ROUTERS."
        found.append(checks.Warning("Our database router is not the first.", hint=hint, id="migration_shim.E003"))
    if settings.DATABASES[LEGACY_ALIAS].get("ATOMIC_REQUESTS"):
        message = f"ATOMIC_REQUESTS is on for the alias {LEGACY_ALIAS!r}: every request of the LMS would open XQueue."
        found.append(checks.Warning(message, id="migration_shim.E004"))
    database = settings.DATABASES[LEGACY_ALIAS]
    missing = [name for name in _LIMITS if not (database.get("OPTIONS") or {}).get(name)]
    if database.get("ENGINE", "").endswith("mysql") and missing:
        hint = "Add them to its OPTIONS, in seconds; migration_shim.settings.production does."
        message = f"The alias {LEGACY_ALIAS!r} has no {', '.join(missing)}: a silent XQueue holds up whoever asks it."
        found.append(checks.Warning(message, hint=hint, id="migration_shim.E005"))
    return found


@checks.register(TAG, checks.Tags.database)
def check_tables(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """
    Check that the app's own tables are those of this release.

    Else no phase can be read, and submissions of courses that the cache does not know go to legacy.
    """
    said = schema.complaint()
    return [checks.Warning(said, id="migration_shim.W006")] if said else []


@checks.register(TAG)
def check_release(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """
    Check for packages in other versions than the platform pins, and for a platform sender that no longer works.

    Both are only informed of: commands must work where a pin was raised on purpose, or a V1 sender is behind the Python
    door.
    """
    found: list[checks.CheckMessage] = []
    for pin in pins.replaced_pins():
        hint = "Install with pip install -c requirements/edx/base.txt of the platform. See the table of releases."
        found.append(checks.Info(f"Not what the platform pins: {pin}.", hint=hint, id="migration_shim.I020"))
    sender = pins.sender_without_queue_key()
    if sender and installed.needs_queue_key():
        hint = "Turn send_to_submission_course.enable off for every course."
        message = f"{sender} gives no queue_key, and edx-submissions {installed.version()} takes nothing without."
        found.append(checks.Info(message, hint=hint, id="migration_shim.I021"))
    return found
