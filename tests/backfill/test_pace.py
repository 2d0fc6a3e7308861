"""How many rows a batch takes: by work, and not by the clock."""

import gc
import time

import pytest

from migration_shim.backfill import batch_size
from migration_shim.backfill.batch_size import FIRST, LEAST, MOST, TARGET_SECONDS, BatchSizer
from migration_shim.runs import garbage


def test_a_batch_that_only_waits_says_nothing_against_its_size():
    """On a busy machine everything takes long; smaller batches would make it busier."""
    one = BatchSizer(None)
    with one.timed(FIRST):
        time.sleep(3 * TARGET_SECONDS)
    assert one.size > FIRST


def test_batches_become_as_large_as_a_tenth_of_a_second_of_work_allows():
    one = BatchSizer(None)
    for _ in range(30):
        one.took(one.size, one.size * TARGET_SECONDS / 300)
    assert one.size == 300


def test_dear_rows_make_small_batches_and_cheap_ones_no_larger_than_the_bound():
    one = BatchSizer(None)
    for _ in range(30):
        one.took(one.size, one.size * 1.0)
    assert one.size == LEAST
    one = BatchSizer(None)
    sizes = [one.size]
    for _ in range(30):
        one.took(one.size, 0.0)
        sizes.append(one.size)
    assert sizes[:3] == [FIRST, 2 * FIRST, MOST]
    assert sizes[-1] == MOST


def test_one_dear_batch_is_not_yet_a_dear_table():
    one = BatchSizer(None)
    for _ in range(30):
        one.took(one.size, one.size * TARGET_SECONDS / 400)
    one.took(one.size, 100 * TARGET_SECONDS)
    assert 300 <= one.size <= 310


def test_a_batch_that_was_not_full_and_a_size_that_was_asked_for_teach_nothing():
    one, fixed = BatchSizer(None), BatchSizer(70)
    one.took(FIRST - 1, 60.0)
    fixed.took(70, 60.0)
    assert (one.size, fixed.size) == (FIRST, 70)


def test_a_batch_that_fails_is_not_learned_from():
    one = BatchSizer(None)
    with pytest.raises(KeyError), one.timed(FIRST):
        raise KeyError
    assert one.size == FIRST


def test_the_clock_that_counts_is_that_of_the_work(monkeypatch):
    ticks = iter([10.0, 10.0 + TARGET_SECONDS])
    monkeypatch.setattr(batch_size.time, "thread_time", lambda: next(ticks))
    one = BatchSizer(None)
    with one.timed(FIRST):
        pass
    assert one.size == FIRST


def test_the_collector_has_everything_back_after_a_run_however_it_ends():
    with pytest.raises(KeyError), garbage.left_alone():
        assert gc.get_freeze_count() > 0
        raise KeyError
    assert gc.get_freeze_count() == 0
