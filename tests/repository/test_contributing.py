"""What a contributor is told to open, change or run is there."""

import re
from pathlib import Path

import pytest

from sandbox.databases import PROJECT_ROOT

APP = PROJECT_ROOT / "migration_shim"
PAGE = PROJECT_ROOT / "CONTRIBUTING.rst"
TEMPLATES = sorted((PROJECT_ROOT / ".github").rglob("*.md"))
#: Names for something that is to be made.
EXAMPLES = {"management/commands/xqueue_NAME.py"}


def code(page: Path) -> set[str]:
    """Give the words that stand in a page as code, in reStructuredText or Markdown."""
    marked = r"``([^`]+)``" if page.suffix == ".rst" else r"`([^`]+)`"
    return {word for words in re.findall(marked, page.read_text(encoding="utf-8")) for word in words.split()}


def exists(name: str) -> bool:
    """Whether a file or folder is in the repository, in the app, or, where no folder is named, in the tests."""
    there = any((folder / name).exists() for folder in (PROJECT_ROOT, APP))
    return there or ("/" not in name and any((PROJECT_ROOT / "tests").rglob(name)))


@pytest.mark.parametrize("page", [PAGE, *TEMPLATES], ids=lambda path: path.name)
def test_files_that_are_named_exist(page: Path):
    """A path in code leads to a file or folder of the repository."""
    named = {word for word in code(page) if re.fullmatch(r"[\w./-]+(\.\w+|/)|\w+/[\w/]+", word)} - EXAMPLES
    modules = {word for word in named if word.startswith("migration_shim.")}

    assert [name for name in sorted(named - modules) if not exists(name) and not name.startswith(".venv/")] == []
    assert [name for name in modules if not exists(name.removeprefix("migration_shim.") + ".py")] == []


def test_names_that_are_to_be_extended_exist():
    """What the page says to add to is defined in the app."""
    source = "\n".join(path.read_text(encoding="utf-8") for path in APP.rglob("*.py"))
    names = {word for word in code(PAGE) if re.fullmatch(r"[A-Z]+(_[A-Z]+)*|[A-Z]\w+[a-z]", word)} - {
        "NAME",
        "Exception",
    }

    assert len(names) > 4
    assert [name for name in sorted(names) if not re.search(rf"^(class )?{name}\b", source, re.M)] == []


def test_every_form_names_what_a_tracker_needs():
    """A form for issues has a name and says what it is about; a pull request finds its template."""
    forms = [path for path in TEMPLATES if path.parent.name == "ISSUE_TEMPLATE"]

    assert {path.name for path in TEMPLATES} == {"bug.md", "question.md", "PULL_REQUEST_TEMPLATE.md"}
    assert [path.name for path in forms if not re.match(r"---\nname: .+\nabout: .+\n---\n", path.read_text())] == []
