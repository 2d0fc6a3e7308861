"""Rows of two LMSs on one XQueue: ours, and one that has the same courses under another host."""

import json
from typing import Any

from migration_shim.models import LegacySubmission
from tests.builders import rows

OURS = "courses.example.edu"
STAGING = "staging.example.org"
#: A course whose letters Django's reverse() percent-encodes, and how a callback then names it.
ACCENTED, ENCODED = "course-v1:ÉxU+PY1+2026", "course-v1:%C3%89xU+PY1+2026"


def moved(row: LegacySubmission, host: str = STAGING, **columns: Any) -> LegacySubmission:
    """The same row as another LMS has sent it: header and callback column name its host."""
    return rewritten(row, f"https://{OURS}/", f"https://{host}/", **columns)


def encoded(row: LegacySubmission, **columns: Any) -> LegacySubmission:
    """The row of an accented course as the platform sends it: its callback is what Django's reverse() makes."""
    row = rewritten(row, ACCENTED, ENCODED)
    block = ACCENTED.replace("course-v1:", "block-v1:")
    return rewritten(row, block, block.replace("É", "%C3%89"), **columns)


def rewritten(row: LegacySubmission, old: str, new: str, **columns: Any) -> LegacySubmission:
    """A row with another text in its callback, the column of 128 characters included."""
    header = json.loads(row.xqueue_header)
    header["lms_callback_url"] = header["lms_callback_url"].replace(old, new)
    columns |= {"xqueue_header": json.dumps(header), "lms_callback_url": header["lms_callback_url"][:128]}
    LegacySubmission.objects.filter(pk=row.pk).update(**columns)
    row.refresh_from_db()
    return row


def named(settings: Any, **lists: list[str]) -> None:
    """Name hosts in the settings: ours in CALLBACK_HOSTS, another LMS's in FOREIGN_CALLBACK_HOSTS."""
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | lists


def staging(user: int = 8, **columns: Any) -> LegacySubmission:
    """A queued row of the other LMS, of the course that both have."""
    return moved(rows.legacy_row(user, **columns))
