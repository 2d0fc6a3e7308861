"""
Flags ticked by hand, one by one and for everyone, in every order: nobody passes the gate, every way back works at once.

Each order is walked as a branch of a tree: a tick, a look, then every other tick from there; leaving a branch takes it
back. What is expected comes from the words of the rules, not from the code.
"""

import math

import pytest
from django.db import transaction
from waffle import get_waffle_flag_model

from migration_shim import api, toggles
from migration_shim.core.data import Authority, Phase
from migration_shim.core.phases import flags_of
from migration_shim.models import CoursePhase, FlagOverride, PhaseChange
from migration_shim.reports import terminal
from tests.builders import rows
from tests.builders.rows import COURSE, fresh  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
DUAL, PRIMARY = toggles.FLAGS
#: (flag, where, value): what an operator can click in the admin. Where is a course, an organisation, or everyone.
CLICKS = [(flag, where, value) for flag in toggles.FLAGS for where in ("course", "everyone") for value in (True, False)]
CLICKS += [(PRIMARY, "org", True)]
DEPTHS = [2, pytest.param(3, marks=pytest.mark.long)]
PHASES = {
    (False, False): Phase.LEGACY,
    (True, False): Phase.SHADOW,
    (True, True): Phase.LIVE,
    (False, True): Phase.COMPLETE,
}


class Rollback(Exception):
    """Leaves a branch."""


def click(flag, where, value):
    if where == "everyone":
        row, _ = get_waffle_flag_model().objects.get_or_create(name=flag)
        row.everyone = value
        row.save()
        row.flush()  # in a test that takes everything back nothing commits
    else:
        FlagOverride(
            flag=flag, scope=where, key=COURSE if where == "course" else "ExU", force=value, enabled=True
        ).save()


def forget():
    """What a flip of everyone leaves in django-waffle's cache when it is taken back."""
    for flag in toggles.FLAGS:
        get_waffle_flag_model()(name=flag).flush()


def wanted(clicks, start):
    """(dual_write, target_primary) by the precedence: course, organisation, everyone. The course starts as forced."""
    forced = {flag: {"course": value} for flag, value in zip(toggles.FLAGS, flags_of(start), strict=True)}
    if start is Phase.LEGACY:
        forced = {DUAL: {}, PRIMARY: {}}
    for flag, where, value in clicks:
        forced[flag][where] = value
    return tuple(
        next((forced[flag][where] for where in ("course", "org", "everyone") if where in forced[flag]), False)
        for flag in toggles.FLAGS
    )


def expected(asked, recorded):
    """The phase in force without any permit: back at once, complete to live as well, and never past the gate."""
    if asked in (Phase.LEGACY, Phase.SHADOW):
        return asked
    return asked if (recorded, asked) == (Phase.COMPLETE, Phase.LIVE) else recorded


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("start", list(Phase))
def test_no_order_of_clicks_passes_the_gate_and_every_way_back_is_immediate(start, depth, monkeypatch):
    monkeypatch.setattr(toggles.log, "warning", lambda *said: None)
    if start is not Phase.LEGACY:
        rows.in_phase(start)
        toggles.force_flags(COURSE, *flags_of(start))
    looks, drifts = [0], {}

    def look(clicks, recorded):
        toggles.new_work_cycle()
        asked = PHASES[wanted(clicks, start)]
        decision = toggles.phase_of(COURSE)
        assert (decision.asked, decision.phase) == (asked, expected(asked, recorded)), clicks
        if recorded.authority is Authority.LEGACY:
            assert decision.phase.authority is Authority.LEGACY, clicks
        if asked.authority is Authority.LEGACY:
            assert decision.phase is asked, clicks
        assert decision.drift is (asked is not decision.phase)
        record = CoursePhase.objects.filter(course_id=COURSE).first()
        assert (record.phase if record else Phase.LEGACY) == decision.phase
        looks[0] += 1
        if decision.drift and (decision.phase, asked) not in drifts:
            drifts[decision.phase, asked] = terminal.render(api.status([COURSE]).content)
        return decision.phase

    def walk(clicks, recorded):
        for one in CLICKS:
            if one in clicks:
                continue
            try:
                with transaction.atomic():
                    click(*one)
                    phase = look([*clicks, one], recorded)
                    if len(clicks) + 1 < depth:
                        walk([*clicks, one], phase)
                    raise Rollback
            except Rollback:
                forget()

    walk([], start)
    assert looks[0] == sum(math.perm(len(CLICKS), clicks) for clicks in range(1, depth + 1))
    for (phase, asked), shown in drifts.items():
        assert "DRIFT" in shown
        assert f"xqueue_cutover --course {COURSE} --to {phase}" in shown, (phase, asked)
        assert f"the flags ask for {asked}" in shown
    assert drifts


def test_a_flip_is_one_entry_of_the_log_and_a_refused_one_is_none():
    for one in ((DUAL, "course", True), (PRIMARY, "everyone", True), (PRIMARY, "org", True), (DUAL, "course", False)):
        click(*one)
        toggles.new_work_cycle()
        toggles.phase_of(COURSE)
    log = list(PhaseChange.objects.order_by("id").values_list("step_from", "step_to", "changed_by"))
    assert log == [("legacy", "shadow", "flag")]
    assert toggles.phase_of(COURSE).drift
