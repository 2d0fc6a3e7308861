"""Settings of the tests: those of the LMS stand-in, on databases that tests/conftest.py chose in the environment."""

from sandbox.lms.settings import *  # noqa: F403
