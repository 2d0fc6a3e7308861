"""
Write the reference pages that are made from the code, or say which of them are not current.

    .venv/bin/python docs/generate.py            write what has changed
    .venv/bin/python docs/generate.py --check    write nothing; exit with 1 if a page differs

It needs the sandbox's requirements and no database. tests/repository/test_docs.py runs the same functions.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import os
import re
import sys
import textwrap
import types
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"

#: Options that Django gives to every command; its own documentation has them.
DJANGO_OPTIONS = (
    *("--version", "--verbosity", "--settings", "--pythonpath"),
    *("--traceback", "--no-color", "--force-color", "--skip-checks"),
)
#: What an exit code means, by the name of its bit.
MEANINGS = {
    "OK": "All well.",
    "ERROR": "An error; the message is on stderr. Nothing can be concluded from such a run. Of ``xqueue_watch``: a "
    "step could not be done, and is named in the document; the others were.",
    "DIFFERENCES": "Differences were found (``xqueue_reconcile``), blockers (``xqueue_preflight``), or the verdict is "
    "not PASS (``xqueue_gate``, and ``xqueue_cutover`` for a step that needs it), or a handoff found a submission "
    "alive on both systems (``xqueue_backfill``), or a course is out of its bounds (``xqueue_watch``), or "
    "one has failed (``xqueue_campaign``).",
    "LEFT_BEHIND": "Rows stay behind that an operator must know of: classes ``drain`` and ``malformed`` "
    "(``xqueue_backfill``). Of ``xqueue_cutover``: courses of a wave wait for their turn, or an override waits for a "
    "second person; no step was taken with it. Of ``xqueue_campaign``: courses wait for a person, parked, or in a "
    "paused campaign.",
    "STALE": "The evidence is too old or not enough (then with 2); or a course's flags ask for a phase that it does "
    "not get, or the platform's own flag sends past the shim a course that was not released (``xqueue_status``).",
    "LOCKED": "Another run of the same kind and scope is at work. Nothing was done.",
    "STOPPED": "Stopped before the end, by a signal or the kill switch. Run the same command again to go on.",
    "USAGE": "The command line is wrong. Nothing was done.",
}


def page(title: str, source: str, *parts: str) -> str:
    """Give a whole page: the warning not to edit it, the title, and its parts."""
    warning = f".. Made by docs/generate.py from {source}: change that, and run the script again."
    return "\n\n".join([warning, heading(title, "#"), *(part.rstrip() for part in parts)]) + "\n"


def heading(text: str, character: str) -> str:
    """Give a title with its underline."""
    return f"{text}\n{character * len(text)}"


def literal(text: str) -> str:
    """Give a literal block."""
    return "::\n\n" + "\n".join(f"    {line}".rstrip() for line in text.rstrip().splitlines())


def paragraph(text: str) -> str:
    """Give plain text as a paragraph of reStructuredText; what stands in double backquotes is left alone."""
    pieces = re.split(r"(``.*?``)", text)
    escaped = "".join(piece if piece.startswith("``") else re.sub(r"([\\*|])", r"\\\1", piece) for piece in pieces)
    return textwrap.fill(escaped, 112, break_long_words=False, break_on_hyphens=False)


# --- commands ---------------------------------------------------------------------------------------------------------


def commands(app: str) -> list[str]:
    """Give the names of an app's management commands."""
    from django.core.management import get_commands

    return sorted(name for name, owner in get_commands().items() if owner == app)


def parser_of(name: str) -> argparse.ArgumentParser:
    """Give a command's parser, without the options that are Django's own, 100 columns wide."""
    from django.core.management import get_commands, load_command_class

    owner = get_commands()[name]
    command = load_command_class(owner, name) if isinstance(owner, str) else owner
    parser = command.create_parser("manage.py", name)
    for action in parser._actions:
        if set(DJANGO_OPTIONS).intersection(action.option_strings):
            action.help = argparse.SUPPRESS
    parser.formatter_class = functools.partial(parser.formatter_class, width=98)
    return parser


