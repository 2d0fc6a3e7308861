"""
Rows that share a truncated callback, which are each other's siblings.

Where one truncated callback covers a whole course, comparing every row with every other would take quadratic time. Here
each row is compared only with the few siblings that decide everything about it.
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable

from .classification import ParsedRow
from .row_checks import callback_url


class Siblings:
    """All rows of one truncated callback. With ``light`` they are kept without their bodies, replies and files."""

    def __init__(self, rows: Iterable[ParsedRow], *, light: bool = False) -> None:
        self._newest: ParsedRow | None = None
        self._by_url: dict[str, ParsedRow] = {}
        twins: dict[str, list[ParsedRow]] = defaultdict(list)
        inputs: dict[str, list[ParsedRow]] = defaultdict(list)
        for whole in rows:
            url = callback_url(whole)
            parsed = _light(whole) if light else whole
            if self._newest is None or parsed.row.id > self._newest.row.id:
                self._newest = parsed
            if len(self._by_url) < 2:
                self._by_url.setdefault(url, parsed)
            if parsed.digests is not None:
                twins[parsed.digests.identity].append(parsed)
            if parsed.input_key:
                inputs[parsed.input_key].append(parsed)
        self._twins = {identity: same for identity, same in twins.items() if len(same) > 1}
        self._attempts = {key: _Attempts(same) for key, same in inputs.items()}

    def beside(self, parsed: ParsedRow) -> list[ParsedRow]:
        """
        Return the siblings that decide what a row is.

        ``classification.legacy_state`` and ``classification.classify`` give the same result with these as with all
        siblings. They are the row's duplicates (rows of the very same submission), the one of the newer attempts at its
        input that arrived first, the newest row of all, and one row with another full callback.
        """
        found = list(self._twins.get(parsed.digests.identity, ())) if parsed.digests is not None else []
        if (attempts := self._attempts.get(parsed.input_key)) is not None:
            found += attempts.first_behind(parsed.row.id)
        own = callback_url(parsed)
        found += [other for url, other in self._by_url.items() if url != own][:1]
        if self._newest is not None:
            found.append(self._newest)
        by_id = {other.row.id: other for other in found}
        by_id.pop(parsed.row.id, None)
        return list(by_id.values())


class _Attempts:
    """The attempts at one input, by id; each with the one of the attempts after it that arrived first."""

    def __init__(self, rows: list[ParsedRow]) -> None:
        rows.sort(key=lambda parsed: parsed.row.id)
        self._ids = [parsed.row.id for parsed in rows]
        self._first = rows.copy()
        for place in range(len(rows) - 2, -1, -1):
            self._first[place] = min(rows[place], self._first[place + 1], key=lambda parsed: parsed.row.arrival_time)

    def first_behind(self, row_id: int) -> list[ParsedRow]:
        place = bisect_right(self._ids, row_id)
        return self._first[place : place + 1]


def _light(parsed: ParsedRow) -> ParsedRow:
    # The header stays: the whole callback stands in it.
    row = dataclasses.replace(parsed.row, xqueue_body="", s3_keys="", s3_urls="", grader_reply="")
    return dataclasses.replace(parsed, row=row, envelope=None, file_names=())
