"""What an operator asks of ``xqueue_backfill``: one frozen value for all modes."""

from __future__ import annotations

import dataclasses
import enum
import shlex
from dataclasses import dataclass
from typing import Any, Self

from django.db.models import QuerySet

from ..models import LedgerEntry


class Mode(enum.StrEnum):
    """What a backfill does: import rows as shadows, hand them to the target, or return them to legacy."""

    SHADOW = "shadow"
    HANDOFF = "handoff"
    RETURN = "return"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the operator asks for. ``courses`` and ``queues`` are None for all."""

    mode: Mode = Mode.SHADOW
    courses: frozenset[str] | None = None
    queues: frozenset[str] | None = None
    history: bool = False
    collided: bool = False
    unsampled: bool = False
    per_problem: int = 200
    execute: bool = False
    #: Rows in a transaction; None fits the number to about a tenth of a second of work.
    batch_size: int | None = None
    limit: int | None = None
    restart: bool = False
    #: Follow legacy until it has drained (handoff).
    wait_drain: bool = False
    #: "celery" hands the work to the LMS's workers.
    workers: str | None = None

    @property
    def scope(self) -> str:
        """A name for scope and mode, under which the run's checkpoint and its lock are kept."""
        parts = [self.mode.value]
        if self.mode is Mode.SHADOW:
            parts += ["history" if self.history else "open"] + ["collided"] * self.collided
        parts += sorted(self.courses or ()) + sorted(f"queue:{queue}" for queue in self.queues or ())
        return " ".join(parts)

    def command(self, *, execute: bool) -> str:
        """Return the command line that asks for the same, to go on from where this run has come to."""
        words = ["xqueue_backfill", "--mode", self.mode.value]
        for option, values in (("--course", self.courses), ("--queue", self.queues)):
            words += [word for value in sorted(values or ()) for word in (option, value)]
        if self.courses is None and self.queues is None:
            words.append("--all")
        for name in ("history", "collided", "unsampled", "wait_drain"):
            words += [f"--{name.replace('_', '-')}"] * getattr(self, name)
        if self.history:
            words += ["--per-problem", str(self.per_problem)]
        for name in ("batch_size", "limit", "workers"):
            if (value := getattr(self, name)) is not None:
                words += [f"--{name.replace('_', '-')}", str(value)]
        return shlex.join(words + ["--execute"] * execute)

    def to_json(self) -> dict[str, Any]:
        """Return the request as plain data, for a worker."""
        values = dataclasses.asdict(self)
        return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in values.items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Return the request that ``to_json`` has turned into plain data."""
        sets = {name: frozenset(values[name]) for name in ("courses", "queues") if values[name] is not None}
        return cls(**(values | sets | {"mode": Mode(values["mode"])}))


def in_scope(
    entries: QuerySet[LedgerEntry], courses: frozenset[str] | None, queues: frozenset[str] | None
) -> QuerySet[LedgerEntry]:
    """Return the given ledger entries that belong to the courses and queues; None stands for all of them."""
    if courses is not None:
        entries = entries.filter(course_id__in=courses)
    return entries if queues is None else entries.filter(queue_name__in=queues)
