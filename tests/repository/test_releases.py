"""The table of releases, the bounds, the matrix and the Tutor plugin say the same."""

import ast
import configparser
import re
from pathlib import Path

import pytest

from tests.repository.test_docs import generate

ROOT = Path(__file__).resolve().parents[2]
releases = generate.releases()
SUPPORTED = releases.supported()


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def numbers(version):
    return tuple(int(part) for part in version.split("."))


def bounds(name="requirements/constraints.txt", operator=">="):
    """Give each distribution's bound of a requirements file."""
    return dict(re.findall(rf"^([\w-]+){operator}([\d.]+)", read(name), re.MULTILINE))


def environments():
    """Give the environments of tox.ini, one by one."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "tox.ini")
    names = parser["tox"]["envlist"].replace("py{311,312}-newest", "py311-newest, py312-newest")
    return [name.strip() for name in names.split(",")]


@pytest.mark.parametrize(("place", "package"), [(0, "Django"), (1, "edx-submissions")])
def test_the_lower_bounds_are_the_oldest_of_the_table(place, package):
    assert bounds()[package] == min((one.oldest[place] for one in SUPPORTED), key=numbers)


def test_the_lower_bounds_are_those_of_the_oldest_environment():
    oldest = bounds("requirements/oldest.txt", "==")
    lower = bounds()
    ours = {name for name in lower if name not in ("import-linter", "xblocks-contrib")}
    # The others are what these ask for themselves.
    assert ours == oldest.keys() - {"kombu", "redis", "chardet", "charset-normalizer", "urllib3"}
    assert {name: oldest[name] for name in ours} == {name: lower[name] for name in ours}


def test_an_environment_in_between_is_in_bounds():
    lower, between = bounds(), bounds("requirements/verawood.txt", "==")
    assert between["edx-submissions"] == "4.0.1"
    assert all(numbers(lower[name]) <= numbers(version) for name, version in between.items())


def test_the_readme_has_the_table_of_the_page():
    assert releases.table() in read("README.rst") and releases.table() in read("docs/reference/releases.rst")
    for one in releases.RELEASES:
        assert f"\n   * - {one.name}\n" in read("README.rst")


def test_the_readme_names_the_bounds():
    lower, first = bounds(), read("README.rst").partition("Requirements\n****")[2]
    assert f"edx-submissions from {lower['edx-submissions']} to 4.0.2" in first
    assert f"Django {'.'.join(lower['Django'].split('.')[:2])}" in first


def test_every_environment_is_one_of_the_table():
    named = set(re.findall(r"``(py\d+-\w+)``", releases.table()))
    assert set(environments()) == releases.ENVIRONMENTS.keys() == named


def test_an_environment_is_on_the_python_of_its_release():
    for one in SUPPORTED:
        for version in re.findall(r"``py(\d)(\d+)-(?:ulmo|verawood)``", one.run):
            assert ".".join(version) == one.python


def test_the_tutor_plugin_takes_the_releases_that_are_supported():
    versions = sorted(version for one in SUPPORTED for version in one.tutor)
    assert f'"tutor>={versions[0]},<{versions[-1] + 1}"' in read("deploy/tutor/setup.py")
    rendered = re.search(r"^TUTORS \?= (.*)$", read("Makefile"), re.MULTILINE)[1].split()
    assert [int(version) for version in rendered] == [20, *versions]


def test_every_test_of_the_corner_is_there():
    tree = ast.parse(read("tests/corner.py"))
    (listed,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "TESTS"
    )
    assert all((ROOT / name).exists() for name in listed)
    assert len(set(listed)) == len(listed)
