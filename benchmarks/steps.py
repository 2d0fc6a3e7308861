"""What has to be done between two ways: schema, rows, pairs. Not measured."""

from __future__ import annotations

import argparse
import contextlib
import os
from typing import Any

from benchmarks import pairs, script_ways
from benchmarks.import_ways import LEDGER, OURS, TARGET

CREATE, DROP = "create the databases", "drop the databases"
FILL, EMPTY, OPEN = "fill legacy", "empty the target", "put every row in flight"
GRADE, AGE, CHANGE = "grade both sides", "let an hour pass", "change 1 %"
EXTRACT, DUMP = "make the extracts", "write the files for LOAD DATA"
COPY, DROP_COPY = "copy the ledger", "drop the copy"


def create(options: argparse.Namespace) -> dict[str, Any]:
    """The databases of this run, with the schema of both systems."""
    from sandbox import schema
    from tests import databases

    databases.create()
    schema.prepare()
    return {}


def drop(options: argparse.Namespace) -> dict[str, Any]:
    """They go again."""
    from tests import databases

    databases.drop()
    return {}


def django_on_databases(stack: contextlib.ExitStack) -> None:
    """Both of these, and Django with the settings of the tests, for a benchmark that is one process by itself."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    import django

    django.setup()
    from sandbox import schema
    from tests import databases

    databases.create()
    stack.callback(databases.drop)
    schema.prepare()


def fill(options: argparse.Namespace) -> dict[str, Any]:
    """So many legacy rows, and no others."""
    from benchmarks import legacy_rows

    pairs.execute(["TRUNCATE queue_submission"], "xqueue")
    legacy_rows.load(options.rows, options.odd)
    pairs.execute(["ANALYZE TABLE queue_submission"], "xqueue")
    return {}


def empty(options: argparse.Namespace) -> dict[str, Any]:
    """Nothing on the target and in the app's own tables."""
    from django.apps import apps

    ours = [model._meta.db_table for model in apps.get_app_config("migration_shim").get_models() if model._meta.managed]
    pairs.execute([f"TRUNCATE {name}" for name in (*OURS, "submissions_score", *ours)])
    return {}


def open_all(options: argparse.Namespace) -> dict[str, Any]:
    """Every row in flight: the import is to write a copy of each, as the router would have, one by one."""
    pairs.execute(
        ["UPDATE queue_submission SET retired = 0, lms_ack = 0, return_time = NULL, grader_reply = ''"], "xqueue"
    )
    return {}


def grade(options: argparse.Namespace) -> dict[str, Any]:
    """Outcomes for both sides."""
    pairs.execute(pairs.legacy_statements(options.odd), "xqueue")
    pairs.execute(pairs.target_statements(options.odd))
    return {}


def age(options: argparse.Namespace) -> dict[str, Any]:
    """An hour goes by, in which nothing happens but the ordinary run that settles what is over."""
    from migration_shim import api

    pairs.execute([pairs.AGE])
    api.reconcile(api.known_courses(), lambda done, total: None, lambda divergence: None)
    return {}


def change(options: argparse.Namespace) -> dict[str, Any]:
    """New replies to some rows."""
    pairs.execute([pairs.CHANGE])
    return {}


def extract(options: argparse.Namespace) -> dict[str, Any]:
    """Two tables of one schema for the libraries."""
    from django.db import connections

    pairs.execute(pairs.extract_statements(connections["xqueue"].settings_dict["NAME"]))
    return {}


def dump(options: argparse.Namespace) -> dict[str, Any]:
    """
    What the backfill has written, as files for LOAD DATA.

    Raises:
        RuntimeError: the server takes no files from its clients.
    """
    from django.db import connection

    escape = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"})
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@local_infile")
        if not cursor.fetchone()[0]:
            raise RuntimeError("the server takes no files from its clients (local_infile)")
        for name in (*TARGET, *LEDGER):
            last = 0
            with (options.files / name).open("w", encoding="utf-8") as file:
                while True:
                    cursor.execute(f"SELECT * FROM {name} WHERE id > %s ORDER BY id LIMIT 5000", [last])
                    rows = cursor.fetchall()
                    if not rows:
                        break
                    last = rows[-1][0]
                    for row in rows:
                        texts = ("\\N" if value is None else str(value).translate(escape) for value in row)
                        file.write("\t".join(texts) + "\n")
    return {}


WAYS = {
    CREATE: create,
    DROP: drop,
    FILL: fill,
    EMPTY: empty,
    OPEN: open_all,
    GRADE: grade,
    AGE: age,
    CHANGE: change,
    EXTRACT: extract,
    DUMP: dump,
    COPY: script_ways.copy_ledger,
    DROP_COPY: script_ways.drop_copy,
}
