"""The phase machine, all of it: every phase asked for, from every phase recorded, under every permit."""

import pytest

from migration_shim.core.data import Authority, Phase
from migration_shim.core.phases import allowed_steps, asked_phase, decide, flags_of, needs_permit

LEGACY, SHADOW, LIVE, COMPLETE = Phase
PERMITS = (None, LEGACY, SHADOW, LIVE, COMPLETE)

# For each phase on record, and each phase that the flags ask for: the phase in force without a permit, and under a
# permit for legacy, shadow, live and complete, in this order. Written by hand from the rules. A step that makes or
# keeps legacy authoritative is obeyed always; one that makes the target authoritative only from the phase before it,
# and only with its own permit. From complete back to live needs none: the target stays authoritative.
TABLE = {
    (LEGACY, LEGACY): (LEGACY, LEGACY, LEGACY, LEGACY, LEGACY),
    (LEGACY, SHADOW): (SHADOW, SHADOW, SHADOW, SHADOW, SHADOW),
    (LEGACY, LIVE): (LEGACY, LEGACY, LEGACY, LEGACY, LEGACY),
    (LEGACY, COMPLETE): (LEGACY, LEGACY, LEGACY, LEGACY, LEGACY),
    (SHADOW, LEGACY): (LEGACY, LEGACY, LEGACY, LEGACY, LEGACY),
    (SHADOW, SHADOW): (SHADOW, SHADOW, SHADOW, SHADOW, SHADOW),
    (SHADOW, LIVE): (SHADOW, SHADOW, SHADOW, LIVE, SHADOW),
    (SHADOW, COMPLETE): (SHADOW, SHADOW, SHADOW, SHADOW, SHADOW),
    (LIVE, LEGACY): (LEGACY, LEGACY, LEGACY, LEGACY, LEGACY),
    (LIVE, SHADOW): (SHADOW, SHADOW, SHADOW, SHADOW, SHADOW),
    (LIVE, LIVE): (LIVE, LIVE, LIVE, LIVE, LIVE),
    (LIVE, COMPLETE): (LIVE, LIVE, LIVE, LIVE, COMPLETE),
    (COMPLETE, LEGACY): (LEGACY, LEGACY, LEGACY, LEGACY, LEGACY),
    (COMPLETE, SHADOW): (SHADOW, SHADOW, SHADOW, SHADOW, SHADOW),
    (COMPLETE, LIVE): (LIVE, LIVE, LIVE, LIVE, LIVE),
    (COMPLETE, COMPLETE): (COMPLETE, COMPLETE, COMPLETE, COMPLETE, COMPLETE),
}
CASES = [
    (recorded, asked, permit, phase)
    for (recorded, asked), phases in TABLE.items()
    for permit, phase in zip(PERMITS, phases, strict=True)
]


def test_the_table_is_whole():
    assert len(TABLE) == 16
    assert len(CASES) == 80


@pytest.mark.parametrize(("recorded", "asked", "permit", "phase"), CASES)
def test_decision(recorded, asked, permit, phase):
    found = decide(asked, recorded, permit=permit)
    assert (found.phase, found.asked) == (phase, asked)
    assert found.drift is (phase != asked)
    assert found.changed is (phase != recorded)


FLAGS = {(False, False): LEGACY, (True, False): SHADOW, (True, True): LIVE, (False, True): COMPLETE}


@pytest.mark.parametrize(("flags", "phase"), FLAGS.items())
def test_flags(flags, phase):
    assert asked_phase(dual_write=flags[0], target_primary=flags[1]) is phase
    assert flags_of(phase) == flags


@pytest.mark.parametrize(
    ("phase", "steps"),
    [
        (LEGACY, (SHADOW,)),
        (SHADOW, (LEGACY, LIVE)),
        (LIVE, (LEGACY, SHADOW, COMPLETE)),
        (COMPLETE, (LEGACY, LIVE)),
    ],
)
def test_steps_of_a_command(phase, steps):
    assert allowed_steps(phase) == steps


@pytest.mark.parametrize("step_from", Phase)
@pytest.mark.parametrize("step_to", Phase)
def test_only_steps_towards_the_target_need_a_permit(step_from, step_to):
    towards = {(LEGACY, LIVE), (LEGACY, COMPLETE), (SHADOW, LIVE), (SHADOW, COMPLETE), (LIVE, COMPLETE)}
    assert needs_permit(step_from, step_to) is ((step_from, step_to) in towards)


def test_authority():
    assert [phase.authority for phase in Phase] == [Authority.LEGACY] * 2 + [Authority.TARGET] * 2
