"""The graders of ``tests.builders.watchers`` for the tests of this folder."""

from tests.builders.watchers import both_servers, servers, shim, watcher  # noqa: F401
