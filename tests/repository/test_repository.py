"""What the repository says about itself is true: README, Makefile, requirements, package metadata, annotations."""

import ast
import functools
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import migration_shim
from migration_shim.conf import ShimSettings

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = sorted((ROOT / "requirements").iterdir())
RECORDS = sorted((ROOT / "docs/decisions").glob("[0-9]*.rst"))
DOCUMENTS = sorted([*ROOT.glob("*.rst"), *ROOT.glob("docs/**/*.rst"), *ROOT.glob("docs/**/*.md")])


def text(name: str) -> str:
    """Give the text of a file of the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def make_targets() -> dict[str, str]:
    """Give the documented targets of the Makefile with their prerequisites."""
    return dict(re.findall(r"^([a-z-]+):(.*?)## ", text("Makefile"), re.M))


def metadata(*what: str) -> list[str]:
    """Ask setup.py; give the lines that it prints."""
    done = subprocess.run(
        [sys.executable, "setup.py", "--quiet", *what], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def requirement_lines(path: Path) -> list[str]:
    """Give the lines of a requirements file that ask for a package."""
    return [line for line in path.read_text().splitlines() if line.strip() and not re.match(r"\s*(#|-[rc] )", line)]


def packages(path: Path) -> set[str]:
    """Give the names of the packages in a requirements file."""
    return {re.split(r"[\s<>=#]", line)[0] for line in requirement_lines(path)}


# --- documents --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_name_make_targets_that_exist(document):
    """A command that a document tells a reader to type is one that the Makefile has."""
    named = set(re.findall(r"(?:``|^\s+)make ([a-z][a-z-]*)", document.read_text(), re.M))

    assert named <= make_targets().keys()


def test_readme_has_the_two_commands_that_set_everything_up():
    """The quick start is ``make demo`` and ``make test``, and .ci/run runs the same test command."""
    assert "    make demo\n    make test\n" in text("README.rst")
    assert re.search(r"^part test make test$", text(".ci/run"), re.M)


def test_every_target_that_needs_packages_sets_them_up():
    """A fresh clone can start with any target: what runs something of .venv/ depends on a stamp of .venv/."""
    recipes = re.findall(r"^([a-z-]+):(.*?)## .*\n((?:\t.*\n)+)", text("Makefile"), re.M)
    need = {name: prerequisites for name, prerequisites, recipe in recipes if "$(BIN)" in recipe}

    assert {"demo", "test", "quality"} <= need.keys()
    assert [name for name, prerequisites in need.items() if "$(VENV)/." not in prerequisites] == []


def test_nothing_is_installed_where_targets_run_beside_each_other():
    """A pip at work in .venv would take packages from under what another target runs there."""

    def installed(*targets):
        command = ["make", "--dry-run", "--always-make", "VENV=v", *targets]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        return set(re.findall(r"v/bin/python .*?-r (requirements/\S+)", done.stdout))

    before = installed("requirements", "test")
    beside = re.findall(r"^together (.*)$", text(".ci/run"), re.M)
    assert beside and "requirements/test.in" in before
    for targets in beside:
        assert installed(*targets.split()) - before == set()


def test_what_runs_before_a_commit_is_a_part_of_quality():
    """Whoever commits hears nothing that ``make quality`` does not say, and of tools that it has set up."""
    quality = re.search(r"^quality:.*\n((?:\t.*\n)+)", text("Makefile"), re.M)[1]
    hooks = re.findall(r"^ +entry: (.*)$", text(".pre-commit-config.yaml"), re.M)

    assert len(hooks) == 3
    for hook in hooks:
        assert f"\t{hook.replace('.venv/bin', '$(BIN)').removesuffix(' --force-exclude')}" in quality


def test_links_between_documents_lead_somewhere():
    """Relative targets of links in the documents exist."""
    links = [
        (document.relative_to(ROOT), target)
        for document in DOCUMENTS
        for target in re.findall(r"^\.\. _[^:]+: (?!https?:)(\S+)$", document.read_text(), re.M)
        if not (document.parent / target).exists()
    ]

    assert links == []


def test_every_decision_is_listed_and_has_its_sections():
    """Records are numbered without a gap, listed in their README, and have the sections of an Open edX ADR."""
    sections = ["Status", "Context", "Decision", "Consequences", "Rejected Alternatives", "References"]

    assert [int(record.name[:4]) for record in RECORDS] == list(range(1, len(RECORDS) + 1))
    for record in RECORDS:
        assert record.name in text("docs/decisions/README.rst")
        assert re.findall(r"^(.+)\n\*+$", record.read_text(), re.M) == sections, record.name


#: A file of ours as a text names it, or a folder of the tests.
FILE = r"(?<![\w./<-])(?:[\w-]+/)*[\w-]+\.(?:py|rst|md|json|toml|in|ini)(?!\w)|(?<![\w./])tests/[\w/]*\w"
FOLDERS = ("benchmarks", "deploy", "docs", "requirements", "sandbox", "tests")
#: What the platform calls as we call something of ours.
PLATFORM = ("lms/djangoapps/", "lms/envs/", "requirements/edx/")


@functools.cache
def files() -> list[str]:
    """Give the paths of all files that belong to the repository and are text that somebody wrote."""
    folders = [ROOT / name for name in (*FOLDERS, "migration_shim")]
    return [str(path.relative_to(ROOT)) for folder in folders for path in folder.rglob("*.*") if path.is_file()]


def missing_files(words: str) -> list[str]:
    """
    Give what a text names and is not there: a path from the root, a path within migration_shim, or a file's own name.

    A path that begins with no folder of ours is somebody else's file.
    """
    packages = {name.split("/")[1] for name in files() if re.match(r"migration_shim/\w+/", name)}
    found = []
    for name in re.findall(FILE, words):
        first = name.split("/")[0]
        if name.startswith(PLATFORM) or ("/" in name and first not in {*FOLDERS, *packages, "migration_shim"}):
            continue
        there = (ROOT / name).exists() or (ROOT / "migration_shim" / name).exists()
        if not there and ("/" in name or not any(path.endswith(f"/{name}") for path in files())):
            found.append(name)
    return found


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.name)
def test_the_references_of_a_decision_name_files_that_exist(record):
    """Whoever reads why finds where: a record is not followed by every move of what it refers to, unless it is held."""
    assert missing_files(record.read_text(encoding="utf-8").partition("\nReferences\n")[2]) == []


def test_no_text_names_a_test_that_is_not_there():
    """Documents and docstrings that say which test holds them name one that exists."""
    sources = [ROOT / name for name in files() if name.endswith(".py")]
    named = [
        (str(path.relative_to(ROOT)), name)
        for path in [*DOCUMENTS, *sources]
        for name in re.findall(r"(?<![\w./{])tests/[\w/]*\w(?:\.py)?(?![\w{])", path.read_text(encoding="utf-8"))
        if path != Path(__file__)
    ]

    assert len(named) > 40
    assert [(path, name) for path, name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("``tests/seam``; tests/core", ["tests/seam"]),
        ("tests/legacy/test_clients.py.", ["tests/legacy/test_clients.py"]),
        ("``migration_shim/ledger.py``, ``legacy/grants.py``", ["migration_shim/ledger.py", "legacy/grants.py"]),
        ("``target/leases.py``, ``seam.py``, ``journal.py``", ["journal.py"]),
        ("``submissions/views/xqueue.py``, ``lms/envs/common.py``", []),
    ],
)
def test_that_check_sees_what_is_missing(text, found):
    """Each way of naming a file, with one that is there or is somebody else's beside one that is not."""
    assert missing_files(text) == found


