"""The router of ``tests.builders.attempts`` for the tests of this folder."""

from tests.builders.attempts import (  # noqa: F401
    legacy,
    recording_lms,
    shim,
    start_xqueue,
    xqueue_server,
)
