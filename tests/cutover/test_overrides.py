"""Signed overrides of the gate, which never change its verdict, and the register of known differences."""

import json
import logging
import re
import socket
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.utils.timezone import now

from migration_shim import api, toggles
from migration_shim.core.data import DivergenceClass, ExitCode, Phase
from migration_shim.core.errors import IllegalStep, ShimError
from migration_shim.core.phases import flags_of
from migration_shim.cutover import override_records
from migration_shim.cutover.overrides import Request
from migration_shim.ledger import known_differences as known
from migration_shim.models import CoursePhase, Divergence, GateOverride, KnownDifference, LedgerEntry, PhaseChange, Run
from migration_shim.reports import collect, terminal
from migration_shim.reports.formats import RENDERERS, renderer_of
from tests.builders import rows
from tests.builders.overrides import signer, step_past_gate
from tests.builders.rows import COURSE, clean_course, fresh  # noqa: F401
from tests.schemas import validate

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
#: What is open where no run has looked at the course: no run at all, and no pairs.
OPEN = frozenset({"stale", "needs_pairs"})
FULL = Request(causes=OPEN, confirmed=COURSE)


def in_shadow():
    toggles.force_flags(COURSE, True, False)
    rows.in_phase("shadow")


def step(to=Phase.LIVE, override=FULL, login="ada", **options):
    signer()
    toggles.new_work_cycle()
    wanted = {"reason": "exam on Friday", "execute": True, "user": "root", "login": login, "override": override}
    return api.cutover(COURSE, to, **(wanted | options))


def refused(match, **options):
    """The step is refused, in these words, and has left nothing behind."""
    log = PhaseChange.objects.count()
    with pytest.raises(ShimError, match=match):
        step(**options)
    assert not GateOverride.objects.exists()
    assert PhaseChange.objects.count() == log
    assert CoursePhase.objects.get(course_id=COURSE).phase == "shadow"


def shown():
    return [item["signed_by"] for item in override_records.described(COURSE)]


def test_an_override_takes_the_step_and_is_on_record():
    in_shadow()
    document = step()
    validate(document.content)
    assert (document.exit_code, document.content["executed"], document.content["verdict"]) == (0, True, "INCONCLUSIVE")
    assert CoursePhase.objects.get(course_id=COURSE).phase == "live"
    [override] = GateOverride.objects.all()
    assert (override.signed_by, override.reason, override.step_to) == ("ada", "exam on Friday", "live")
    assert (override.verdict, set(override.causes)) == ("INCONCLUSIVE", OPEN)
    assert "there was no reconcile" in override.evidence["reasons"] and override.evidence["by"] == "root"
    assert override.expires_at == override.used_at <= now()
    assert "signed by ada" in terminal.render(document.content)


def test_without_it_the_same_step_is_refused_and_says_what_is_open():
    in_shadow()
    document = step(override=None)
    assert document.exit_code == ExitCode.DIFFERENCES | ExitCode.STALE
    assert document.content["causes"] == ["stale", "needs_pairs"]
    assert "open: stale, needs_pairs" in terminal.render(document.content)
    assert not GateOverride.objects.exists()
    assert CoursePhase.objects.get(course_id=COURSE).phase == "shadow"


@pytest.mark.parametrize("override", [Request(), FULL])
def test_a_plan_with_it_signs_nothing_and_needs_nobody(override):
    in_shadow()
    document = step(execute=False, login=None, override=override)
    validate(document.content)
    assert document.content["overridden"] is True
    assert "--override-reasons stale,needs_pairs" in terminal.render(document.content)
    assert not GateOverride.objects.exists()
    assert not PhaseChange.objects.exists()


@pytest.mark.parametrize(
    ("named", "match"),
    [
        (None, "were not named: stale, needs_pairs. Open for"),
        (frozenset(), "were not named: stale, needs_pairs. Open for"),
        ({"stale"}, "were not named: needs_pairs. Open for .*stale,needs_pairs"),
        (OPEN | {"differs"}, "nobody can answer for it: differs. Open are: .*stale,needs_pairs"),
        (OPEN | {"ready"}, "nobody can answer for it: ready"),
        ({"leak"}, "were not named: stale, needs_pairs"),
    ],
)
def test_it_names_exactly_what_is_open(named, match):
    in_shadow()
    refused(match, override=Request(causes=named, confirmed=COURSE))


