"""Signed overrides of the gate, which never change its verdict, and the register of known differences."""

from datetime import timedelta

import pytest
from django.utils.timezone import now

from migration_shim import api, toggles
from migration_shim.core.data import DivergenceClass, ExitCode, Phase
from migration_shim.core.errors import IllegalStep, ShimError
from migration_shim.cutover import overrides
from migration_shim.ledger import known_differences as known
from migration_shim.models import CoursePhase, Divergence, GateOverride, KnownDifference, LedgerEntry, PhaseChange
from tests.builders import rows
from tests.builders.rows import COURSE, clean_course, fresh  # noqa: F401
from tests.schemas import validate

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])


def in_shadow():
    toggles.force_flags(COURSE, True, False)
    rows.in_phase("shadow")


def step(to=Phase.LIVE, **options):
    wanted = {"reason": "exam on Friday", "execute": True, "user": "ops", "login": None, "override": True}
    return api.cutover(COURSE, to, **(wanted | options))


def test_an_override_takes_the_step_and_is_on_record():
    in_shadow()
    document = step()
    assert (document.exit_code, document.content["executed"], document.content["verdict"]) == (0, True, "INCONCLUSIVE")
    assert CoursePhase.objects.get(course_id=COURSE).phase == "live"
    [override] = GateOverride.objects.all()
    assert (override.signed_by, override.reason, override.step_to) == ("ops", "exam on Friday", "live")
    assert override.verdict == "INCONCLUSIVE"
    assert "there was no reconcile" in override.evidence["reasons"]
    assert timedelta(hours=23) < override.expires_at - now() <= timedelta(hours=24)


def test_without_it_the_same_step_is_refused():
    in_shadow()
    assert step(override=False).exit_code == ExitCode.DIFFERENCES | ExitCode.STALE
    assert not GateOverride.objects.exists()
    assert CoursePhase.objects.get(course_id=COURSE).phase == "shadow"


def test_a_plan_with_it_signs_nothing():
    in_shadow()
    document = step(execute=False)
    assert document.content["overridden"] is True
    assert not GateOverride.objects.exists()
    assert not PhaseChange.objects.exists()


def test_where_the_gate_is_open_nothing_is_signed(clean):
    toggles.force_flags(COURSE, True, False)
    document = step()
    assert (document.content["executed"], document.content["overridden"]) == (True, False)
    assert not GateOverride.objects.exists()


@pytest.mark.parametrize("found", ["fence_leaks", "double_authority"])
def test_no_signature_passes_a_broken_promise(found):
    in_shadow()
    rows.entries(449)
    rows.reconciled(document={found: 1})
    rows.preflighted()
    with pytest.raises(IllegalStep):
        step()
    assert not GateOverride.objects.exists()
    assert CoursePhase.objects.get(course_id=COURSE).phase == "shadow"


def test_an_expired_or_withdrawn_override_is_printed_no_more():
    in_shadow()
    step()
    assert [item["signed_by"] for item in overrides.described(COURSE, now())] == ["ops"]
    assert overrides.described(COURSE, now() + timedelta(hours=25)) == []
    GateOverride.objects.update(withdrawn_at=now())
    assert overrides.described(COURSE, now()) == []


# The register of known differences


def register(klass=DivergenceClass.SCORE, **scope):
    wanted = {"reason": "the grader rounds", "owner": "ops", "days": 30}
    return api.add_known_difference(klass, **(wanted | scope)).content["known_differences"]


def test_what_is_registered_is_listed_with_owner_reason_and_expiry():
    [entry] = register(course_id=COURSE)
    validate(api.known_differences().content)
    assert (entry["class"], entry["owner"], entry["reason"]) == ("score", "ops", "the grader rounds")
    assert (entry["course"], entry["queue"], entry["problem"]) == (COURSE, "", "")
    assert entry["state"] == "in force"


def test_an_entry_expires_by_itself_and_stays_listed():
    register()
    KnownDifference.objects.update(expires_at=now() - timedelta(seconds=1))
    [entry] = api.known_differences().content["known_differences"]
    assert entry["state"] == "expired"


def test_an_entry_is_withdrawn_once():
    [entry] = register()
    [entry] = api.withdraw_known_difference(entry["id"]).content["known_differences"]
    assert entry["state"] == "withdrawn"
    with pytest.raises(ShimError):
        api.withdraw_known_difference(entry["id"])


@pytest.mark.parametrize("klass", ["fence_leak", "double_authority", "undelivered", "wrong_side", "lost"])
def test_a_broken_promise_cannot_be_registered(klass):
    with pytest.raises(ShimError):
        register(DivergenceClass(klass))
    assert not KnownDifference.objects.exists()


def test_it_says_how_many_divergences_it_covers():
    [entry] = register()
    rows.entries(3)
    for number, covered in zip(LedgerEntry.objects.values_list("pk", flat=True), (True, True, False), strict=True):
        known = entry["id"] if covered else None
        Divergence.objects.create(entry_id=number, course_id=COURSE, klass="score", what="0, 1", known_id=known)
    [entry] = api.known_differences().content["known_differences"]
    assert entry["covers"] == 2


def test_the_most_specific_entry_in_scope_covers_a_difference():
    register(course_id="course-v1:Other+C+1", item_id="block-v1:p")
    register()
    register(course_id=COURSE, queue_name="q")
    register(course_id=COURSE, item_id="block-v1:p")
    found = known.of_course(COURSE, now())
    _, everywhere, queue, problem = KnownDifference.objects.order_by("pk")
    assert known.match(found, DivergenceClass.SCORE, "q", "block-v1:p") == problem
    assert known.match(found, DivergenceClass.SCORE, "q", "block-v1:other") == queue
    assert known.match(found, DivergenceClass.SCORE, "r", "block-v1:other") == everywhere
    assert known.match(found, DivergenceClass.STATE, "q", "block-v1:p") is None
