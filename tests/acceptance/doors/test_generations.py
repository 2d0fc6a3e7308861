"""The Python door on the senders of older releases: their flag is asked before, and none is called in vain."""

import sys

import pytest
from django.core import checks
from django.db import connection
from django.test.utils import CaptureQueriesContext
from waffle import get_waffle_flag_model

from migration_shim import toggles
from migration_shim.checks import TAG
from migration_shim.core.data import Phase
from migration_shim.core.errors import SenderUnusable
from migration_shim.cutover import release
from migration_shim.doors.python_door import route
from migration_shim.lms import capa
from migration_shim.models import LedgerEntry
from migration_shim.target import installed
from tests.acceptance.doors import generations
from tests.acceptance.doors.problems import SQUARE, WRONG_SQUARE
from tests.acceptance.doors.test_capa_python_door import NOWHERE
from tests.builders.platform import platform, platform_tables  # noqa: F401
from tests.builders.rows import COURSE, QUEUE, enter, fresh  # noqa: F401

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "xqueue"]),
    pytest.mark.usefixtures("platform"),
]

V1, V1B = generations.SenderV1, generations.SenderV1b


@pytest.fixture
def of(monkeypatch, classroom):
    """Install the door on a generation, with a learner in front of it."""

    def made(sender, **more):
        newest, older = capa.MODULES
        module = generations.module(sender, **more)
        monkeypatch.setitem(sys.modules, newest, None)
        monkeypatch.setitem(sys.modules, older, module)
        assert capa.install(route) is True
        learner = classroom.learner(NOWHERE)
        learner.interface = module.XQueueInterface(NOWHERE, {}, block=learner.block)
        return learner

    yield made
    capa.uninstall()


def release_by_hand(platform, flag=release.FLAG):  # noqa: F811
    platform["Course"].objects.create(waffle_flag=flag, course_id=COURSE, override_choice="on", enabled=True)
    toggles.new_work_cycle()


def stored(systems):
    """(rows on legacy, (queue, whether with a key) of each on the target, entries of the ledger)"""
    there = [(row.queue_name, bool(row.queue_key)) for row in systems.target_rows()]
    return len(systems.legacy_rows()), there, LedgerEntry.objects.count()


@pytest.mark.parametrize("sender", [V1, V1B])
@pytest.mark.parametrize("phase", list(Phase))
def test_every_phase_is_the_routers(systems, of, sender, phase):
    learner = of(sender)
    enter(phase)
    learner.submit(SQUARE)
    assert (learner.queued, learner.interface.called) == ([True], 0)
    legacy, target, entries = stored(systems)
    expected = {"legacy": (1, 0, 0), "shadow": (1, 1, 1), "live": (1, 1, 1), "complete": (0, 1, 1)}
    assert (legacy, len(target), entries) == expected[phase]


def test_the_check_takes_them(of, settings):
    of(V1)
    settings.MIGRATION_SHIM = {**settings.MIGRATION_SHIM, "PYTHON_DOOR": True}
    assert [message.id for message in checks.run_checks(tags=[TAG])] == []


@pytest.mark.parametrize("typed", [release.FLAG, "Send_To_Submission_Course.Enable "])
@pytest.mark.parametrize("phase", [Phase.LEGACY, Phase.COMPLETE])
def test_a_released_course_goes_the_platforms_own_way(systems, of, platform, phase, typed):  # noqa: F811
    """Also where the flag was typed as the platform's database takes it, too."""
    learner = of(V1B)
    enter(phase)
    release_by_hand(platform, typed)
    learner.submit(SQUARE)
    assert learner.interface.called == 1
    assert stored(systems) == (0, [(QUEUE, True)], 0)
    assert systems.target_rows()[0].queue_key == learner.entries()[0]["queuestate"]["key"]


