"""How far the long form has come, in a file, so that it can be stopped and go on: of the very same code only."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

from sandbox.databases import PROJECT_ROOT
from tests.acceptance.interleavings.explorer import Explorer, Pair
from tests.acceptance.interleavings.schedules import Schedule

FILE = PROJECT_ROOT / ".sandbox" / "interleavings.json"
SOURCES = ("migration_shim", "tests/acceptance/interleavings", "tests/builders")
#: Schedules played between two looks at the time.
BATCH = 100


def digest() -> str:
    """A name for the code as it is."""
    found = hashlib.sha256()
    for folder in SOURCES:
        for path in sorted((PROJECT_ROOT / folder).rglob("*.py")):
            found.update(path.read_bytes())
    return found.hexdigest()


class Progress:
    """Schedules played and what was found, by pair."""

    def __init__(self, seconds: float, file: Path = FILE) -> None:
        self._file, self._ends = file, time.monotonic() + seconds
        kept = json.loads(file.read_text()) if file.exists() else {}
        fresh = {"code": digest(), "pairs": {}}
        self._kept: dict[str, Any] = kept if kept.get("code") == fresh["code"] else fresh

    def is_over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self._ends

    def is_done(self, pair: Pair) -> bool:
        """Whether all schedules of a pair were played."""
        return self._kept["pairs"].get(str(pair), {}).get("done", False)

    def go_on(self, explorer: Explorer, wanted: list[Schedule]) -> None:
        """Play what is left of a pair, as far as the time reaches."""
        mine = self._kept["pairs"].setdefault(str(explorer.pair), {"played": 0, "of": len(wanted), "found": []})
        while mine["played"] < len(wanted) and not self.is_over():
            batch = wanted[mine["played"] : mine["played"] + BATCH]
            found = explorer.explore(batch)
            mine["played"] += len(batch)
            if found.broken:
                mine["found"].append(str(found))
            self._save()
        mine["done"] = mine["played"] >= len(wanted)
        self._save()

    def _save(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(json.dumps(self._kept, indent=1))

    def broken(self) -> list[str]:
        """What was found, in this run and in those that it goes on from."""
        return [text for pair in self._kept["pairs"].values() for text in pair["found"]]

    def summary(self) -> str:
        """How much was played."""
        kept = self._kept["pairs"].values()
        done = sum(pair.get("done", False) for pair in kept)
        return f"{sum(pair['played'] for pair in kept)} schedules, {done} of {len(kept)} pairs that were begun are done"
