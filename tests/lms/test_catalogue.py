"""The platform's list of courses: asked by its own names, and only where there is one."""

from types import SimpleNamespace

import pytest
from opaque_keys.edx.keys import CourseKey

from migration_shim.lms import catalogue

COURSE = "course-v1:ExU+PY1+2026"


class Overviews:
    """The platform's rows, in a database that does not tell cases apart."""

    def __init__(self, *courses):
        self.keys = [CourseKey.from_string(course) for course in courses]

    def all(self):
        return self

    def filter(self, *, id):
        assert isinstance(id, CourseKey)  # the platform's field takes keys
        return Overviews(*(str(key) for key in self.keys if str(key).lower() == str(id).lower()))

    def order_by(self, name):
        return Overviews(*sorted(map(str, self.keys)))

    def values_list(self, name, *, flat):
        assert (name, flat) == ("id", True)
        return self.keys


@pytest.fixture
def overviews(monkeypatch):
    """Install a list of courses."""

    def install(*courses):
        fake = SimpleNamespace(
            is_installed=lambda name: name == "openedx.core.djangoapps.content.course_overviews",
            get_model=lambda *names: {
                ("course_overviews", "CourseOverview"): SimpleNamespace(objects=Overviews(*courses))
            }[names],
        )
        monkeypatch.setattr(catalogue, "apps", fake)

    return install


def test_outside_an_lms_nobody_can_tell():
    assert catalogue.has_course(COURSE) is None
    assert catalogue.some_ids() == []


def test_inside_it_says_which_courses_there_are(overviews):
    overviews("course-v1:ExU+ZZ+1", COURSE)
    assert catalogue.has_course(COURSE) is True
    assert catalogue.has_course("course-v1:ExU+PY2+2026") is False
    assert catalogue.has_course(COURSE.lower().replace("exu", "ExU")) is False  # another course
    assert catalogue.some_ids() == [COURSE, "course-v1:ExU+ZZ+1"]
