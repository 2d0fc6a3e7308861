"""Runs of commands, and how far each scan has come."""

from __future__ import annotations

from django.db import models
from django.utils.timezone import now

from ..fields import ExactCharField


class Run(models.Model):
    """
    One run of a command, with the document that it printed.

    ``host``, ``pid`` and ``user`` say whose it is, and are empty on a run of a release before 0016. ``waits_for`` is
    why it does no batch at the moment.

    .. pii: The operating system's name of the operator who began it.
    .. pii_types: username
    .. pii_retirement: retained
    """

    kind = models.CharField(max_length=32)
    scope = ExactCharField(max_length=255, blank=True, default="")
    started_at = models.DateTimeField(default=now)
    heartbeat_at = models.DateTimeField(default=now)
    host = models.CharField(max_length=255, blank=True, default="", db_default="")
    pid = models.PositiveBigIntegerField(default=0, db_default=0)
    user = models.CharField(max_length=150, blank=True, default="", db_default="")
    waits_for = models.CharField(max_length=255, blank=True, default="", db_default="")
    finished_at = models.DateTimeField(null=True)
    complete = models.BooleanField(default=False)
    settings = models.JSONField(default=dict)
    versions = models.JSONField(default=dict)
    document = models.JSONField(default=dict)

    class Meta:
        indexes = [models.Index(fields=["kind", "scope", "id"], name="shim_run_kind_scope")]

    def __str__(self) -> str:
        return f"{self.kind} run {self.pk}"


class Checkpoint(models.Model):
    """
    How far a scan over ids has come, written in one transaction with the work, so that a killed run can resume.

    A range of ids that a worker takes has a row too: ``plan`` says what is to be done with the range, ``counts`` what
    became of its rows. So neither is lost with a worker that dies.

    .. no_pii:
    """

    name = models.CharField(max_length=64, unique=True)
    last_id = models.BigIntegerField(default=0)
    plan = models.JSONField(default=dict, db_default={})
    counts = models.JSONField(default=dict, db_default={})
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"{self.name} at {self.last_id}"
