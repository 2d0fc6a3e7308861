"""Whose the ledger is, and the hosts and addresses that submissions and graders came from."""

from __future__ import annotations

from django.db import models
from django.utils.timezone import now

from ..fields import ExactCharField


class LedgerStamp(models.Model):
    """
    The host of the LMS that the ledger belongs to; the newest row counts. It tells a cloned database from its original.

    .. pii: The name of the operator who adopted the ledger.
    .. pii_types: username
    .. pii_retirement: retained
    """

    host = ExactCharField(max_length=255)
    stamped_at = models.DateTimeField(default=now)
    stamped_by = models.CharField(max_length=150, blank=True, default="")
    reason = ExactCharField(max_length=500, blank=True, default="")  # it takes any character, on any database

    def __str__(self) -> str:
        return f"the ledger of {self.host}"


class DoorHost(models.Model):
    """
    A host of ours that no setting names: callbacks of submissions through our own doors have named it.

    .. no_pii:
    """

    host = ExactCharField(max_length=255, unique=True)
    first_seen_at = models.DateTimeField(default=now)

    def __str__(self) -> str:
        return self.host


class WatcherLogin(models.Model):
    """
    An address from which a grader's account has logged in at edx-submissions' own endpoint, past our watcher seam.

    .. no_pii:
    """

    address = models.CharField(max_length=64, unique=True)
    first_seen_at = models.DateTimeField(default=now)
    last_seen_at = models.DateTimeField(default=now)
    logins = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return f"a watcher at {self.address}"
