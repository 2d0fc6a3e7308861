"""Overrides that need a second person: the proposal, what it is bound to, and who may sign it."""

from datetime import timedelta

import pytest
from django.utils.timezone import now

from migration_shim import api, toggles
from migration_shim.core.data import ExitCode, Phase
from migration_shim.core.errors import IllegalStep, ShimError
from migration_shim.models import CoursePhase, GateOverride, PhaseChange, Run
from migration_shim.reports import terminal
from tests.builders import rows
from tests.builders.overrides import passing, signer, step_past_gate
from tests.builders.rows import COURSE, fresh  # noqa: F401
from tests.schemas import validate

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
HOW = {"reason": "r", "execute": True, "user": "ops"}


@pytest.fixture(autouse=True)
def a_second_person_is_needed(settings):
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"OVERRIDE_NEEDS_SECOND": True}
    toggles.force_flags(COURSE, True, False)
    rows.in_phase("shadow")


def sign(login, to=Phase.LIVE):
    toggles.new_work_cycle()
    document = step_past_gate(COURSE, to, reason=f"says {login}", login=login)
    validate(document.content)
    return document


def phase():
    return CoursePhase.objects.get(course_id=COURSE).phase


def test_the_first_proposes_and_the_second_takes_the_step():
    first = sign("ada")
    assert (first.exit_code, first.content["executed"]) == (ExitCode.LEFT_BEHIND, False)
    assert terminal.render(first.content).startswith("PROPOSED.")
    record = CoursePhase.objects.get(course_id=COURSE)
    assert (record.phase, record.permit, PhaseChange.objects.count()) == ("shadow", "", 0)
    assert toggles.flags_for(COURSE) == (True, False)
    second = sign("grace")
    assert (second.exit_code, second.content["executed"], phase()) == (0, True, "live")
    [override] = GateOverride.objects.all()
    assert (override.signed_by, override.seconded_by, override.reason) == ("ada", "grace", "says ada")
    assert override.evidence["second"]["reason"] == "says grace"
    assert PhaseChange.objects.get().evidence["override"]["seconded_by"] == "grace"
    assert override.expires_at == override.used_at


@pytest.mark.parametrize("name", ["ada", "ADA", "Ada", "ada ", " ada", "ada\t", "\uff41\uff44\uff41"])
def test_the_same_person_twice_is_refused(name):
    """SQLite has accounts that differ in case or blanks; MySQL finds the one for the other."""
    sign("ada")
    with pytest.raises(ShimError, match=r"has proposed this override already|There is no LMS user"):
        sign(name)
    assert (phase(), GateOverride.objects.count()) == ("shadow", 1)


@pytest.mark.parametrize("account", [{"is_active": False}, {"is_staff": False}])
def test_the_second_person_is_one_who_may_sign(account):
    sign("ada")
    signer("grace", **account)
    with pytest.raises(IllegalStep, match=r"'grace' is not (active|staff)"):
        sign("grace")
    with pytest.raises(ShimError, match="no LMS user 'nobody'"):
        api.cutover(COURSE, Phase.LIVE, **HOW, login="nobody", override=passing(COURSE, Phase.LIVE))
    assert (phase(), GateOverride.objects.get().used_at) == ("shadow", None)


@pytest.mark.parametrize("account", [{"is_active": False}, {"is_staff": False}])
def test_a_proposal_of_an_account_that_may_not_sign_any_more_counts_for_nothing(account):
    sign("ada")
    signer("ada").__class__.objects.filter(username="ada").update(**account)
    assert sign("grace").exit_code == ExitCode.LEFT_BEHIND  # a proposal of her own
    assert phase() == "shadow"
    first, second = GateOverride.objects.order_by("pk")
    assert (first.used_at, first.withdrawn_at is not None, second.signed_by) == (None, True, "grace")


def test_a_proposal_expires():
    sign("ada")
    GateOverride.objects.update(expires_at=now() - timedelta(seconds=1))
    assert sign("grace").exit_code == ExitCode.LEFT_BEHIND
    assert phase() == "shadow"
    assert sign("ada").content["executed"]


def preflighted(*blockers, queue="q", rows=2):
    text = {"severity": "blocker", "queue": queue, "problem": "p", "about": "", "rows": rows, "seam": False}
    document = {"findings": [text | {"code": code} for code in blockers]}
    Run.objects.create(kind="preflight", scope=COURSE, finished_at=now(), complete=True, document=document)


def test_it_is_bound_to_the_reasons():
    """Another blocker has the same code, and is not what the first person has signed for."""
    preflighted("answer_over_limit")
    sign("ada")
    preflighted("payload_unreadable")
    assert sign("grace").exit_code == ExitCode.LEFT_BEHIND  # a proposal of her own
    assert phase() == "shadow"
    first, second = GateOverride.objects.order_by("pk")
    assert first.withdrawn_at is not None and second.withdrawn_at is None
    assert sign("ada").content["executed"]


@pytest.mark.parametrize(("one", "other"), [("hw1", "hw2"), ("hw-1", "hw-2"), ("hw.1", "hw.2"), ("1", "2")])
def test_a_name_that_differs_in_a_digit_is_another_name(one, other):
    preflighted("push_queue", queue=one, rows=0)
    sign("ada")
    preflighted("push_queue", queue=other, rows=0)
    assert sign("grace").exit_code == ExitCode.LEFT_BEHIND
    assert phase() == "shadow"


def test_but_not_to_figures_that_change_by_themselves():
    preflighted("answer_over_limit")
    sign("ada")
    rows.entries(3)
    assert sign("grace").content["executed"]


def test_any_step_of_the_course_ends_it():
    sign("ada")
    for to in (Phase.LEGACY, Phase.SHADOW):
        toggles.new_work_cycle()
        api.cutover(COURSE, to, reason="r", execute=True, user="ops", login=None)
    assert api.status([COURSE]).content["courses"][0]["override_proposals"] == []
    assert sign("grace").exit_code == ExitCode.LEFT_BEHIND
    assert phase() == "shadow"


def test_where_the_setting_is_off_by_then_one_person_is_enough(settings):
    sign("ada")
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"OVERRIDE_NEEDS_SECOND": False}
    assert sign("grace").content["executed"]
    first, second = GateOverride.objects.order_by("pk")
    assert (first.used_at, first.withdrawn_at is not None) == (None, True)
    assert (second.signed_by, second.seconded_by, second.proposal) == ("grace", "", False)


def test_it_is_looked_at():
    sign("ada")
    content = api.status([COURSE]).content
    validate(content)
    [waits] = [item for item in content["courses"][0]["attention"] if item["what"] == "override_proposed"]
    assert "by ada" in waits["text"] and "says ada" in waits["text"]
    assert waits["commands"] == [f"xqueue_cutover --course {COURSE} --to live --override --reason TEXT"]
    assert "OVERRIDE PROPOSED" in terminal.render(content)
    sign("grace")
    assert api.status([COURSE]).content["courses"][0]["override_proposals"] == []


def test_a_leak_that_is_found_meanwhile_is_passed_by_nobody():
    sign("ada")
    CoursePhase.objects.update(fence_leaks=1)
    signer("grace")
    with pytest.raises(IllegalStep, match="no override passes that"):
        sign("grace")
    assert phase() == "shadow"
