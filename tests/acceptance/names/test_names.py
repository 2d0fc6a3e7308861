"""
Odd names in every field that crosses a system: what the plan says is done, nothing raises, and the neighbours of an odd
row come out as if it were not there.
"""

import contextlib

import pytest
from django.db import connections
from hypothesis import HealthCheck, example, given
from hypothesis import Phase as Part
from hypothesis import settings as profile
from hypothesis import strategies as st

from migration_shim import fields
from migration_shim.copies import breaker
from sandbox.network import free_port
from tests.builders import odd_rows as world
from tests.builders.hostile_text import hostile, reason_of
from tests.builders.rows import fresh  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
ODD = st.fixed_dictionaries({field: hostile(base) for field, base in world.ORDINARY.items()}).map(
    lambda odd: odd | {"reason": reason_of(odd["reason"])}
)


def examples_of(examples):
    """The same examples everywhere. Nothing is made smaller, for an example is a whole story."""
    return profile(
        max_examples=max(examples, 1),
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Part.explicit, Part.generate] if examples else [Part.explicit],
        suppress_health_check=list(HealthCheck),
    )


def every_run(function):
    """With examples that a few random ones need not hit: one dictionary has a text for each of the fields."""
    for values in KNOWN:
        function = example(dict(zip(world.ORDINARY, values, strict=True)))(function)
    return function


KNOWN = (
    # course, item, queue, learner, file, key, reason
    (world.OTHER_NUMBER.lower(), world.PROBLEM.upper(), f"{world.QUEUE} ", "x", " a.py ", "", "\U0001f525"),
    ("ALG\u00e9", "\U00010400", f"{world.QUEUE}\0", "\0" * 30, 'a "b".py', "k" * 129, "\ud800"),
    ("ALG\U00010400", "a" * 180, f"{world.QUEUE}\U0001f525", "x" * 128, "a\nb.py", "\U0001f525", "r" * 300),
    ("A" * 228, f"{world.PROBLEM}.", "q" * 125, "\u00e9" * 32, "f" * 256, " ", "a\nb"),
    (f"{world.OTHER_NUMBER}.", "41", world.QUEUE.upper(), "x" * 24, "\ud800.py", "\0", "'\"%s"),
)
#: Random ones beside the known: a story is a second and a half, and the known have a text of every kind for each field.
HOW_MANY = pytest.mark.parametrize(
    "examples", [0, pytest.param(60, marks=[pytest.mark.long, pytest.mark.timeout(3600)])]
)


@contextlib.contextmanager
def converted(charset):
    """XQueue's table in the character set that it has had since its first migration, or in the wider one."""

    def convert(wanted):
        with connections["xqueue"].cursor() as cursor:
            cursor.execute(f"ALTER TABLE queue_submission CONVERT TO CHARACTER SET {wanted}")
        fields._charsets.cache_clear()  # asked once a process, and this one has asked before

    if charset == "utf8mb4":
        yield
        return
    convert(charset)
    try:
        yield
    finally:
        convert("utf8mb4")


@pytest.fixture(scope="module", params=world.CHARSETS)
def _charset(request, databases_ready, django_db_blocker):
    with django_db_blocker.unblock(), converted(request.param):
        yield


@pytest.fixture(autouse=True)
def site(_charset, fresh, settings):  # noqa: F811
    """A site on which a handoff takes no waiting, and an XQueue that nobody runs."""
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {
        "LEGACY_URL": f"http://127.0.0.1:{free_port()}",
        "HANDOFF_SETTLE_SECONDS": 0,
        "PROCESSING_DELAY_SECONDS": 0,
        "HOLD_SECONDS": 0,
    }
    breaker.reset()
    yield
    breaker.reset()


def hold(story, examples):
    """Tell a story with odd rows, and hold it against the same story without them."""
    with world.undone():
        without = story({})

    @every_run
    @examples_of(examples)
    @given(ODD)
    def same(odd):
        breaker.reset()
        with world.undone():
            assert story(odd) == without

    same()


@HOW_MANY
def test_copies_and_comparisons(examples):
    hold(world.copied_and_compared, examples)


@HOW_MANY
def test_handoff_the_way_back_and_return(examples):
    hold(world.moved_and_brought_back, examples)
