"""What the router does when it cannot look: a phase, a flag, the kill switch, a cache, a setting."""

import json
import logging
from unittest import mock

import pytest
from django.core.cache import cache, caches
from django.core.cache.backends.locmem import LocMemCache
from django.db import InterfaceError, OperationalError
from django.test import Client
from edx_django_utils.cache import RequestCache
from waffle import get_waffle_flag_model, get_waffle_switch_model
from waffle.testutils import override_switch

from migration_shim import conf, toggles
from migration_shim.core.data import Authority, Phase
from migration_shim.core.errors import PhaseUnreadable
from migration_shim.core.phases import flags_of
from migration_shim.ledger import course_lookup, phase_memory
from migration_shim.models import CoursePhase
from migration_shim.target import polling
from tests.builders.attempts import COURSE, QUEUE, attempt, put_course_in
from tests.builders.dead_cache import dead_redis
from tests.builders.outbox import drain
from tests.builders.rows import HOST
from tests.dual_write.test_table import LEGACY_PHASES, TARGET_PHASES, raising, rows

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "xqueue"])

PHASES = [*LEGACY_PHASES, *TARGET_PHASES]
#: What a look-up raises in practice; the second is no DatabaseError to Django, the last no error of a database at all.
FAILURES = {
    "lost connection": OperationalError(2013, "Lost connection to server during query"),
    "closed": InterfaceError(0, "closed"),
    "anything": RuntimeError("a model of the platform's"),
}


def stepped(phase):
    """A course that was stepped into a phase, as an operator does it; the step is where the cache has it from."""
    phase = Phase(phase)
    toggles.force_flags(COURSE, *flags_of(phase))
    toggles.record_step(COURSE, phase, by="ops", reason="", evidence={})


def failing(times, error=FAILURES["lost connection"]):
    """The phase look-up, failing so many times before it works."""
    calls = []

    def unless_failing(real):
        def look_up(course_id):
            calls.append(course_id)
            if len(calls) <= times:
                raise error
            return real(course_id)

        return look_up

    ways = {name: unless_failing(getattr(toggles, name)) for name in ("phase_and_switch", "phase_of")}
    return mock.patch.multiple(toggles, **ways)


# The phase


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("phase", PHASES)
def test_a_look_up_that_fails_once_is_tried_once_more(phase, failure, legacy):
    put_course_in(phase)
    with failing(1, FAILURES[failure]):
        assert attempt().send()[0] == 0
    drain()
    on_legacy, on_target, *_ = rows()
    if Phase(phase).authority is Authority.TARGET:
        assert (on_legacy, on_target) == (int(phase == "live"), 1)  # the row of legacy is the reverse shadow
    else:
        assert (on_legacy, on_target) == (1, 0)


@pytest.mark.parametrize("phase", PHASES)
def test_what_keeps_the_one_statement_from_an_answer_keeps_no_course_from_its_phase(phase, legacy):
    """It asks for the kill switch too: where that table cannot be read the phase is asked for by itself."""
    put_course_in(phase)
    broken = raising(OperationalError(1146, "Table 'lms.waffle_switch' doesn't exist"))
    with mock.patch.object(course_lookup, "look_up", broken):
        assert attempt().send()[0] == 0
    target = phase in TARGET_PHASES
    assert rows() == (int(not target), int(target), int(phase == "shadow"), 0)


def test_where_the_kill_switch_cannot_be_read_at_all_no_copy_is_started(legacy):
    put_course_in("shadow")
    broken = raising(OperationalError(1146, "Table 'lms.waffle_switch' doesn't exist"))
    no_switch = mock.patch.object(toggles, "kill_switch_on", broken)
    with mock.patch.object(course_lookup, "look_up", broken), no_switch:
        assert attempt().send() == (0, "1")
    assert rows() == (1, 0, 0, 0)


def test_a_kill_switch_counts_at_once_whatever_a_cache_has_kept(legacy):
    put_course_in("shadow")
    switch = get_waffle_switch_model().objects.create(name="migration_shim.kill_switch", active=False)
    assert attempt().send() == (0, "1")
    assert not toggles.KILL_SWITCH.is_enabled()  # it is cached now
    get_waffle_switch_model().objects.filter(pk=switch.pk).update(active=True)
    one = attempt()
    assert one.send() == (0, "2")
    assert one.entry() is None


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("phase", TARGET_PHASES)
def test_a_course_whose_target_is_authoritative_is_refused_by_raising(phase, failure, legacy):
    """CAPA keeps attempt and result where the door raises; a row on legacy would be graded by nobody."""
    stepped(phase)
    one = attempt()
    with failing(9, FAILURES[failure]), pytest.raises(PhaseUnreadable):
        one.send()
    assert rows() == (0, 0, 0, 0)
    assert one.entry() is None
    assert one.send() == (0, "")
    assert rows()[1] == 1


@pytest.mark.parametrize("phase", LEGACY_PHASES)
def test_a_course_that_was_legacys_goes_to_legacy(phase, legacy):
    stepped("shadow")
    stepped(phase)
    with failing(9):
        assert attempt().send() == (0, "1")
    assert rows() == (1, 0, 0, 0)


