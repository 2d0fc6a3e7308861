"""Pairs of operations that meet, in every order that their tests have time for."""

import os
import time

import pytest

from tests.interleavings import schedules
from tests.interleavings.explorer import Explorer, Pair
from tests.interleavings.world import Clock

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)


@pytest.mark.skipif("INTERLEAVING" not in os.environ, reason="plays the schedule that INTERLEAVING names")
def test_replay(stage, monkeypatch, settings):
    pair, _, text = os.environ["INTERLEAVING"].partition(" / ")
    with Explorer(stage, Pair.parsed(pair), Clock(monkeypatch), monkeypatch, settings) as explorer:
        steps = explorer.steps()
        began = time.monotonic()
        wanted = [schedules.parsed(text)] if text[:1] in "AB" else schedules.some(steps, 1, int(text or 50))
        found = explorer.explore(wanted)
        print(steps, f"{(time.monotonic() - began) / found.played * 1000:.0f} ms a schedule")
        assert not found.broken, str(found)
