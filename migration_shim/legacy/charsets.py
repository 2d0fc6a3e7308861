"""What XQueue's columns can hold. XQueue may stand on utf8mb3, which has no emoji, or on less."""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connections, models
from django.db.models.lookups import Exact, In

from ..conf import LEGACY_ALIAS

#: Python's names of the character sets that MySQL's and MariaDB's columns may have, where they differ.
_CODECS = {"latin1": "cp1252", "binary": "utf-8", "utf8mb4": "utf-8"}
#: All that utf8mb3 holds is below.
_ASTRAL = "\U00010000"


def holds(column: str, text: str) -> bool:
    """
    Whether XQueue's column can hold a text. Where it cannot, no row of it has the text, and the server is not asked:
    it compares nothing with such a text, but fails (1267, 1271).
    """
    if text.isascii() or connections[LEGACY_ALIAS].vendor != "mysql":
        return True
    charset = _charsets(connections[LEGACY_ALIAS].settings_dict["NAME"]).get(column, "utf8mb4")
    if charset in ("utf8", "utf8mb3"):
        return max(text) < _ASTRAL
    try:
        text.encode(_CODECS.get(charset, charset))
    except (UnicodeEncodeError, LookupError):
        return False
    return True


@functools.cache
def _charsets(database: str) -> dict[str, str]:
    """The character set of each text column, asked once a process."""
    with connections[LEGACY_ALIAS].cursor() as cursor:
        cursor.execute(
            "SELECT column_name, character_set_name FROM information_schema.columns "
            "WHERE table_schema = %s AND table_name = 'queue_submission' AND character_set_name IS NOT NULL",
            [database],
        )
        return dict(cursor.fetchall())


def holdable(column: str, texts: Collection[str]) -> list[str]:
    """Those of these texts that a column can hold, for a statement that is not Django's."""
    return [text for text in texts if holds(column, text)]


class ForeignCharField(models.CharField):
    """A text column of XQueue's: a text that it cannot hold equals none in it, without the server being asked."""


@ForeignCharField.register_lookup
class _Equal(Exact):
    def as_sql(self, compiler: Any, connection: Any) -> Any:
        if isinstance(self.rhs, str) and not holds(self.lhs.target.column, self.rhs):
            raise EmptyResultSet
        return super().as_sql(compiler, connection)


@ForeignCharField.register_lookup
class _Among(In):
    def process_rhs(self, compiler: Any, connection: Any) -> Any:
        if self.rhs_is_direct_value():
            self.rhs = [text for text in self.rhs if holds(self.lhs.target.column, text)]
        return super().process_rhs(compiler, connection)
