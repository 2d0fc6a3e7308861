"""
The plugin in the real Tutor, as far as rendering its environment goes: nothing here has started a container.

Run by ``make deploy``, in a virtual environment of its own.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
TUTOR = Path(sys.executable).with_name("tutor")
#: The interpreter that has the app and its dependencies.
APP_PYTHON = os.environ["MIGRATION_SHIM_PYTHON"]
AWKWARD = "a'b\"c\\d{e}%s"


#: Prints the tasks of ``tutor … do init`` as Tutor renders them, in its order.
TASKS = """
import sys
from tutor import config, env, hooks
hooks.Actions.CORE_READY.do()
hooks.Actions.PROJECT_ROOT_READY.do(sys.argv[1])
values = config.load(sys.argv[1])
for service, task in hooks.Filters.CLI_DO_INIT_TASKS.iterate():
    print("##", service)
    print(env.render_str(values, task))
"""


class Rendered:
    """One rendered environment."""

    def __init__(self, folder: Path, plugins: tuple[str, ...] = (), **options: str) -> None:
        self.folder = folder
        self.variables = {**os.environ, "TUTOR_ROOT": str(folder), "TUTOR_PLUGINS_ROOT": str(folder / "plugins")}
        self.tutor("plugins", "enable", "migration_shim", *plugins)
        self.tutor("config", "save", *(part for key, value in options.items() for part in ("--set", f"{key}={value}")))

    def tutor(self, *arguments: str) -> str:
        done = subprocess.run([TUTOR, *arguments], env=self.variables, capture_output=True, text=True, input="")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def text(self, path: str) -> str:
        return (self.folder / "env" / path).read_text(encoding="utf-8")

    def tasks(self) -> str:
        """What ``do init`` runs of this plugin and of tutor-xqueue."""
        command = [sys.executable, "-c", TASKS, str(self.folder)]
        done = subprocess.run(command, env=self.variables, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def services(self) -> dict:
        return yaml.safe_load(self.text("local/docker-compose.yml"))["services"]

    def deployments(self) -> dict:
        documents = yaml.safe_load_all(self.text("k8s/deployments.yml"))
        return {each["metadata"]["name"]: each for each in documents if each}

    def settings(self) -> dict:
        """What the part of the plugin makes of the settings that a platform has by then."""
        platform = {
            "DATABASES": {"default": {}},
            "DATABASE_ROUTERS": ["edx_django_utils.db.read_replica.ReadReplicaRouter"],
            "LOGGING": {"handlers": {"console": {}, "local": {"filters": ["userid_context"]}}},
            "XQUEUE_INTERFACE": {"url": "http://xqueue:8000", "django_auth": None, "callback_url": "http://lms:8000"},
        }
        exec(compile(self.part(), "production.py", "exec"), platform)
        return platform

    def part(self) -> str:
        """The plugin's part of the LMS's settings, cut out of the rendered file."""
        text = self.text("apps/openedx/settings/lms/production.py")
        compile(text, "production.py", "exec")
        begin = text.index("# migration_shim\n")
        end = text.index('handler["filters"]', begin)
        return text[begin : text.index("\n", end) + 1]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return Rendered(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def with_door(tmp_path_factory):
    """The HTTP door, tutor-xqueue beside it, and values that a careless template would break on."""
    options = {
        "MIGRATION_SHIM_DOOR": "http",
        "MIGRATION_SHIM_DOOR_WORKERS": "7",
        "MIGRATION_SHIM_DB_PASSWORD": yaml.safe_dump(AWKWARD, default_style='"').strip(),
        "MIGRATION_SHIM_CELERY_QUEUE": "migration_shim",
        "MIGRATION_SHIM_REQUIREMENT": "migration_shim==0.1.0",
        "MIGRATION_SHIM_SETTINGS": "{HOLD_SECONDS: 3.0, SAMPLE_PERCENT: {'*': 50}}",
        "MIGRATION_SHIM_DB_INIT": "false",
        "MIGRATION_SHIM_WATCH": "false",
        "XQUEUE_MYSQL_DATABASE": "queue_of_theirs",
        "XQUEUE_AUTH_PASSWORD": "theirs",
    }
    return Rendered(tmp_path_factory.mktemp("door"), ("xqueue",), **options)


def test_by_default_the_python_door_and_a_watch(plain):
    settings = plain.settings()
    assert settings["MIGRATION_SHIM"]["PYTHON_DOOR"] is True
    assert "SUBMIT_USERS" not in settings["MIGRATION_SHIM"]
    assert settings["MIGRATION_SHIM"]["CELERY_QUEUE"] is None
    assert settings["XQUEUE_INTERFACE"]["url"] == "http://xqueue:8000"
    services, deployments = plain.services(), plain.deployments()
    assert [name for name in services if "shim" in name] == ["migration-shim-watch"]
    assert [name for name in deployments if "shim" in name] == ["migration-shim-watch"]
    assert services["migration-shim-watch"]["command"] == "./manage.py lms xqueue_watch"
    assert "migration_shim" not in plain.text("build/openedx/Dockerfile")


def test_the_second_database_and_our_router_first(plain):
    settings = plain.settings()
    database = settings["DATABASES"]["xqueue"]
    assert (database["NAME"], database["USER"], database["ATOMIC_REQUESTS"]) == ("xqueue", "migration_shim", False)
    assert len(database["PASSWORD"]) == 20
    assert settings["DATABASE_ROUTERS"] == [
        "migration_shim.legacy.routers.LegacyRouter",
        "edx_django_utils.db.read_replica.ReadReplicaRouter",
    ]


def test_the_log_filter_is_on_every_handler_and_the_others_stay(plain):
    handlers = plain.settings()["LOGGING"]["handlers"]
    assert handlers == {
        "console": {"filters": ["fenced_results"]},
        "local": {"filters": ["userid_context", "fenced_results"]},
    }


def test_the_door_is_a_service_of_its_own_that_nobody_reaches_from_outside(with_door):
    settings = with_door.settings()
    assert settings["MIGRATION_SHIM"]["PYTHON_DOOR"] is False
    interface = settings["XQUEUE_INTERFACE"]
    assert interface["url"] == "http://migration-shim-door:8000/migration_shim"
    assert interface["callback_url"] == "http://lms:8000"
    account = interface["django_auth"]
    assert settings["MIGRATION_SHIM"]["SUBMIT_USERS"] == {account["username"]: account["password"]}
    services, deployments = with_door.services(), with_door.deployments()
    assert sorted(name for name in services if "shim" in name) == ["migration-shim-door", "migration-shim-worker"]
    door = services["migration-shim-door"]
    assert door["environment"]["MIGRATION_SHIM_SUBMIT_DOOR"] == "1"
    assert door["environment"]["UWSGI_WORKERS"] == 7
    assert "ports" not in door
    assert "MIGRATION_SHIM_SUBMIT_DOOR" not in services["lms"]["environment"]
    container = deployments["migration-shim-door"]["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "MIGRATION_SHIM_SUBMIT_DOOR", "value": "1"} in container["env"]
    found = [each for each in yaml.safe_load_all(with_door.text("k8s/services.yml")) if each]
    (service,) = (each for each in found if each["metadata"]["name"] == "migration-shim-door")
    assert service["spec"]["type"] == "ClusterIP"
    assert "migration-shim" not in with_door.text("apps/caddy/Caddyfile")


def test_the_worker_polls_the_queue_that_the_app_publishes_to(with_door):
    assert with_door.settings()["MIGRATION_SHIM"]["CELERY_QUEUE"] == "migration_shim"
    assert with_door.services()["migration-shim-worker"]["command"].endswith("--queues=migration_shim")
    container = with_door.deployments()["migration-shim-worker"]["spec"]["template"]["spec"]["containers"][0]
    assert container["args"][-1] == "--queues=migration_shim"


def test_names_and_accounts_of_tutor_xqueue_are_taken_over_and_no_quote_breaks_out(with_door):
    settings = with_door.settings()
    assert settings["DATABASES"]["xqueue"]["NAME"] == "queue_of_theirs"
    assert settings["DATABASES"]["xqueue"]["PASSWORD"] == AWKWARD
    assert settings["MIGRATION_SHIM"]["LEGACY_PASSWORD"] == "theirs"
    assert settings["MIGRATION_SHIM"]["HOLD_SECONDS"] == 3.0


def test_init_makes_one_account_for_one_table_after_xqueue_has_made_it(tmp_path):
    tasks = Rendered(
        tmp_path, ("xqueue",), MIGRATION_SHIM_DB_NAME="theirs", MIGRATION_SHIM_DB_PASSWORD="secret"
    ).tasks()
    grant = "GRANT SELECT, INSERT, UPDATE (retired, pull_time, pullkey, grader_id) ON theirs.queue_submission"
    assert f"{grant} TO 'migration_shim'@'%';" in tasks
    assert "IDENTIFIED BY 'secret'" in tasks
    # Without the level it could not fail: the app's checks give warnings.
    assert "./manage.py lms check --tag migration_shim --fail-level WARNING" in tasks
    assert tasks.index("## xqueue") < tasks.index(grant) < tasks.index("./manage.py lms migrate migration_shim")
    runbook = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    assert "GRANT REPLICATION CLIENT ON *.* TO 'migration_shim'@'%';" in tasks  # Tutor's MySQL has no other name for it
    assert grant.replace("theirs", "xqueue") in runbook  # the same rights as without Tutor


def test_init_leaves_an_account_alone_that_is_made_elsewhere(with_door):
    tasks = with_door.tasks()
    assert "migration_shim: the account in XQueue's database is made elsewhere" in tasks
    assert "CREATE USER IF NOT EXISTS 'migration_shim'" not in tasks


def test_the_image_installs_the_requirement(with_door):
    assert "RUN $PIP_COMMAND install migration_shim==0.1.0" in with_door.text("build/openedx/Dockerfile")


def test_a_mounted_checkout_is_installed_in_the_image(tmp_path):
    checkout = tmp_path / "migration_shim"
    checkout.mkdir()
    rendered = Rendered(tmp_path / "root", MOUNTS=f"['{checkout}']")
    assert "mnt-migration_shim" in rendered.text("build/openedx/Dockerfile")


@pytest.mark.parametrize("environment", ["plain", "with_door"])
def test_the_app_accepts_what_is_rendered(environment, request, tmp_path):
    """The app's own check, over the sandbox's LMS with the plugin's part behind its settings."""
    rendered = request.getfixturevalue(environment)
    part = rendered.part().replace('"PYTHON_DOOR": True', '"PYTHON_DOOR": False')  # no platform is here to patch
    settings = f"from sandbox.lms.settings import *\nLOGGING = {{'version': 1, 'handlers': {{}}}}\n{part}"
    (tmp_path / "rendered_settings.py").write_text(settings, encoding="utf-8")
    variables = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}", "DJANGO_SETTINGS_MODULE": "rendered_settings"}
    command = [APP_PYTHON, "-m", "django", "check", "--tag", "migration_shim", "--fail-level", "WARNING"]
    done = subprocess.run(command, env=variables, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout + done.stderr
