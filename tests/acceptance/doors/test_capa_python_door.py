"""The platform's own CAPA and XQueueInterface through the Python door, with an XQueue process and edx-submissions."""

import json
import sys
from types import ModuleType

import pytest
from django.core import checks
from xblocks_contrib.problem.capa.xqueue_interface import XQueueInterface

from migration_shim import toggles
from migration_shim.checks import TAG
from migration_shim.core.data import Leg, Phase
from migration_shim.core.errors import PhaseUnreadable
from migration_shim.doors.python_door import route
from migration_shim.ledger import phase_memory
from migration_shim.legacy.client import LegacyClient
from migration_shim.lms import capa
from migration_shim.models import LedgerEntry
from sandbox.lms.models import LearnerEffect
from sandbox.network import free_port
from tests.acceptance.doors.conftest import REVERSE, SHADOW
from tests.acceptance.doors.problems import (
    CODE,
    FILES,
    MATLAB,
    SQUARE,
    TWO_INPUTS,
    WRONG_SQUARE,
    code_response,
    problem_xml,
    refusal,
    uploads,
)
from tests.builders.outbox import drain
from tests.builders.rows import COURSE, PAYLOAD, QUEUE, enter, fresh  # noqa: F401

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "xqueue"])

PHASES = list(Phase)
CALLBACK, EVENT = "callback", "external_grader_event"
#: Nobody must call it: the door does not look at the interface's own URL.
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def door():
    """The Python door, installed for one test."""
    assert capa.install(route) is True
    yield
    capa.uninstall()


@pytest.fixture
def learner(classroom):
    """A learner at a problem with one code input."""
    return classroom.learner(NOWHERE)


def grade_the_copy(systems, phase, number=1):
    """Let the copies be graded first, and whatever comes of it reach the LMS."""
    if phase is Phase.SHADOW:
        assert systems.grade_on_target(SHADOW) == number
    if phase is Phase.LIVE:
        assert systems.grade_on_legacy(REVERSE) == number
        assert all(post["path"].startswith("/migration_shim/sink/") for post in systems.callbacks.posts)
        assert systems.hand_on() == [200] * number
        systems.callbacks.reset()


def grade_the_submission(systems, phase, number=1):
    """Let the authoritative side grade, and its replies reach the LMS."""
    if phase in (Phase.LEGACY, Phase.SHADOW):
        assert systems.grade_on_legacy() == number
        assert systems.hand_on() == [200] * number
    else:
        assert systems.grade_on_target() == number


def source_of(phase):
    return CALLBACK if phase in (Phase.LEGACY, Phase.SHADOW) else EVENT


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("kind", ["code", "files"])
def test_one_input_is_graded_once_by_the_authoritative_side_only(systems, classroom, phase, kind):
    learner = classroom.learner(NOWHERE, CODE if kind == "code" else FILES, points=2)
    contents = {"ü 1.py": SQUARE.encode(), "empty.txt": b""}
    enter(phase)
    learner.submit(SQUARE if kind == "code" else uploads(contents))
    assert learner.queued == [True]
    # What the learner reads is legacy's queue length; the target has none to tell, as on the platform's own path.
    assert learner.messages == ["1" if source_of(phase) == CALLBACK else ""]

    grade_the_copy(systems, phase)
    assert (learner.queued, learner.published) == ([True], [])
    assert LearnerEffect.objects.count() == 0
    grade_the_submission(systems, phase)
    assert (learner.queued, learner.graded) == ([False], [("correct", 1)])
    assert learner.published == [(source_of(phase), 1)]

    here, there = len(systems.legacy_rows()), len(systems.target_rows())
    assert (here, there) == {"legacy": (1, 0), "shadow": (1, 1), "live": (1, 1), "complete": (0, 1)}[phase.value]
    if kind == "files" and there:
        stored = systems.target_rows()[0].files.order_by("original_filename")
        assert {row.original_filename: row.file.read() for row in stored} == contents
    if there:
        assert systems.target_rows()[0].points_possible == 2


