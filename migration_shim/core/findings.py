"""
The findings of a preflight: one shape for rows, queues and the installation.

A rule says what is looked for, how bad it is and what to do. A finding says where the rule was met. The rules about
rows and queues are in ``row_rules``, those about the installation in ``site_rules``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypedDict, Unpack

from . import codes
from .documents.preflight import FindingDocument

BLOCKER, WARNING, NOTE = "blocker", "warning", "note"
#: From the worst on, as a report lists them.
SEVERITIES = (BLOCKER, WARNING, NOTE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One thing to look for: what the target does with it, and what to do about it."""

    code: str
    severity: str
    effect: str
    advice: str
    #: Whether the watcher seam handles it; then ``effect`` is what edx-submissions' own endpoint would do.
    seam: bool = False


class Where(TypedDict, total=False):
    """Where a rule was met: the fields of ``Finding`` that are not the rule's."""

    queue: str
    problem: str
    about: str
    rows: int
    example: int | None
    listed: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """
    A rule that was met by rows of one queue and problem, by a queue, or by the installation.

    ``severity`` and ``advice`` are the rule's unless the place needs others. ``about`` adds details (a check's
    complaint, the statement to run, the largest size seen), without learner content.
    """

    rule: Rule
    severity: str
    advice: str
    queue: str = ""
    problem: str = ""
    about: str = ""
    rows: int = 0
    #: The legacy id of one of the rows, or None.
    example: int | None = None
    #: Legacy ids of the rows, where an operator has to look at each; at most ``row_counts.LISTED``.
    listed: tuple[int, ...] = ()

    def document(self) -> FindingDocument:
        """Return the finding in the form of the preflight's document."""
        return {
            "code": self.rule.code,
            "severity": self.severity,
            "seam": self.rule.seam,
            "rows": self.rows,
            "example_legacy_id": self.example,
            "listed_legacy_ids": list(self.listed),
            "queue": self.queue,
            "problem": self.problem,
            "about": self.about,
            "effect": self.rule.effect,
            "advice": self.advice,
            "page": codes.page("finding", self.rule.code),
        }


def found(rule: Rule, *, severity: str = "", advice: str = "", **where: Unpack[Where]) -> Finding:
    """Return a finding of a rule. ``where`` are the other fields of ``Finding``."""
    return Finding(rule=rule, severity=severity or rule.severity, advice=advice or rule.advice, **where)


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings sorted: the worst first, then by code and place."""
    return sorted(
        findings, key=lambda item: (SEVERITIES.index(item.severity), item.rule.code, item.queue, item.problem)
    )


def by_code(*rules: Rule) -> dict[str, Rule]:
    """Return rules by their code."""
    return {rule.code: rule for rule in rules}
