"""
The router: it sends each submission to the authoritative system first, and only then sees to its copy.

The caller is the LMS, and a learner waits. The learner gets the authoritative system's answer. No copy can change that
answer, raise into it, or touch the caller's transaction. CAPA saves its queue state only after the door has returned,
and a grade that comes earlier is lost. So after the authoritative write the router does nothing that could wait: the
ledger entry says what is owed, and a worker does it (``copies/outbox.py``).

What happens to a submission that was seen before is in ``repeats.py``, a shadow that is written at once in
``copies/inline.py``.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import Q
from django.utils.timezone import now
from django.views.decorators.debug import sensitive_variables

from . import repeats, toggles
from .conf import COPY_KEYS, ShimSettings, usable
from .copies import breaker, inline, publish, sink
from .copies.write import SHADOW
from .core.data import BETWEEN, Authority, Leg, Origin, Phase
from .core.errors import ConfigurationError, Malformed, PhaseUnreadable, TargetWriteFailed, Unfit
from .core.file_names import kept_files
from .core.identity import GRADED_DISPATCH, digests, in_sample, input_key, real_placement
from .core.wire import Callback, Envelope, parse_envelope
from .ledger import entries as ledger_entries
from .ledger import hosts
from .legacy.client import LegacyClient, UploadedFile
from .lms.points import points_possible
from .metrics import attribute, count, timed
from .models import LedgerEntry
from .phase_lookup import phase_in_force, refuse_if_behind
from .target import writer
from .target.open_rows import is_in_flight

log = logging.getLogger(__name__)

TARGET_UNAVAILABLE = "the grading service could not store the submission"
TRIES = 3
#: Seconds of the door's deadline that must be left for an inline copy to begin; else it is left to a worker.
COPY_NEEDS = 0.5


class QueueInterface:
    """The Python door: it takes the place of CAPA's ``XQueueInterface``."""

    def __init__(self, block: Any = None, *, seconds: float | None = None) -> None:
        """
        Make a door for one problem.

        Args:
            block: the problem block when there is one; it knows its maximum score.
            seconds: the deadline of a whole call; by default that of the Python door's setting.
        """
        self.block = block
        self.seconds = seconds

    @sensitive_variables()
    def send_to_queue(
        self, header: str, body: str, files_to_upload: Sequence[UploadedFile] | None = None
    ) -> tuple[int, Any]:
        """
        Submit one attempt.

        Args:
            header: XQueue's ``xqueue_header``, a JSON text.
            body: XQueue's ``xqueue_body``, a JSON text.
            files_to_upload: the uploaded files, which are read from their beginning.

        Returns:
            (0, text) when the authoritative system holds the submission, else (1, the reason that CAPA shows the
            learner).

        Raises:
            PhaseUnreadable: nobody can tell which system is authoritative, and it may be the target; or whether another
                send of the same submission is stored. CAPA then keeps the learner's attempt and earlier result. An
                answer of 1 would consume both.
        """
        settings, not_usable = usable()
        if not_usable:
            count("settings_not_usable")
        seconds = self.seconds if self.seconds is not None else settings.python_door_seconds
        submission = _Submission(header, body, list(files_to_upload or []), self.block, settings, seconds)
        submission.copies_configured = not_usable.isdisjoint(COPY_KEYS)
        return submission.route()


@sensitive_variables()
def _to_legacy(
    header: str, body: str, files: list[UploadedFile], deadline: float | None, correlation: str = "1"
) -> tuple[int, Any]:
    try:
        with timed("legacy_leg"):
            return LegacyClient().submit(header, body, files, deadline=deadline, correlation=correlation)
    except ConfigurationError as error:
        count("legacy_not_configured", error)
        return 1, "cannot connect to server"