@pytest.mark.parametrize("phase", PHASES)
def test_both_sides_hold_what_capa_sent(systems, learner, phase):
    enter(phase)
    learner.submit(SQUARE)
    key = learner.entries()[0]["queuestate"]["key"]
    for row in systems.legacy_rows():
        header, body = json.loads(row["xqueue_header"]), json.loads(row["xqueue_body"])
        assert (header["lms_key"] == key) == (phase is not Phase.LIVE)
        assert header["queue_name"] == (REVERSE if phase is Phase.LIVE else QUEUE)
        assert (body["grader_payload"], body["student_response"]) == (PAYLOAD, SQUARE)
        assert json.loads(body["student_info"])["random_seed"] == 3
    for row in systems.target_rows():
        item = row.submission.student_item
        real = phase is not Phase.SHADOW
        assert (row.queue_key == key, row.queue_name) == (real, QUEUE if real else SHADOW)
        assert (item.item_id == learner.usage_key, len(item.student_id) == 32) == (real, real)
        assert (row.submission.answer, row.grader_file_name) == (SQUARE, "py1/square/grade.py")


@pytest.mark.parametrize("phase", [Phase.SHADOW, Phase.LIVE])
def test_the_copy_graded_last_changes_nothing(systems, learner, phase):
    enter(phase)
    learner.submit(SQUARE)
    grade_the_submission(systems, phase)
    systems.callbacks.reset()
    before = (learner.graded, list(learner.published), LearnerEffect.objects.count())
    grade_the_copy(systems, phase)
    assert (learner.graded, learner.published, LearnerEffect.objects.count()) == before


@pytest.mark.parametrize("phase", PHASES)
def test_a_second_attempt_replaces_the_first(systems, learner, phase):
    enter(phase)
    learner.submit(WRONG_SQUARE)
    learner.submit(SQUARE)
    grade_the_copy(systems, phase)
    grade_the_submission(systems, phase)
    assert learner.graded == [("correct", 1)]
    assert learner.published == [(source_of(phase), 1)]


# --- several inputs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", [Phase.LIVE, Phase.COMPLETE])
def test_both_inputs_are_graded_where_the_target_is_authoritative(systems, classroom, phase):
    learner = classroom.learner(NOWHERE, TWO_INPUTS, points=2)
    enter(phase)
    learner.submit(SQUARE, WRONG_SQUARE)
    assert learner.queued == [True, True]
    grade_the_copy(systems, phase, number=2)
    assert (learner.queued, learner.published) == ([True, True], [])
    grade_the_submission(systems, phase, number=2)
    assert learner.graded == [("correct", 1), ("incorrect", 0)]
    assert learner.published == [(EVENT, 1), (EVENT, 1)]


@pytest.mark.parametrize("phase", [Phase.LEGACY, Phase.SHADOW])
def test_legacy_loses_a_sibling_input_by_itself_and_the_router_makes_it_no_worse(systems, classroom, phase):
    learner = classroom.learner(NOWHERE, TWO_INPUTS, points=2)
    enter(phase)
    learner.submit(WRONG_SQUARE, SQUARE)
    # XQueue retires by the callback, which names the problem and not the input.
    assert [row["retired"] for row in systems.legacy_rows()] == [1, 0]
    shadows = systems.target_rows(SHADOW)
    assert [row.status for row in shadows] == (["pending"] * 2 if phase is Phase.SHADOW else [])
    assert [row.submission.answer for row in shadows] == ([WRONG_SQUARE, SQUARE] if phase is Phase.SHADOW else [])
    grade_the_copy(systems, phase, number=2)
    grade_the_submission(systems, phase)
    assert learner.queued == [True, False]
    assert learner.graded == [("incomplete", None), ("correct", 1)]
    assert learner.published == [(CALLBACK, 1)]


def test_both_shadows_are_written_when_a_worker_comes_to_them_late(systems, classroom):
    learner = classroom.learner(NOWHERE, TWO_INPUTS, points=2)
    enter(Phase.SHADOW)
    learner.submit(SQUARE, WRONG_SQUARE, worker=False)
    assert systems.target_rows() == []
    drain()
    assert [row.status for row in systems.target_rows(SHADOW)] == ["pending", "pending"]


# --- matlab -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", PHASES)
def test_a_matlab_input_is_graded_with_its_extra_keys_kept(systems, classroom, phase):
    learner = classroom.learner(NOWHERE, MATLAB)
    learner.matlab_api_key = "invented"
    enter(phase)
    learner.submit(SQUARE)
    for row in systems.legacy_rows():
        body = json.loads(row["xqueue_body"])
        assert (body["token"], body["endpoint_version"]) == ("invented", "2")
    grade_the_copy(systems, phase)
    grade_the_submission(systems, phase)
    assert learner.graded == [("correct", 1)]


