"""The stand-in's share of the platform's own apps, held to what was seen in a whole LMS on MariaDB."""

import os
import subprocess
import sys

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from edx_django_utils.cache import RequestCache
from opaque_keys.edx.keys import CourseKey
from openedx.core.djangoapps.waffle_utils import CourseWaffleFlag
from waffle import get_waffle_flag_model

from sandbox.databases import PROJECT_ROOT
from tests.builders.platform import platform, platform_tables  # noqa: F401
from tests.builders.rows import COURSE

pytestmark = pytest.mark.django_db
KEY = CourseKey.from_string(COURSE)
FLAG = CourseWaffleFlag("send_to_submission_course.enable", __name__)
SPELLINGS = [
    "send_to_submission_course.enable",
    "Send_To_Submission_Course.ENABLE",
    "send_to_submission_course.enable  ",
]


def asked():
    RequestCache.clear_all_namespaces()
    return FLAG.is_enabled(KEY)


@pytest.mark.parametrize("typed", SPELLINGS)
@pytest.mark.parametrize(
    "scope", [{"course_id": COURSE}, {"course_id": COURSE.upper().replace("COURSE-V1", "course-v1")}]
)
def test_an_override_is_found_without_case_and_blanks_at_the_end(platform, typed, scope):  # noqa: F811
    platform["Course"].objects.create(waffle_flag=typed, override_choice="on", enabled=True, **scope)
    assert asked() is True


@pytest.mark.parametrize("typed", SPELLINGS)
@pytest.mark.parametrize("org", ["ExU", "EXU", "ExU "])
def test_so_is_an_organisations(platform, typed, org):  # noqa: F811
    platform["Org"].objects.create(waffle_flag=typed, org=org, override_choice="on", enabled=True)
    assert asked() is True


def test_blanks_before_it_and_other_flags_are_others(platform):  # noqa: F811
    for typed in (" send_to_submission_course.enable", "send_to_submission_course.enabled"):
        platform["Course"].objects.create(waffle_flag=typed, course_id=COURSE, override_choice="on", enabled=True)
    assert asked() is False


def test_the_newest_row_counts_and_one_that_is_not_enabled_forces_nothing(platform):  # noqa: F811
    for model, scope in ((platform["Org"], {"org": "ExU"}), (platform["Course"], {"course_id": COURSE})):
        model.objects.create(waffle_flag=FLAG.name, override_choice="on", enabled=True, **scope)
        model.objects.create(waffle_flag=FLAG.name, override_choice="off", enabled=True, **scope)
        assert asked() is False
    platform["Org"].objects.create(waffle_flag=FLAG.name, org="ExU", override_choice="on", enabled=True)
    assert asked() is False
    platform["Course"].objects.create(waffle_flag=FLAG.name, course_id=COURSE, override_choice="off", enabled=False)
    assert asked() is True


def test_where_nothing_is_forced_the_flag_itself_is_asked(platform):  # noqa: F811
    get_waffle_flag_model()(name=FLAG.name, everyone=True).save()
    assert asked() is True


def test_an_answer_is_kept_for_one_request(platform):  # noqa: F811
    model = platform["Course"]
    RequestCache.clear_all_namespaces()
    with CaptureQueriesContext(connection) as statements:
        assert [model.override_value(FLAG.name, KEY) for _ in range(3)] == ["unset"] * 3
    assert len(statements) == 1
    model.objects.create(waffle_flag=FLAG.name, course_id=COURSE, override_choice="on", enabled=True)
    assert model.override_value(FLAG.name, KEY) == "unset"
    RequestCache.clear_all_namespaces()
    assert model.override_value(FLAG.name, KEY) == "on"


@pytest.mark.parametrize(("given", "answer"), [({}, "True"), ({"SANDBOX_FLAGS": "own"}, "False")])
def test_the_stand_in_is_a_platform_unless_it_is_told_otherwise(given, answer):
    env = {name: value for name, value in os.environ.items() if name != "SANDBOX_FLAGS"} | given
    words = "import django; django.setup(); from migration_shim.lms.flags import in_platform; print(in_platform())"
    env |= {"DJANGO_SETTINGS_MODULE": "sandbox.lms.settings", "PYTHONPATH": str(PROJECT_ROOT)}
    done = subprocess.run([sys.executable, "-c", words], env=env, cwd=PROJECT_ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == answer, done.stderr