class _Submission:
    """One submission on its way through the router, with what the router has found out so far."""

    #: Whether the settings that copies need are usable.
    copies_configured = True
    #: Whether the kill switch is on; None where it was not read with the phase.
    switch: bool | None = None

    def __init__(
        self,
        header: str,
        body: str,
        files: list[UploadedFile],
        block: Any,
        settings: ShimSettings,
        seconds: float,
    ) -> None:
        self.header, self.body, self.files, self.block, self.settings = header, body, files, block, settings
        #: The files by the names that XQueue gives to its graders: the target's graders get the same names, and the
        #: two rows have the same digest.
        self.kept = kept_files((file.name or "", file) for file in files)
        self.deadline = time.monotonic() + seconds

    def route(self) -> tuple[int, Any]:
        """Send the submission to the authoritative system, see to what follows, and return the system's answer."""
        try:
            envelope = parse_envelope(self.header, self.body)
            if envelope.callback.dispatch != GRADED_DISPATCH:
                # The target knows no other dispatch: it would deliver a plot's reply as a grade.
                raise Malformed("dispatch_not_score_update")
            hosts.seen_at_door(envelope.header.callback_url)
        except Malformed as odd:
            # Legacy takes anything; a learner is never refused because the shim cannot read.
            count("passed_through", odd)
            return _to_legacy(self.header, self.body, self.files, self.deadline)
        phase, self.switch = phase_in_force(envelope.callback.course_id)
        if phase is None:
            count("passed_through")
            return _to_legacy(self.header, self.body, self.files, self.deadline)
        entry = self._new_entry(envelope, phase)
        attribute("phase", phase.value)
        attribute("submission", entry.identity[:16])
        if phase.authority is Authority.TARGET:
            error, message = self._to_target(envelope, entry)
            follow = self._after_target
        else:
            correlation = entry.identity[:16]
            error, message = _to_legacy(self.header, self.body, self.files, self.deadline, correlation)
            follow = self._after_legacy
        if error and phase is Phase.SHADOW:
            follow = self._after_refusal
        if not error or phase is Phase.SHADOW:
            transaction.on_commit(lambda: self._follow_up(follow, envelope, entry))
        return error, message

    def _new_entry(self, envelope: Envelope, phase: Phase) -> LedgerEntry:
        return ledger_entries.new_entry(
            envelope,
            digests(envelope.header, self.body, self.kept),
            phase=phase,
            origin=Origin.ROUTER,
            arrived_at=now(),
            input_key=input_key(envelope),
        )

    def _points(self, callback: Callback) -> int:
        resolver = self.settings.points_resolver
        return points_possible(self.block, callback.course_id, callback.item_id, resolver=resolver)[0]

    def _contents(self) -> dict[str, Any]:
        """Return the files by name, each at its beginning."""
        for file in self.files:
            file.seek(0)
        return {name: getattr(file, "file", file) for name, file in self.kept.items()}

    def _copy_wanted(self, envelope: Envelope) -> bool:
        """Tell whether a copy is to be written, and count why not."""
        if not self.copies_configured:
            count("copy_not_configured")
            return False
        if _kill_switch_on() if self.switch is None else self.switch:
            count("copy_stopped_by_kill_switch")
            return False
        percent = self.settings.sample_of(envelope.callback.course_id)
        if not in_sample(envelope.body.anonymous_student_id, percent):
            count("copy_not_sampled")
            return False
        return True

    def _to_target(self, envelope: Envelope, entry: LedgerEntry) -> tuple[int, str]:
        """
        Write a submission of ``live`` or ``complete`` to the target: as a whole, or return an error for the learner.

        Raises:
            PhaseUnreadable: the tables are those of an older release, or other sends of the same submission do not come
                to an end. An answer of 1 would consume the attempt.
        """
        try:
            # The entry's own INSERT tells a repeat, so that no other submission pays for a query; a repeat's rows are
            # undone. With files there is a query all the same: a repeat's files would be stored for nothing.
            refused = repeats.find(entry) if self.kept else None
            if repeats.is_held(refused):
                return 0, ""
            try:
                suffixes = self.settings.suffixes
                writer.check_fits(envelope.body, self.kept, envelope.header.queue_name, suffixes=suffixes)
                placement = real_placement(envelope)
            except Unfit:
                if repeats.is_held(repeats.find(entry)):
                    return 0, ""  # legacy took it, while it was legacy's to take
                raise
            if entry.phase == Phase.LIVE and self._copy_wanted(envelope):
                entry.legacy_leg, entry.copy_due = Leg.MISSING, now()
                entry.sink_token = sink.token(entry.learner, entry.item_id, entry.input_key or entry.identity)
            entry.supersession_due = self._supersession_due(entry)
            with timed("target_leg"):
                return self._insert(entry, envelope, placement, refused)
        except Unfit as error:
            count(f"target_refused_{error.reason}", error)
            return 1, error.message
        except (TargetWriteFailed, DatabaseError) as error:
            _say_failed(error)
            refuse_if_behind()
            return 1, TARGET_UNAVAILABLE

    def _supersession_due(self, entry: LedgerEntry) -> datetime | None:
        """Return when to ask the learner's state which attempts are replaced; None where the input is not known."""
        if not entry.input_key:
            count("supersession_input_unknown")
            return None
        return now() + timedelta(seconds=self.settings.hold_seconds)

    def _insert(
        self, entry: LedgerEntry, envelope: Envelope, placement: Any, refused: LedgerEntry | None
    ) -> tuple[int, str]:
        """
        Insert ledger entry and target rows; on contention try again, unless the caller's transaction is at stake.

        Of a repeat, which one of the systems holds already, nothing is written.

        Raises:
            PhaseUnreadable: see ``_to_target``.
        """
        for tried in itertools.count(1):
            known = refused
            try:
                self._write(entry, envelope, placement, refused)
                return 0, ""
            except repeats.Held:
                return 0, ""
            except (TargetWriteFailed, DatabaseError) as error:
                # A row that is there already, the entry or before it the learner's StudentItem, has undone only our
                # savepoint, not the caller's transaction.
                there = error.taken if isinstance(error, TargetWriteFailed) else isinstance(error, IntegrityError)
                if there or not connection.in_atomic_block:
                    refused = repeats.find_committed(entry, error)
                    if repeats.is_held(refused):
                        return 0, ""
                passing = error.passing if isinstance(error, TargetWriteFailed) else there
                tries = TRIES if known is None else repeats.TRIES
                if not passing or tried >= tries or (connection.in_atomic_block and not there):
                    if known is not None and passing:
                        # The other session may be storing it. An answer of 1 would take the key of what it stores from
                        # the learner's state, and the grade would be lost.
                        _say_failed(error)
                        raise PhaseUnreadable from error
                    raise
            if known is not None:
                repeats.let_others_end(tried, self.deadline)
        raise AssertionError("unreachable")

    def _write(self, entry: LedgerEntry, envelope: Envelope, placement: Any, refused: LedgerEntry | None) -> None:
        """
        Store the files; then write target rows and ledger entry in one transaction.

        ``refused`` is the entry of a submission that legacy refused and that is sent again: the new entry replaces it.
        """
        callback = envelope.callback
        entry.points_possible = self._points(callback)
        entry.pk, entry.target_leg = None, Leg.STORED
        with writer.stored_files(placement.queue_name, self._contents()) as stored, transaction.atomic():
            if refused is None:
                writer.insert_with_entry(placement, envelope.body, stored, entry)
            else:
                entry.target_submission_id = writer.insert(
                    placement, envelope.body, stored, points_possible=entry.points_possible
                )
                repeats.replace_refused(entry, refused)

    def _follow_up(self, follow: Any, envelope: Envelope, entry: LedgerEntry) -> None:
        """Do what follows the authoritative write. Whatever goes wrong is counted and never reaches the caller."""
        try:
            follow(envelope, entry)
        except Exception as error:  # the learner's submission is stored; nothing after it may raise into it
            count("follow_up_failed", error)
            log.error("migration_shim.follow_up_failed: the follow-up of a submission failed: %s", type(error).__name__)
            if not connection.in_atomic_block:
                connection.close_if_unusable_or_obsolete()

    def _after_target(self, envelope: Envelope, entry: LedgerEntry) -> None:
        self._nudge_if_owed(entry)

    def _nudge_if_owed(self, entry: LedgerEntry) -> None:
        if entry.supersession_due is not None or entry.copy_due is not None:
            publish.nudge(self.settings)

    def _after_legacy(self, envelope: Envelope, entry: LedgerEntry) -> None:
        entry.legacy_leg = Leg.STORED
        if entry.phase == Phase.SHADOW and self._copy_wanted(envelope):
            self._owe_shadow(envelope, entry)
        elif _replaces_on_target(entry):
            # Nothing is copied. The entry is for the older attempts, which the target still has.
            entry.supersession_due = self._supersession_due(entry)
            repeats.insert_if_new(entry)
        self._nudge_if_owed(entry)

    def _after_refusal(self, envelope: Envelope, entry: LedgerEntry) -> None:
        """Record that legacy refused the submission or did not answer in time. It may have stored it nevertheless."""
        entry.legacy_leg, entry.legacy_reason = Leg.FAILED, ledger_entries.REFUSED
        repeats.insert_if_new(entry)

    def _owe_shadow(self, envelope: Envelope, entry: LedgerEntry) -> None:
        """Write a ledger entry that says that a shadow is owed; where copies are inline, write the shadow as well."""
        entry.target_leg, entry.copy_due, entry.supersession_due = Leg.MISSING, now(), self._supersession_due(entry)
        callback = envelope.callback
        entry.points_possible = self._points(callback)
        if not repeats.insert_if_new(entry) and not repeats.take_over_in_shadow(entry):
            entry.copy_due = entry.supersession_due = None
            count("repeated")
            return
        if self.settings.copies == "deferred" or entry.copy_due is None:
            return
        if self.deadline - time.monotonic() < COPY_NEEDS:
            count("shadow_left_no_time")
        elif breaker.allows(SHADOW):
            inline.write_inline_shadow(envelope, entry, self._contents(), self.settings)
        else:
            count("shadow_paused_by_breaker")


def _say_failed(error: Exception) -> None:
    count("target_failed", error)
    log.error("migration_shim.target_failed: the target did not store a submission: %s", type(error).__name__)


def _kill_switch_on() -> bool:
    """Tell whether copies are stopped. Where that cannot be read, no copy is started and no submission is refused."""
    try:
        return toggles.kill_switch_on()
    except DatabaseError as error:
        count("kill_switch_unreadable", error)
        return True


def _replaces_on_target(entry: LedgerEntry) -> bool:
    """
    Tell whether an older attempt at the same input is in flight on the target, or on its way between the systems.

    This is one statement, by index and without a lock. Between two statements a return could fence the row that both
    look for.
    """
    if not entry.input_key:
        return False
    older = LedgerEntry.objects.filter(input_key=entry.input_key, superseded_at=None).exclude(identity=entry.identity)
    moving = Q(move__in=BETWEEN)
    return older.filter(moving | is_in_flight("target_submission_id")).exists()
