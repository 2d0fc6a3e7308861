"""The comparison of payloads: what each of the two systems would hand a grader, as far as it can be read."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

from ..conf import ShimSettings
from ..core.data import DivergenceClass
from ..core.errors import FileUnavailable, Malformed
from ..core.payload import parity
from ..ledger.entries import legacy_body
from ..legacy import files
from ..models import Divergence
from ..target import reader
from .entries import Found, answer_of
from .legacy_outcomes import LegacySide

_CLASSES = (DivergenceClass.PAYLOAD, DivergenceClass.FILES, DivergenceClass.IDENTITY)
Differences = dict[DivergenceClass, str]


class Payloads:
    """
    The payloads of some entries.

    A difference found once stands where it cannot be checked again: legacy's row is gone, or the residue was purged.
    The files of a submission are read only once.
    """

    def __init__(self, entries: Sequence[Found], settings: ShimSettings) -> None:
        self.settings, self.source = settings, files.legacy_storage(settings)
        self.held = reader.files_of(
            one.target.submission_id
            for one in entries
            if one.target is not None and one.has_files and one.entry.payload_compared_at is None
        )
        self.before: dict[int, Differences] = defaultdict(dict)
        rows = Divergence.objects.filter(entry__in=[one.entry.id for one in entries if one.entry.divergences])
        for entry_id, klass, what in rows.filter(klass__in=_CLASSES).values_list("entry_id", "klass", "what"):
            self.before[entry_id][DivergenceClass(klass)] = what

    def compare(self, one: Found, legacy: LegacySide | None) -> tuple[Differences, bool]:
        """
        Return the differences of one entry, and whether its whole payload could be compared.

        Args:
            one: the entry, with its target row.
            legacy: legacy's side, if its row exists.
        """
        entry = one.entry
        before = self.before.get(entry.id, {})
        if legacy is None or one.target is None or not (entry.raw_header or entry.student_info):
            return dict(before), False
        try:
            body = legacy_body(entry, answer_of(one.answer))
        except Malformed:
            return dict(before), False
        mine: Mapping[str, str] = {}
        theirs: Mapping[str, str] = {}
        whole = True
        if legacy.keys or one.has_files:
            if entry.payload_compared_at is None:
                try:
                    theirs, mine = self._files(one.target.submission_id, legacy)
                except (FileUnavailable, OSError):
                    whole = False  # a later run tries again, and the gate waits for it
            elif DivergenceClass.FILES in before:
                found = parity(legacy.row.xqueue_body, {}, body, {})
                return found | {DivergenceClass.FILES: before[DivergenceClass.FILES]}, True
        return parity(legacy.row.xqueue_body, theirs, body, mine), whole

    def _files(self, submission_id: int, legacy: LegacySide) -> tuple[Mapping[str, str], Mapping[str, str]]:
        there = files.contents(legacy.row, legacy.keys, self.source, self.settings.legacy_file_limit)
        theirs = {name: _digest(content.read()) for name, content in there.items()}
        held = self.held.get(submission_id, ())
        return theirs, {file.original_filename: _digest(file.file.read()) for file in held}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