def test_changelog_has_an_unreleased_heading():
    """There is always a place for the next entry."""
    assert re.search(r"^Unreleased\n\*+$", text("CHANGELOG.rst"), re.M)


# --- package and requirements -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.name)
def test_every_requirement_has_a_reason(path):
    """A requirement or a bound without a comment on its line cannot be questioned later."""
    assert [line for line in requirement_lines(path) if not re.search(r" # \S", line)] == []


def test_constraints_bound_only_what_is_required():
    """A bound on a package that nothing asks for is a leftover."""
    asked = set().union(*(packages(path) for path in REQUIREMENTS if path.suffix == ".in"))

    assert packages(ROOT / "requirements/constraints.txt") <= asked


def test_package_metadata(tmp_path):
    """The package carries the version of the code, the bounded requirements, the extras and the LMS's entry point."""
    metadata("egg_info", "--egg-base", str(tmp_path))
    [made] = tmp_path.glob("*.egg-info")
    requires = (made / "requires.txt").read_text()

    assert f"\nVersion: {migration_shim.__version__}\n" in (made / "PKG-INFO").read_text()
    assert re.search(r"^edx-submissions<5,>=3\.12\.2$", requires, re.M)
    assert re.findall(r"^\[(.+)\]$", requires, re.M) == ["celery", "mysql"]
    assert (made / "entry_points.txt").read_text() == (
        "[lms.djangoapp]\nmigration_shim = migration_shim.apps:MigrationShimConfig\n"
    )
    # Neither the stand-ins nor the tests are installed into an LMS.
    assert (made / "top_level.txt").read_text() == "migration_shim\n"


