"""Findings about callback hosts: one XQueue can serve several LMSs, so rows and the ledger may be another LMS's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ..core.data import Whose
from ..core.findings import WARNING, Finding, found
from ..core.hosts import whose
from ..core.site_rules import SITE_RULES as RULES
from ..ledger import hosts, stamp
from ..legacy import open_rows as legacy_open_rows


def findings(course_id: str, rows: Counter[str]) -> Iterator[Finding]:
    """
    Yield the findings about the hosts that the callbacks of a course name, and about the owner of the ledger.

    Args:
        course_id: the course.
        rows: rows of the course by host, retired ones included.
    """
    known = hosts.known()
    waiting = legacy_open_rows.count_unclaimed(legacy_open_rows.all_rows(), course_id)
    for host, number in sorted((Counter(waiting) | rows).items()):
        if (klass := whose(host, known)) is Whose.FOREIGN:
            yield found(RULES["other_lms"], about=host, rows=number)
        elif klass is Whose.UNKNOWN:
            open_rows = waiting.get(host, 0)
            about = f"{host}, {open_rows} of them not retired" if open_rows else host
            severity = "" if open_rows else WARNING
            yield found(RULES["callback_host_unknown"], severity=severity, about=about, rows=number)
    if not (known.named or known.door) and len(several := sorted(set(rows) - known.foreign - {""})) > 1:
        yield found(RULES["callback_hosts_several"], about=", ".join(several))
    for host in sorted(known.unnamed | (known.door & known.foreign)):
        yield found(RULES["callback_host_unnamed"], about=host)
    if complaint := stamp.complaint():
        yield found(RULES["ledger_not_ours"], about=complaint)
