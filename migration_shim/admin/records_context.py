"""What the page of a divergence, or of a ledger entry, shows; every text made printable."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ..core import remedies
from ..ledger import aggregates
from ..legacy import timeouts
from ..models import Divergence, LedgerEntry
from ..reconcile import keyed_hash
from ..reports import collect, sides
from ..reports.escape import escaped, printable

Content = dict[str, Any]

#: Characters of a reply that the page shows.
REPLY_LIMIT = 4000
_REPLIES = {"legacy_message": "Legacy's grader wrote", "target_message": "The target's grader wrote"}


def entry_page(entry: LedgerEntry, row: Divergence | None, *, replies: bool) -> Content:
    """
    Return what the page of an entry shows.

    Args:
        entry: the ledger entry.
        row: the divergence that the page is about; None for the entry's own page.
        replies: show what the graders wrote; for those who may view the ledger.
    """
    item = _item(entry, row.klass if row else None)
    item |= collect.side_rows([item])[0]
    others = Divergence.objects.filter(entry=entry).order_by("-id")
    return {
        "entry": {
            "id": entry.pk,
            "facts": escaped(_facts(entry)),
            "course": entry.course_id,
            "learner": keyed_hash(entry.learner),
        },
        "divergence": _shown(row) if row else None,
        "others": [_shown(one) for one in others if row is None or one.pk != row.pk],
        "table": escaped(sides.table(item)),
        "why": printable(sides.why(item)),
        **(_replies(item) if replies else {"replies": [], "replies_said": ""}),
        "may_read_replies": replies,
    }


def _item(entry: LedgerEntry, klass: str | None) -> Content:
    """Return an entry in the form of a divergence of a report."""
    values = {name: getattr(entry, name) for name in aggregates.SIDES}
    texts = {name: value.isoformat() for name, value in values.items() if isinstance(value, datetime)}
    ids = {"legacy_id": entry.legacy_id, "submission_id": entry.target_submission_id}
    return values | texts | ids | {"class": klass}


def _facts(entry: LedgerEntry) -> list[tuple[str, Any]]:
    return [
        ("Problem", entry.item_id),
        ("Queue", entry.queue_name),
        ("Arrived", f"{entry.arrived_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("Whose grade counts", entry.authority),
        ("Phase then", entry.phase),
        ("Legacy row", entry.legacy_id if entry.legacy_id is not None else "none"),
        ("Submission", entry.target_submission_id if entry.target_submission_id is not None else "none"),
        ("Result of the comparison", entry.result),
    ]


def _shown(row: Divergence) -> Content:
    return {
        "id": row.pk,
        "class": row.klass,
        "what": printable(row.what),
        "since": f"{row.found_at:%Y-%m-%d %H:%M} UTC",
        "cured": f"{row.cured_at:%Y-%m-%d %H:%M} UTC" if row.cured_at else "",
        "known": row.known_id,
        "remedy": remedies.described(row.klass),
    }


def _replies(item: Content) -> Content:
    """Return the graders' messages, or why they cannot be read."""
    try:
        [found] = collect.learner_content([item])
    except timeouts.AWAY:
        return {"replies": [], "replies_said": "XQueue's database does not answer: the replies cannot be read."}
    texts = [(label, found[key]) for key, label in _REPLIES.items() if found[key]]
    return {
        "replies": [(label, _cut(text)) for label, text in texts],
        "replies_said": "" if texts else "There is none.",
    }


def _cut(text: str) -> str:
    more = f"\n… and {len(text) - REPLY_LIMIT} characters more" if len(text) > REPLY_LIMIT else ""
    return printable(text[:REPLY_LIMIT], lines=True) + more
