"""
The release: the last step, which turns on the platform's own ``send_to_submission_course.enable`` for a course.

With that flag on, the platform writes to edx-submissions by itself, past the router, the ledger, the fence and the
watcher seam. What the seam does for submissions is lost then, so a course whose history shows that it needs the seam is
not released. The flag without a release is a mistake, which the status and the preflight report.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils.timezone import now

from .. import toggles
from ..conf import load
from ..core import row_checks
from ..core.data import Authority, Document, ExitCode, Phase, Verdict
from ..core.documents.cutover_release import CutoverReleaseDocument, Finding, ReleasePlan
from ..core.errors import IllegalStep, Malformed, ShimError
from ..core.findings import NOTE
from ..core.wire import parse_envelope
from ..ledger.entries import legacy_body
from ..lms import capa
from ..lms import flags as lms_flags
from ..models import CoursePhase, GateOverride, LedgerEntry, PhaseChange
from ..runs import records as run_records
from ..target import installed, writer
from . import override_records, overrides, signers

SCHEMA = "migration_shim.xqueue_cutover_release/1"
FLAG = lms_flags.SUBMISSION_FLAG
PAGE = 500
#: Findings of a preflight that matter only while legacy is in use.
_OF_LEGACY = frozenset(
    {
        "callback_collision",
        "collided",
        "deleted_unretired",
        "file_unreachable",
        "files_no_storage",
        "old_unretired",
        "push_queue",
    }
)
#: The code of submissions whose residue was purged, so that they cannot be examined.
PURGED = "residue_purged"
#: Findings that an operator may accept by signature. CAPA always sends a submission time and xqueue-watcher never reads
#: it. With any other finding submissions would be lost, refused or graded differently.
_ACCEPTABLE = frozenset({"submission_time_format", PURGED})


def turn_off_platform_flag(course_id: str, *, user: Any, note: str) -> bool:
    """Turn the platform's own flag off for a course, and return whether it was on."""
    on = lms_flags.submission_flag_on(course_id)
    if on:
        toggles.force_platform_flag(FLAG, course_id, False, user=user, note=note)
    return on


def run(
    course_id: str,
    *,
    reason: str,
    execute: bool,
    user: str,
    login: str | None,
    override: overrides.Request | None = None,
) -> Document[CutoverReleaseDocument]:
    """
    Plan the release of a course, or carry it out.

    Args:
        course_id: a course in ``complete``.
        reason: why, for the record.
        execute: turn the flag on and put the release on record; without it only plan.
        user: the operating system's name of the operator, for the record.
        login: the LMS user whom the flag override names as its author, if any.
        override: accept the findings that an operator may accept; it names their codes.

    Returns:
        The plan, with ``executed``. Exit code 2 where findings stand against it, 2|8 where evidence is missing; 4 where
        the override waits for a second person.

    Raises:
        IllegalStep: the course is not in ``complete``, or released already, or the override is refused
            (``overrides.check``).
        ShimError: this is no LMS, or there is no such user.
    """
    if not toggles.in_platform():
        raise ShimError(
            f"{FLAG} is a flag of the platform's waffle_utils, which is not installed here: run this in an LMS."
        )
    signer = signers.lms_user(login)
    content = _plan(course_id, reason, override, signer, False)
    executed = False
    if execute and content["permitted"]:
        with transaction.atomic():
            record = CoursePhase.objects.select_for_update().get(course_id=course_id)
            toggles.new_work_cycle()
            content = _plan(course_id, reason, override, signer, True)
            signed = _sign(content, reason, signer, user) if content["permitted"] and content["accepted"] else None
            if signed is not None and signed.used_at is None:
                content["override"] = override_records.one(signed)
                return Document(content={**content, "executed": False}, exit_code=ExitCode.LEFT_BEHIND)
            if content["permitted"]:
                proof: dict[str, Any] = {"platform_flag": "on", "digest": run_records.digest(content)}
                proof["accepted"] = content["accepted"]
                if signed is not None:
                    content["override"] = override_records.one(signed)
                    proof["override"] = overrides.proof(signed)
                proof |= {"login": login or "", "settings": run_records.settings_of(load())}
                PhaseChange.objects.append(record, Phase.COMPLETE, by=user, reason=reason, evidence=proof)
                record.released_at = now()
                record.save()
                toggles.force_platform_flag(FLAG, course_id, True, user=signer, note=reason)
                executed = True
    exit_code = ExitCode.OK if content["permitted"] else _exit_code(content)
    return Document(content={**content, "executed": executed}, exit_code=exit_code)


def _exit_code(content: ReleasePlan) -> ExitCode:
    return ExitCode.DIFFERENCES if content["findings"] else ExitCode.DIFFERENCES | ExitCode.STALE


