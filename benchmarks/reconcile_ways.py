"""The app's comparison, and the floors under it. The databases are those that the environment names."""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks import expected, names, pairs

PAGE = 2000


def reconcile(options: argparse.Namespace, *, full: bool = False) -> dict[str, Any]:
    """The product, as the command runs it over all courses."""
    from migration_shim import api

    document = api.reconcile(api.known_courses(), lambda done, total: None, lambda divergence: None, full=full)
    content = document.content
    found = {name: content[name] for name in ("of", "equal", "diverged", "waiting", "overdue")}
    for name in ("classes", "known_differences"):
        found[name] = {key: count for key, count in content[name].items() if count}
    wanted = expected.of_pairs(options.rows, options.odd)
    wrong = [f"{name} {found[name]}, not {wanted[name]}" for name in wanted if found[name] != wanted[name]]
    if not content["complete"]:
        wrong.append(f"stopped by {content['stopped_by']}")
    told = {name: content[name] for name in ("looked_at", "diverged")}
    return {"pairs": content["of"], "wrong": "; ".join(wrong)} | told


def drain(options: argparse.Namespace) -> dict[str, Any]:
    """The floor: every row of the three tables through a plain cursor, and nothing done with it."""
    from MySQLdb.cursors import SSCursor

    sizes = {}
    for name, (alias, statement) in pairs.DRAINED.items():
        with pairs.cursor_of(alias, SSCursor) as cursor:
            cursor.execute(statement)
            sizes[name] = 0
            while page := cursor.fetchmany(PAGE):
                sizes[name] += len(page)
    return _sizes(sizes, options)


def plain_read(options: argparse.Namespace) -> dict[str, Any]:
    """Headers, bodies, replies, answers and residue in keyset pages, and nothing done with them."""
    from MySQLdb.cursors import Cursor

    sizes = {}
    for name, (alias, key, statement) in pairs.READ.items():
        last, sizes[name] = 0, 0
        with pairs.cursor_of(alias, Cursor) as cursor:
            while True:
                cursor.execute(f"{statement} WHERE {key} > %s ORDER BY {key} LIMIT {PAGE}", [last])
                page = cursor.fetchall()
                if not page:
                    break
                sizes[name] += len(page)
                last = page[-1][0]
    return _sizes(sizes, options)


def _sizes(sizes: dict[str, int], options: argparse.Namespace) -> dict[str, Any]:
    """What a floor has read; it too says so where that is not all there is."""
    wanted = expected.of_pairs(options.rows, options.odd)["of"]
    wrong = "" if sizes["ledger"] == wanted else f"{sizes['ledger']} entries read, not {wanted}"
    return {"pairs": sizes["ledger"], "wrong": wrong}


WAYS = {
    names.DRAIN: drain,
    names.PLAIN_READ: plain_read,
    names.FIRST: reconcile,
    names.FULL: lambda options: reconcile(options, full=True),
    names.NOTHING_NEW: reconcile,
    names.INCREMENTAL: lambda options: reconcile(options) | {"changed": options.rows // 100},
}
