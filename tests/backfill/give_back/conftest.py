"""The course of ``tests.builders.in_flight`` for the tests of this folder."""

from tests.builders.in_flight import course, fresh  # noqa: F401
