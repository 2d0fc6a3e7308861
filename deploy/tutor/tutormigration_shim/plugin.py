"""What the plugin adds to Tutor: its configuration, its patches, and the grants in XQueue's database."""

from pathlib import Path

from tutor import hooks

from . import __version__

HERE = Path(__file__).resolve().parent

#: Kept once made, so that containers that are started later know it too.
UNIQUE = {
    "DB_PASSWORD": "{{ 20|random_string }}",
    "DOOR_PASSWORD": "{{ 20|random_string }}",
}
#: What tutor-xqueue is configured with is taken from there; without that plugin, from what XQueue's own files say.
DEFAULTS = {
    "VERSION": __version__,
    # What pip installs into the LMS's image; empty where a checkout is mounted (tutor mounts add …/migration_shim).
    "REQUIREMENT": "",
    # Names of the platform's pins that this installation may replace; all others hold. Ulmo: ["edx-submissions"].
    "RAISED_PINS": [],
    # "python": the LMS's own XQueueInterface hands submissions over. "http": a service of its own takes them.
    "DOOR": "python",
    # A submission of a learner holds one of them until XQueue has answered: never fewer than the LMS has.
    "DOOR_WORKERS": "{{ OPENEDX_LMS_UWSGI_WORKERS }}",
    "DOOR_USERNAME": "lms",
    "DB_HOST": "{{ MYSQL_HOST }}",
    "DB_PORT": "{{ MYSQL_PORT }}",
    "DB_NAME": "{{ XQUEUE_MYSQL_DATABASE|default('xqueue') }}",
    "DB_USERNAME": "migration_shim",
    # False where somebody else creates the account and its grants.
    "DB_INIT": True,
    "LEGACY_URL": "http://xqueue:8000",
    "LEGACY_USERNAME": "{{ XQUEUE_AUTH_USERNAME|default('lms') }}",
    "LEGACY_PASSWORD": "{{ XQUEUE_AUTH_PASSWORD|default('') }}",
    # Where XQueue reaches the app: inside the deployment, and short, because a callback has 128 characters.
    "SINK_ROOT": "http://lms:8000/migration_shim",
    # Empty: the platform's default Celery queue. Else a worker of its own polls it.
    "CELERY_QUEUE": "",
    # Whether a service runs xqueue_watch.
    "WATCH": True,
    # Further keys of the app's MIGRATION_SHIM.
    "SETTINGS": {},
}

hooks.Filters.CONFIG_UNIQUE.add_items([(f"MIGRATION_SHIM_{name}", value) for name, value in UNIQUE.items()])
hooks.Filters.CONFIG_DEFAULTS.add_items([(f"MIGRATION_SHIM_{name}", value) for name, value in DEFAULTS.items()])

# A checkout that is mounted is installed in the LMS's image, as Tutor does with any other.
hooks.Filters.MOUNTED_DIRECTORIES.add_item(("openedx", "migration_shim"))

hooks.Filters.ENV_TEMPLATE_ROOTS.add_item(str(HERE / "templates"))
for path in sorted((HERE / "patches").iterdir()):
    hooks.Filters.ENV_PATCHES.add_item((path.name, path.read_text(encoding="utf-8")), priority=hooks.priorities.LOW)

# After XQueue's own, which makes the table.
for service in ("mysql", "lms"):
    task = (HERE / "templates" / "migration_shim" / "tasks" / service / "init").read_text(encoding="utf-8")
    hooks.Filters.CLI_DO_INIT_TASKS.add_item((service, task), priority=hooks.priorities.LOW)
