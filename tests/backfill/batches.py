"""What the tests of batches share: a job, the page of all legacy rows, and faults between the app and the database."""

import json
from contextlib import contextmanager

from django.db import connection, connections

from migration_shim import conf
from migration_shim.backfill import batch, classing
from migration_shim.db.literals import Ready
from migration_shim.legacy import files
from migration_shim.legacy import rows as legacy_rows

TARGET = ("submissions_studentitem", "submissions_submission", "submissions_externalgraderdetail")
LEDGER = "migration_shim_ledgerentry"


def job(*, history=False, verify=True, **options):
    """A job over everything, as a run would make it; of history all rows are wanted."""
    settings = conf.load()
    policy = classing.policy(settings, history=history, **options)
    wanted = frozenset(row.id for row in page(history=True)) if history else frozenset()
    storage = files.legacy_storage(settings)
    return batch.BatchContext(policy=policy, settings=settings, storage=storage, wanted_history=wanted, verify=verify)


def page(*, history=False):
    """All legacy rows, or the unretired ones."""
    return legacy_rows.page(after=0, unretired_only=not history, size=100_000)


def nothing(*_):
    """A checkpoint that is not kept."""


def classes(classed):
    """The class and the reason of each row, by its legacy id."""
    return {item.parsed.row.id: (item.decision.row_class.value, item.decision.reason) for item in classed}


def table(name):
    """All rows of a table, as the database has them, as dictionaries."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {name} ORDER BY id")
        columns = [column[0] for column in cursor.description]
        return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


def counts():
    """How many rows each of the tables has that a batch writes."""
    return {name: len(table(name)) for name in (*TARGET, LEDGER)}


@contextmanager
def statements(alias="default"):
    """The statements that are sent, with their parameters."""
    seen = []

    def see(execute, sql, params, many, context):
        seen.append((sql, params))
        return execute(sql, params, many, context)

    with connections[alias].execute_wrapper(see):
        yield seen


def said(value):
    """A parameter as text, for ``json.dumps``."""
    return value.text if isinstance(value, Ready) else str(value)


@contextmanager
def fault(error, where, *, times=1_000_000, text=""):
    """Let a statement that contains ``where``, and ``text`` among its parameters, fail with ``error``."""
    left = [times]

    def fail(execute, sql, params, many, context):
        if left[0] and where in sql and (not text or text in json.dumps(params, default=said)):
            left[0] -= 1
            raise error
        return execute(sql, params, many, context)

    with connection.execute_wrapper(fail):
        yield
