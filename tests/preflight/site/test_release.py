"""What preflight and the system check say of the installed versions, of replaced pins and of senders."""

import importlib.metadata
import re

import pytest
from django.core.checks import run_checks

from migration_shim import checks
from migration_shim.core.errors import PredictionUnavailable
from migration_shim.lms import pins
from migration_shim.preflight import versions
from migration_shim.target import installed, prediction
from sandbox.databases import PROJECT_ROOT

REQUIREMENTS = PROJECT_ROOT / "requirements"


def found():
    return {finding.rule.code: finding for finding in versions.findings()}


def checked():
    return [(message.id, message.msg) for message in checks.check_release(None)]


def test_the_installed_versions_have_no_finding_but_scaling():
    assert set(found()) == (set() if prediction.scales() else {"scores_not_scaled"})
    assert checked() == []


# Versions


def test_the_bounds_are_those_of_the_package():
    bounds = (REQUIREMENTS / "constraints.txt").read_text(encoding="utf-8")
    for package, supported in (("edx-submissions", installed.SUPPORTED), ("Django", versions.DJANGO)):
        first, second = (".".join(map(str, version)) for version in supported)
        assert re.search(rf"^{package}>={re.escape(first)},<{re.escape(second)} ", bounds, re.MULTILINE)


@pytest.mark.parametrize(
    ("version", "said"),
    [("3.12.1", True), ("3.12.2", False), ("4.0.0", False), ("4.0.1", False), ("4.1.0", False), ("5.0.0", True)],
)
def test_another_edx_submissions_is_named(monkeypatch, version, said):
    monkeypatch.setattr(installed, "version", lambda: version)
    assert ("submissions_unsupported" in found()) is said
    assert not said or found()["submissions_unsupported"].about == version


@pytest.mark.parametrize(
    ("version", "said"), [("4.2.30", True), ("5.2.6", True), ("5.2.7", False), ("5.2.19", False), ("6.0", True)]
)
def test_another_django_is_named(monkeypatch, version, said):
    monkeypatch.setattr(versions.django, "get_version", lambda: version)
    assert ("django_unsupported" in found()) is said


@pytest.mark.parametrize(("scales", "said"), [(True, False), (False, True)])
def test_a_version_that_stores_a_score_as_it_comes_is_named(monkeypatch, scales, said):
    monkeypatch.setattr(prediction, "points_for", lambda score, points: score * points if scales else score)
    assert ("scores_not_scaled" in found()) is said


def test_a_version_that_cannot_be_asked_stops_no_preflight(monkeypatch):
    def unknown(score, points):
        raise PredictionUnavailable("put_result is no plain function")

    monkeypatch.setattr(prediction, "points_for", unknown)
    assert found() == {}


# Pins


@pytest.fixture
def checkout(tmp_path, settings):
    """An LMS's checkout; puts a file there."""
    settings.REPO_ROOT = tmp_path

    def put(path, text):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(text if isinstance(text, bytes) else text.encode())

    return put


@pytest.fixture
def platform(checkout):
    """Writes the platform's requirements."""
    return lambda text: checkout("requirements/edx/base.txt", text)


def test_a_replaced_pin_is_named_by_check_and_preflight(platform):
    platform(
        "# made by pip-compile\n"
        "django==4.2.24\n    # via\n    #   -r requirements/edx/kernel.in\n"
        f"edx-submissions==3.11.1\ntqdm=={importlib.metadata.version('tqdm')}\nora2==6.16.4\n"
    )
    django, submissions = (importlib.metadata.version(name) for name in ("django", "edx-submissions"))
    said = [
        f"django {django} (the platform pins 4.2.24)",
        f"edx-submissions {submissions} (the platform pins 3.11.1)",
    ]
    assert found()["pins_replaced"].about == "; ".join(said)
    assert checked() == [("migration_shim.I020", f"Not what the platform pins: {one}.") for one in said]


@pytest.mark.django_db
def test_what_is_only_said_keeps_nobody_from_anything(platform):
    platform("django==4.2.24\n")
    assert checked() and checks.complaints() == []
    checks.refuse_on_complaints()


def test_names_are_compared_as_pip_compares_them(platform):
    platform("edx_opaque.keys[django]==0.1 ; python_version >= '3'\n")
    (pin,) = pins.replaced_pins()
    assert (pin.name, pin.pinned) == ("edx-opaque-keys", "0.1")


def test_pins_that_are_kept_are_not_named(platform):
    lines = (f"{name}=={importlib.metadata.version(name)}" for name in pins.OURS)
    platform("\n".join(lines))
    assert pins.replaced_pins() == [] and checked() == []


@pytest.mark.parametrize("content", [b"\xff\xfe", b""])
def test_where_it_cannot_be_told_nothing_is_said(platform, content):
    platform(content)
    assert pins.replaced_pins() == [] and checked() == []


def test_a_platform_without_its_requirements_is_no_error(settings, tmp_path):
    settings.REPO_ROOT = str(tmp_path / "nowhere")
    assert found().keys() <= {"scores_not_scaled"} and checked() == []


def test_outside_an_lms_nothing_is_said():
    assert pins.pinned_versions() == {} and pins.replaced_pins() == []


def test_ours_are_those_of_the_package():
    lines = "\n".join((REQUIREMENTS / name).read_text(encoding="utf-8") for name in ("base.in", "celery.in"))
    assert sorted(re.findall(r"^([A-Za-z][\w-]+)", lines.lower(), re.MULTILINE)) == sorted(pins.OURS)


# Senders

SENDER = "xmodule/capa/xqueue_submission.py"
V1 = """
class XQueueInterfaceSubmission:
    def send_to_submission(self, header, body, files_to_upload=None):
        return create(item, answer, queue_name=queue_name, files=files_to_upload)
"""
V1B = V1.replace("queue_name=", 'queue_key=header.get("lms_key", ""), queue_name=')
V2 = V1.replace("body, ", "body, queue_key, ").replace("queue_name=", "queue_key=queue_key, queue_name=")


@pytest.mark.parametrize(("generation", "said"), [(V1, True), (V1B, False), (V2, False)], ids=["V1", "V1b", "V2"])
def test_a_sender_that_gives_no_queue_key_is_named(checkout, generation, said):
    checkout(SENDER, generation)
    assert ("sender_unusable" in found()) is said
    message = f"{SENDER} gives no queue_key, and edx-submissions {installed.version()} takes nothing without."
    assert checked() == [("migration_shim.I021", message)] * said


def test_with_an_edx_submissions_that_asks_for_none_it_may(checkout, monkeypatch):
    monkeypatch.setattr(installed, "create_external_grader_detail", lambda student_item_dict, answer, queue_name: None)
    checkout(SENDER, V1)
    assert "sender_unusable" not in found() and checked() == []


def test_every_supported_version_asks_for_one():
    assert installed.needs_queue_key()


@pytest.mark.django_db
def test_the_check_is_run_with_the_apps_own_and_stops_nobody(checkout):
    checkout(SENDER, V1)
    messages = run_checks(tags=[checks.TAG])
    assert [message.id for message in messages] == ["migration_shim.I021"]
    assert not any(message.is_serious() for message in messages)


@pytest.mark.django_db
def test_what_refuses_no_command_refuses_no_dashboard_watch_or_preflight_either(checkout, platform):
    platform("django==4.2.24\n")
    checkout(SENDER, V1)
    said = run_checks(tags=[checks.TAG])
    assert [message.id for message in said] == ["migration_shim.I020", "migration_shim.I021"]
    assert checks.complaints() == []
    checks.refuse_on_complaints()
