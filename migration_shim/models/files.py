"""File contents that are about to be stored."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils.timezone import now


class StoredIntent(models.Model):
    """
    File contents about to be stored for a transaction, which names them in its rows and removes this row.

    What a row still names a day later was stored for nothing. ``names`` are the stored names by the uuid of the
    SubmissionFile. The app makes the key itself: MySQL has no RETURNING for many rows.

    .. no_pii:
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    names = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=now, db_index=True)

    def __str__(self) -> str:
        return f"{len(self.names)} contents, meant at {self.created_at:%Y-%m-%d %H:%M}"
