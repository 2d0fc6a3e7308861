"""
What differs between the releases of edx-submissions that the app runs on, asked of the installed one.

Only this module asks for a version. From 3.12.2 to 4.0.2 tables, indexes, migrations and the arguments of
``create_external_grader_detail`` are the same. What a score becomes is not (4.0.2; see ``prediction``). Nor is a GET of
its own login (refused before 4.0.1), which nothing here sends: a grader without a token gets one with its login. For
the version in each Open edX release see docs/reference/releases.rst.
"""

from __future__ import annotations

import importlib.metadata
import inspect
from collections.abc import Callable
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.version import get_version_tuple
from submissions.api import create_external_grader_detail
from submissions.views import xqueue

#: From the first version on, and under the second. As in requirements/constraints.txt.
SUPPORTED = ((3, 12, 2), (5,))
#: Fails on MariaDB: it alters a column ``uuid`` in two tables that never had one. All supported versions have it.
UUID_MIGRATION = ("submissions", "0006_mariadb_uuid_conversion")
#: The one before, under the name of those that it replaces.
BEFORE_UUID_MIGRATION = ("submissions", "0001_squashed_0005_CreateTeamModel")


def version() -> str:
    """Return the version of the installed distribution."""
    return importlib.metadata.version("edx-submissions")


def is_supported() -> bool:
    """Tell whether the app was made for this version and tested with it, or with one on either side of it."""
    first, beyond = SUPPORTED
    return first <= get_version_tuple(version()) < beyond


def put_result() -> Callable[..., Any]:
    """Return the installed put_result, which holds the rule of how a score becomes points: see ``prediction``."""
    return xqueue.XQueueViewSet.put_result


def needs_queue_key() -> bool:
    """
    Tell whether it accepts no submission without a ``queue_key`` (from 3.12.2 on), which the platform's V1 sender
    lacks.
    """
    asked = inspect.signature(create_external_grader_detail).parameters.get("queue_key")
    return asked is not None and asked.default is inspect.Parameter.empty


def unusable_migration(connection: BaseDatabaseWrapper) -> tuple[str, str] | None:
    """
    Return its own migration that fails on this database and has to be faked, as (app, name); None where there is none.
    """
    is_mariadb = connection.vendor == "mysql" and connection.mysql_is_mariadb  # type: ignore[attr-defined]  # of MySQL's wrapper
    return UUID_MIGRATION if is_mariadb else None