def plot(learner):
    """Press "Run code": an ungraded request of the same input; what the browser is told."""
    problem = learner.problem()
    data = {"input_id": learner.answer_ids[0], "dispatch": "plot", "submission": "plot(1)"}
    told = problem.handle_input_ajax(data)
    learner.state = json.loads(json.dumps(problem.get_state()))
    return told


@pytest.mark.parametrize("phase", [Phase.LEGACY, Phase.SHADOW])
def test_a_plot_is_sent_to_legacy_and_told_to_be_queued(systems, classroom, phase):
    learner = classroom.learner(NOWHERE, MATLAB)
    enter(phase)
    assert plot(learner) == {"success": True, "message": "1"}
    (row,) = systems.legacy_rows()
    assert (row["queue_name"], row["retired"]) == ("matlab", 0)
    assert json.loads(row["xqueue_header"])["lms_callback_url"].endswith("/ungraded_response")


@pytest.mark.parametrize("phase", [Phase.LIVE, Phase.COMPLETE])
def test_a_plot_supersedes_no_attempt(systems, classroom, phase):
    learner = classroom.learner(NOWHERE, MATLAB)
    enter(phase)
    learner.submit(SQUARE)
    plot(learner)
    assert [row.status for row in systems.target_rows(QUEUE)] == ["pending"]
    grade_the_submission(systems, phase)
    assert learner.graded == [("correct", 1)]


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", [Phase.LIVE, Phase.COMPLETE])
def test_an_answer_over_the_limit_is_refused_with_a_reason_and_leaves_nothing(systems, learner, phase):
    enter(phase)
    learner.submit("é" * 20_000)
    assert learner.messages == [refusal("The answer is larger than 102400 characters.")]
    assert learner.graded == [(None, None)]
    assert (learner.queued, systems.legacy_rows(), systems.target_rows()) == ([False], [], [])
    assert LedgerEntry.objects.count() == 0


def test_legacy_takes_an_answer_over_the_targets_limit_and_the_copy_is_accounted_for(systems, learner):
    enter(Phase.SHADOW)
    # Log in first: with no proxy before it, XQueue's redirect to the login does not wait for a large request's end.
    assert LegacyClient().queue_length(QUEUE) == (0, 0)
    learner.submit("é" * 20_000)
    assert (learner.queued, len(systems.legacy_rows()), systems.target_rows()) == ([True], 1, [])
    assert LedgerEntry.objects.get().target_leg != Leg.STORED


def owed():
    """Entries with a copy, made or owed; one that only says that legacy has refused owes nothing."""
    return LedgerEntry.objects.exclude(legacy_reason="refused", target_leg=Leg.NONE).count()


@pytest.mark.parametrize("phase", [Phase.LEGACY, Phase.SHADOW])
def test_a_queue_that_legacy_does_not_know(systems, classroom, phase):
    learner = classroom.learner(NOWHERE, problem_xml(code_response(queue="nowhere")))
    enter(phase)
    learner.submit(SQUARE)
    assert learner.messages == [refusal("Queue 'nowhere' not found")]
    assert (learner.queued, systems.target_rows(), owed()) == ([False], [], 0)


@pytest.mark.parametrize("phase", [Phase.LEGACY, Phase.SHADOW])
def test_legacy_is_down(systems, learner, settings, phase):
    settings.MIGRATION_SHIM = {**settings.MIGRATION_SHIM, "LEGACY_URL": f"http://127.0.0.1:{free_port()}"}
    enter(phase)
    learner.submit(SQUARE)
    assert learner.messages == [refusal("cannot connect to server")]
    assert (learner.queued, systems.target_rows(), owed()) == ([False], [], 0)


def test_a_phase_that_cannot_be_read_costs_the_learner_nothing(systems, learner, monkeypatch):
    """CAPA lets the exception through, and the platform keeps what it had; an answer of 1 would have wiped it."""
    enter(Phase.LIVE)
    phase_memory.remember(COURSE, Phase.LIVE)
    learner.submit(SQUARE)
    grade_the_submission(systems, Phase.LIVE)
    assert learner.graded == [("correct", 1)]
    for look_up in ("phase_and_switch", "phase_of"):
        monkeypatch.setattr(toggles, look_up, lambda course_id: 1 / 0)
    with pytest.raises(PhaseUnreadable):
        learner.submit(WRONG_SQUARE)
    assert (learner.graded, len(systems.target_rows())) == ([("correct", 1)], 1)


