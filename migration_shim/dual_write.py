"""
The router: each submission to the authoritative system, and then, and only then, its copy.

The caller is the LMS, and a learner waits. What legacy answers is what the learner gets; nothing that a copy does can
change it. In this version a shadow is written inline, on the caller's connection, in a savepoint; a reverse shadow is
not written at all (its ledger entry says ``none``).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from django.db import DatabaseError, IntegrityError, transaction
from django.utils.timezone import now
from edx_django_utils.monitoring import increment, set_custom_attribute

from . import ledger, toggles
from .conf import load
from .core.identity import Placement, digests, real_placement, recover_input, shadow_placement
from .core.wire import Envelope, parse_envelope
from .data import Authority, Leg, Origin, Phase
from .errors import ConfigurationError, Malformed, TargetWriteFailed, Unfit
from .legacy.client import LegacyClient, UploadedFile
from .models import LedgerEntry
from .target import writer

log = logging.getLogger(__name__)

TARGET_UNAVAILABLE = "the grading service could not store the submission"


class QueueInterface:
    """The Python door: stands where CAPA expects its ``XQueueInterface``."""

    def __init__(self, block: Any = None) -> None:
        """``block`` is the problem block when there is one; it knows its maximum score."""
        self.block = block

    def send_to_queue(
        self, header: str, body: str, files_to_upload: Sequence[UploadedFile] | None = None
    ) -> tuple[int, str]:
        """
        Submit one attempt.

        Returns:
            (0, text) when the authoritative system holds it, else (1, the reason that CAPA shows the learner).
        """
        return _Submission(header, body, list(files_to_upload or []), self.block).route()


class _Submission:
    """One call of the router, with what it has found out so far."""

    def __init__(self, header: str, body: str, files: list[UploadedFile], block: Any) -> None:
        self.header, self.body, self.files, self.block = header, body, files, block

    def route(self) -> tuple[int, str]:
        try:
            envelope = parse_envelope(self.header, self.body)
            phase = toggles.phase_of(envelope.callback.course_id).phase
        except (Malformed, ConfigurationError, DatabaseError) as error:
            # Legacy takes anything; a learner is never refused because the shim cannot read or cannot look.
            _count("passed_through", error)
            return self._legacy()
        set_custom_attribute("migration_shim.phase", phase.value)
        if phase.authority is Authority.TARGET:
            return self._target(envelope, phase)
        error, message = self._legacy()
        if not error and phase is Phase.SHADOW:
            self._shadow(envelope)
        return error, message

    def _legacy(self) -> tuple[int, str]:
        try:
            return LegacyClient().submit(self.header, self.body, self.files)
        except ConfigurationError as error:
            _count("legacy_not_configured", error)
            return 1, "cannot connect to server"

    def _entry(self, envelope: Envelope, phase: Phase) -> LedgerEntry:
        body = envelope.body
        return ledger.new_entry(
            envelope,
            digests(envelope.header, self.body, [file.name for file in self.files]),
            phase=phase,
            origin=Origin.ROUTER,
            arrived_at=now(),
            input_id=recover_input(
                envelope.callback, body.submission_time, body.anonymous_student_id, envelope.header.lms_key
            ),
        )

    def _contents(self) -> dict[str, Any]:
        for file in self.files:
            file.seek(0)
        return {file.name: getattr(file, "file", file) for file in self.files}

    def _points(self, entry: LedgerEntry) -> int:
        if self.block is not None:
            return int(self.block.max_score())
        entry.points_assumed = True
        return 1

    def _target(self, envelope: Envelope, phase: Phase) -> tuple[int, str]:
        """The authoritative write of ``live`` and ``complete``: all of it, or an error that the learner sees."""
        entry = self._entry(envelope, phase)
        if _known(entry):
            return 0, ""  # the same submission, sent again; one system holds it already
        try:
            writer.check_fits(envelope.body)
            with transaction.atomic():
                self._write(entry, envelope, real_placement(envelope))
        except Unfit as error:
            _count(f"target_refused.{error.reason}", error)
            return 1, error.message
        except (TargetWriteFailed, DatabaseError) as error:
            if _known(entry):
                return 0, ""
            _count("target_failed", error)
            log.error("migration_shim: the target did not store a submission: %s", error)
            return 1, TARGET_UNAVAILABLE
        return 0, ""

    def _write(self, entry: LedgerEntry, envelope: Envelope, placement: Placement) -> None:
        """Ledger entry and target rows. The entry comes first, so that a repeated identity makes no second row."""
        points = self._points(entry)
        entry.target_leg = Leg.STORED
        entry.save(force_insert=True)
        entry.target_submission_id = writer.write(placement, envelope.body, self._contents(), points_possible=points)
        entry.save(update_fields=["target_submission_id"])

    def _shadow(self, envelope: Envelope) -> None:
        """Write the fenced copy. Whatever happens is recorded and counted, and never reaches the caller."""
        try:
            if toggles.kill_switch_on():
                _count("copy_stopped_by_kill_switch")
                return
            entry = self._entry(envelope, Phase.SHADOW)
            entry.legacy_leg = Leg.STORED
            try:
                self._write_shadow(envelope, entry)
            except (Unfit, TargetWriteFailed) as error:
                self._record_failure(entry, error.reason if isinstance(error, Unfit) else str(error))
        except IntegrityError:
            _count("copy_repeated")  # the same submission was sent again: its entry and copy are there
        except Exception as error:
            _count("copy_untraced", error)
            log.error("migration_shim: a shadow was lost without a ledger entry: %s", type(error).__name__)

    def _write_shadow(self, envelope: Envelope, entry: LedgerEntry) -> None:
        writer.check_fits(envelope.body)
        placement = shadow_placement(envelope, entry.identity, load().shadow_queue_suffix)
        with transaction.atomic():
            self._write(entry, envelope, placement)

    def _record_failure(self, entry: LedgerEntry, reason: str) -> None:
        entry.pk, entry.target_submission_id = None, None
        entry.target_leg, entry.target_reason = Leg.FAILED, reason[:64]
        with transaction.atomic():
            entry.save(force_insert=True)
        _count(f"copy_failed.{reason}")
        log.warning("migration_shim: a shadow was not written: %s", reason)


def _known(entry: LedgerEntry) -> bool:
    return LedgerEntry.objects.filter(identity=entry.identity).exists()


def _count(name: str, error: Exception | None = None) -> None:
    """Count an event of the router for the platform's monitoring; only the error's type goes with it."""
    increment(f"migration_shim.{name}")
    if error is not None:
        set_custom_attribute("migration_shim.error", type(error).__name__)
