"""A queue that XQueue does not know and the target takes: a typing error has to be seen before its learners ask."""

from datetime import timedelta

import pytest
from django.utils.timezone import now

from migration_shim import api
from migration_shim.core.data import ExitCode
from migration_shim.models import LedgerEntry
from migration_shim.status import unknown_queues
from tests.builders import rows
from tests.builders.attempts import COURSE, QUEUE, attempt, closed_breakers, put_course_in  # noqa: F401
from tests.builders.outbox import drain
from tests.schemas import validate

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "xqueue"])

TYPO = "exu-py11"


def watched():
    document = api.watch([COURSE])
    validate(document.content)
    (course,) = document.content["courses"]
    return course, document.exit_code


def status():
    document = api.status([COURSE])
    validate(document.content)
    (course,) = document.content["courses"]
    return course, {item["what"]: item for item in course["attention"]}


def breaches(course):
    return [(breach["bound"], breach["rows"]) for breach in course["breaches"]]


def test_xqueues_word_on_a_copy_is_an_alarm_that_names_the_queue(legacy, shim):
    put_course_in("live")
    for queue in (TYPO, TYPO, QUEUE):
        assert attempt(queue=queue).send() == (0, "")
    drain()
    course, exit_code = watched()
    assert ("unknown_queue", 1) in breaches(course)  # refused once, a queue is not asked again in the same turn
    assert exit_code & ExitCode.DIFFERENCES
    (breach,) = (item for item in course["breaches"] if item["bound"] == "unknown_queue")
    assert f"does not know {TYPO}.reverse" in breach["text"] and "XQUEUES" in breach["text"]
    assert breach["target_failed"] is False
    said, attention = status()
    assert said["unknown_queues"] == [{"queue": TYPO, "copies": f"{TYPO}.reverse", "rows": 1}]
    assert f"{TYPO}.reverse" in attention["unknown_queue"]["text"]


def test_it_ends_when_the_copies_are_stored(legacy, shim):
    put_course_in("live")
    attempt(queue=TYPO).send()
    drain()
    shim(PRESENCE_GRACE_SECONDS=0, REVERSE_QUEUE_SUFFIX=".reverse")
    LedgerEntry.objects.update(created_at=now() - timedelta(hours=1))
    assert ("unknown_queue", 1) in breaches(watched()[0])
    # XQueue's operator adds the queue; what stands for that here is a queue that it knows.
    LedgerEntry.objects.update(queue_name=QUEUE)
    drain()
    assert breaches(watched()[0]) == []


@pytest.mark.parametrize(
    "reason", ["refused: cannot connect to server", "target_row_gone", "refused: unexpected reply"]
)
def test_other_reasons_are_no_word_on_the_queue(reason, legacy):
    put_course_in("live")
    attempt(queue=TYPO).send()
    drain()
    LedgerEntry.objects.update(legacy_reason=reason, copy_due=now() + timedelta(hours=1))
    assert "unknown_queue" not in [bound for bound, _ in breaches(watched()[0])]
    assert status()[0]["unknown_queues"] == []


@pytest.mark.parametrize("phase", ["live", "complete"])
def test_the_first_submission_to_a_queue_never_seen_is_shown(phase, legacy):
    put_course_in(phase)
    attempt(queue=TYPO).send()
    (new,) = watched()[0]["new_queues"]
    assert (new["queue"], new["rows"]) == (TYPO, 1)
    said, attention = status()
    assert said["new_queues"] == [new]
    assert (TYPO in attention["new_queue"]["text"], attention["new_queue"]["commands"]) == (True, [])


def test_after_a_day_it_is_new_no_more(legacy):
    put_course_in("complete")
    attempt(queue=TYPO).send()
    LedgerEntry.objects.update(arrived_at=now() - timedelta(days=1, minutes=1))
    attempt(queue=TYPO).send()
    assert watched()[0]["new_queues"] == []


def test_a_queue_that_xqueue_has_rows_of_is_none(legacy):
    put_course_in("complete")
    rows.legacy_row(7, **rows.graded())
    attempt().send()
    assert watched()[0]["new_queues"] == []


def test_another_case_is_another_queue(legacy):
    """XQueue's own table would find it, and XQueue itself would not."""
    put_course_in("complete")
    rows.legacy_row(7, **rows.graded())
    attempt(queue=QUEUE.upper()).send()
    assert [item["queue"] for item in watched()[0]["new_queues"]] == [QUEUE.upper()]


@pytest.mark.parametrize("phase", ["legacy", "shadow"])
def test_where_xqueue_is_asked_first_nothing_is_new(phase, legacy):
    put_course_in(phase)
    attempt().send()
    assert watched()[0]["new_queues"] == []


def test_before_the_first_round_nothing_is_said():
    put_course_in("live")
    assert unknown_queues.new_queues_of_last_watch() == {}
    assert status()[0]["new_queues"] == []
