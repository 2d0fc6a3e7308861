"""The settings of a handoff, and what is refused of them."""

import pytest
from django.core import checks

from migration_shim import conf


def found(settings, **values):
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | values
    return {message.id for message in checks.run_checks(tags=["migration_shim"])}


@pytest.mark.parametrize(("seconds", "refused"), [(9.9, True), (10, False), (60, False)])
def test_a_settle_time_under_a_request_of_xqueue_is_refused(settings, seconds, refused):
    assert ("migration_shim.E014" in found(settings, HANDOFF_SETTLE_SECONDS=seconds)) is refused


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"HELD_QUEUE_SUFFIX": ".shadow"}, "HELD_QUEUE_SUFFIX"),
        ({"HELD_QUEUE_SUFFIX": ".echo"}, "HELD_QUEUE_SUFFIX"),
        ({"HELD_QUEUE_SUFFIX": ""}, "HELD_QUEUE_SUFFIX"),
        ({"PUSH_QUEUES": "exu-py1"}, "PUSH_QUEUES"),
        ({"PUSH_QUEUES": [1]}, "PUSH_QUEUES"),
        ({"HANDOFF_SETTLE_SECONDS": -1}, "HANDOFF_SETTLE_SECONDS"),
        ({"PROCESSING_DELAY_SECONDS": "60"}, "PROCESSING_DELAY_SECONDS"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_name(settings, values, words):
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | values
    assert any(words in problem for problem in conf.problems())