def _sign(content: ReleasePlan, reason: str, signer: Any, user: str) -> GateOverride:
    """Put on record who answers for the accepted findings; see ``overrides.sign``."""
    accepted = [item for item in content["findings"] if item["code"] in content["accepted"]]
    return overrides.sign(
        content["course"],
        Phase.COMPLETE,
        reason=reason,
        signer=signer,
        by=user,
        verdict=Verdict.FAIL,
        causes=content["accepted"],
        reasons=[f"{item['code']}: {item['rows']} rows of {item['queue']} {item['problem']}" for item in accepted],
        bound=content["accepted"],
    )


def _plan(course_id: str, reason: str, override: overrides.Request | None, signer: Any, signing: bool) -> ReleasePlan:
    decision = toggles.phase_of(course_id)
    if decision.phase is not Phase.COMPLETE or decision.drift:
        drift = f", and its flags ask for {decision.asked}" if decision.drift else ""
        raise IllegalStep(f"Only a course in complete can be released; {course_id} is in {decision.phase}{drift}.")
    on = lms_flags.submission_flag_on(course_id)
    if on and not toggles.bypasses_shim(course_id):
        raise IllegalStep(f"{course_id} is released already.")
    missing, findings, moment = [], [], None
    preflight = run_records.last_complete("preflight", course_id)
    if preflight is None or preflight.finished_at is None or "findings" not in preflight.document:
        missing.append("there is no preflight of the course on record")
    else:
        moment = preflight.finished_at
        findings = [_shown(item, "legacy") for item in preflight.document["findings"] if _blocks(item)]
        missing += _stale(moment, preflight.document.get("versions"))
    missing += capa.uncallable(needs_queue_key=installed.needs_queue_key())
    findings += _of_ledger(course_id)
    acceptable = sorted({item["code"] for item in findings if item["code"] in _ACCEPTABLE})
    accepted = acceptable if override is not None else []
    left = [item for item in findings if item["code"] not in accepted]
    if override is not None and not (missing or left):
        overrides.check(course_id, override, acceptable, signer=signer, signing=signing)
    return {
        "schema": SCHEMA,
        "course": course_id,
        "at": now().isoformat(),
        "reason": reason,
        "preflight_at": moment.isoformat() if moment else None,
        "permitted": not (missing or left),
        "reasons": missing,
        "findings": findings,
        "acceptable": sorted(_ACCEPTABLE),
        "accepted": accepted,
        "override": None,
        "flag": FLAG,
        "flag_before": on,
        "way_back": f"xqueue_cutover --course {course_id} --to live --reason TEXT --execute",
    }


def _stale(moment: datetime, versions: Any) -> Iterator[str]:
    if now() - moment > timedelta(seconds=load().evidence_max_age_seconds):
        yield "the preflight is too old"
    if versions != run_records.versions():
        yield "the preflight was made with other versions than those installed"


def _blocks(item: dict[str, Any]) -> bool:
    """Return whether a finding of a preflight is about rows and does harm without the watcher seam."""
    return bool(item["rows"]) and item["code"] not in _OF_LEGACY and (item["seam"] or item["severity"] != NOTE)


def _shown(item: dict[str, Any], side: str) -> Finding:
    return {
        "code": item["code"],
        "rows": item["rows"],
        "queue": item["queue"],
        "problem": item["problem"],
        "side": side,
    }


def _of_ledger(course_id: str) -> list[Finding]:
    """Return the findings in submissions that learners sent to the target, which no preflight of legacy's rows has."""
    suffix = load().shadow_queue_suffix
    counts: dict[tuple[str, str, str], int] = {}
    after = 0
    entries = LedgerEntry.objects.filter(course_id=course_id, authority=Authority.TARGET).order_by("id")
    while page := list(entries.filter(id__gt=after)[:PAGE]):
        after = page[-1].pk
        for entry in page:
            for code in _codes(entry, suffix):
                key = (code, entry.queue_name, entry.item_id)
                counts[key] = counts.get(key, 0) + 1
    return [
        {"code": code, "rows": rows, "queue": queue, "problem": problem, "side": "target"}
        for (code, queue, problem), rows in sorted(counts.items())
    ]


def _codes(entry: LedgerEntry, suffix: str) -> set[str]:
    """Return the codes of one submission's findings. Its answer is left out: the target stores it as it is."""
    try:
        envelope = parse_envelope(entry.raw_header, legacy_body(entry, ""))
    except Malformed:
        return {PURGED}
    return {hit.code for hit in row_checks.of_envelope(envelope, entry.identity, writer.ANSWER_LIMIT, suffix)}
