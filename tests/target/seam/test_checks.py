"""What ``manage.py check --tag migration_shim`` says of the hold and of the sink's address."""

import pytest

from migration_shim import checks


def found():
    """The ids of what the check says."""
    return [message.id for message in checks.check_doors(None)]


def test_the_defaults_pass(settings):
    del settings.MIGRATION_SHIM["HOLD_SECONDS"]
    assert found() == []


@pytest.mark.parametrize(
    ("hold", "publish", "expected"),
    [(2, 0.5, []), (1.99, 0.5, ["E013"]), (2, 0.51, ["E013"]), (0, 0, ["E013"]), (5, 2, [])],
)
def test_a_hold_that_a_door_may_outlast_is_an_error(shim, hold, publish, expected):
    shim(HOLD_SECONDS=hold, PUBLISH_SECONDS=publish)
    assert found() == [f"migration_shim.{name}" for name in expected]


def test_the_error_says_how_long_it_must_be(shim):
    shim(HOLD_SECONDS=2, PUBLISH_SECONDS=3)
    (error,) = checks.check_doors(None)
    assert "HOLD_SECONDS must be at least 7:" in error.msg


@pytest.mark.parametrize(("length", "expected"), [(128, []), (129, ["migration_shim.E012"])])
def test_a_sink_url_that_xqueue_would_cut_is_an_error(shim, length, expected):
    """XQueue compares the first 128 characters: what is cut off is the token, and every learner's row would be one."""
    shim(HOLD_SECONDS=2)
    rest = len("/sink/" + "0" * 32 + "/")
    root = "https://courses.example.edu/"
    shim(SINK_ROOT=root + "x" * (length - rest - len(root)))
    assert found() == expected


def test_the_sink_url_is_checked_where_it_follows_from_the_lms_too(shim, settings):
    shim(HOLD_SECONDS=2)
    settings.LMS_ROOT_URL = "https://" + "c" * 100 + ".example.edu"
    assert found() == ["migration_shim.E012"]
