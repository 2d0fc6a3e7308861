"""
The flags of a course, the kill switch, and which phase is in force.

The flags say what the operator wants. Inside an LMS they are course waffle flags, read from the platform's own models
(``lms/flags.py``). Elsewhere they are read from ``FlagOverride``, with the same precedence: course, then organisation,
then the flag for everyone.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

from config_models.models import ConfigurationModel
from django.db import OperationalError, connection, transaction
from django.db.models import Q
from django.utils.timezone import now
from edx_django_utils.cache import RequestCache
from edx_toggles.toggles import WaffleSwitch
from opaque_keys import InvalidKeyError
from opaque_keys.edx.keys import CourseKey
from waffle import get_waffle_flag_model, get_waffle_switch_model
from waffle.utils import get_setting as waffle_setting

from .core.data import Authority, Phase
from .core.errors import IllegalStep
from .core.phases import PhaseDecision, asked_phase, decide, needs_permit
from .db import text_columns
from .db.retry import on_contention
from .ledger import course_lookup, permits, phase_memory
from .lms import flags as lms_flags
from .lms import shared_cache
from .lms.flags import in_platform
from .metrics import count
from .models import CoursePhase, FlagOverride, PhaseChange

log = logging.getLogger(__name__)

# .. toggle_name: migration_shim.dual_write
# .. toggle_implementation: CourseWaffleFlag
# .. toggle_default: False
# .. toggle_description: Write a copy of each submission of the course to the other system as well.
# .. toggle_use_cases: temporary
# .. toggle_creation_date: 2026-11-22
# .. toggle_target_removal_date: 2027-11-22
# .. toggle_warning: Only "everyone" and the overrides of a course or an organisation count. Percentages, users and
#   groups do not: a submission has no request of its own in a worker.
DUAL_WRITE_FLAG = "migration_shim.dual_write"

# .. toggle_name: migration_shim.target_primary
# .. toggle_implementation: CourseWaffleFlag
# .. toggle_default: False
# .. toggle_description: Make edx-submissions authoritative for the course. Obeyed only with a permit of the gate.
# .. toggle_use_cases: temporary
# .. toggle_creation_date: 2026-11-22
# .. toggle_target_removal_date: 2027-11-22
# .. toggle_warning: Ticking it by hand moves no course past the gate; xqueue_cutover shows what is missing.
TARGET_PRIMARY_FLAG = "migration_shim.target_primary"

# .. toggle_name: migration_shim.kill_switch
# .. toggle_implementation: WaffleSwitch
# .. toggle_default: False
# .. toggle_description: Stop writing copies everywhere, and stop running backfills and reconciles within one batch. It
#   never changes which system is authoritative.
# .. toggle_use_cases: open_edx
# .. toggle_creation_date: 2026-11-22
KILL_SWITCH = WaffleSwitch("migration_shim.kill_switch", __name__)

FLAGS = (DUAL_WRITE_FLAG, TARGET_PRIMARY_FLAG)
_CACHE = "migration_shim.flags"
#: Seconds that a second try to make a course's record waits: a learner may wait with it.
_PAUSE = 0.05
#: Seconds for which a process does not check again a permit that it has refused: a check costs queries.
_ASK_AGAIN = 60.0
#: By course: the permit that was refused, and until when it is not checked again (``time.monotonic``).
_refused: dict[str, tuple[tuple[int | None, str], float]] = {}


def flags_for(course_id: str) -> tuple[bool, bool]:
    """
    Return (dual_write, target_primary) for a course, as the operator wants them now.

    The answer is cached for one request at most; a long-running command clears the request cache before every batch.
    Outside an LMS both flags together cost one statement, and one more for each that is not forced. Inside, they cost
    two for a course that the app has moved, and six for one that it has not.
    """
    cached = RequestCache(_CACHE).get_cached_response(course_id)
    if cached.is_found:
        return cached.value
    if in_platform():
        return _keep(course_id, _forced_by_platform(course_id))
    scopes = Q(scope="course", key=course_id) | Q(scope="org", key=org_of(course_id))
    rows = FlagOverride.objects.filter(scopes, flag__in=FLAGS).order_by("change_date", "id")
    return _keep(course_id, _forced(rows.values_list("flag", "scope", "enabled", "force")))


@functools.lru_cache(maxsize=1024)  # every submission asks, and a key is parsed piece by piece
def org_of(course_id: str) -> str:
    """Return the organisation of a course; empty where a record's id is no course key, as one of an older release."""
    try:
        return CourseKey.from_string(course_id).org or ""
    except InvalidKeyError:
        return ""


