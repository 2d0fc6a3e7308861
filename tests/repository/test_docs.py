"""The documents name nothing that is not there, and nothing is there that they do not name."""

import argparse
import ast
import importlib.util
import itertools
import json
import math
import os
import re
from collections import Counter
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
from django.apps import apps
from django.contrib.auth import get_permission_codename
from django.core.management import get_commands
from django.utils.timezone import now

from migration_shim import conf, toggles
from migration_shim.core import codes, data, failures, martingale
from migration_shim.models import LedgerEntry
from migration_shim.preflight import run as preflight
from migration_shim.status import graders

ROOT = Path(__file__).resolve().parents[2]
INDEX = "docs/runbook.md"
NOT_THERE_YET = "docs/runbook/not-there-yet.md"
GATE_CLOSED = "docs/runbook/gate-closed.md"
GLOSSARY = "docs/runbook/glossary.md"
#: The runbook: its index, then its pages.
RUNBOOK = (INDEX, *sorted(f"docs/runbook/{page.name}" for page in ROOT.glob("docs/runbook/*.md")))
#: Written by hand, and held against the code. Decision records are not: they tell of what was rejected as well.
WRITTEN = (
    "README.rst",
    *(page for page in RUNBOOK if page != NOT_THERE_YET),
    "docs/performance.md",
    "CONTRIBUTING.rst",
    "docs/house.md",
    "docs/README.rst",
    "docs/reference/phases.rst",
    "docs/reference/documents.rst",
    "docs/reference/environment.rst",
)
#: Words that look like commands of ours and are codes, or names of XQueue's, of the platform's or of the watcher's.
NOT_COMMANDS = {
    "xqueue_header",
    "xqueue_body",
    "xqueue_servers",
    "xqueue_watcher",
    "waffle_utils",
    "xqueue_courses",  # a step of the watch
    *preflight.finding_codes(),
    *codes.LOG_LINES,
}
TOGGLES = {*toggles.FLAGS, toggles.KILL_SWITCH.name}
SETTINGS = {field.name.upper(): field for field in fields(conf.ShimSettings)}
LOGGED = {f"migration_shim.{code}" for code in codes.LOG_LINES}
PERMISSIONS = {
    f"migration_shim.{name}"
    for options in (model._meta for model in apps.get_app_config("migration_shim").get_models())
    for name in (
        *(get_permission_codename(action, options) for action in options.default_permissions),
        *(codename for codename, _ in options.permissions),
    )
}


def _generator():
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = _generator()
PAGES = generate.pages()
OURS = generate.commands("migration_shim")
SANDBOX = generate.commands("sandbox.lms")


def read(name: str) -> str:
    """Give the text of a file of the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def runbook() -> str:
    """Give the text of the runbook, its index and all pages, without what is not there yet."""
    return "\n".join(read(page) for page in RUNBOOK if page != NOT_THERE_YET)


def without_code(text: str) -> str:
    """Give a Markdown text without its fenced blocks: a comment in one is no heading."""
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.M | re.S)


def headings(page: str) -> list[str]:
    """Give the titles of a Markdown page, in order."""
    return re.findall(r"^#+ (.+)$", without_code(read(page)), re.M)


def anchor(title: str) -> str:
    """Give the anchor that GitHub makes of a title."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def links(page: str) -> list[tuple[str, str]]:
    """Give each link of a Markdown page into the repository: the path of a file, seen from its root, and an anchor."""
    found = []
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(read(page))):
        path, _, fragment = link.partition("#")
        if "://" not in path:
            target = (ROOT / page).parent / path if path else ROOT / page
            found.append((os.path.relpath(target, ROOT), fragment))
    return found


def options(command: str) -> dict[str, list[str] | None]:
    """Give the options of a command and its sub-commands with the values that they allow; None for any."""
    found = {}
    parser = generate.parser_of(command)
    for action in (action for one in (parser, *generate.below(parser)) for action in one._actions):
        if action.help == argparse.SUPPRESS or isinstance(action, argparse._SubParsersAction):
            continue
        choices = [str(choice) for choice in action.choices] if action.choices else None
        found |= dict.fromkeys(action.option_strings, choices)
    return found


def sources() -> str:
    """Give the app's source, with texts that are broken over several lines joined."""
    whole = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "migration_shim").rglob("*.py")))
    return re.sub(r'"\n\s*f?"', "", whole)


