"""Rows of one truncated callback: held against a few of the others, each is what it is held against all."""

import dataclasses
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_shim.core.classification import Policy, classify, legacy_state
from migration_shim.core.row_checks import of_siblings
from migration_shim.core.siblings import Siblings
from tests.builders import core_rows as rows
from tests.builders.core_rows import BLOCK, NOON, callback_url, key_of, parsed

ALL = Policy(courses=None, queues=None, history=True, answer_limit=102400, files_readable=True)
OTHER = callback_url(item=rows.USAGE[:-1] + "0")


@st.composite
def families(draw):
    """Up to a dozen rows: few inputs, few minutes, so that attempts, twins and strangers meet."""
    found = []
    for number in range(draw(st.integers(1, 12))):
        minute = draw(st.integers(0, 3))
        time, url = f"2026112212{minute:02}00", draw(st.sampled_from([callback_url(), callback_url(), OTHER]))
        key = key_of(f"{draw(st.sampled_from([BLOCK, BLOCK, 'x']))}_{draw(st.integers(2, 3))}_1", time=time)
        arrival = NOON + timedelta(minutes=draw(st.integers(0, 5)))
        found.append(
            parsed(
                id=10 + number,
                arrival_time=arrival,
                xqueue_header=rows.header(url=url, key=key),
                xqueue_body=draw(st.sampled_from([rows.body(time=time), rows.body(time=time), "no"])),
                retired=draw(st.booleans()),
                lms_ack=draw(st.booleans()),
                num_failures=draw(st.sampled_from([0, 4])),
                return_time=draw(st.sampled_from([None, arrival + timedelta(minutes=2)])),
            )
        )
    return draw(st.permutations(found))


@pytest.mark.parametrize("light", [False, True])
@given(rows_of_one=families())
@settings(max_examples=60, deadline=None)
def test_a_row_is_the_same_beside_a_few_as_beside_all(light, rows_of_one):
    family = Siblings(rows_of_one, light=light)
    for row in rows_of_one:
        every = [other for other in rows_of_one if other.row.id != row.row.id]
        few = family.beside(row)
        assert row.row.id not in {other.row.id for other in few}
        assert legacy_state(row, few) == legacy_state(row, every)
        for options in ({"present": False}, {"present": True}, {"present": False, "wanted": True}):
            assert classify(row, few, ALL, **options) == classify(row, every, ALL, **options)
        assert list(of_siblings(row, few)) == list(of_siblings(row, every))
        if row.digests is not None:
            twins = {other.row.id for other in every if other.digests == row.digests}
            assert twins == {other.row.id for other in few if other.digests == row.digests}


@pytest.mark.parametrize("size", [10, 1000])
def test_how_many_that_are_does_not_depend_on_how_many_there_are(size):
    """Every learner of a course, or one of them a thousand times."""
    one = parsed()
    for key in (str, lambda number: one.input_key):
        row = dataclasses.replace(one, digests=None)
        made = [
            dataclasses.replace(row, row=dataclasses.replace(one.row, id=number), input_key=key(number))
            for number in range(size)
        ]
        family = Siblings(made)
        assert max(len(family.beside(row)) for row in made) <= 3
