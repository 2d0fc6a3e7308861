"""Read legacy's rows with all that tells what they are: parsed, with the keys of their files, beside their siblings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from ..core.classification import ParsedRow, parse_row
from ..core.data import LegacyRow, Whose
from ..core.errors import FileUnavailable
from ..core.siblings import Siblings
from . import by_callback
from .files import Source, file_keys, may_pass


def read(row: LegacyRow, storage: Source) -> tuple[ParsedRow, dict[str, str]]:
    """
    Return a row parsed, and the storage keys of its files by original name.

    Where the file names cannot be read, ``problem`` says so.
    """
    parsed, keys, _ = read_or_why(row, storage)
    return parsed, keys


def read_for_now(row: LegacyRow, storage: Source) -> tuple[ParsedRow, bool]:
    """Return a row parsed, and whether its file names, which cannot be read now, may be readable later."""
    parsed, _, error = read_or_why(row, storage)
    return parsed, may_pass(error)


def read_or_why(row: LegacyRow, storage: Source) -> tuple[ParsedRow, dict[str, str], FileUnavailable | None]:
    """Return what ``read`` does, with the reason why the names of the row's files cannot be read, or None."""
    if row.s3_keys in ("", "{}") or row.whose is not Whose.OURS:
        return parse_row(row, ()), {}, None
    try:
        keys = file_keys(row, storage)
    except FileUnavailable as error:
        return parse_row(row, None), {}, error
    return parse_row(row, keys), keys, None


def siblings_of_page(page: Iterable[LegacyRow], storage: Source) -> dict[str, Siblings]:
    """Return all rows that share a truncated callback with a row of the page, parsed, by ``callback_key``."""
    return {key: Siblings(read(row, storage)[0] for row in same) for key, same in by_callback.siblings(page).items()}


def siblings_by_callback(every: Iterable[ParsedRow]) -> dict[str, Siblings]:
    """Return the parsed rows that share a truncated callback with another one of them, by ``callback_key``."""
    found: dict[str, list[ParsedRow]] = defaultdict(list)
    for parsed in every:
        found[by_callback.callback_key(parsed.row.lms_callback_url)].append(parsed)
    return {key: Siblings(same) for key, same in found.items() if len(same) > 1}


def siblings_of(parsed: ParsedRow, families: dict[str, Siblings]) -> list[ParsedRow]:
    """Return the siblings of one row that decide what it is. See ``Siblings.beside``."""
    found = families.get(by_callback.callback_key(parsed.row.lms_callback_url))
    return found.beside(parsed) if found is not None else []


def rows_of(raw_header: str, row_id: int) -> tuple[LegacyRow | None, list[LegacyRow]]:
    """
    Return the row with this id, or None where it is gone, and all rows of its submission, this one among them.

    A submission that was sent twice has several rows with one queuekey. It counts once, whichever row is graded.
    """
    found = by_callback.with_headers([raw_header])
    main = next((row for row in found if row.id == row_id), None)
    return main, [row for row in found if main is None or row.xqueue_body == main.xqueue_body]