def check_course(course_id: str) -> None:
    """
    Refuse an id that no submission can name: what is written for it would concern nobody.

    Raises:
        IllegalStep: it is no course key.
    """
    try:
        CourseKey.from_string(course_id)
    except InvalidKeyError as error:
        raise IllegalStep(f"{course_id!r} is no course id.") from error


def _forced_by_platform(course_id: str) -> dict[str, bool | None]:
    return {flag: lms_flags.forced_value(course_id, flag) for flag in FLAGS}


def _forced(overrides: Iterable[tuple[str, str, bool, bool]]) -> dict[str, bool | None]:
    """Return by flag what our own overrides force; they come oldest first as (flag, scope, enabled, force)."""
    newest = {(flag, scope): force if enabled else None for flag, scope, enabled, force in overrides}
    forced: dict[str, bool | None] = {}
    for flag in FLAGS:
        of_course, of_org = (newest.get((flag, scope)) for scope in ("course", "org"))
        forced[flag] = of_org if of_course is None else of_course
    return forced


def _keep(
    course_id: str, forced: Mapping[str, bool | None], everyone: Mapping[str, bool] | None = None
) -> tuple[bool, bool]:
    """
    Cache a course's flags for the request. A flag that is not forced is what it is for everyone, which is read here
    unless it is handed in.
    """

    def value(flag: str) -> bool:
        if (its := forced[flag]) is not None:
            return its
        return is_on_for_everyone(flag) if everyone is None else everyone[flag]

    dual_write, target_primary = (value(flag) for flag in FLAGS)
    RequestCache(_CACHE).set(course_id, (dual_write, target_primary))
    return dual_write, target_primary


def submission_flag_on_for_all(course_id: str) -> bool:
    """
    Tell whether the platform's own flag sends a course's submissions past the shim, for every learner.

    A flag that is on for some learners does not count: a worker could not tell for whom.
    """
    value = lms_flags.forced_value(course_id, lms_flags.SUBMISSION_FLAG)
    return is_on_for_everyone(lms_flags.SUBMISSION_FLAG) if value is None else value


def bypasses_shim(course_id: str) -> bool:
    """Tell whether a course's submissions bypass the shim: the platform's flag is on, and it was not released."""
    released = CoursePhase.objects.filter(course_id=course_id, released_at__isnull=False)
    return lms_flags.submission_flag_on(course_id) and not released.exists()


def is_on_for_everyone(flag: str) -> bool:
    """
    Tell whether a flag is on where nothing is forced, as the database has it.

    django-waffle's cache is passed by: one that takes connections and never answers would hold a learner for ever, or
    for its client's timeout at every flag.
    """
    model = get_waffle_flag_model()
    try:
        # Percentages and users are left out on purpose.
        return model.get_from_db(flag).everyone is True
    except model.DoesNotExist:
        return False


def kill_switch_on() -> bool:
    """
    Tell whether the kill switch is on, as the database has it: then copies and runs are stopped.

    django-waffle's cache is passed by here too: what is in it may be older than the switch, and one that never answers
    would hold the run that was to be stopped.

    Raises:
        DatabaseError: it cannot be read.
    """
    model = get_waffle_switch_model()
    try:
        return bool(model.get_from_db(KILL_SWITCH.name).active)
    except model.DoesNotExist:
        return _switch_without_row()


def _switch_without_row() -> bool:
    """Return what django-waffle's settings make of a switch that was never created. None is created here."""
    return bool(waffle_setting("SWITCH_DEFAULT"))


def new_work_cycle() -> None:
    """Empty the request cache. A long-running command calls it before every batch, or it never sees a flip."""
    RequestCache.clear_all_namespaces()


def stop_reason() -> str:
    """
    Return why a run has to stop before its next batch; empty when it may go on. For ``runs.control.Control``.

    It is asked before every batch, so it empties the request cache first.
    """
    new_work_cycle()
    return "kill switch" if kill_switch_on() else ""


