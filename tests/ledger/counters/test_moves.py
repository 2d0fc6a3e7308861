"""What was compared and then changes sides, loses its shadow or its residue: it is counted as what it is by now."""

import time
from datetime import timedelta

import pytest
from django.utils.timezone import now

from migration_shim import api, toggles
from migration_shim.backfill.give_back import run as give_back
from migration_shim.backfill.request import Mode, Request
from migration_shim.conf import load
from migration_shim.core.buckets import Flag
from migration_shim.core.data import Move
from migration_shim.cutover import steps as cutover
from migration_shim.ledger import counts
from migration_shim.ledger.entries import refill
from migration_shim.legacy import reading
from migration_shim.legacy import rows as legacy_rows
from migration_shim.models import LedgerEntry
from migration_shim.retention import purge
from tests.backfill.handoff.conftest import shim  # noqa: F401
from tests.builders import handing_off as world
from tests.builders import rows
from tests.builders.rows import COURSE, fresh  # noqa: F401
from tests.ledger.counters.oracle import assert_counters_equal_counts

pytestmark = [
    pytest.mark.django_db(databases=["default", "xqueue"], transaction=True),
    pytest.mark.usefixtures("shim"),
]


def facts():
    """What the one entry of the course is counted as."""
    ((found, number),) = counts.bucketed(COURSE)
    assert number == 1
    return found


def compared():
    """A submission in flight on legacy, with its shadow, after a reconcile; the course steps to live."""
    rows.in_phase("shadow")
    row = world.submitted()
    rows.backfill()
    rows.reconcile()
    assert (facts().authority, facts().result) == ("legacy", "waiting")
    rows.in_phase("live")
    toggles.force_flags(COURSE, True, True)
    return row


def test_a_handoff_takes_it_to_the_target_and_a_return_takes_it_back():
    compared()
    for _ in range(3):
        world.run()
        time.sleep(0.1)
    entry = LedgerEntry.objects.get()
    assert entry.move in (Move.RELEASED, Move.WATCHED)
    assert (facts().authority, facts().result, facts().moved_on) == ("target", "none", now().date())
    assert_counters_equal_counts()
    rows.in_phase("legacy")
    toggles.force_flags(COURSE, False, False)
    give_back.run(Request(mode=Mode.RETURN, execute=True), rows.ignore)
    assert LedgerEntry.objects.get().move == Move.RETURNED
    assert (facts().authority, facts().result) == ("legacy", "none")
    assert_counters_equal_counts()


@pytest.fixture
def pairs():
    """Pairs that were compared and are settled for long."""
    rows.in_phase("shadow")
    made = rows.graded_pairs(3, problems=1)
    rows.reconcile()
    LedgerEntry.objects.update(settled_at=now() - timedelta(days=999))
    return made


def test_a_shadow_that_is_removed_is_no_pair_any_more(pairs):
    rows.in_phase("legacy")
    cutover.remove_shadows(COURSE, execute=True, progress=rows.ignore)
    assert all(found.has(Flag.NO_COPY) for found, _ in counts.bucketed(COURSE))
    assert_counters_equal_counts(exact=True)
    rows.in_phase("shadow")
    assert api.gate(COURSE).content["evidence"]["problems"] == []


def test_residue_that_is_dropped_and_comes_back(pairs):
    purge.purge(load(), execute=True, check=lambda: None)
    assert all(found.has(Flag.PURGED) for found, _ in counts.bucketed(COURSE))
    assert counts.sizes()[COURSE] == (3, 3)
    row = legacy_rows.by_id([pairs[0].pk])[pairs[0].pk]
    parsed = reading.read(row, None)[0]
    entry = LedgerEntry.objects.get(legacy_id=row.id)
    refill(entry, parsed.envelope, parsed.digests, parsed.input_key)
    assert counts.sizes()[COURSE] == (3, 2)
    entry.save()  # with all its columns: it knows its bucket
    assert_counters_equal_counts(exact=True)
