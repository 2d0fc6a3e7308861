"""The fixtures of ``tests.builders.routed_course`` for the tests of this folder."""

from tests.builders.routed_course import course, xqueue_of_load  # noqa: F401