@pytest.mark.parametrize("phase", PHASES)
def test_a_course_of_which_nothing_is_remembered_goes_to_legacy(phase, legacy):
    put_course_in(phase)
    with failing(9):
        assert attempt().send() == (0, "1")
    assert rows() == (1, 0, 0, 0)


def test_the_way_back_is_remembered(legacy):
    stepped("live")
    stepped("legacy")
    with failing(9):
        assert attempt().send() == (0, "1")


def test_a_step_that_is_rolled_back_is_not_remembered(legacy):
    stepped("shadow")
    with pytest.raises(RuntimeError), toggles.transaction.atomic():
        stepped("live")
        raise RuntimeError("somebody stops it")
    assert phase_memory.recall(COURSE) is Phase.SHADOW


def test_a_flip_by_hand_is_remembered_when_it_is_obeyed(legacy):
    stepped("live")
    toggles.force_flags(COURSE, False, False)
    assert attempt().send() == (0, "1")
    assert phase_memory.recall(COURSE) is Phase.LEGACY


@pytest.mark.parametrize("value", ["no phase", 7, b"live", None])
def test_rubbish_in_the_cache_is_nothing(value, legacy):
    stepped("live")
    cache.set(phase_memory._key(COURSE), value)
    assert phase_memory.recall(COURSE) is None


@pytest.mark.parametrize(("phase", "code"), [("live", 1), ("shadow", 0)])
def test_the_http_door_answers_in_words(phase, code, legacy, shim, client, monkeypatch):
    """An LMS that posts to it knows no exception; XQueue's form says that the submission was not taken."""
    monkeypatch.setenv("MIGRATION_SHIM_SUBMIT_DOOR", "1")
    shim(SUBMIT_USERS={"capa": "pw"})
    stepped("shadow")
    stepped(phase)
    one = attempt()
    form = {"xqueue_header": one.request.header, "xqueue_body": one.request.body}
    basic = {"HTTP_AUTHORIZATION": "Basic Y2FwYTpwdw=="}
    with failing(9):
        answer = client.post("/migration_shim/xqueue/submit/", form, secure=True, **basic)
    said = json.loads(answer.content)
    assert (answer.status_code, said["return_code"]) == (200, code)
    assert rows() == (1 - code, 0, 0, 0)
    if code:
        assert "cannot take the submission now" in said["content"]


@pytest.mark.parametrize(("users", "said"), [({"capa": "pw"}, "1"), ({"capa": ""}, "cannot connect to server")])
def test_the_http_door_needs_to_know_whom_to_let_in_and_no_more(users, said, legacy, shim, client, monkeypatch):
    monkeypatch.setenv("MIGRATION_SHIM_SUBMIT_DOOR", "1")
    shim(SUBMIT_USERS=users, NO_SUCH_SETTING=1)
    one = attempt()
    form = {"xqueue_header": one.request.header, "xqueue_body": one.request.body}
    basic = {"HTTP_AUTHORIZATION": "Basic Y2FwYTpwdw=="}
    answer = client.post("/migration_shim/xqueue/submit/", form, secure=True, **basic)
    assert json.loads(answer.content)["content"] == said


# Caches


class Gone(LocMemCache):
    """A cache whose server is gone: everything raises, and nothing that a database raises."""

    def _gone(self, *args, **kwargs):
        raise ConnectionError("no cache server answers")

    get = set = add = delete = delete_many = get_many = set_many = touch = incr = has_key = clear = _gone


@pytest.fixture(params=["any", "Redis"])
def no_cache(settings, request):
    """Every cache of the LMS raises, from when this is called: of any kind, or Redis at an address where none is."""
    before = dict(settings.CACHES)
    gone = {"BACKEND": f"{__name__}.Gone"}
    if request.param == "Redis":
        pytest.importorskip("redis")
        gone = dead_redis()

    def go():
        settings.CACHES = {name: {"LOCATION": name} | gone for name in settings.CACHES}
        RequestCache.clear_all_namespaces()
        with pytest.raises(Exception, match=r"no cache server|refused"):
            caches["default"].get("x")

    yield go
    settings.CACHES = before


@pytest.mark.parametrize("phase", [None, *PHASES])
def test_a_cache_that_raises_changes_no_answer(phase, legacy, no_cache):
    """Also of a course that nobody migrates: no flag is read through django-waffle's cache."""
    if phase is not None:
        put_course_in(phase)
    no_cache()
    error, _ = attempt().send()
    assert error == 0
    drain()
    on_legacy, on_target, shadows, orphans = rows()
    target = phase in TARGET_PHASES
    assert (on_target, shadows, orphans) == (int(target), int(phase == "shadow"), 0)
    assert on_legacy == (not target or phase == "live")


