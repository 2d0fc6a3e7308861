"""Whose rows legacy holds of a course, and whose the ledger is: one XQueue can serve several LMSs."""

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
    What is wrong with the hosts that the course's callbacks name.

    Args:
        course_id: the course.
        rows: how many rows of the course there are, retired or not, by host.
    """
    known = hosts.known()
    waiting = legacy_open_rows.strangers(legacy_open_rows.everything(), course_id)
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