def kill_switch_ignored() -> str:
    """Return no reason to stop: the ``stop_reason`` of a way back, the watch and the finishing of held rows."""
    new_work_cycle()
    return ""


def _forget(course_id: str) -> None:
    """Drop a course's flags from the request cache, and nothing else: the request may be a learner's."""
    RequestCache(_CACHE).delete(course_id)
    lms_flags.forget(*FLAGS)


def force_flags(course_id: str, dual_write: bool, target_primary: bool, *, user: object = None, note: str = "") -> None:
    """Force both flags for one course, as two new override rows. ``user`` and ``note`` go on record with them."""
    for flag, value in zip(FLAGS, (dual_write, target_primary), strict=True):
        if in_platform():
            force_platform_flag(flag, course_id, value, user=user, note=note)
        else:
            text = text_columns.fitted(FlagOverride, "note", note)[:255]
            _insert(
                FlagOverride(
                    flag=flag, scope="course", key=course_id, force=value, enabled=True, note=text, changed_by=user
                )
            )
    new_work_cycle()


def force_platform_flag(flag: str, course_id: str, value: bool, *, user: object = None, note: str = "") -> None:
    """Force a flag for one course through the platform's own override table, which only an LMS has."""
    model = lms_flags.course_override_model()
    _insert(
        model(
            waffle_flag=flag,
            course_id=CourseKey.from_string(course_id),
            override_choice="on" if value else "off",
            enabled=True,
            note=text_columns.fitted(model, "note", note)[:255],
            changed_by=user,
        )
    )
    lms_flags.forget(flag)


def _insert(row: Any) -> None:
    """
    Insert a row of a ConfigurationModel. What the cache holds of an earlier row is removed once this one is committed.

    The model's own ``save()`` asks the cache at once and waits for as long as its client does, while the course's row
    is locked. A cache that is silent or raises must not keep a course from its way back.
    """
    super(ConfigurationModel, row).save(force_insert=True)
    keys = [row.cache_key_name(*(getattr(row, key) for key in row.KEY_FIELDS)), row.key_values_cache_key_name()]
    transaction.on_commit(functools.partial(_drop_from_caches, keys))


def _drop_from_caches(keys: list[str]) -> None:
    try:
        for key in keys:
            RequestCache().delete(key)
        shared_cache.ask(lambda cache: cache.delete_many(keys))
    except Exception as error:  # whatever a cache backend raises
        count("cache_failed", error)


def phase_of(course_id: str) -> PhaseDecision:
    """
    Return the phase in force for a course, from its flags, its recorded phase and its permit.

    A step that the flags ask for and that is allowed is recorded here, once, so that the next step starts from it.

    Raises:
        DatabaseError: it cannot be read.
    """
    record = CoursePhase.objects.filter(course_id=course_id).first()
    decision = _decide(course_id, record)
    return _obey(course_id, record, decision) if decision.changed else decision


def phase_and_switch(course_id: str) -> tuple[PhaseDecision, bool]:
    """
    Return the answer of ``phase_of``, and whether the kill switch is on, in one statement: a learner waits.

    Inside an LMS the platform's own queries about the flags come on top. A request goes on with the flags that it has
    read once.

    Raises:
        DatabaseError: they cannot be read.
    """
    own = not in_platform()
    found = course_lookup.look_up(course_id, KILL_SWITCH.name, FLAGS, org_of(course_id) if own else None)
    if not RequestCache(_CACHE).get_cached_response(course_id).is_found:
        _keep(course_id, _forced(found.overrides) if own else _forced_by_platform(course_id), found.everyone)
    decision = _decide(course_id, found.record)
    stopped = _switch_without_row() if found.switch is None else found.switch
    return _obey(course_id, found.record, decision) if decision.changed else decision, stopped


def _decide(course_id: str, record: CoursePhase | None) -> PhaseDecision:
    asked = asked_phase(**dict(zip(("dual_write", "target_primary"), flags_for(course_id), strict=True)))
    return decide(asked, _recorded(record), permit=_permit(record))