@pytest.mark.parametrize("phase", [Phase.LEGACY, Phase.SHADOW])
def test_a_sender_without_queue_key_is_never_called(systems, of, platform, phase):  # noqa: F811
    """The learner keeps attempt and result, as with the platform's own error; XQueue is not given it either."""
    learner = of(V1)
    enter(phase)
    learner.submit(WRONG_SQUARE)
    before = stored(systems), learner.state
    release_by_hand(platform)
    with pytest.raises(SenderUnusable):
        learner.submit(SQUARE)
    assert (stored(systems), learner.state) == before
    assert learner.interface.called == 0


@pytest.mark.parametrize("phase", [Phase.LIVE, Phase.COMPLETE])
def test_what_belongs_on_the_target_is_stored_there_for_all_that(systems, of, platform, phase):  # noqa: F811
    learner = of(V1)
    enter(phase)
    release_by_hand(platform)
    learner.submit(SQUARE)
    assert (learner.queued, learner.interface.called) == ([True], 0)
    assert stored(systems)[1:] == ([(QUEUE, True)], 1)


def test_with_an_edx_submissions_that_asks_for_no_key_it_is_called(systems, of, platform, monkeypatch):  # noqa: F811
    monkeypatch.setattr(installed, "needs_queue_key", lambda: False)
    sent = []
    monkeypatch.setattr(generations, "create_external_grader_detail", lambda item, **rest: sent.append(rest))
    learner = of(V1)
    release_by_hand(platform)
    learner.submit(SQUARE)
    assert (len(sent), learner.interface.called) == (1, 1)
    assert "queue_key" not in sent[0]


def test_on_for_some_learners_leads_nobody_past_the_router(systems, of):
    learner = of(V1B)
    row = get_waffle_flag_model()(name=release.FLAG, percent="99.9", authenticated=True)
    row.save()
    enter(Phase.LIVE)
    learner.submit(SQUARE)
    assert learner.interface.called == 0
    assert stored(systems)[1:] == ([(QUEUE, True)], 1)


def test_on_for_everyone_leads_all(systems, of):
    learner = of(V1B)
    get_waffle_flag_model()(name=release.FLAG, everyone=True).save()
    learner.submit(SQUARE)
    assert (learner.interface.called, stored(systems)) == (1, (0, [(QUEUE, True)], 0))


def test_a_block_that_is_not_there_is_no_released_course(systems, of, platform):  # noqa: F811
    learner = of(V1B)
    release_by_hand(platform)
    learner.interface.block = None
    enter(Phase.LIVE)
    learner.submit(SQUARE)
    assert learner.interface.called == 0
    assert LedgerEntry.objects.get().points_possible == 1


def test_asking_the_flag_costs_a_submit_two_statements(of):
    """Of the course and of its organisation; the platform's own sender makes the same two."""
    learner = of(V1B)
    enter(Phase.LIVE)
    learner.submit(SQUARE, worker=False)
    toggles.new_work_cycle()
    with CaptureQueriesContext(connection) as found:
        learner.submit(WRONG_SQUARE, worker=False)
    asked = [query["sql"] for query in found if "waffle_utils" in query["sql"]]
    # and one for each of ours, which are forced for the course
    assert len(asked) == 2 + len(toggles.FLAGS), asked


def test_a_sender_with_another_flag_is_left_alone(monkeypatch):
    """V0 of a development branch reads a switch in there."""
    newest, older = capa.MODULES
    module = generations.module(V1, flag=None)
    monkeypatch.setitem(sys.modules, newest, None)
    monkeypatch.setitem(sys.modules, older, module)
    own = module.XQueueInterface.send_to_queue
    assert capa.install(route) is False
    assert module.XQueueInterface.send_to_queue is own
    assert "reads another flag than send_to_submission_course.enable" in capa.problems()[0]


def test_what_cannot_be_called_is_told(of):
    of(V1B)
    assert capa.uncallable(needs_queue_key=True) == []
    of(V1)
    (said,) = capa.uncallable(needs_queue_key=True)
    assert "xmodule.capa.xqueue_interface hands edx-submissions no queue_key" in said
    assert capa.uncallable(needs_queue_key=False) == []
