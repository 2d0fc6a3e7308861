"""The results of a run for people, in Markdown."""

from __future__ import annotations

from typing import Any

from benchmarks.figures import Row, cell, figure, multiple
from benchmarks.goals import WHOLE

_COMMITS = {False: "commits do not wait for the disk", True: "commits wait for the disk"}
_TITLES = {
    "submit": "One submit",
    "pullers": "Forty graders at one queue",
    "import": "Import",
    "reconcile": "Reconcile",
    "reads": "Gate, status and dashboard (the mean of one)",
}


def markdown(document: dict[str, Any]) -> str:
    """The document for people."""
    machine = document["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines = [
        f"Run of {document['at'][:16].replace('T', ' ')} UTC"
        + ("" if document["finished"] else ", **not finished**")
        + f"; `{document['command']}`, version {document['version']}.",
        "",
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_mb']} MB, load {machine['load_before']} at"
        f" the start; {versions}.",
        "",
        "Multiples are of CPU, client and server together, of the unit of the same table (1); of medians for one"
        " submit, of rows a second for graders.",
    ]
    for durable, about in ((name == "durable", about) for name, about in document["servers"].items()):
        lines += ["", f"### {_COMMITS[durable].capitalize()}", "", f"{about}."]
        here = [row for row in document["rows"] if row["durable"] is durable]
        for group, title in _TITLES.items():
            for size in sorted({row["size"] for row in here if row["group"] == group}):
                wanted = [row for row in here if row["group"] == group and row["size"] == size]
                about_size = f"{title}, {size:,} rows" if size else title
                lines += ["", f"**{about_size}**", "", *_table(group, wanted)]
    if document["goals"]:
        lines += ["", "### Goals", "", *_goals(document["goals"])]
        if document["size"] < WHOLE:
            lines += ["", f"The goals are for {WHOLE:,} rows and more: of fewer, what is fixed weighs more."]
    return "\n".join(lines) + "\n"


def _table(group: str, rows: list[Row]) -> list[str]:
    columns = {
        "submit": (("median ms", "median_ms"), ("p99 ms", "p99_ms"), ("samples", "samples")),
        "pullers": (("rows/s", "per_second"), ("faults", "faults")),
    }.get(
        group,
        (
            ("pairs", "pairs"),
            ("client s", "client_cpu"),
            ("server s", "server_cpu"),
            ("wall s", "seconds"),
            ("statements", "statements"),
            ("rows read", "rows_read"),
            ("peak MB", "peak_mb"),
        ),
    )
    lines = [f"| way | times | {' | '.join(title for title, _ in columns)} |", "|---|" + "---:|" * (len(columns) + 1)]
    for row in rows:
        if row.get("failed"):
            lines.append(f"| {row['way']} | - | {cell(row['failed'])} |" + " |" * (len(columns) - 1))
            continue
        name = row["way"] + (f" **wrong: {cell(row['wrong'])}**" if row.get("wrong") else "")
        values = (figure(row.get(key)) for _, key in columns)
        lines.append(f"| {name} | {figure(multiple(row, rows))} | {' | '.join(values)} |")
    return lines


def _goals(found: list[Row]) -> list[str]:
    lines = ["| goal | rows | commits durable | bound | value | |", "|---|---:|---|---|---:|---|"]
    for goal in found:
        missed = f"**missed**, {goal['missed_by']} times" if goal["missed_by"] else "**missed**"
        lines.append(
            f"| {goal['text']} | {goal['size'] or '-'} | {'yes' if goal['durable'] else 'no'} | {goal['bound']}"
            f" | {figure(goal['value'])} | {'met' if goal['met'] else missed} |"
        )
    return lines