def _obey(course_id: str, seen: CoursePhase | None, decision: PhaseDecision) -> PhaseDecision:
    """
    Record a step that the flags ask for, and return the decision made under the lock, which is in force.

    This runs in a learner's submission, so it waits for no lock. Where another session holds the course's row (a
    submission with the same step, a cutover), a step towards legacy is obeyed and left to a later submission to record.
    A step that makes the target authoritative is not taken yet.
    """
    _ensure_record(course_id)
    nowait = connection.features.has_select_for_update_nowait
    try:
        with transaction.atomic():
            record = permits.locked(course_id, nowait=nowait)
            if (record.phase, record.log_length) != (_recorded(seen), seen.log_length if seen else None):
                # Another session was quicker. The flags may be older than its step: they were read apart from the
                # record, or in a caller's transaction that sees nothing newer.
                return PhaseDecision(phase=Phase(record.phase), asked=Phase(record.phase), changed=False)
            # A cutover writes flags and record in one transaction under this lock: read again, they belong together.
            _forget(course_id)
            decision = _decide(course_id, record)
            gated = decision.changed and needs_permit(Phase(record.phase), decision.phase)
            if gated and not permits.holds(record):
                _refuse(record, decision.asked)
                decision = _decide(course_id, record)
            if decision.changed:
                proof = {"permit_of_run": record.permit_run_id, "basis": record.permit_basis} if gated else {}
                _step(record, decision.phase, by="flag", reason="the flags were changed by hand", evidence=proof)
            return decision
    except OperationalError as error:
        if not nowait:
            raise
        count("step_not_recorded_yet", error)
        if decision.phase.authority is Authority.LEGACY:
            return decision
        return PhaseDecision(phase=_recorded(seen), asked=decision.asked, changed=False)


def _ensure_record(course_id: str) -> None:
    """
    Make sure that a course has a record, before the transaction that locks it.

    Of three sessions that insert at once InnoDB lets two wait for each other if they go on. Even here it ends one of
    several with a deadlock, once in thousands of times; then the row is there.
    """
    make = functools.partial(CoursePhase.objects.get_or_create, course_id=course_id)
    on_contention(make, tries=2, first_pause=_PAUSE)


def _recorded(record: CoursePhase | None) -> Phase:
    return Phase(record.phase) if record else Phase.LEGACY


def _permit(record: CoursePhase | None) -> Phase | None:
    if record is None or not record.permit or record.permit_until is None or record.permit_until < now():
        return None
    refused, until = _refused.get(record.course_id, (None, 0.0))
    if refused == _name(record) and time.monotonic() < until:
        return None
    return Phase(record.permit)


def _name(record: CoursePhase) -> tuple[int | None, str]:
    """Return what tells one permit of a course from the next."""
    return record.permit_run_id, record.permit_basis


def _refuse(record: CoursePhase, asked: Phase) -> None:
    """Refuse a permit that was given for other evidence, and remember that for a while."""
    _refused[record.course_id] = _name(record), time.monotonic() + _ASK_AGAIN
    count("permit_does_not_hold")
    log.warning(
        "migration_shim.permit_does_not_hold: course %s stays in %s: the permit for %s was given for other evidence, "
        "settings or register",
        record.course_id,
        record.phase,
        asked,
    )


def record_step(course_id: str, phase: Phase, *, by: str, reason: str, evidence: dict[str, Any]) -> None:
    """
    Record a step that a person takes with a course, and withdraw the course's permit.

    A step to the phase that the course is in is recorded too: it sets the flags right. The course's row is locked, so
    that of two people who take a step at once one waits.

    Args:
        course_id: the course.
        phase: the phase that it is in from now on.
        by: who takes the step.
        reason: why, for the course's log.
        evidence: what the step rests on, for the course's log.
    """
    _ensure_record(course_id)
    with transaction.atomic():
        record = permits.locked(course_id)
        _step(record, phase, by=by, reason=reason, evidence=evidence)


def _step(record: CoursePhase, phase: Phase, *, by: str, reason: str, evidence: dict[str, Any]) -> None:
    PhaseChange.objects.append(record, phase, by=by, reason=reason, evidence=evidence)
    if phase != record.phase:
        record.phase, record.since = phase, now()
    record.released_at = None
    permits.clear(record)
    record.save()
    said = ("migration_shim.phase_changed: course %s is now in phase %s (%s)", record.course_id, phase, by)
    transaction.on_commit(lambda: log.warning(*said))
    transaction.on_commit(lambda: phase_memory.remember(record.course_id, phase))