def below(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """Give the parsers of a command's sub-commands, as wide as its own."""
    found = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    parsers = [one for action in found for one in action.choices.values()]
    for one in parsers:
        one.formatter_class = functools.partial(argparse.HelpFormatter, width=98)
    return parsers


def commands_page() -> str:
    """The commands, as their own ``--help`` says."""
    parts = [
        paragraph(
            "In an LMS a command is run as ``./manage.py lms COMMAND``, in a clone of this repository as "
            "``.venv/bin/python sandbox/manage.py COMMAND``. A document goes to stdout, progress and log lines go to "
            "stderr. What the exit code says is in `exit-codes.rst`_, what a document holds in `documents.rst`_. The "
            "options that Django gives to every command are left out here."
        ),
        ".. _exit-codes.rst: exit-codes.rst\n.. _documents.rst: documents.rst",
        heading("For operators", "*"),
    ]
    for name in commands("migration_shim"):
        parser = parser_of(name)
        parts += [heading(name, "="), literal(parser.format_help())]
        parts += [literal(one.format_help()) for one in below(parser)]
    parts += [heading("In the sandbox only", "*"), "These are not installed into an LMS."]
    for name in commands("sandbox.lms"):
        parts += [heading(name, "="), literal(parser_of(name).format_help())]
    return page("Commands", "the commands' own --help", *parts)


# --- settings and toggles ---------------------------------------------------------------------------------------------


def annotations(path: str, kind: str) -> list[dict[str, str]]:
    """Read the annotations of a kind (``setting`` or ``toggle``) out of a module's comments, in their order."""
    found: list[dict[str, str]] = []
    tag = None
    for line in (ROOT / path).read_text(encoding="utf-8").splitlines():
        if match := re.match(rf"\s*# \.\. {kind}_(\w+): (.*)", line):
            tag = match[1]
            if tag == "name":
                found.append({})
            found[-1][tag] = match[2].strip()
        elif tag and (match := re.match(r"\s*#   (\S.*)", line)):
            found[-1][tag] += " " + match[1].strip()
        else:
            tag = None
    return found


def settings_page() -> str:
    """The keys of ``MIGRATION_SHIM``, from the annotations beside their defaults."""
    from migration_shim.conf import reading

    keys = reading.keys()
    parts = [
        paragraph(
            "All of them are keys of one dictionary in the Django settings, ``MIGRATION_SHIM``; each has a default. "
            "Unknown keys, wrong types and values that must not be are named by ``manage.py check --tag migration_shim "
            "--fail-level WARNING``. Every command that writes refuses them, but for the way back to legacy."
        )
    ]
    for item in annotations("migration_shim/conf/values.py", "setting"):
        key = keys[re.search(r'"(\w+)"', item["name"])[1]]
        type_name = key.type.__name__ if isinstance(key.type, type) else str(key.type)
        fields = [f":Type: ``{type_name}``", f":Default: ``{item['default']}``"]
        fields += [f":Must: {rule.must}" for rule in key.rules]
        parts += [
            heading(f"``{item['name']}``", "*"),
            "\n".join(fields),
            paragraph(item["description"]),
        ]
        if "warning" in item:
            parts.append(paragraph("Warning: " + item["warning"]))
    return page("Settings", "the annotations in migration_shim/conf/values.py", *parts)


def toggles_page() -> str:
    """The flags and the switch, from their annotations."""
    parts = [
        "How the two flags make a phase, and when they are obeyed, is in `phases.rst`_.",
        ".. _phases.rst: phases.rst",
    ]
    for item in annotations("migration_shim/toggles.py", "toggle"):
        fields = [
            f":Kind: ``{item['implementation']}``",
            f":Default: ``{item['default']}``",
            f":Since: {item['creation_date']}",
        ]
        if "target_removal_date" in item:
            fields.append(f":To be removed: {item['target_removal_date']}")
        parts += [heading(f"``{item['name']}``", "*"), "\n".join(fields), paragraph(item["description"])]
        if "warning" in item:
            parts.append(paragraph("Warning: " + item["warning"]))
    return page("Flags and switches", "the annotations in migration_shim/toggles.py", *parts)


# --- exit codes -------------------------------------------------------------------------------------------------------


def exit_codes_page() -> str:
    """The bits of an exit code. A bit without a meaning here, or a meaning without a bit, is an error."""
    from migration_shim.core.data import ExitCode
    from migration_shim.core.failures import INTERRUPTED

    names = list(ExitCode.__members__)
    if set(names) != MEANINGS.keys():
        raise SystemExit(f"docs/generate.py: MEANINGS and ExitCode differ: {sorted(set(names) ^ MEANINGS.keys())}")
    rows = [".. list-table::\n   :header-rows: 1\n\n   * - code\n     - name\n     - meaning"]
    for name in names:
        meaning = textwrap.indent(paragraph(MEANINGS[name]), "       ").strip()
        rows.append(f"   * - {ExitCode[name].value}\n     - ``{name}``\n     - {meaning}")
    return page(
        "Exit codes",
        "ExitCode in migration_shim/core/data.py",
        "An exit code is a sum of bits: 10 is 2 and 8. A script that only asks whether all was well tests for 0.",
        "\n".join(rows),
        paragraph(
            f"{INTERRUPTED:d} is no sum of bits: it is what shells give for Ctrl-C, and says that a command was broken "
            "off at once. What was committed is kept, the open batch is rolled back, and the same command goes on. "
            "Where a run ends its open batch first, the code is 32; a second Ctrl-C a second later breaks it off."
        ),
        paragraph(
            "From Python, ``call_command`` does not exit; it raises ``CommandError`` where the code is 1, 16 or 64. "
            "The other codes are in the command's attribute ``exit_code``."
        ),
    )


# --- metrics ----------------------------------------------------------------------------------------------------------


def table(*rows: tuple[str, ...]) -> str:
    """Give a table; the first row is its head."""
    cells = ["   * - " + "\n     - ".join(row) for row in rows]
    return "\n".join([".. list-table::\n   :header-rows: 1\n", *cells])


def metrics_page() -> str:
    """The gauges of ``xqueue_status``, and what the processes of the LMS count by themselves."""
    from migration_shim import metrics
    from migration_shim.reports.prometheus import METRICS, PREFIX

    gauges = [
        (f"``{PREFIX}{metric.name}``", ", ".join(f"``{label}``" for label in metric.labels) or "none", metric.help)
        for metric in METRICS
    ]
    counted = [
        (f"``{name}``", ", ".join(f"``{label}``" for label in labels), help_) for name, labels, help_ in metrics.PROCESS
    ]
    return page(
        "Metrics",
        "site_metrics.py and course_metrics.py in migration_shim/reports, and PROCESS in migration_shim/metrics.py",
        paragraph(
            "No label names a learner. What is not known has no sample: a rule that fires on 0 does not fire on "
            "ignorance, so alert on a missing sample as well."
        ),
        heading("Gauges of ``xqueue_status --format prometheus``", "*"),
        paragraph(
            "The command reads once and prints all of it; a timer writes it into the folder of a node exporter's "
            "textfile collector. Exit code 8 says that a course is not where its flags say, and the text is whole."
        ),
        literal("* * * * *  manage.py xqueue_status --format prometheus > shim.prom.new; mv shim.prom.new shim.prom"),
        table(("metric", "labels", "what it says"), *gauges),
        heading("Counted by the processes of the LMS", "*"),
        paragraph(
            "Where ``prometheus_client`` is installed, they are in its default registry, under the names below; the "
            "platform's own monitoring gets each event as ``migration_shim.EVENT`` and each leg as "
            "``migration_shim.LEG_seconds``."
        ),
        table(("metric", "labels", "what it says"), *counted),
        heading("Events", "="),
        table(("event", "what it says"), *((f"``{name}``", help_) for name, help_ in metrics.EVENTS.items())),
        heading("Legs", "="),
        table(("leg", "what is timed"), *((f"``{name}``", help_) for name, help_ in metrics.LEGS.items())),
    )


# --- writing ----------------------------------------------------------------------------------------------------------

# --- releases ---------------------------------------------------------------------------------------------------------

#: Where the README has the table.
PERFORMANCE = ROOT / "docs" / "performance.md"
README, BEGIN, END = ROOT / "README.rst", ".. releases: made by docs/generate.py\n\n", "\n\n.. end of releases\n"


@functools.cache
def beside(name: str) -> types.ModuleType:
    """Give a module of docs/, which is no package."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def releases() -> types.ModuleType:
    """Give docs/releases.py."""
    return beside("releases")


def releases_page() -> str:
    """Which Open edX release has what, and in which environments the tests were run."""
    made = releases()
    parts = [
        paragraph(
            "An LMS has its own pins, and they are kept: install the app with the platform's requirements as "
            "constraints (see the runbook). What is installed otherwise than pinned is named by ``manage.py check`` "
            "(``migration_shim.I020``) and by preflight (``pins_replaced``)."
        ),
        made.table(),
        paragraph(
            "The sender is the platform's own way to edx-submissions, for courses with "
            "``send_to_submission_course.enable`` on. V1 reads that flag while it sends, and gives no ``queue_key``: "
            "with edx-submissions from 3.12.2 on every submission of such a course is lost (``migration_shim.I021``, "
            "``sender_unusable``). V2 gives one. The door is how the app takes a course's submissions instead."
        ),
        paragraph(
            "Before 4.0.2 edx-submissions stores a score as it comes: a fraction is refused, five tries, and the "
            "submission fails (``scores_not_scaled``, ``score_refused``)."
        ),
        heading("Environments", "*"),
        paragraph("``make matrix`` runs them with tox; an interpreter that is missing is a failure."),
        "\n\n".join(f"``{name}``\n    {text}" for name, text in made.ENVIRONMENTS.items()),
        heading("Where the versions were read", "*"),
        paragraph(
            "Sumac and Teak: edx-submissions by its dates (3.12.0 is of September 2025), Django in a tree of autumn "
            "2025 (4.2.24). Ulmo: Django in Tutor's changes (21.0.2), the others in a fork of that autumn "
            "(edx/edx-platform 0133232), not in the branch itself. Verawood: the platform's pull requests 38902 and "
            "38928, Python in Tutor 22; the others in a fork of its spring (a484beb). master: openedx-platform 01f9729."
        ),
    ]
    return page("Releases", "docs/releases.py", *parts)


def readme() -> str:
    """Give the README with the table as it is made now."""
    before, rest = README.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    return before + BEGIN + releases().table() + END + after


def performance() -> str:
    """Give the page on performance with the goals and the newest run as benchmarks/ has them now."""
    from benchmarks import document, goals, tables

    run = document.newest()
    table = tables.markdown(run).strip() if run else "*Here goes the newest run. No whole one is stored yet.*"
    text = PERFORMANCE.read_text(encoding="utf-8")
    for name, made in (("goals", goals.table()), ("newest run", table)):
        begin, end = f"<!-- {name}: made by docs/generate.py -->\n\n", f"\n\n<!-- end of {name} -->\n"
        before, rest = text.split(begin)
        text = before + begin + made + end + rest.split(end)[1]
    return text


def schemas() -> dict[str, Callable[[], str]]:
    """Give the JSON Schema files of the documents, by their names below docs/reference."""
    made = beside("schemas")
    return {
        f"schemas/{made.file_of(document)}": functools.partial(made.schema_of, document)
        for document in made.documents()
    }


# --- codes ------------------------------------------------------------------------------------------------------------

RUNBOOK, CODES = ROOT / "docs" / "runbook", "docs/runbook/codes.md"
#: What an operator sees a code of, with the sentence that says where.
KINDS = {
    "error": (
        "Errors that end a command",
        "The last line on stderr names the code. With `--format json` it is `code` of the document "
        "`migration_shim.error/1`.",
    ),
    "check": (
        "System checks",
        "Printed with `migration_shim.` in front by `manage.py check --tag migration_shim`, and by every command that "
        "they stop.",
    ),
    "bound": ("Bounds of the watch", "`xqueue_watch` prints them behind `BREACH`."),
    "attention": ("What to look at", "`what` of a course's points of attention in `xqueue_status`."),
    "cause": ("Causes of the gate", "`cause` in the documents of `xqueue_gate` and `xqueue_status`."),
}


def heading_pages() -> dict[str, str]:
    """Say which page has each heading that a code opens. The pages come before the index, which repeats some."""
    from migration_shim.core import codes

    found = {codes.LOG: CODES, codes.FINDING: CODES}
    for path in (ROOT / "docs" / "runbook.md", *sorted(RUNBOOK.glob("*.md"))):
        name = path.relative_to(ROOT).as_posix()
        for text in re.findall(r"^#{1,3} (.+)$", path.read_text(encoding="utf-8"), re.M) if name != CODES else ():
            found[text.strip()] = name
    if missing := codes.headings() - found.keys():
        raise SystemExit(f"docs/generate.py: core/codes.py names headings that no page has: {sorted(missing)}")
    return {heading: found[heading] for heading in sorted(codes.headings())}


def pages_module() -> str:
    """The module that tells the app which page has a heading."""
    rows = [f"    {json.dumps(heading)}: {json.dumps(name)}," for heading, name in heading_pages().items()]
    return "\n".join(
        [
            '"""Which page of the runbook has a heading. Made by docs/generate.py; run it when headings move."""',
            "",
            "PAGES: dict[str, str] = {",
            *rows,
            "}\n",
        ]
    )


def codes_page() -> str:
    """Every code with its meaning and its page."""
    from migration_shim.core import codes
    from migration_shim.core.row_rules import RULES
    from migration_shim.core.site_rules import SITE_RULES

    pages = heading_pages()

    def link(heading: str) -> str:
        name = "" if pages[heading] == CODES else os.path.relpath(pages[heading], "docs/runbook")
        return f"[{heading}]({name}#{codes.anchor(heading)})"

    def cell(text: str) -> str:
        return text.replace("|", "\\|")

    parts = [
        "# Codes",
        "Search this page for the code that a message, a log line or a document names.",
        "[All pages](../runbook.md) · See also: [errors](errors.md), [exit codes](../reference/exit-codes.rst)",
        "<!-- Made by docs/generate.py from migration_shim/core/codes.py: change that, and run the script again. -->",
    ]
    for kind, (title, sentence) in KINDS.items():
        rows = [
            f"| `{code}` | {cell(item.meaning)} | {link(item.heading)} |" for code, item in codes.KINDS[kind].items()
        ]
        parts += [f"## {title}", sentence, "\n".join(["| code | what it means | page |", "|---|---|---|", *rows])]
    rows = [
        f"| `{code}` | {cell(item.meaning)} | {cell(item.do) or 'See the page.'} | "
        f"{'' if item.heading == codes.LOG else link(item.heading)} |"
        for code, item in sorted(codes.LOG_LINES.items())
    ]
    parts += [
        f"## {codes.LOG}",
        "Each line that the app logs begins with `migration_shim.`, the code and a colon. None holds a learner's text.",
        "\n".join(["| code | what it means | what to do | page |", "|---|---|---|---|", *rows]),
    ]
    rows = [
        f"| `{code}` | {rule.severity} | {cell(rule.effect)} | {cell(rule.advice)}"
        f"{' ' + link(codes.FINDINGS[code]) if code in codes.FINDINGS else ''} |"
        for code, rule in sorted({**RULES, **SITE_RULES}.items())
    ]
    parts += [
        f"## {codes.FINDING}",
        "`xqueue_preflight` prints them, the worst first. While there is a blocker the gate stays closed.",
        "\n".join(["| code | severity | what it means | what to do |", "|---|---|---|---|", *rows]),
    ]
    return "\n\n".join(parts) + "\n"


PAGES = {
    "commands.rst": commands_page,
    "settings.rst": settings_page,
    "toggles.rst": toggles_page,
    "exit-codes.rst": exit_codes_page,
    "metrics.rst": metrics_page,
    "releases.rst": releases_page,
    "../../README.rst": readme,
    "../performance.md": performance,
    "../../migration_shim/core/pages.py": pages_module,
    "../runbook/codes.md": codes_page,
}


def pages() -> dict[str, Callable[[], str]]:
    """Give what makes each page, by its name below docs/reference."""
    return PAGES | schemas()


def outdated() -> list[str]:
    """Give the names of the pages that are not what the code makes now."""
    return [
        name
        for name, make in pages().items()
        if not (REFERENCE / name).exists() or (REFERENCE / name).read_text(encoding="utf-8") != make()
    ]


def main() -> int:
    """Write the pages, or check them; give the exit code."""
    parser = argparse.ArgumentParser(description="Make the reference pages out of the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is not current")
    check = parser.parse_args().check

    # The project itself, and not docs/, is what can be imported.
    sys.path[:] = [str(ROOT), *(entry for entry in sys.path if Path(entry or ".").resolve() != ROOT / "docs")]
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sandbox.lms.settings")
    import django

    django.setup()
    names = outdated()
    for name in names:
        print(f"docs/reference/{name} {'is not what the code makes now' if check else 'written'}")
        if not check:
            (REFERENCE / name).write_text(pages()[name](), encoding="utf-8")
    if names and check:
        print("Run: .venv/bin/python docs/generate.py")
    return 1 if names and check else 0


if __name__ == "__main__":
    sys.exit(main())