def test_a_plan_is_refused_as_the_step_would_be():
    in_shadow()
    refused("were not named: needs_pairs", execute=False, override=Request(causes=frozenset({"stale"})))


def test_what_opens_after_the_plan_is_not_passed():
    """The person has read the plan; then a preflight finds a blocker."""
    in_shadow()
    assert step(execute=False).content["permitted"]
    document = {"findings": [blocker()]}
    Run.objects.create(kind="preflight", scope=COURSE, finished_at=now(), complete=True, document=document)
    refused("were not named: blocked")


def blocker():
    text = {"code": "answer_over_limit", "severity": "blocker", "queue": "q", "problem": "p", "about": ""}
    return text | {"rows": 2, "seam": False}


@pytest.mark.parametrize("confirmed", ["", "yes", "course-v1:ExU+PY2+2026", COURSE.upper()])
def test_it_is_confirmed_by_the_id_of_the_course(confirmed):
    in_shadow()
    refused(f"--confirm {re.escape(COURSE)}", override=Request(causes=OPEN, confirmed=confirmed))


def test_the_operating_systems_name_is_no_person():
    in_shadow()
    refused("needs a person: name an active user with --user", login=None)


@pytest.mark.parametrize("execute", [True, False])
def test_nor_is_an_account_that_is_not_there_or_not_active_or_a_learners(execute):
    in_shadow()
    refused("no LMS user 'nobody'", login="nobody", execute=execute)
    signer("gone", is_active=False)
    refused("'gone' is not active", login="gone", execute=execute)
    signer("learner", is_staff=False)
    refused("'learner' is not staff", login="learner", execute=execute)


def test_a_superuser_is_a_person_too():
    in_shadow()
    signer("root", is_staff=False, is_superuser=True)
    assert step(login="root").content["executed"]


@pytest.mark.parametrize("login", ["ADA", "ada ", " ada", "\u00e1da", ""])
def test_a_name_that_only_looks_like_an_accounts_is_nobodys(login):
    """MySQL finds ada for most of them."""
    in_shadow()
    refused("no LMS user", login=login)


def test_where_the_gate_is_open_there_is_nothing_to_pass(clean):
    toggles.force_flags(COURSE, True, False)
    with pytest.raises(IllegalStep, match="nothing to pass"):
        step()
    assert not GateOverride.objects.exists() and not PhaseChange.objects.exists()
    assert step(override=None).content["executed"]


@pytest.mark.parametrize("to", [Phase.LEGACY, Phase.LIVE])
def test_a_step_that_asks_no_gate_does_without(to):
    step_past_gate(COURSE, Phase.SHADOW)
    for phase in (Phase.LIVE, Phase.COMPLETE):
        step_past_gate(COURSE, phase)
    document = step(to, login=None, override=Request())
    assert (document.content["executed"], document.content["overridden"]) == (True, False)
    assert GateOverride.objects.count() == 2


@pytest.mark.parametrize("found", ["fence_leaks", "double_authority"])
def test_no_signature_passes_a_broken_promise(found):
    in_shadow()
    rows.entries(449)
    rows.reconciled(document={found: 1})
    rows.preflighted()
    cause = {"fence_leaks": "leak"}.get(found, found)
    refused("no override passes that", override=Request(causes=frozenset({cause}), confirmed=COURSE))


def test_it_ends_with_its_step_and_the_next_one_needs_its_own():
    in_shadow()
    step()
    again = step(Phase.COMPLETE, override=None)
    assert again.exit_code and not again.content["executed"]
    toggles.force_flags(COURSE, *flags_of(Phase.COMPLETE))  # nor by hand
    toggles.new_work_cycle()
    assert toggles.phase_of(COURSE).phase is Phase.LIVE
    step(Phase.SHADOW, override=None)
    assert step(override=None).exit_code  # a step back and forward again
    toggles.force_flags(COURSE, *flags_of(Phase.LIVE))
    toggles.new_work_cycle()
    assert toggles.phase_of(COURSE).phase is Phase.SHADOW
    assert GateOverride.objects.count() == 1


