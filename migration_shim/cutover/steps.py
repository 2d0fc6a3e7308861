"""Steps of a course from phase to phase: a plan, or the flags and the record in one transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from django.db import transaction
from django.utils.timezone import now

from .. import toggles
from ..conf import load, usable
from ..core.data import Authority, Document, ExitCode, Phase, Verdict
from ..core.documents.cutover import CutoverDocument, CutoverPlan, Flags
from ..core.documents.cutover_removal import CutoverRemovalDocument
from ..core.errors import IllegalStep
from ..core.evidence import Cause, GateResult
from ..core.phases import allowed_steps, flags_of, needs_permit
from ..ledger import permits, recount, stamp
from ..lms import flags as lms_flags
from ..models import CoursePhase, GateOverride
from ..runs import records as run_records
from ..target import removal
from . import gate, impact, override_records, overrides, release, signers, unpassable

SCHEMA = "migration_shim.xqueue_cutover/1"
REMOVAL_SCHEMA = "migration_shim.xqueue_cutover_removal/1"
_UNKNOWN = (
    "the target holds shadows without a ledger entry, left by an earlier installation: each would get a duplicate. "
    "Remove them first: {command}"
)
_REMOVE = "xqueue_cutover --course {course} --to legacy --remove-shadows --reason TEXT --execute"
_WAY_BACK = "xqueue_cutover --course {course} --to legacy --reason TEXT --execute"

_AFTER = {
    Phase.LEGACY: "Rows in flight on the target stay with the target's graders: keep them polling until it is empty, "
    "or take the rows back with xqueue_backfill --mode return.",
    Phase.SHADOW: "Graders must also poll each queue's shadow queue on the target.",
    Phase.LIVE: "Rows in flight on legacy drain there: keep XQueue and its graders running, or move the rows with "
    "xqueue_backfill --mode handoff. Graders must poll each queue on the target, and its reverse-shadow queue on "
    "XQueue.",
    Phase.COMPLETE: "Keep XQueue running until it holds nothing of this course. Then --remove-shadows takes its "
    "shadows off the target.",
}
_NEXT = {
    Phase.LEGACY: ("xqueue_status --course {course}",),
    Phase.SHADOW: ("xqueue_backfill --mode shadow --course {course} --execute", "xqueue_reconcile --course {course}"),
    Phase.LIVE: ("xqueue_status --course {course}", "xqueue_reconcile --course {course}"),
    Phase.COMPLETE: (
        "xqueue_status --course {course}",
        "xqueue_cutover --course {course} --to complete --remove-shadows --reason TEXT",
    ),
}
_MISCOUNTED = "{number} counters differ from the ledger, so that no verdict can be trusted: count again with {command}"
_RECOUNT = "xqueue_reconcile --course {course} --full"
_PAST_THE_SHIM = (
    "{flag} is on for {course}: the platform sends its submissions past the shim. "
    "Turn it off first: xqueue_cutover --course {course} --to legacy --reason TEXT --execute"
)


def run(
    course_id: str,
    to: Phase,
    *,
    reason: str,
    execute: bool,
    user: str,
    login: str | None,
    override: overrides.Request | None = None,
    expected: Phase | None = None,
    permit_check: Callable[[], dict[str, Any]] | None = None,
) -> Document[CutoverDocument]:
    """
    Plan a step of a course, or take it.

    Args:
        course_id: the course.
        to: the phase to step to: a neighbour of the one in force, or legacy from anywhere.
        reason: why, for the record.
        execute: flip the flags and put the step on record; without it only plan.
        user: the operating system's name of the operator, for the record.
        login: the LMS user whom the flag overrides name as their author, if any; the person who signs an override.
        override: pass a closed gate for this step. A step that asks no gate does without, whatever is given here.
        expected: the phase that the operator planned from; from any other the step is not taken.
        permit_check: called under the course's lock, right before the step. It raises where the step may not be taken
            now, and returns what goes on record with it.

    Returns:
        The plan, with ``executed``. An exit code other than 0 says that the step is not permitted: the gate's code, or
        2 for another reason. 4: the override waits for a second person, and the step was not taken.

    Raises:
        IllegalStep: the phases do not allow the step, no override can pass the gate (``refuse_unpassable``), this one
            does not (``overrides.check``), the course is not in the expected phase, or its id is no course key.
        ShimError: there is no LMS user ``login``.
        ConfigurationError: the settings are not usable.
    """
    if to is not Phase.LEGACY:  # what an older release has on record may still go back
        toggles.check_course(course_id)
    signer = signers.lms_user(login)
    toggles.new_work_cycle()
    # Before the lock is taken: XQueue's database may be slow, and other steps of the course would wait for it.
    in_flight_now = impact.in_flight(course_id)
    complaint = _unknown_lms_complaint(course_id) if to.authority is Authority.TARGET else ""
    if not execute:
        content, exit_code, _ = _plan(course_id, to, reason, override, signer, False, in_flight_now, complaint)
        return Document(content={**content, "executed": False}, exit_code=exit_code)
    CoursePhase.objects.get_or_create(course_id=course_id)
    with transaction.atomic():
        # The course's row is the lock: the second of two operators waits here, and then reads what the first did.
        permits.locked(course_id)
        toggles.new_work_cycle()
        said = permit_check() if permit_check is not None else {}
        content, exit_code, result = _plan(course_id, to, reason, override, signer, True, in_flight_now, complaint)
        if expected is not None and content["from"] != expected:
            raise IllegalStep(f"{course_id} is in {content['from']} by now, no longer in {expected}: look again.")
        if exit_code:
            return Document(content={**content, "executed": False}, exit_code=exit_code)
        signed = None
        if content["overridden"] and result is not None:
            signed = _sign(course_id, to, reason, signer, user, result)
            content["override"] = override_records.one(signed)
            if signed.used_at is None:
                return Document(content={**content, "executed": False}, exit_code=ExitCode.LEFT_BEHIND)
        turned_off = release.turn_off_platform_flag(course_id, user=signer, note=reason)
        toggles.force_flags(course_id, *flags_of(to), user=signer, note=reason)
        proof = said | {
            "digest": run_records.digest(content),
            "verdict": content["verdict"],
            "overridden": content["overridden"],
            **({"override": overrides.proof(signed)} if signed is not None else {}),
            "login": login or "",
            # A step to legacy must work with unusable settings.
            "settings": run_records.settings_of(usable()[0] if to is Phase.LEGACY else load()),
        }
        if turned_off:
            proof["platform_flag"] = "off"
        toggles.record_step(course_id, to, by=user, reason=reason, evidence=proof)
    return Document(content={**content, "executed": True}, exit_code=ExitCode.OK)


def remove_shadows(
    course_id: str, *, execute: bool, progress: Callable[[int, int], None]
) -> Document[CutoverRemovalDocument]:
    """
    Remove the shadows of a course from the target with their files, or count them.

    In ``legacy`` they may be left from an earlier installation, without ledger entries.

    Args:
        course_id: a course in ``complete`` or ``legacy``.
        execute: remove them; without it only count.
        progress: called with (removed so far, all).

    Raises:
        IllegalStep: the course is in ``shadow`` or ``live``: its shadows are the evidence for the next step.
        LedgerNotOurs: the ledger belongs to another LMS, and so do the files that it names.
    """
    phase = toggles.phase_of(course_id).phase
    if phase not in (Phase.LEGACY, Phase.COMPLETE):
        raise IllegalStep(f"{course_id} is in phase {phase}: its shadows are evidence until it is complete.")
    if execute:
        stamp.check()
    found = removal.count_shadows(course_id)
    removed = removal.remove_shadows(course_id, progress) if execute else 0
    content: CutoverRemovalDocument = {
        "schema": REMOVAL_SCHEMA,
        "course": course_id,
        "at": now().isoformat(),
        "shadows": found,
        "removed": removed,
        "executed": execute,
    }
    return Document(content=content, exit_code=ExitCode.OK)


def _plan(
    course_id: str,
    to: Phase,
    reason: str,
    override: overrides.Request | None,
    signer: Any,
    signing: bool,
    in_flight_now: impact.InFlight,
    complaint: str,
) -> tuple[CutoverPlan, ExitCode, GateResult | None]:
    decision = toggles.phase_of(course_id)
    past_the_shim = lms_flags.submission_flag_on(course_id)
    if past_the_shim and to not in (Phase.LEGACY, Phase.LIVE):
        raise IllegalStep(_PAST_THE_SHIM.format(course=course_id, flag=release.FLAG))
    if to is decision.phase and not decision.drift and not past_the_shim:
        raise IllegalStep(f"{course_id} is in phase {to} already.")
    if to is not decision.phase and to not in allowed_steps(decision.phase):
        steps = ", ".join(allowed_steps(decision.phase))
        raise IllegalStep(f"From {decision.phase} a course can go to {steps}, not to {to}.")
    gated = needs_permit(decision.phase, to)
    result, verdict, reasons, needed, exit_code = None, None, [], [], ExitCode.OK
    commands: list[str] = []  # what comes next where the step is not permitted
    if gated:
        result, _ = gate.evaluate_course(course_id)
        verdict, reasons, needed = result.verdict, list(result.reasons), list(result.needed)
        if exit_code := gate.exit_code(result.verdict):
            commands.append(f"xqueue_gate --course {course_id} --explain")
    overridden = override is not None and verdict not in (None, Verdict.PASS)
    if override is not None and result is not None:
        if overridden:
            overrides.refuse_unpassable(course_id)
        overrides.check(course_id, override, result.causes, signer=signer, signing=signing)
        exit_code = ExitCode.OK
        commands.clear()
    if verdict is Verdict.PASS and (obstacle := unpassable.find(course_id)) is not None:
        # The verdict is as old as its evidence. What no override passes, a PASS does not pass either.
        reasons.append(obstacle.reason)
        commands.append(obstacle.command)
        exit_code |= ExitCode.DIFFERENCES
    if to is Phase.SHADOW and decision.phase is Phase.LEGACY and removal.has_unknown_shadow(course_id):
        commands.append(_REMOVE.format(course=course_id))
        reasons.append(_UNKNOWN.format(command=commands[-1]))
        exit_code |= ExitCode.DIFFERENCES
    if gated and complaint:
        # No override passes this: a setting has to say whose the rows are.
        reasons.append(complaint)
        commands.append(f"xqueue_preflight --course {course_id}")
        exit_code |= ExitCode.DIFFERENCES
    if gated and (differ := recount.difference(course_id).number):
        # No override passes this either: the verdict rests on wrong counts.
        commands.append(_RECOUNT.format(course=course_id))
        reasons.append(_MISCOUNTED.format(command=commands[-1], number=differ))
        exit_code |= ExitCode.DIFFERENCES
    before, after = toggles.flags_for(course_id), flags_of(to)
    content: CutoverPlan = {
        "schema": SCHEMA,
        "course": course_id,
        "at": now().isoformat(),
        "from": decision.phase.value,
        "to": to.value,
        "reason": reason,
        "gated": gated,
        "permitted": not exit_code,
        "overridden": overridden,
        "override": None,
        "verdict": verdict.value if verdict else None,
        "causes": [cause.value for cause in result.causes] if result else [],
        "reasons": reasons,
        "needed": needed,
        "flags_before": cast(Flags, dict(zip(toggles.FLAGS, before, strict=True))),
        "flags_after": cast(Flags, dict(zip(toggles.FLAGS, after, strict=True))),
        "authoritative_after": to.authority.value,
        "platform_flag_before": past_the_shim,
        "in_flight": in_flight_now,
        "becomes": impact.fate_of_rows(course_id, to, in_flight_now),
        **impact.grader_tasks(course_id, to, in_flight_now),
        "remember": _AFTER[to],
        "way_back": None if to is Phase.LEGACY else _WAY_BACK.format(course=course_id),
        "next": commands if exit_code else [command.format(course=course_id) for command in _NEXT[to]],
    }
    return content, exit_code, result


def _sign(course_id: str, to: Phase, reason: str, signer: Any, user: str, result: GateResult) -> GateOverride:
    """Put on record who answers for all that the gate says is open; see ``overrides.sign``."""
    reasons = zip(result.reason_causes, result.reasons, strict=True)
    return overrides.sign(
        course_id,
        to,
        reason=reason,
        signer=signer,
        by=user,
        verdict=result.verdict,
        causes=result.causes,
        reasons=result.reasons,
        # What is missing changes by itself, and becomes less.
        bound=[text for cause, text in reasons if cause is not Cause.NEEDS_PAIRS],
    )


def _unknown_lms_complaint(course_id: str) -> str:
    """Return why rows on legacy from hosts that no setting names hold the course back; empty where there are none."""
    rows = impact.rows_of_unknown_lms(course_id)
    if rows is None:
        return "legacy's database does not answer: whether rows of an unknown LMS wait there cannot be told"
    named = ", ".join(f"{number} of {host}" for host, number in rows.items())
    return f"legacy holds rows of the course whose LMS no setting names: {named}" if rows else ""
