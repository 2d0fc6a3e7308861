"""The long form goes on where it was stopped, and begins anew with other code."""

import json
from types import SimpleNamespace

from migration_shim.core.data import Phase
from tests.acceptance.interleavings.explorer import Found, Pair
from tests.acceptance.interleavings.progress import BATCH, Progress
from tests.acceptance.interleavings.schedules import every, written

PAIR = Pair("submit", "watch", Phase.LIVE)
WANTED = list(every((8, 9)))


class Explorer(SimpleNamespace):
    """One that finds something wrong with the very last schedule."""

    def explore(self, batch):
        self.played += batch
        broken = {written(one): ["something"] for one in batch if one == WANTED[-1]}
        return Found(self.pair, played=len(batch), outcomes=1, broken=broken)


def test_it_goes_on_where_it_was_stopped(tmp_path):
    file, explorer = tmp_path / "progress.json", Explorer(pair=PAIR, played=[])
    first = Progress(3600, file)
    first.is_over = lambda: len(explorer.played) >= BATCH
    first.go_on(explorer, WANTED)
    assert (len(explorer.played), first.is_done(PAIR), first.broken()) == (BATCH, False, [])

    second = Progress(3600, file)
    second.go_on(explorer, WANTED)
    assert explorer.played == WANTED
    assert second.is_done(PAIR)
    assert 'INTERLEAVING="live: submit + watch / ' in second.broken()[0]
    assert Progress(3600, file).broken() == second.broken()


def test_what_was_played_with_other_code_counts_for_nothing(tmp_path):
    file = tmp_path / "progress.json"
    file.write_text(json.dumps({"code": "other", "pairs": {str(PAIR): {"done": True, "found": ["something"]}}}))
    assert not Progress(3600, file).is_done(PAIR)
    assert Progress(3600, file).broken() == []


def test_it_stops_when_its_time_is_up(tmp_path):
    explorer = Explorer(pair=PAIR, played=[])
    progress = Progress(0, tmp_path / "progress.json")
    progress.go_on(explorer, WANTED)
    assert progress.is_over() and not explorer.played and not progress.is_done(PAIR)