def test_it_is_shown_for_as_long_as_the_phase_rests_on_it():
    in_shadow()
    step()
    GateOverride.objects.update(expires_at=now() - timedelta(days=400), used_at=now() - timedelta(days=400))
    assert shown() == ["ada"]
    step_past_gate(COURSE, Phase.COMPLETE, login="grace")
    assert shown() == ["ada", "grace"]
    step(override=None)  # back to live, which the first one still carries
    assert shown() == ["ada"]
    step(Phase.SHADOW, override=None)
    assert shown() == []
    step_past_gate(COURSE, Phase.LIVE, login="grace")
    assert shown() == ["grace"]


def test_a_way_back_by_hand_ends_it_too():
    in_shadow()
    step()
    toggles.force_flags(COURSE, False, False)
    toggles.new_work_cycle()
    assert toggles.phase_of(COURSE).phase is Phase.LEGACY
    assert shown() == []


def test_one_that_the_release_before_has_signed_is_shown_alike():
    in_shadow()
    values = {"course_id": COURSE, "step_to": "live", "signed_by": "root", "verdict": "FAIL", "reason": "exam"}
    GateOverride.objects.create(expires_at=now() + timedelta(hours=9), evidence={"reasons": []}, **values)
    rows.in_phase("live")
    toggles.force_flags(COURSE, True, True)
    assert shown() == ["root"]
    step(Phase.SHADOW, override=None)
    assert shown() == []


def test_the_log_says_it_in_a_line_without_what_was_compared(caplog, django_capture_on_commit_callbacks):
    in_shadow()
    rows.entries(1)
    with caplog.at_level(logging.WARNING), django_capture_on_commit_callbacks(execute=True):
        step()
    [line] = [record for record in caplog.records if "OVERRIDE" in record.getMessage()]
    assert line.levelno == logging.WARNING
    said = line.getMessage()
    assert f"course {COURSE} to live past a gate that says INCONCLUSIVE (stale, needs_pairs), signed by ada" in said
    assert said.endswith(f"signed by ada, run by root on {socket.gethostname()}")
    assert "block-v1" not in said and rows.anonymous_id(0) not in said and "exam" not in said


def test_the_audit_marks_the_step_and_its_chain_covers_it():
    in_shadow()
    step()
    content = api.audit([COURSE]).content
    validate(content)
    proof = content["courses"][0]["entries"][-1]["evidence"]["override"]
    assert (proof["signed_by"], set(proof["causes"])) == ("ada", OPEN)
    assert "OVERRIDE of stale, needs_pairs, signed by ada" in terminal.render(content)
    change = PhaseChange.objects.latest("id")
    forged = change.evidence | {"override": proof | {"signed_by": "eve"}}
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE migration_shim_phasechange SET evidence = %s WHERE id = %s", [json.dumps(forged), change.pk]
        )
    assert api.audit([COURSE]).content["broken"] == 1


def test_every_report_and_status_shows_it_after_it_has_ended():
    in_shadow()
    step()
    GateOverride.objects.update(expires_at=now() - timedelta(days=400))
    rows.entries(1)
    reconcile = rows.reconcile()[0].content
    words = ("ada", "exam on Friday", "needs_pairs")
    found = {
        "reconcile": terminal.render(reconcile),
        "gate": terminal.render(api.gate(COURSE).content),
        "status": terminal.render(api.status([COURSE]).content),
    }
    report = collect.gather(reconcile, lambda: iter(()))
    endings = [*(ending for ending in RENDERERS if ending != ".csv"), ".overrides.csv"]
    found |= {ending: "".join(renderer_of(Path(f"report{ending}"))(report)) for ending in endings}
    for name, text in found.items():
        assert [word for word in words if word not in text] == [], name
    for document in (reconcile, api.gate(COURSE).content, api.status([COURSE]).content):
        validate(document)


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
