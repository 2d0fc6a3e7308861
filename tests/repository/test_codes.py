"""Every code of the app is registered, used and documented, and opens a page that is there."""

import ast
import re
from pathlib import Path

import pytest

from migration_shim.core import attention, bounds, codes, failures
from migration_shim.core.data import ExitCode
from migration_shim.core.evidence import Cause
from migration_shim.core.pages import PAGES
from migration_shim.preflight import run as preflight
from sandbox.databases import PROJECT_ROOT

APP = PROJECT_ROOT / "migration_shim"
LEVELS = ("debug", "info", "warning", "error", "exception", "critical", "log")
#: A message that is not written where it is logged, by its module: the text is looked for in the whole module.
KEPT = {"toggles.py": "migration_shim.phase_changed: "}


def calls() -> list[tuple[Path, int, ast.expr]]:
    """Give every call of a logger in the app, with its message."""
    found = []
    for path in sorted(APP.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS):
                continue
            owner = node.func.value
            if isinstance(owner, ast.Name) and owner.id.lower().strip("_") in ("log", "logger", "logging"):
                found.append((path.relative_to(APP), node.lineno, node.args[0]))
    return found


def code_of(path: Path, message: ast.expr) -> str:
    """Give the code at the front of a message."""
    if isinstance(message, ast.Starred):
        assert KEPT[str(path)] in (APP / path).read_text(encoding="utf-8")
        text = KEPT[str(path)]
    else:
        assert isinstance(message, ast.Constant), path
        text = message.value
    found = re.match(r"migration_shim\.([a-z_]+): \S|migration_shim\.([a-z_]+): $", text)
    assert found, (path, text)
    return found[1] or found[2]


def test_every_line_that_the_app_logs_begins_with_a_registered_code_and_every_code_is_logged():
    found = calls()
    assert len(found) > 40
    assert {code_of(path, message) for path, _, message in found} == set(codes.LOG_LINES)


def test_every_log_line_says_what_to_do_or_has_a_page_that_does():
    for code, item in codes.LOG_LINES.items():
        assert item.do or item.heading != codes.LOG, code


def test_the_registry_has_the_codes_of_the_code_and_no_others():
    assert set(codes.BOUNDS) == {bound.value for bound in bounds.Bound}
    assert set(codes.CAUSES) == {cause.value for cause in Cause}
    assert set(codes.ATTENTION) == set(attention.CHECKS)
    assert set(codes.FINDINGS) <= set(preflight.finding_codes())
    source = (APP / "checks.py").read_text(encoding="utf-8")
    assert set(codes.CHECKS) == set(re.findall(r'id="migration_shim\.([A-Z]\d{3})"', source))


def test_every_error_that_a_command_can_end_with_is_registered_and_no_other():
    made = set()
    for is_xqueue in (True, False):
        place = failures.Place(alias="a", is_xqueue=is_xqueue, server="s", user="u", name="n")
        made |= {failures.of_database(cause, place).code for cause in failures._DATABASE}
    made |= {failures.refused("m", code).code for code in failures._OWN}
    others = (
        failures.of_database(
            "no_table",
            failures.Place(alias="a", is_xqueue=False, server="s", user="", name="n"),
            table="submissions_submission",
        ),
        *(
            failures.no_alias(),
            failures.tables_of_another_release("m"),
            failures.broker_down(""),
            failures.interrupted(),
        ),
        *(failures.cache_down("E"), failures.unexpected("E", ""), failures.file_not_written("f", "w", full=True)),
        failures.file_not_written("f", "w", full=False),
    )
    assert made | {failure.code for failure in others} == set(codes.ERRORS)


@pytest.mark.parametrize("heading", sorted(codes.headings()))
def test_every_heading_is_on_the_page_that_the_map_names(heading):
    page = (PROJECT_ROOT / PAGES[heading]).read_text(encoding="utf-8")
    assert re.search(rf"^#{{1,3}} {re.escape(heading)}$", page, re.M)
    assert codes.link(heading) == f"{PAGES[heading]}#{codes.anchor(heading)}"


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("XQueue's database does not answer", "xqueues-database-does-not-answer"),
        (
            "Drift: the flags say one thing, the course does another",
            "drift-the-flags-say-one-thing-the-course-does-another",
        ),
        ("Move what is in flight (handoff)", "move-what-is-in-flight-handoff"),
    ],
)
def test_an_anchor_is_what_markdown_readers_make(heading, anchor):
    assert codes.anchor(heading) == anchor


def test_the_index_names_every_code():
    page = (PROJECT_ROOT / "docs/runbook/codes.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `(\w+)` \|", page, re.M))
    registered = {code for kind in codes.KINDS.values() for code in kind}
    assert named == registered | set(preflight.finding_codes())


def test_the_page_of_what_a_step_said():
    assert codes.page_of("xqueue_database_lost: gone").endswith("#xqueues-database-does-not-answer")
    assert codes.page_of("RunLocked: at work") == codes.page_of("KeyError") == ""


def test_no_failure_exits_with_0():
    place = failures.Place(alias="a", is_xqueue=True, server="s", user="u", name="n")
    assert all(failures.of_database(cause, place).exit_code is ExitCode.ERROR for cause in failures._DATABASE)