def test_the_account_is_refused_by_legacy(systems, learner, settings):
    settings.MIGRATION_SHIM = {**settings.MIGRATION_SHIM, "LEGACY_PASSWORD": "wrong"}
    learner.submit(SQUARE)
    assert learner.messages == [refusal("Incorrect login credentials")]
    assert systems.legacy_rows() == []


@pytest.mark.parametrize("phase", [Phase.LIVE, Phase.COMPLETE])
def test_legacy_is_down_where_the_target_is_authoritative(systems, learner, settings, phase):
    settings.MIGRATION_SHIM = {**settings.MIGRATION_SHIM, "LEGACY_URL": f"http://127.0.0.1:{free_port()}"}
    enter(phase)
    learner.submit(SQUARE)
    assert learner.queued == [True]
    grade_the_submission(systems, phase)
    assert learner.graded == [("correct", 1)]


# --- the installation itself ------------------------------------------------------------------------------------------


def test_a_course_on_the_platforms_own_path_is_left_to_it(systems, classroom):
    learner = classroom.learner(NOWHERE, use_submission_service=True)
    enter(Phase.SHADOW)
    learner.submit(SQUARE)
    (row,) = systems.target_rows()
    assert row.queue_key == learner.entries()[0]["queuestate"]["key"]
    assert (row.queue_name, systems.legacy_rows(), LedgerEntry.objects.count()) == (QUEUE, [], 0)


def test_installed_twice_and_taken_away_once(systems, classroom):
    capa.uninstall()
    own = XQueueInterface.send_to_queue
    capa.install(route)
    routed = XQueueInterface.send_to_queue
    assert capa.install(route) is True
    assert (XQueueInterface.send_to_queue is routed, routed is own) == (True, False)
    capa.uninstall()
    assert XQueueInterface.send_to_queue is own
    enter(Phase.LIVE)
    learner = classroom.learner(systems.xqueue.url)
    learner.submit(SQUARE)
    assert (len(systems.legacy_rows()), systems.target_rows(), LedgerEntry.objects.count()) == (1, [], 0)


def platform_module(monkeypatch, interface):
    """The platform's newest module with this class in it; None takes it away."""
    name, older = capa.MODULES
    module = ModuleType(name)
    if interface is not None:
        module.XQueueInterface = interface
    monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, older, None)


class Changed:
    """A platform whose interface has another method signature."""

    def send_to_queue(self, submission):
        return 0, ""


class WithoutBlock:
    """The interface of releases before the platform's own submission service: it knows no block."""

    def __init__(self, url, django_auth, requests_auth=None):
        self.url, self.auth = url, django_auth

    def send_to_queue(self, header, body, files_to_upload=None):
        raise AssertionError("the router has this submission")


@pytest.mark.parametrize(
    ("interface", "words"), [(Changed, "does not take header, body, files_to_upload"), (None, "this is no LMS")]
)
def test_a_platform_that_looks_different_is_not_touched_and_the_check_says_so(monkeypatch, settings, interface, words):
    platform_module(monkeypatch, interface)
    original = Changed.send_to_queue
    assert capa.install(route) is False
    assert Changed.send_to_queue is original
    settings.MIGRATION_SHIM = {**settings.MIGRATION_SHIM, "PYTHON_DOOR": True}
    found = [message for message in checks.run_checks(tags=[TAG]) if message.id == "migration_shim.E010"]
    assert len(found) == 1
    assert words in found[0].msg
    settings.MIGRATION_SHIM = {**settings.MIGRATION_SHIM, "PYTHON_DOOR": False}
    assert [message.id for message in checks.run_checks(tags=[TAG]) if message.id == "migration_shim.E010"] == []


def test_the_platform_of_today_passes_the_check(settings):
    settings.MIGRATION_SHIM = {**settings.MIGRATION_SHIM, "PYTHON_DOOR": True}
    assert [message.id for message in checks.run_checks(tags=[TAG])] == []


def test_an_interface_that_knows_no_block(systems, learner, monkeypatch):
    monkeypatch.setattr(WithoutBlock, "send_to_queue", WithoutBlock.send_to_queue)  # given back after the test
    platform_module(monkeypatch, WithoutBlock)
    assert capa.install(route) is True
    learner.interface = WithoutBlock(NOWHERE, {})
    enter(Phase.LIVE)
    learner.submit(SQUARE)
    assert learner.queued == [True]
    assert systems.target_rows()[0].points_possible == 1
    assert LedgerEntry.objects.get().points_possible == 1
