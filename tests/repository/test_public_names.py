"""
The names that sites, operators and other apps rely on, held against ``public_names.json``.

That file was written before the modules of the app were moved for the first time. A name that is added belongs into it;
one that goes breaks somebody's script, and goes with a line in CHANGELOG.rst and its reason in docs/decisions.
"""

import argparse
import dataclasses
import json
from pathlib import Path

from celery import current_app
from django.apps import apps
from django.core.management import get_commands, load_command_class
from django.urls import get_resolver

from migration_shim import api, conf, toggles
from migration_shim.core.data import ExitCode
from migration_shim.tasks import __all__ as tasks_are_imported  # noqa: F401  (Celery knows them from here on)
from sandbox.databases import PROJECT_ROOT

PINNED = json.loads((Path(__file__).parent / "public_names.json").read_text(encoding="utf-8"))
SCHEMAS = PROJECT_ROOT / "docs" / "reference" / "schemas"


def _options(parser: argparse.ArgumentParser, prefix: str = "") -> list[str]:
    """Each argument as one line: its spellings, and what it may be given; those of subcommands behind their names."""
    found = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                found += [f"{prefix}{name}", *_options(below, f"{prefix}{name} ")]
            continue
        names = " ".join(action.option_strings) or action.dest
        choices = f" {{{','.join(map(str, action.choices))}}}" if action.choices else ""
        found.append(f"{prefix}{names}{choices}")
    return found


def _commands() -> dict[str, list[str]]:
    base = set(_options(load_command_class("django.core", "check").create_parser("x", "x")))
    ours = sorted(name for name, app in get_commands().items() if app == "migration_shim")
    return {
        name: sorted(set(_options(load_command_class("migration_shim", name).create_parser("x", name))) - base)
        for name in ours
    }


def _urls() -> dict[str, str]:
    routes = get_resolver("migration_shim.urls").url_patterns
    return {route.name: str(route.pattern) for route in routes}


def present() -> dict[str, object]:
    """All these names, as the app has them now."""
    ours = [name for name in current_app.tasks if name.startswith("migration_shim.")]
    return {
        "api": sorted(api.__all__),
        "commands": _commands(),
        "exit codes": {code.name: int(code) for code in ExitCode},
        "flags": sorted([*toggles.FLAGS, toggles.KILL_SWITCH.name]),
        "schemas": sorted(json.loads(path.read_text(encoding="utf-8"))["$id"] for path in SCHEMAS.glob("*.json")),
        "settings": sorted(item.name.upper() for item in dataclasses.fields(conf.ShimSettings)),
        "tables": sorted(model._meta.db_table for model in apps.get_app_config("migration_shim").get_models()),
        "tasks": sorted(ours),
        "urls": _urls(),
    }


def test_the_public_names_are_those_on_record():
    assert present() == PINNED