@pytest.mark.parametrize("phase", PHASES)
def test_the_http_door_lets_in_and_takes_a_submission_without_a_cache(phase, legacy, no_cache, monkeypatch, settings):
    monkeypatch.setenv("MIGRATION_SHIM_SUBMIT_DOOR", "1")
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"SUBMIT_USERS": {"lms": "secret"}}
    put_course_in(phase)
    no_cache()
    client, one = Client(**HOST), attempt()
    login = client.post("/migration_shim/xqueue/login/", {"username": "lms", "password": "secret"})
    form = {"xqueue_header": one.request.header, "xqueue_body": one.request.body}
    answer = client.post("/migration_shim/xqueue/submit/", form)
    assert (login.json()["return_code"], answer.json()["return_code"]) == (0, 0)
    assert one.entry() is not None or phase == "legacy"


@pytest.mark.parametrize("everyone", [True, False, None])
def test_what_flags_say_for_everyone_counts_without_a_cache(everyone, no_cache):
    get_waffle_flag_model().objects.update_or_create(name=toggles.DUAL_WRITE_FLAG, defaults={"everyone": everyone})
    no_cache()
    assert toggles.flags_for(COURSE) == (everyone is True, False)


@pytest.mark.parametrize("active", [True, False])
def test_the_kill_switch_counts_without_a_cache(active, legacy):
    put_course_in("shadow")
    no_get = mock.patch.object(caches["default"].__class__, "get", raising(ConnectionError()))
    with override_switch("migration_shim.kill_switch", active=active), no_get:
        RequestCache.clear_all_namespaces()
        assert toggles.kill_switch_on() is active
        assert attempt().send() == (0, "1")
    assert rows()[2] == int(not active)


def test_a_kill_switch_that_cannot_be_read_refuses_nobody(legacy):
    put_course_in("live")
    lost = raising(OperationalError(2013, "Lost connection"))
    with mock.patch.object(course_lookup, "look_up", lost), mock.patch.object(toggles, "kill_switch_on", lost):
        assert attempt().send() == (0, "")
    assert rows() == (0, 1, 0, 0)


@pytest.mark.parametrize("to", PHASES)
def test_a_step_is_taken_without_a_cache(to, no_cache):
    put_course_in("shadow" if to != "shadow" else "live")
    no_cache()
    stepped(to)
    RequestCache.clear_all_namespaces()
    assert (toggles.phase_of(COURSE).phase, CoursePhase.objects.get().phase) == (to, to)


def test_a_cache_that_raises_remembers_nothing(legacy, no_cache):
    stepped("live")
    no_cache()
    with failing(9):
        assert attempt().send() == (0, "1")


# Settings


@pytest.mark.parametrize("bad", [{"NO_SUCH_SETTING": 1}, {"GATE_THRESHOLD": 7}, {"HTTP_DOOR_SECONDS": "soon"}])
@pytest.mark.parametrize("phase", PHASES)
def test_a_bad_setting_disables_what_it_configures_and_nothing_else(phase, bad, legacy, shim):
    put_course_in(phase)
    shim(**bad)
    assert attempt().send()[0] == 0
    expected = {"legacy": (1, 0, 0), "shadow": (1, 0, 1), "live": (0, 1, 0), "complete": (0, 1, 0)}
    assert rows()[:3] == expected[phase]  # the task of the reverse shadow refuses; the watch writes it later


@pytest.mark.parametrize("bad", [{"COPIES": "later"}, {"SAMPLE_PERCENT": 5}, {"SHADOW_QUEUE_SUFFIX": ""}])
@pytest.mark.parametrize("phase", PHASES)
def test_a_bad_setting_of_copies_stops_copies_only(phase, bad, legacy, shim):
    put_course_in(phase)
    shim(**bad)
    assert attempt().send()[0] == 0
    target = phase in TARGET_PHASES
    assert rows() == (int(not target), int(target), 0, 0)


@pytest.mark.parametrize("phase", TARGET_PHASES)
def test_a_dictionary_that_is_none_moves_no_course(phase, settings, legacy):
    put_course_in(phase)
    settings.MIGRATION_SHIM = ["LEGACY_URL"]
    assert attempt().send() == (0, "")
    assert rows() == (0, 1, 0, 0)


def test_a_resolver_that_cannot_be_imported_assumes_the_points(legacy, shim):
    put_course_in("complete")
    shim(POINTS_RESOLVER="no.such.module")
    one = attempt()
    assert one.send() == (0, "")
    assert one.entry().points_possible == 1


def test_graders_are_served_whatever_the_settings(legacy, shim, client, django_user_model):
    """In live a learner waits for them."""
    put_course_in("complete")
    attempt().send()
    shim(NO_SUCH_SETTING=1, HOLD_SECONDS=0)
    user = django_user_model.objects.create_user("grader", password="pw")
    user.groups.create(name="xqueue")
    client.force_login(user)
    answer = client.get("/migration_shim/xqueue/get_submission/", {"queue_name": QUEUE}, secure=True).json()
    assert answer["return_code"] == 0, answer
    assert polling.waiting(QUEUE, conf.usable()[0]).count() == 0


def test_no_learner_is_named_in_the_log(legacy, caplog):
    stepped("live")
    one = attempt()
    with caplog.at_level(logging.DEBUG), failing(9), pytest.raises(PhaseUnreadable):
        one.send()
    assert one.learner not in caplog.text and one.request.key not in caplog.text and COURSE in caplog.text
