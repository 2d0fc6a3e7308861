"""
What a preflight finds: one shape for what rows, queues and the site show.

A rule says what is looked for, how bad it is and what to do; a finding says where it was met. The rules about rows and
queues are in ``row_rules``, those about the installation in ``site_rules``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypedDict, Unpack

BLOCKER, WARNING, NOTE = "blocker", "warning", "note"
#: From the worst on, as a report lists them.
SEVERITIES = (BLOCKER, WARNING, NOTE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One thing to look for: what the target does with it, and what to do."""

    code: str
    severity: str
    effect: str
    advice: str
    #: Whether the watcher seam takes care of it; then ``effect`` is what edx-submissions' own endpoint would do.
    seam: bool = False


class Where(TypedDict, total=False):
    """Where a rule was met: the fields of ``Finding`` that are not the rule's."""

    queue: str
    problem: str
    about: str
    rows: int
    example: int | None
    listed: tuple[int, ...]


class FindingDocument(TypedDict):
    """A finding as the document of a preflight has it."""

    code: str
    severity: str
    seam: bool
    rows: int
    example_legacy_id: int | None
    listed_legacy_ids: list[int]
    queue: str
    problem: str
    about: str
    effect: str
    advice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """
    A rule that something has met: rows of one queue and problem, a queue, or the site.

    ``severity`` and ``advice`` are the rule's unless the place calls for others; ``about`` is what else there is to
    say of this one (a check's complaint, the statement to run, the largest size seen), without learner content.
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
    #: Legacy ids of the rows, where each has to be looked after; no more than so many (``tally.LISTED``).
    listed: tuple[int, ...] = ()

    def document(self) -> FindingDocument:
        """The finding as the document of a preflight has it."""
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
        }


def found(rule: Rule, *, severity: str = "", advice: str = "", **where: Unpack[Where]) -> Finding:
    """A finding of a rule; ``where`` are the other fields of ``Finding``."""
    return Finding(rule=rule, severity=severity or rule.severity, advice=advice or rule.advice, **where)


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """The worst first, then by code and place."""
    return sorted(
        findings, key=lambda item: (SEVERITIES.index(item.severity), item.rule.code, item.queue, item.problem)
    )


def by_code(*rules: Rule) -> dict[str, Rule]:
    """Rules by their code."""
    return {rule.code: rule for rule in rules}
