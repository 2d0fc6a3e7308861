"""The comparison of payloads: what each of the two systems would hand a grader, as far as it can be read."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping

from ..conf import ShimSettings
from ..core.data import DivergenceClass
from ..core.errors import FileUnavailable, Malformed
from ..core.payload import parity
from ..ledger.entries import legacy_body
from ..legacy import files
from ..models import Divergence, LedgerEntry
from ..target import reader
from .legacy_outcomes import LegacySide

_CLASSES = (DivergenceClass.PAYLOAD, DivergenceClass.FILES, DivergenceClass.IDENTITY)
Differences = dict[DivergenceClass, str]


class Payloads:
    """
    The payloads of some entries.

    A difference found once stands where it cannot be checked again: legacy's row is gone, or the residue was purged.
    The files of a submission are read only once.
    """

    def __init__(self, entries: Iterable[LedgerEntry], settings: ShimSettings) -> None:
        self.settings, self.source = settings, files.legacy_storage(settings)
        entries = list(entries)
        ids = [entry.target_submission_id for entry in entries if entry.target_submission_id is not None]
        self.answers = reader.answers(ids)
        self.with_files = reader.with_files(ids)
        self.before: dict[int, Differences] = defaultdict(dict)
        rows = Divergence.objects.filter(entry__in=[entry.pk for entry in entries if entry.divergences])
        for entry_id, klass, what in rows.filter(klass__in=_CLASSES).values_list("entry_id", "klass", "what"):
            self.before[entry_id][DivergenceClass(klass)] = what

    def compare(self, entry: LedgerEntry, legacy: LegacySide | None, *, held: bool) -> tuple[Differences, bool]:
        """
        Return the differences of one entry, and whether its whole payload could be compared.

        Args:
            entry: the entry.
            legacy: legacy's side, if its row exists.
            held: whether the target's row exists.
        """
        before = self.before.get(entry.pk, {})
        if legacy is None or not held or not (entry.raw_header or entry.student_info):
            return dict(before), False
        try:
            body = legacy_body(entry, self.answers.get(entry.target_submission_id or 0))
        except Malformed:
            return dict(before), False
        mine: Mapping[str, str] = {}
        theirs: Mapping[str, str] = {}
        whole = True
        if legacy.keys or entry.target_submission_id in self.with_files:
            if entry.payload_compared_at is None:
                try:
                    theirs, mine = self._files(entry, legacy)
                except (FileUnavailable, OSError):
                    whole = False  # a later run tries again, and the gate waits for it
            elif DivergenceClass.FILES in before:
                found = parity(legacy.row.xqueue_body, {}, body, {})
                return found | {DivergenceClass.FILES: before[DivergenceClass.FILES]}, True
        return parity(legacy.row.xqueue_body, theirs, body, mine), whole

    def _files(self, entry: LedgerEntry, legacy: LegacySide) -> tuple[Mapping[str, str], Mapping[str, str]]:
        there = files.contents(legacy.row, legacy.keys, self.source, self.settings.legacy_file_limit)
        held = reader.answer_and_files(entry.target_submission_id or 0)
        theirs = {name: _digest(content.read()) for name, content in there.items()}
        return theirs, {str(file.name): _digest(file.read()) for file in held.files} if held else {}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
