"""The page that leads through the code leads to what is there, and leaves no room out."""

import configparser
import re

import pytest

from sandbox.databases import PROJECT_ROOT

APP = PROJECT_ROOT / "migration_shim"
DOCS = PROJECT_ROOT / "docs"
PAGE = (DOCS / "house.md").read_text(encoding="utf-8")
#: What stands in the app's folder and is no room: the package itself, and what no module imports.
NO_ROOMS = {"__init__", "__pycache__"}


def section(text: str, title: str, level: int) -> str:
    """Give what stands under a heading that begins like this, up to the next one of its level or above."""
    found = re.search(rf"^{'#' * level} {title}.*?\n(.*?)(?=^#{{1,{level}}} |\Z)", text, re.M | re.S)
    assert found, title
    return found[1]


def modules(text: str) -> list[str]:
    """Give the modules that a text links to, by their paths in the app's folder."""
    return re.findall(r"\]\(\.\./migration_shim/([\w/]+\.py)\)", text)


def rooms(text: str) -> set[str]:
    """Give the rooms that a text links to: packages, and modules of the app's folder."""
    return set(re.findall(r"\[`(\w+)`\]\(\.\./migration_shim/\1(?:\.py)?\)", text))


def floors() -> list[set[str]]:
    """Give the rooms of each floor as import-linter is told, the highest first."""
    config = configparser.ConfigParser()
    config.read(PROJECT_ROOT / ".importlinter", encoding="utf-8")
    layers = config["importlinter:contract:layers"]["layers"].strip().splitlines()
    return [set(re.findall(r"\w+", line)) for line in layers]


def test_every_link_leads_somewhere():
    """Each file, folder and page that the page links to exists."""
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", PAGE)

    assert len(links) > 100
    assert [link for link in links if not (DOCS / link).exists()] == []


def test_every_room_is_on_the_page():
    """Whoever adds a package or a module to the app's folder says there in a line what is in it."""
    there = {path.stem for path in APP.iterdir() if path.is_dir() or path.suffix == ".py"} - NO_ROOMS

    assert rooms(section(PAGE, "The floors", 2)) == there


@pytest.mark.parametrize("number", range(1, 8))
def test_floors_are_those_of_the_linter(number):
    """The page puts no room on another floor than ``make quality`` holds it to."""
    layers = floors()

    assert len(layers) == 7
    on_page = section(PAGE, f"{number} ", 3).partition("\nOn no floor: ")[0]
    assert rooms(on_page) == layers[-number]


def test_walks_enter_as_many_modules_as_they_say():
    """The number at the head of a walk is that of the modules that it leads through; none comes twice."""
    walks = section(PAGE, "Four walks", 2).split("\n### ")[1:]
    said = [int(re.search(r"(?:^|[: ])(\d+) modules", walk, re.M)[1]) for walk in walks]

    assert len(said) == 4
    assert [len(modules(walk)) for walk in walks] == said
    assert [len(set(modules(walk))) for walk in walks] == said
