"""Legacy's rows read with all that tells what they are: parsed, with the keys of their files, beside their siblings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from ..core.classification import ParsedRow, parse_row
from ..core.data import LegacyRow, Whose
from ..core.errors import FileUnavailable
from ..core.siblings import Siblings
from ..core.wire import parse_header
from . import rows
from .files import Source, file_keys, may_pass


def read(row: LegacyRow, storage: Source) -> tuple[ParsedRow, dict[str, str]]:
    """One row read: parsed, and its files' keys. A row whose file names cannot be read says so in ``problem``."""
    parsed, keys, _ = read_or_why(row, storage)
    return parsed, keys


def read_for_now(row: LegacyRow, storage: Source) -> tuple[ParsedRow, bool]:
    """One row read, and whether its file names, which cannot be read now, may be readable another time."""
    parsed, _, error = read_or_why(row, storage)
    return parsed, may_pass(error)


def read_or_why(row: LegacyRow, storage: Source) -> tuple[ParsedRow, dict[str, str], FileUnavailable | None]:
    """One row read, as ``read`` does, with the reason why the names of its files cannot be read, or None."""
    if row.s3_keys in ("", "{}") or row.whose is not Whose.OURS:
        return parse_row(row, ()), {}, None
    try:
        keys = file_keys(row, storage)
    except FileUnavailable as error:
        return parse_row(row, None), {}, error
    return parse_row(row, keys), keys, None


def siblings_of_page(page: Iterable[LegacyRow], storage: Source) -> dict[str, Siblings]:
    """All rows that share a truncated callback with a row of the page, read, by ``callback_key``."""
    return {key: Siblings(read(row, storage)[0] for row in same) for key, same in rows.siblings(page).items()}


def siblings_by_callback(every: Iterable[ParsedRow]) -> dict[str, Siblings]:
    """Rows that were read and that share a truncated callback with another one, by ``callback_key``."""
    found: dict[str, list[ParsedRow]] = defaultdict(list)
    for parsed in every:
        found[rows.callback_key(parsed.row.lms_callback_url)].append(parsed)
    return {key: Siblings(same) for key, same in found.items() if len(same) > 1}


def siblings_of(parsed: ParsedRow, families: dict[str, Siblings]) -> list[ParsedRow]:
    """The siblings of one row by which it is told what it is. See ``Siblings.beside``."""
    found = families.get(rows.callback_key(parsed.row.lms_callback_url))
    return found.beside(parsed) if found is not None else []


def rows_of(raw_header: str, row_id: int) -> tuple[LegacyRow | None, list[LegacyRow]]:
    """
    (the row with this id, or None where it is gone; all rows of that very submission, this one among them).

    A submission that was sent twice has several rows with one queuekey, and it counts once, whichever is graded.
    """
    found = [
        row for row in rows.with_callback(parse_header(raw_header).callback_url) if row.xqueue_header == raw_header
    ]
    main = next((row for row in found if row.id == row_id), None)
    return main, [row for row in found if main is None or row.xqueue_body == main.xqueue_body]
