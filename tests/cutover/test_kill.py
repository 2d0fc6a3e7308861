"""A step that is killed at any statement: flags and log are as before or as after, and the same command goes on."""

import itertools

import pytest

from migration_shim import api, toggles
from migration_shim.core.data import Phase
from migration_shim.core.phases import flags_of
from migration_shim.models import CoursePhase, FlagOverride, GateOverride, PhaseChange
from tests.builders.overrides import step_past_gate
from tests.builders.rows import COURSE, clean_course, fresh  # noqa: F401
from tests.cutover.forks import killed_at

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)


def written():
    """All that a step writes; a course without a record is one in legacy."""
    models = (FlagOverride, PhaseChange, GateOverride)
    records = CoursePhase.objects.exclude(phase=Phase.LEGACY, log_length=None).values_list()
    return [list(model.objects.order_by("pk").values_list()) for model in models] + [list(records)]


def fit(phase):
    """Flags, record and log all say that the course is in ``phase``, and the log is whole."""
    toggles.new_work_cycle()
    decision = toggles.phase_of(COURSE)
    assert (decision.phase, decision.drift, toggles.flags_for(COURSE)) == (phase, False, flags_of(phase))
    assert api.audit([COURSE]).content["broken"] == 0


def at_every_statement(action, phase_before, phase_after, **which):
    """Kill the action at its first statement, at its second, and so on, until it is through; how many there were."""
    before = written()
    for statement in itertools.count():
        killed = killed_at(statement, action, **which)
        if written() == before:
            assert killed
            fit(phase_before)
        else:
            fit(phase_after)
            if not killed:
                return statement
            before, phase_before = written(), phase_after
    raise AssertionError("unreachable")


def step(to, past_gate=False, **how):
    if past_gate:
        return step_past_gate(COURSE, to)
    return api.cutover(COURSE, to, reason="r", execute=True, user="ada", login=None, **how)


def test_the_first_step_of_a_course():
    statements = at_every_statement(lambda: step(Phase.SHADOW), Phase.LEGACY, Phase.SHADOW)
    assert statements > 10
    assert PhaseChange.objects.count() == 1


EVERY = pytest.param(True, marks=pytest.mark.long)


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize("reads", [False, EVERY])
def test_a_step_past_the_gate_and_the_way_back(reads):
    """Between two writes many statements only read for the gate: to be killed at one is to be killed at another."""
    CoursePhase.objects.all().delete()
    step(Phase.SHADOW)
    assert at_every_statement(lambda: step(Phase.LIVE), Phase.SHADOW, Phase.LIVE, reads=reads) > 5
    assert at_every_statement(lambda: step(Phase.LEGACY), Phase.LIVE, Phase.LEGACY, reads=reads) > 3
    assert PhaseChange.objects.count() == 3


@pytest.mark.parametrize("reads", [False, EVERY])
def test_an_override_is_signed_with_its_step_or_not_at_all(reads):
    step(Phase.SHADOW)
    at_every_statement(lambda: step(Phase.LIVE, past_gate=True), Phase.SHADOW, Phase.LIVE, reads=reads)
    assert GateOverride.objects.count() == 1


def test_a_flip_by_hand_that_a_submission_records():
    toggles.force_flags(COURSE, True, False)

    def submit():
        toggles.new_work_cycle()
        toggles.phase_of(COURSE)

    before = PhaseChange.objects.count()
    for statement in itertools.count():
        killed = killed_at(statement, submit)
        recorded = PhaseChange.objects.count() - before
        assert recorded == CoursePhase.objects.filter(phase=Phase.SHADOW).count()
        assert api.audit([COURSE]).content["broken"] == 0
        if not killed:
            break
    assert recorded == 1
