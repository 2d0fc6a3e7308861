"""A preflight as text for a terminal: a block for each finding, the worst first, and the next command."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..core import codes
from ..core.documents.preflight import FindingDocument, PreflightDocument
from ..core.wording import counted

#: How many places of a finding and ids of rows are shown; the JSON document has all of them.
PLACES, IDS = 10, 20


def lines(content: PreflightDocument) -> list[str]:
    """Return the lines of a preflight's document."""
    by_code: dict[tuple[str, str], list[FindingDocument]] = {}
    for item in content["findings"]:
        by_code.setdefault((item["severity"], item["code"]), []).append(item)
    blockers = sum(severity == "blocker" for severity, _ in by_code)
    lines = [
        f"Preflight of {content['course']}: {counted(blockers, 'blocker')} in "
        f"{counted(content['rows'], 'legacy row')}, "
        f"queues: {', '.join(content['queues']) or 'none'}"
    ]
    if not content["rows"]:
        lines.append("No legacy row names this course: is its id right?")
    for (severity, code), items in by_code.items():
        lines += ["", *_block(severity, code, items)]
    lines += _history(content)
    if by_code:
        lines += ["", f"What each code means: {codes.index()}"]
    if content["probes"]:
        lines += ["", "Probes, each one graded submission sent once more:"]
        lines += [f"  {sent['queue']}: {'sent' if sent['sent'] else sent['said']}" for sent in content["probes"]]
        lines.append(f"Once its graders had time: xqueue_preflight --course {content['course']}")
    if blockers:
        lines += ["", "The gate stays closed while there are blockers."]
        return [*lines, f"Next, when they are dealt with: xqueue_preflight --course {content['course']}"]
    return [*lines, "", f"Next: xqueue_reconcile --course {content['course']}"]


def _block(severity: str, code: str, items: list[FindingDocument]) -> Iterator[str]:
    """Yield one finding: its rows with an example, its effect, what to do, and (unless it is a note) the places."""
    rows, first = sum(item["rows"] for item in items), items[0]
    example = next((item["example_legacy_id"] for item in items if item["example_legacy_id"]), None)
    count = f": {counted(rows, 'row')}" + (f", {example} for one" if example else "") if rows else ""
    yield f"{severity.upper():<8} {code}{count}"
    yield f"  {first['effect']}" + (" (the watcher seam hands out the original)" if first["seam"] else "")
    yield f"  To do: {first['advice']}"
    if severity != "note":
        yield from _places(items)
    elif said := sorted({item["about"] for item in items} - {""}):
        yield f"    {_some(said, PLACES, '; ')}"
    if listed := [row_id for item in items for row_id in item["listed_legacy_ids"]]:
        yield f"    legacy rows {_some([str(row_id) for row_id in listed], IDS, ', ')}"


def _places(items: list[FindingDocument]) -> Iterator[str]:
    for item in items[:PLACES]:
        place = "  ".join(text for text in (item["queue"], item["problem"], item["about"]) if text)
        example = f"  (legacy row {item['example_legacy_id']})" if item["example_legacy_id"] else ""
        if place or example:
            yield f"    {item['rows'] or '':>6}  {place}{example}"
    if len(items) > PLACES:
        yield f"    and {counted(len(items) - PLACES, 'more place')}; all with --format json"


def _some(texts: Iterable[str], limit: int, between: str) -> str:
    texts = list(texts)
    more = f"{between}and {len(texts) - limit} more; all with --format json" if len(texts) > limit else ""
    return between.join(texts[:limit]) + more


def _history(content: PreflightDocument) -> Iterator[str]:
    """Yield how many graded pairs legacy's history can give."""
    past = content["history"]
    if content["rows"]:
        yield ""
        given = f"{counted(past['pairs'], 'graded pair')} for --history, the gate asks for {past['needed']}"
        yield f"Legacy's past: {given}; thin problems: {len(past['thin_problems'])}"
