"""Overrides: a person's signed wish to let a course take one step past a closed gate. The verdict stays as it is."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils.timezone import now

from ..conf import load
from ..core import overrides as in_words
from ..core.data import Phase, Verdict
from ..core.errors import IllegalStep
from ..db import text_columns
from ..models import GateOverride, PhaseChange
from ..runs import owner
from ..runs import records as run_records
from . import override_records, signers, unpassable

log = logging.getLogger(__name__)

#: A number of something in a reason, as "3 rows" or "0.5%". A digit in the name of a queue or a problem is none.
_FIGURE = re.compile(r"(?<![\w.@+:/-])\d+(?:\.\d+)*(?:%|(?= [a-z]))")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """
    What a person asks to pass.

    Args:
        causes: the codes of all that is open, as the person has named them. None: not named yet, enough for a plan.
        confirmed: the course's id as the person has typed it once more. A plan does without.
    """

    causes: frozenset[str] | None = None
    confirmed: str = ""


def named(text: str) -> frozenset[str]:
    """Return the codes in what a person typed: separated by commas or blanks, in any case."""
    return frozenset(code for code in re.split(r"[,\s]+", text.strip().lower()) if code)


def check(course_id: str, request: Request, found: Collection[str], *, signer: Any, signing: bool) -> None:
    """
    Refuse an override that does not name exactly what is open; and one that is to be signed without person or id.

    Args:
        course_id: the course.
        request: what the person asks for.
        found: the codes of all that is open.
        signer: the person's user; None where none is named.
        signing: the step is to be taken, or the override to be proposed; a plan is not signed.

    Raises:
        IllegalStep: with what is open, or what to do.
    """
    if signer is not None:
        signers.refuse(signer)
    elif signing:
        raise IllegalStep(
            "An override needs a person: name an active user with --user LOGIN. The operating system's name is not "
            "enough, in a container everybody is root."
        )
    if request.causes is not None or signing:
        check_codes(course_id, request.causes or frozenset(), found)
    if signing and request.confirmed.strip() != course_id:
        raise IllegalStep(
            "An override is confirmed by the course's id, typed once more: on a terminal when the command asks for it, "
            f"otherwise with --confirm {course_id}. "
            + ("Another id was given." if request.confirmed.strip() else "None was given.")
        )


def check_codes(course_id: str, said: Collection[str], found: Collection[str]) -> None:
    """
    Refuse codes that are not exactly those of what is open.

    Args:
        course_id: the course.
        said: the codes that a person has named.
        found: the codes of all that is open.

    Raises:
        IllegalStep: with what is open.
    """
    everything = ",".join(found)
    if not found:
        raise IllegalStep(f"There is nothing to pass for {course_id}: repeat the command without --override.")
    if missing := [code for code in found if code not in said]:
        raise IllegalStep(
            f"An override names all that it passes, and these were not named: {', '.join(missing)}. Open for "
            f"{course_id}: --override-reasons {everything}"
        )
    if extra := sorted(set(said).difference(found)):
        raise IllegalStep(
            f"Not open for {course_id}, so that nobody can answer for it: {', '.join(extra)}. Open are: "
            f"--override-reasons {everything}"
        )


def sign(
    course_id: str,
    step_to: Phase,
    *,
    reason: str,
    signer: Any,
    by: str,
    verdict: Verdict,
    causes: Collection[str],
    reasons: Collection[str],
    bound: Collection[str],
) -> GateOverride:
    """
    Put an override on record with what it passes: used up by the step that follows, or as a proposal.

    It is a proposal where ``OVERRIDE_NEEDS_SECOND`` is on and no other person has proposed the same. Then ``used_at``
    is None and no step may be taken. The caller holds the course's lock, has asked ``check`` and ``refuse_unpassable``
    under it, and takes the step in the same transaction.

    Args:
        course_id: the course.
        step_to: the phase of the step.
        reason: why, cut to the column.
        signer: the person's user.
        by: the operating system's name of who runs the command.
        verdict: the gate's verdict.
        causes: the codes of what is open.
        reasons: the same in words.
        bound: the words that have to be the same when the second person signs, but for figures.

    Raises:
        IllegalStep: this person has proposed it already.
    """
    moment, settings = now(), load()
    name = text_columns.fitted(GateOverride, "signed_by", signer.get_username())[:150]
    newest = PhaseChange.objects.filter(course_id=course_id).order_by("-pk").values_list("pk", flat=True).first() or 0
    without_figures = sorted({_FIGURE.sub("", one) for one in bound})
    basis = run_records.digest({"to": step_to, "log": newest, "causes": sorted(causes), "reasons": without_figures})
    evidence = {"reasons": list(reasons), "digest": run_records.digest({"reasons": list(reasons)})}
    evidence |= {"by": by, "host": owner.owner()["host"]}
    waiting = override_records.proposals(course_id, moment)
    same = next(
        (row for row in waiting if row.evidence.get("basis") == basis and signers.may_sign(row.signed_by)), None
    )
    if same is not None and settings.override_needs_second:
        if signers.look_alike(same.signed_by, name):
            raise IllegalStep(
                f"{name} has proposed this override already. A second person has to repeat it before "
                f"{same.expires_at.isoformat(timespec='minutes')}."
            )
        same.seconded_by, same.used_at, same.expires_at = name, moment, moment
        same.evidence = {**same.evidence, "second": {**evidence, "reason": reason}}
        same.save(update_fields=["seconded_by", "used_at", "expires_at", "evidence"])
        signed = same
    else:
        # A proposal for other reasons, or of before the setting was changed, is nobody's to sign any more.
        waiting.update(withdrawn_at=moment)
        proposal = settings.override_needs_second
        signed = GateOverride.objects.create(
            course_id=course_id,
            step_to=step_to,
            reason=text_columns.fitted(GateOverride, "reason", reason),
            signed_by=name,
            created_at=moment,
            # It ends with its step. A process of the release before takes it for expired, which it is.
            expires_at=moment + timedelta(seconds=settings.override_seconds) if proposal else moment,
            used_at=None if proposal else moment,
            proposal=proposal,
            verdict=verdict,
            causes=list(causes),
            evidence={**evidence, "basis": basis, "log_id": newest},
        )
    _say(signed, evidence)
    return signed


def proof(signed: GateOverride) -> dict[str, Any]:
    """Return what the record of a step says of the override that it was taken with."""
    return {
        "id": signed.pk,
        "causes": list(signed.causes),
        "signed_by": signed.signed_by,
        "seconded_by": signed.seconded_by,
        "host": (signed.evidence.get("second") or signed.evidence)["host"],
    }


def _say(signed: GateOverride, evidence: dict[str, Any]) -> None:
    """
    Log an override as soon as it is committed: codes, signers, and who ran it where; nothing of what was compared.

    ``evidence`` is that of the last signature.
    """
    state = "proposed, a second person is to sign" if signed.used_at is None else "used"
    passed = (signed.course_id, signed.step_to, signed.verdict, ", ".join(signed.causes))
    names = in_words.signers(signed.signed_by, signed.seconded_by)
    transaction.on_commit(
        lambda: log.warning(
            "migration_shim.override_signed: OVERRIDE %s: course %s to %s past a gate that says %s (%s), signed by %s, "
            "run by %s on %s",
            state,
            *passed,
            names,
            evidence["by"],
            evidence["host"],
        )
    )


def refuse_unpassable(course_id: str) -> None:
    """
    Refuse an override where no signature makes the step harmless (``unpassable.find``).

    Raises:
        IllegalStep: with what was found, or with what could not be read.
    """
    if (obstacle := unpassable.find(course_id)) is not None:
        raise IllegalStep(obstacle.reason)
