"""The site of the watch's tests, whose rounds purge."""

from tests.builders.rows import fresh  # noqa: F401
from tests.watch.conftest import shim  # noqa: F401