def spoken(source: str) -> str:
    """Give source with nouns and verbs as they read for many: of ``{counted(n, 'course')} {verb(n, 'is', 'are')}``."""
    source = re.sub(r"\{counted\([^,{}]+, '([^']+)', '([^']+)'\)\}", r"\2", source)
    source = re.sub(r"\{counted\([^,{}]+, '([^']+)'\)\}", r"\1s", source)
    return re.sub(r"\{verb\([^,{}]+, '[^']+', '([^']+)'\)\}", r"\1", source)


def documents() -> list[str]:
    """Give the schemas of all documents that the app makes."""
    return re.findall(r'^(?:\w+_)?SCHEMA = "(.+)"$', sources(), re.M)


def variables(*folders: str) -> set[str]:
    """Give the environment variables of ours that the code below these folders reads, sets or names."""
    names: set[str] = set()
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        names |= set(re.findall(r"""["'](MIGRATION_SHIM_[A-Z_]+)["']""", path.read_text(encoding="utf-8")))
    return names


# --- names that do not exist ------------------------------------------------------------------------------------------


def command_lines(text: str) -> list[tuple[str, str]]:
    """Give every command that a text names, with what follows it on its line."""
    text = text.replace("\\\n", " ")
    found = re.findall(r"manage\.py (?:lms )?(?!lms\b)([a-z]\w*)([^`\n]*)", text)
    return found + re.findall(r"(?<![\w./])((?:xqueue|waffle)_[a-z]+)(?!\w)((?: [^`\n]*)?)", text)


def wrong_commands(text: str) -> list[str]:
    """Commands, options and values of options that do not exist."""
    known, wrong = get_commands(), []
    for command, rest in command_lines(text):
        if command in NOT_COMMANDS:
            continue
        if command not in known:
            wrong.append(f"command {command}")
            continue
        allowed = options(command)
        for option, value in re.findall(r"(?<!\S)(--[a-z][a-z-]*)(?: ([\w-]+))?", rest):
            if option not in allowed:
                wrong.append(f"{command} {option}")
            elif allowed[option] and value and value not in allowed[option]:
                wrong.append(f"{command} {option} {value}")
    return wrong


def wrong_options(text: str) -> list[str]:
    """Options that stand alone in code and belong to no command."""
    commands = {*OURS, *SANDBOX, *(command for command, _ in command_lines(text) if command in get_commands())}
    known = {"--check", "--help", *generate.DJANGO_OPTIONS}.union(*(options(command) for command in commands))
    return [f"option {option}" for option in re.findall(r"`(--[a-z][a-z-]*)", text) if option not in known]


def wrong_settings(text: str) -> list[str]:
    """Keys of MIGRATION_SHIM that do not exist: named with the dictionary, in code, or set in YAML."""
    first = "|".join(sorted({key.split("_")[0] for key in SETTINGS}))
    named = re.findall(r"""MIGRATION_SHIM\[["'](\w+)["']\]""", text)
    named += re.findall(rf"(?:`|^\s+)((?:{first})_[A-Z_]+)(?:`|:)", text, re.M)
    return [f"setting {key}" for key in named if key not in SETTINGS]


def wrong_names(text: str) -> list[str]:
    """Names that begin with ``migration_shim.`` and are nothing of ours: no toggle, check, task, code or module."""
    source, wrong = sources(), []
    schemas = {schema.partition("/")[0] for schema in documents()}
    for name in re.findall(r"\bmigration_shim(?:\.\w+)+", text):
        path, _, attribute = name.replace(".", "/").rpartition("/")
        known = (
            name in TOGGLES | PERMISSIONS | LOGGED | schemas
            or f'id="{name}"' in source
            or f'name="{name}"' in source
            or (ROOT / f"{name.replace('.', '/')}.py").exists()
            or ((ROOT / f"{path}.py").exists() and re.search(rf"(?:def|class) {attribute}\b", read(f"{path}.py")))
        )
        if not known:
            wrong.append(f"name {name}")
    return wrong


def wrong_variables(text: str) -> list[str]:
    """Environment variables, and keys of the LMS's YAML, that nothing reads."""
    known = variables("migration_shim", "sandbox", "tests")
    return [f"variable {name}" for name in re.findall(r"\bMIGRATION_SHIM_[A-Z_]+", text) if name not in known]


def wrong_exit_codes(text: str) -> list[str]:
    """Exit codes that are neither a sum of the bits nor that of Ctrl-C."""
    all_bits = sum(data.ExitCode)
    named = re.findall(r"[Ee]xit (?:codes?|with) (\d+)(?: or (\d+))?", text)

    def is_none(code: int) -> bool:
        return code != failures.INTERRUPTED and bool(code & ~all_bits)

    return [f"exit code {code}" for codes in named for code in codes if code and is_none(int(code))]


