"""
The databases of one test run: chosen before Django's settings load, created for the session, dropped after it.

Real files or schemas under names of their own, never ``:memory:`` and never Django's renaming of aliases: the tests
start servers as processes of their own, and these find the same databases through the same environment variables.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from django.core.management.color import no_style
from django.db import connections

VARIABLES = {"default": "MIGRATION_SHIM_TARGET_DB", "xqueue": "MIGRATION_SHIM_LEGACY_DB"}
SERVER_SCHEMES = {"mysql"}

# What would lead a test to a system that is not the sandbox's own.
FOREIGN = ("MIGRATION_SHIM_XQUEUE_URL", "MIGRATION_SHIM_XQUEUE_USER", "MIGRATION_SHIM_XQUEUE_PASSWORD", "SANDBOX_HOSTS")

# Where the broker that the run was given is put aside: with one in the settings nothing would run eagerly any more.
GIVEN_BROKER = "MIGRATION_SHIM_TEST_BROKER_URL"

#: What migrate has filled and no test changes. To empty these as well, and to run Django's post_migrate for them, takes
#: ten times as long as all the rest.
FILLED_BY_MIGRATE = {"django_content_type", "auth_permission"}

# Set for the processes that a test starts: they may import this package too (DJANGO_SETTINGS_MODULE is inherited), and
# must find the databases of the run that started them.
CHOSEN = "MIGRATION_SHIM_TEST_RUN"


def choose() -> None:
    """
    Point the environment at a temporary sandbox directory and at test databases in place of the ones given.

    A MySQL or MariaDB address keeps its server and gets another database name; everything else becomes an SQLite file.
    """
    if CHOSEN in os.environ:
        return
    os.environ[CHOSEN] = str(os.getpid())
    directory = Path(tempfile.mkdtemp(prefix="migration_shim_tests_")).resolve()
    atexit.register(_remove_directory, directory, os.getpid())
    os.environ["MIGRATION_SHIM_SANDBOX_DIR"] = str(directory)
    for name in FOREIGN:
        os.environ.pop(name, None)
    os.environ[GIVEN_BROKER] = os.environ.pop("MIGRATION_SHIM_BROKER_URL", "")
    for alias, variable in VARIABLES.items():
        os.environ[variable] = test_url(alias, os.environ.get(variable, ""), directory)


def test_url(alias: str, url: str, directory: Path) -> str:
    """Give the address of the test database that stands in for ``url``."""
    parts = urlsplit(url)
    if parts.scheme not in SERVER_SCHEMES:
        return f"sqlite:///{directory / alias}.sqlite3"
    name = parts.path.lstrip("/")[:30]
    return urlunsplit(parts._replace(path=f"/test_{name}_{alias}_{os.environ[CHOSEN]}"))


test_url.__test__ = False  # a function about tests, not a test


def create() -> None:
    """Create the server databases of this run (SQLite makes its files by itself)."""
    for connection in _server_connections():
        name = connection.settings_dict["NAME"]
        with connection._nodb_cursor() as cursor:
            cursor.execute(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")


def drop() -> None:
    """Drop the server databases of this run. The directory goes when the process ends, after all that may use it."""
    for connection in _server_connections():
        name = connection.settings_dict["NAME"]
        connection.close()
        with connection._nodb_cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS `{name}`")
    connections.close_all()


def empty(alias: str) -> None:
    """Empty every table of a database that Django manages and that holds a row, but for what migrate has filled."""
    connection = connections[alias]
    tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
    tables = [table for table in tables if table not in FILLED_BY_MIGRATE]
    if not tables:
        return
    looks = (f"EXISTS(SELECT 1 FROM {connection.ops.quote_name(table)})" for table in tables)
    with connection.cursor() as cursor:  # one look at all of them: a test writes to a few
        cursor.execute(f"SELECT {', '.join(looks)}")
        filled = [table for table, holds in zip(tables, cursor.fetchone(), strict=True) if holds]
    if filled:
        connection.ops.execute_sql_flush(connection.ops.sql_flush(no_style(), filled))


def _server_connections() -> list:
    """Give this run's connections that have a server behind them; refuse any database that this run did not choose."""
    for alias in VARIABLES:
        name = str(connections[alias].settings_dict["NAME"])
        ours = f"_{alias}_{os.environ[CHOSEN]}", f"{os.environ['MIGRATION_SHIM_SANDBOX_DIR']}/{alias}.sqlite3"
        if not name.endswith(ours):
            raise RuntimeError(f"the tests were about to use {name!r} as {alias!r}, which is not theirs")
    return [connections[alias] for alias in VARIABLES if connections[alias].vendor != "sqlite"]


def _remove_directory(directory: Path, owner: int) -> None:
    # A forked child inherits the registration but not the ownership.
    if os.getpid() == owner:
        shutil.rmtree(directory)
