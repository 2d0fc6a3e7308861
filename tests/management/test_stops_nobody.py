"""
A broken configuration, and every command as a real process meets it: through ``manage.py``, with system checks.

``check(tags=...)`` and ``call_command`` run no checks, or only those that are named; an operator's command runs all.
"""

import json

import pytest
from waffle.models import Switch

from migration_shim import toggles
from migration_shim.core.data import Phase
from migration_shim.core.phases import flags_of
from migration_shim.models import CoursePhase, KnownDifference, LedgerEntry, Run
from tests.builders import rows
from tests.builders.rows import COURSE, fresh  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)

#: What is broken: lines behind the sandbox's settings, and the check that names it.
BROKEN = {
    "unknown key": ('MIGRATION_SHIM = MIGRATION_SHIM | {"NO_SUCH_KEY": 1}', "E001"),
    "no dictionary": ("MIGRATION_SHIM = None", "E001"),
    "no alias": ('del DATABASES["xqueue"]', "E002"),
    "router not first": ("DATABASE_ROUTERS = []", "E003"),
    "transaction a request": ('DATABASES["xqueue"]["ATOMIC_REQUESTS"] = True', "E004"),
    "late door": ('MIGRATION_SHIM = MIGRATION_SHIM | {"HTTP_DOOR_SECONDS": 20.0}', "E011"),
}
PLATFORM = (
    ("migrate", "--verbosity", "0"),
    ("clearsessions",),
    ("waffle_switch", "migration_shim.kill_switch", "on", "--create"),
)
REFUSED = (
    ("xqueue_backfill", "--mode", "shadow", "--all", "--execute"),
    ("xqueue_backfill", "--mode", "handoff", "--all"),
    ("xqueue_reconcile", "--all"),
    ("xqueue_gate", "--course", COURSE),
    ("xqueue_cutover", "--course", COURSE, "--to", "shadow", "--reason", "r"),
    ("xqueue_cutover", "--course", COURSE, "--to", "shadow", "--reason", "r", "--execute"),
    ("xqueue_cutover", "--adopt", "courses.example.edu", "--reason", "r", "--execute"),
    ("xqueue_known", "--add", "score", "--reason", "r"),
    ("xqueue_fail", "--course", COURSE, "--reason", "r", "--execute"),
)
WAY_BACK = ("xqueue_cutover", "--course", COURSE, "--to", "legacy", "--reason", "r", "--execute")


@pytest.fixture(scope="module", params=BROKEN, ids=lambda name: name.replace(" ", "-"))
def broken(request, tmp_path_factory):
    """(run a command with this broken configuration, the id that its text must hold)."""
    (line, name), folder = BROKEN[request.param], tmp_path_factory.mktemp("broken")
    (folder / "broken_settings.py").write_text(f"from tests.settings import *\n{line}\n", encoding="utf-8")
    environment = {"DJANGO_SETTINGS_MODULE": "broken_settings", "PYTHONPATH": str(folder)}
    return lambda *words: rows.manage(*words, **environment), f"migration_shim.{name}"


def test_the_platforms_own_commands_go_on_and_say_it(broken):
    manage, name = broken
    for words in PLATFORM:
        ran = manage(*words)
        assert (words[0], ran.returncode) == (words[0], 0), ran.stderr
        if words[0] == "migrate":  # the others ask for no checks, or for none that are printed
            assert name in ran.stderr
    assert Switch.objects.get(name="migration_shim.kill_switch").active
    assert manage("check").returncode == 0


def test_whoever_asks_is_refused(broken):
    manage, name = broken
    ran = manage("check", "--tag", "migration_shim", "--fail-level", "WARNING")
    assert ran.returncode == 1
    assert name in ran.stderr


def test_our_commands_refuse_before_they_write(broken):
    manage, name = broken
    rows.legacy_row(1)
    for words in REFUSED:
        ran = manage(*words)
        assert (words, ran.returncode, ran.stdout) == (words, 1, ""), ran.stderr
        assert name in ran.stderr
        assert "Traceback" not in ran.stderr
    assert not any(model.objects.exists() for model in (Run, LedgerEntry, CoursePhase, KnownDifference))


def test_the_way_back_is_open_and_says_it(broken):
    manage, name = broken
    rows.in_phase("live")
    toggles.force_flags(COURSE, *flags_of(Phase.LIVE))
    for words in (WAY_BACK[:-1], WAY_BACK):
        ran = manage(*words)
        assert ran.returncode == 0, ran.stderr
        assert name in ran.stderr
        assert "Traceback" not in ran.stderr
    assert CoursePhase.objects.get(course_id=COURSE).phase == Phase.LEGACY


def test_what_only_reads_goes_on_as_far_as_it_can(broken):
    manage, name = broken
    ran = manage("xqueue_audit", "--format", "json")
    assert ran.returncode == 0, ran.stderr
    assert name in ran.stderr
    json.loads(ran.stdout)


def test_a_preflight_blocks_with_the_checks_text(broken):
    manage, name = broken
    rows.in_phase("legacy")
    ran = manage("xqueue_preflight", "--course", COURSE, "--format", "json")
    assert name in ran.stderr
    assert "Traceback" not in ran.stderr
    if ran.returncode == 1:  # without settings or rows to read there is no document
        assert json.loads(ran.stdout)["schema"] == "migration_shim.error/1"
    else:
        assert ran.returncode == 2
        found = [item for item in json.loads(ran.stdout)["findings"] if item["code"] == "site"]
        assert found
        assert {item["severity"] for item in found} == {"blocker"}


def test_a_watch_says_it_every_round_and_works_on(broken):
    """It finishes rows, guards courses and steps them back: learners wait for that, whatever is wrong with a door."""
    manage, name = broken
    ran = manage("xqueue_watch", "--once", "--format", "json")
    assert ran.returncode & 1, ran.stderr
    assert name in ran.stderr
    assert "Traceback" not in ran.stderr
    if name != "migration_shim.E001":
        problems = {problem["step"]: problem["said"] for problem in json.loads(ran.stdout)["problems"]}
        assert name in problems["checks"]


def test_silenced_by_the_site_is_no_refusal(tmp_path):
    line = BROKEN["late door"][0] + '\nSILENCED_SYSTEM_CHECKS = ["migration_shim.E011"]'
    (tmp_path / "broken_settings.py").write_text(f"from sandbox.lms.settings import *\n{line}\n", encoding="utf-8")
    environment = {"DJANGO_SETTINGS_MODULE": "broken_settings", "PYTHONPATH": str(tmp_path)}
    ran = rows.manage("xqueue_known", **environment)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_only_our_own_checks_are_asked(tmp_path):
    """Another app's error is that app's business: an operator of this one needs his commands then as well."""
    line = "INSTALLED_APPS = [*INSTALLED_APPS, 'broken_app']"
    (tmp_path / "broken_settings.py").write_text(f"from sandbox.lms.settings import *\n{line}\n", encoding="utf-8")
    (tmp_path / "broken_app.py").write_text(
        "from django.core import checks\n@checks.register('other')\ndef check(**kwargs):\n"
        "    return [checks.Error('wrong', id='other.E001')]\n",
        encoding="utf-8",
    )
    environment = {"DJANGO_SETTINGS_MODULE": "broken_settings", "PYTHONPATH": str(tmp_path)}
    assert rows.manage("xqueue_known", **environment).returncode == 0
    assert rows.manage("migrate", **environment).returncode == 1