def test_source_distribution_has_what_setup_py_reads():
    """Every file that setup.py reads is in MANIFEST.in, or an installation from the source distribution fails."""
    shipped = set(re.findall(r"^include (\S+)$", text("MANIFEST.in"), re.M))
    read = {f"requirements/{name}" for name in re.findall(r'"([a-z]+\.(?:in|txt))"', text("setup.py"))}

    assert {"requirements/base.in", "requirements/constraints.txt"} <= read
    assert read | {"README.rst"} <= shipped


def test_the_app_imports_what_it_requires():
    """Every third-party package that the app imports is in base.in, so that an installation without extras works."""
    distributions = {
        "config_models": "django-config-models",
        "django": "Django",
        "edx_django_utils": "edx-django-utils",
        "edx_toggles": "edx-toggles",
        "msgspec": "msgspec",
        "opaque_keys": "edx-opaque-keys",
        "openedx_events": "openedx-events",
        "requests": "requests",
        "rest_framework": "djangorestframework",
        "submissions": "edx-submissions",
        "tqdm": "tqdm",
        "waffle": "django-waffle",
    }
    # Of the LMS and of the extras: imported only where they are installed.
    optional = {"celery", "common", "kombu", "openedx", "prometheus_client"}
    required = packages(ROOT / "requirements/base.in")
    known = sys.stdlib_module_names | distributions.keys() | optional | {"migration_shim"}

    imported = {name for path in (ROOT / "migration_shim").rglob("*.py") for name in top_level_imports(path)}

    assert "django" in imported
    assert imported - known == set()
    assert {distributions[name] for name in imported & distributions.keys()} <= required


def top_level_imports(path: Path) -> set[str]:
    """Give the top-level names of all absolute imports of a module, at whatever depth they stand."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.split(".")[0])
    return names


PLATFORM = ("cms", "common", "lms", "openedx", "xblocks_contrib", "xmodule")


def test_only_the_room_of_the_lms_names_modules_of_the_platform():
    """What another release of edx-platform moves or renames is looked for in ``lms/`` alone. See the layers."""
    named = []
    for path in sorted((ROOT / "migration_shim").rglob("*.py")):
        if path.parent.name == "lms" or path.name == "apps.py":  # the plugin's entry names its signal
            continue
        tree = ast.parse(path.read_text())
        prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        texts = [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose
        ]
        dotted = [one for one in texts if re.fullmatch(rf"({'|'.join(PLATFORM)})(\.\w+)+", one)]
        labels = re.findall(r"""get_model\(\s*["'](?!migration_shim)(\w+)""", path.read_text())
        named += [(path.name, name) for name in [*dotted, *labels, *(top_level_imports(path) & set(PLATFORM))]]

    assert named == []


# --- annotations ------------------------------------------------------------------------------------------------------


def test_every_setting_is_annotated():
    """Each key of MIGRATION_SHIM carries a setting annotation (the linter sees only whether one is well-formed)."""
    annotated = re.findall(r'\.\. setting_name: MIGRATION_SHIM\["(\w+)"\]', text("migration_shim/conf/values.py"))

    assert annotated == [field.name.upper() for field in fields(ShimSettings)]


def test_every_toggle_is_annotated():
    """Each flag and switch carries a toggle annotation, in the order in which they are defined."""
    source = text("migration_shim/toggles.py")
    defined = re.findall(r'^\w+_(?:FLAG|SWITCH) = .*?"(migration_shim\.\w+)"', source, re.M)

    assert "migration_shim.kill_switch" in defined
    assert re.findall(r"^# \.\. toggle_name: (\S+)$", source, re.M) == defined
