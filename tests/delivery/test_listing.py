"""Who is undelivered, by command; and that whoever names learners is written down."""

import json

import pytest

from migration_shim import api
from migration_shim.core.data import ExitCode
from migration_shim.models import PhaseChange
from sandbox.lms import receivers
from tests.builders import live_courses as watched
from tests.builders.rows import COURSE, anonymous_id, fresh  # noqa: F401
from tests.builders.waiting_learners import grade, reconciled, waiting
from tests.commands import manage
from tests.schemas import validate

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "xqueue"])


@pytest.fixture
def entry():
    watched.stand("live")
    entry = waiting()
    with receivers.swallowing():
        grade(entry)
    reconciled()
    return entry


def test_it_names_nobody(entry):
    document = api.undelivered(COURSE, learners=False, reason="", user="ada")
    validate(document.content)
    assert document.exit_code == ExitCode.DIFFERENCES
    [row] = document.content["rows"]
    assert (row["entry"], row["submission"], row["user_id"]) == (entry.pk, entry.target_submission_id, None)
    assert row["what"] == "the learner waits, and its result is stored"
    text = json.dumps(document.content)
    assert anonymous_id(7) not in text
    assert not PhaseChange.objects.filter(evidence__has_key="looked_up").exists()


def test_naming_learners_is_written_down(entry):
    document = api.undelivered(COURSE, learners=True, reason="to ask them to submit again", user="ada")
    validate(document.content)
    assert [row["user_id"] for row in document.content["rows"]] == ["7"]
    written = PhaseChange.objects.latest("id")
    assert (written.step_from, written.step_to, written.changed_by) == ("live", "live", "ada")
    assert (written.reason, written.evidence) == ("to ask them to submit again", {"looked_up": {"learners": 1}})
    assert api.audit([COURSE]).content["broken"] == 0


def test_it_asks_for_a_reason(entry):
    assert manage("xqueue_undelivered", "--course", COURSE, "--learners").returncode == ExitCode.USAGE
