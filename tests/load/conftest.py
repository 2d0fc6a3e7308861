"""The fixtures of ``tests.load.course`` for the tests of this folder."""

from tests.load.course import course, xqueue_of_load  # noqa: F401