def wrong_targets(text: str) -> list[str]:
    """Make targets that do not exist."""
    targets = re.findall(r"^([a-z-]+):.*## ", read("Makefile"), re.M)
    return [f"make {name}" for name in re.findall(r"(?:`|^ *)make ([a-z][a-z-]*)", text, re.M) if name not in targets]


CHECKS = (
    *(wrong_commands, wrong_options, wrong_settings, wrong_names),
    *(wrong_variables, wrong_exit_codes, wrong_targets),
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", WRITTEN)
def test_documents_name_only_what_exists(name, check):
    """A reader can type what a document shows. What is not there yet stands in a section of its own."""
    assert check(read(name)) == []


@pytest.mark.parametrize(
    ("check", "text", "found"),
    [
        (wrong_commands, "`manage.py xqueue_gates --course X`", ["command xqueue_gates"] * 2),
        (wrong_commands, "run `xqueue_gat`", ["command xqueue_gat"]),
        (wrong_commands, "    ./manage.py lms demo --stale\n", ["demo --stale"]),
        (wrong_commands, "`xqueue_gate --course X --force`", ["xqueue_gate --force"]),
        (wrong_commands, "xqueue_cutover --course X \\\n  --to livid --execute", ["xqueue_cutover --to livid"]),
        (wrong_options, "with `--exekute` it writes", ["option --exekute"]),
        (wrong_settings, 'see ``MIGRATION_SHIM["GATE_TRESHOLD"]``', ["setting GATE_TRESHOLD"]),
        (wrong_settings, "MIGRATION_SHIM:\n  GATE_TRESHOLD: 0.05\n", ["setting GATE_TRESHOLD"]),
        (wrong_names, "the flag `migration_shim.dual_writes`", ["name migration_shim.dual_writes"]),
        (wrong_names, "`migration_shim.api.queue_interfaces(block)`", ["name migration_shim.api.queue_interfaces"]),
        (wrong_names, "`migration_shim.E099` says", ["name migration_shim.E099"]),
        (wrong_names, "the task `migration_shim.watches`", ["name migration_shim.watches"]),
        (wrong_names, "from migration_shim.signal import", ["name migration_shim.signal"]),
        (wrong_names, "`migration_shim.logfilter.FencedResult`", ["name migration_shim.logfilter.FencedResult"]),
        (wrong_names, "``migration_shim.xqueue_cutover_remove/1``", ["name migration_shim.xqueue_cutover_remove"]),
        (wrong_variables, "with MIGRATION_SHIM_SUBMIT_DOORS=1", ["variable MIGRATION_SHIM_SUBMIT_DOORS"]),
        (wrong_exit_codes, "Exit code 2 or 128 means", ["exit code 128"]),
        (wrong_targets, "\nmake demos\n", ["make demos"]),
    ],
)
def test_the_checks_see_what_is_wrong(check, text, found):
    """Each of the checks above finds a mistake of its kind."""
    assert check(text) == found


def test_what_is_not_there_yet_is_not_there():
    """A command, option or value that the runbook calls missing is missing."""
    missing = read(NOT_THERE_YET)
    claimed = [(command, rest) for command, rest in command_lines(missing) if command not in NOT_COMMANDS]

    assert claimed
    assert [command + rest for command, rest in claimed if not wrong_commands(f"manage.py {command}{rest}")] == []


# --- what exists and is named nowhere ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_generated_pages_are_what_the_code_makes_now(name):
    """Nobody forgot to run docs/generate.py, or edited its pages."""
    assert read(f"docs/reference/{name}") == PAGES[name](), "Run: .venv/bin/python docs/generate.py"


def test_no_schema_is_written_by_hand():
    """Each document has a type in core/documents, and its schema is made from it."""
    there = {f"schemas/{path.name}" for path in (ROOT / "docs" / "reference" / "schemas").iterdir()}
    assert there == {name for name in PAGES if name.startswith("schemas/")}


@pytest.mark.parametrize("command", [*OURS, *SANDBOX])
def test_every_command_and_option_is_in_the_reference(command):
    """The section of a command in the reference has all of its options."""
    page = read("docs/reference/commands.rst")
    section = re.search(rf"^{command}\n=+\n(.*?)(?=^\w+\n=+$|\Z)", page, re.M | re.S)

    assert section, command
    described = re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", section[1], re.M)
    assert {option for option in options(command) if option.startswith("--")} == set(described)


def test_the_runbook_uses_every_command_for_operators():
    """An operator finds each command in a task or a symptom."""
    assert set(OURS) - {command for command, _ in command_lines(runbook())} == set()


def test_every_setting_toggle_and_exit_code_is_in_the_reference():
    """The pages that are made from annotations and enums have left nothing out."""
    settings = re.findall(r'^``MIGRATION_SHIM\["(\w+)"\]``$', read("docs/reference/settings.rst"), re.M)
    switches = re.findall(r"^``(migration_shim\.\w+)``$", read("docs/reference/toggles.rst"), re.M)
    codes = re.findall(r"^   \* - (\d+)\n     - ``(\w+)``", read("docs/reference/exit-codes.rst"), re.M)

    assert settings == list(SETTINGS)
    assert set(switches) == TOGGLES
    assert [(int(number), name) for number, name in codes] == [
        (code.value, name) for name, code in data.ExitCode.__members__.items()
    ]


@pytest.mark.parametrize(
    "item", generate.annotations("migration_shim/conf/values.py", "setting"), ids=lambda item: item["name"]
)
def test_annotated_defaults_are_the_defaults(item):
    """The default that the reference shows is the one in force."""
    field = SETTINGS[re.search(r'"(\w+)"', item["name"])[1]]
    default = field.default if field.default is not MISSING else field.default_factory()

    assert ast.literal_eval(item["default"]) == default


def test_every_setting_is_named_where_operators_look_for_what_to_do():
    """A setting that no page on what to do names cannot be found by whoever needs it."""
    text = runbook()

    assert [key for key in SETTINGS if not re.search(rf"\b{key}\b", text)] == []


@pytest.mark.parametrize(
    "enum",
    [data.RowClass, data.PairStatus, data.DivergenceClass, data.State, data.Verdict],
    ids=lambda enum: enum.__name__,
)
def test_every_value_of_a_document_is_explained(enum):
    """A reader of a document finds each class, result, state and verdict in the overview."""
    page = read("docs/reference/documents.rst")

    assert [value for value in enum if f"``{value}``" not in page] == []


def test_every_document_is_listed():
    """The overview names the schema of each command's document, with its number."""
    assert len(documents()) >= len(OURS)
    assert [schema for schema in documents() if f"``{schema}``" not in read("docs/reference/documents.rst")] == []


def test_every_environment_variable_is_in_the_reference():
    """Each variable that the app, the sandbox or the tests read is explained, and under the right heading."""
    page = read("docs/reference/environment.rst")
    app, _, rest = page.partition("\nThe sandbox, the tests and the benchmark\n")
    yaml_keys = {"MIGRATION_SHIM_DATABASE"}

    assert {name for name in variables("migration_shim") if f"``{name}``" not in app} == yaml_keys
    others = variables("sandbox", "tests", "benchmarks") - variables("migration_shim")
    assert others
    assert [name for name in sorted(others) if f"``{name}``" not in rest] == []


# --- the runbook itself -----------------------------------------------------------------------------------------------


def table_codes(page: str, title: str) -> list[str]:
    """Give what stands in code in the first column of a page's table whose first title is this."""
    table = re.search(rf"^\| {title} \|.*\n\|[-|]+\n((?:\|.*\n)+)", read(page), re.M)
    return [code for row in table[1].splitlines() for code in re.findall(r"`([^`]+)`", row.split("|")[1])]


def test_reasons_of_the_gate_are_its_own_words():
    """The reasons that the runbook explains are texts of the code, figures and names left out."""
    reasons, source = table_codes(GATE_CLOSED, "because"), spoken(sources())

    assert len(reasons) > 10
    assert [part for reason in reasons for part in re.split(r"\s*…\s*", reason) if part not in source] == []


def test_every_blocker_of_preflight_is_in_the_runbook():
    """Every code that a preflight can report is explained, and no other."""
    explained = set(table_codes(GATE_CLOSED, "code")) - {
        "manage.py check --tag migration_shim --fail-level WARNING",
        "xqueue_preflight",
        "XQUEUES",
    }
    text = runbook()

    assert explained <= set(preflight.finding_codes())
    assert [code for code in preflight.finding_codes() if f"`{code}`" not in text] == []


def test_every_class_of_divergence_is_in_the_runbook():
    """An operator finds each class with what it means and what to do, and no class that does not exist."""
    assert set(table_codes("docs/runbook/divergences.md", "class")) == set(data.DivergenceClass)


def test_every_check_is_in_the_runbook():
    """Every id of a system check is explained."""
    ids = set(re.findall(r'id="(migration_shim\.E\d+)"', sources()))

    assert ids
    assert [check for check in ids if f"`{check}`" not in runbook()] == []


@pytest.mark.parametrize("page", RUNBOOK)
def test_links_of_the_runbook_lead_somewhere(page):
    """Files and headings that a page of the runbook links to exist."""
    found = links(page)

    assert found
    assert [path for path, _ in found if not (ROOT / path).exists()] == []
    into_pages = [(path, fragment) for path, fragment in found if fragment and path.endswith(".md")]
    assert [link for link in into_pages if link[1] not in map(anchor, headings(link[0]))] == []


@pytest.mark.parametrize("name", ["README.rst", "docs/README.rst"])
def test_pictures_and_links_of_a_readme_are_there(name):
    """What a README shows and where it leads is in the repository."""
    paths = re.findall(r"^ *(?:\.\. figure::|:target:|\.\. _[^:]+(?:\\:[^:]+)*:) (\S+)$", read(name), re.M)
    missing = [path for path in paths if "://" not in path and not ((ROOT / name).parent / path).exists()]

    assert len(paths) > 10
    assert missing == []


def test_every_page_of_the_runbook_is_reached_from_its_index():
    """An operator who has the index finds every page."""
    linked = {path for path, _ in links(INDEX)}

    assert len(RUNBOOK) > 20
    assert [page for page in RUNBOOK[1:] if page not in linked] == []


def test_no_heading_of_the_runbook_stands_twice():
    """Messages and tests name sections by their heading alone."""
    counted = Counter(anchor(title) for page in RUNBOOK for title in headings(page))

    assert [title for title, times in counted.items() if times > 1] == []


def test_no_word_is_explained_twice():
    """The glossary is the source of operators' words, the house of those of the code."""
    house = read("docs/house.md").partition("\n## Words\n")[2]
    words = Counter(re.findall(r"^\| ([^|`]+) \| [^|-]", f"{read(GLOSSARY)}\n{house}", re.M))
    del words["word"]

    assert {"shadow", "fence", "leg"} <= set(words)
    assert [word for word, times in words.items() if times > 1] == []


@pytest.mark.parametrize("page", RUNBOOK[1:])
def test_every_page_begins_with_its_title_and_what_it_is_for(page):
    """A reader who comes from a search knows at once where he is, and how to get to the index."""
    title, blank, purpose = read(page).splitlines()[:3]

    assert re.fullmatch(r"# \S.*", title)
    assert not blank
    assert re.match(r"[A-Z].{20,}[.;:]", purpose)
    assert (INDEX, "") in links(page)


def pairs_asked(diverged: int, threshold: float) -> int:
    """Give how many graded pairs the gate asks for, counted one by one from its rule."""
    error = SETTINGS["GATE_ERROR"].default
    return next(n for n in itertools.count(diverged) if martingale.evidence_below(n, diverged, threshold) >= 1 / error)


def test_how_long_a_course_takes_is_what_the_gate_asks_for():
    """The days that the runbook promises are the gate's pairs, shared among the days that evidence lasts."""
    text, thresholds = read("docs/runbook/faq.md"), (SETTINGS["GATE_THRESHOLD"].default, 0.05)
    clean = [pairs_asked(0, threshold) for threshold in thresholds]
    rows = re.findall(r"^\| (\d+) \| (never|\d+)[^|]* \| (never|\d+)[^|]* \|$", text, re.M)

    assert f"| submissions a day | {clean[0]} pairs (1 %) | {clean[1]} pairs (5 %) |" in text
    first, second = (pairs_asked(1, threshold) for threshold in thresholds)
    assert f"{first} instead of {clean[0]}, or {second} instead of {clean[1]}" in text
    assert len(rows) == 5
    for daily, *days in rows:
        needed = [math.ceil(pairs / int(daily)) for pairs in clean]
        expected = [str(number) if number <= SETTINGS["EVIDENCE_DAYS"].default else "never" for number in needed]
        assert days == expected, daily


@pytest.mark.django_db
def test_json_in_the_runbook_is_what_the_command_prints(settings):
    """The watcher configuration of the runbook is that of its course: timeout, servers, conf.d, XQUEUES, accounts."""
    blocks = re.findall(r"^ *```json\n(.*?)^ *```$", runbook(), re.M | re.S)
    settings.MIGRATION_SHIM = {**settings.MIGRATION_SHIM, "LEGACY_URL": "https://xqueue.example.edu"}
    LedgerEntry.objects.create(
        course_id="course-v1:ExU+PY1+2026",
        queue_name="exu-py1",
        phase=data.Phase.SHADOW,
        authority=data.Authority.LEGACY,
        origin=data.Origin.ROUTER,
        legacy_leg=data.Leg.STORED,
        target_leg=data.Leg.STORED,
        arrived_at=now(),
    )

    printed = graders.watcher_configuration("course-v1:ExU+PY1+2026")

    assert [json.loads(block) for block in blocks] == list(printed.values())
