"""The servers of ``tests.builders.xqueue_server`` for the tests of this folder."""

from tests.builders.xqueue_server import (  # noqa: F401
    client_of_xqueue,
    lms,
    recording_lms,
    rows,
    start_xqueue,
    xqueue_server,
)
