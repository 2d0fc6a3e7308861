"""Whatever is in flight, however it commits, however a run is cut up and broken off: the same end."""

import contextlib
from dataclasses import dataclass
from datetime import timedelta

import pytest
from django.db import connections
from django.utils.timezone import now
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from migration_shim.core.data import ExitCode
from migration_shim.models import Checkpoint, LegacySubmission
from migration_shim.runs import control
from tests.builders import many_rows as many
from tests.builders import rows
from tests.builders.rows import fresh  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])

FIRST_ID = 1_000


class BrokenOff(Exception):
    """What a test raises in the middle of a batch."""


@dataclass(frozen=True)
class Row:
    """One legacy row. ``late``: its transaction commits after a run has read rows with higher ids."""

    user: int
    problem: int
    late: bool
    broken: bool
    twin: bool  # the row before, sent once more


ROWS = st.lists(
    st.builds(
        Row,
        user=st.integers(1, 3),
        problem=st.integers(1, 2),
        late=st.booleans(),
        broken=st.sampled_from([False, False, False, True]),
        twin=st.sampled_from([False, False, False, False, True]),
    ),
    min_size=1,
    max_size=12,
)
CUTS = st.one_of(
    st.just(("no cut", 0)),
    st.tuples(st.sampled_from(["error", "signal", "limit"]), st.integers(1, 6)),
)
RUNS = st.lists(st.tuples(st.integers(1, 7), CUTS), max_size=4)


def insert(made, index, start):
    """Row ``index``, with the id and the time that it got when its transaction began; a response of its own each."""
    row = made[index]
    values = {"id": FIRST_ID + index, "arrival_time": start + timedelta(milliseconds=index)}
    if row.twin and index:
        before = LegacySubmission.objects.filter(id=FIRST_ID + index - 1).values().first()
        if before is not None:
            return LegacySubmission.objects.create(**(before | values))
    if row.broken:
        values["xqueue_header"] = "{"
    return rows.legacy_row(row.user, problem=f"{row.problem:032x}", response=index + 2, **values)


@contextlib.contextmanager
def cut(kind, number):
    """Let a run be broken off: in a transaction, or by a signal, each time at number ``number`` of them."""
    if kind == "error":
        seen = []

        def fail(execute, sql, params, many_, context):
            result = execute(sql, params, many_, context)
            seen.append("INSERT" in sql and "ledgerentry" in sql)
            if seen[-1] and sum(seen) == number:
                raise BrokenOff
            return result

        with connections["default"].execute_wrapper(fail):
            yield
    elif kind == "signal":
        looks = iter([""] * number)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(control.Control, "stop_reason", lambda self: next(looks, "SIGTERM"))
            yield
    else:
        yield


def one_run(size, kind, number):
    """One run; its document, or None where it broke off."""
    with cut(kind, number):
        try:
            document = rows.backfill(batch_size=size, limit=number if kind == "limit" else None)
        except BrokenOff:
            return None
    content = document.content
    assert sum(content["classes"].values()) == content["read"]
    assert content["written"] == content["classes"]["imported"] + content["classes"]["final"]
    assert bool(document.exit_code & ExitCode.STOPPED) == bool(content["stopped_by"]) <= (not content["complete"])
    return content


def submissions():
    """The headers of all that is a submission, in the order of arrival; one that was sent twice is one."""
    queued = LegacySubmission.objects.exclude(xqueue_header="{").order_by("arrival_time")
    return list(dict.fromkeys(queued.values_list("xqueue_header", flat=True)))


def written():
    """The headers of everything on the target, in the order in which graders get it."""
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT l.raw_header FROM submissions_externalgraderdetail d"
            " LEFT JOIN migration_shim_ledgerentry l ON l.target_submission_id = d.submission_id"
            " ORDER BY d.status_time, d.id"
        )
        return [header for (header,) in cursor.fetchall()]


WORLDS = {"old": ROWS, "young": ROWS, "before": RUNS, "after": RUNS, "last": st.integers(1, 20)}
CHECKS = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}


@examples(max_examples=15, **CHECKS)
@given(**WORLDS)
def test_any_rows_sizes_commit_orders_and_interruptions_come_to_one_end(old, young, before, after, last):
    check(old, young, before, after, last)


@pytest.mark.long
@pytest.mark.timeout(3600)
@examples(max_examples=500, **CHECKS)
@given(**WORLDS)
def test_many_more_of_them(old, young, before, after, last):
    check(old, young, before, after, last)


def check(old, young, before, after, last):
    """Runs, then the late commits, then more runs; then one that goes on to the end, and one more."""
    many.forget()
    LegacySubmission.objects.all().delete()
    made, boundary, moment = old + young, len(old), now()
    starts = [moment - timedelta(hours=1)] * boundary + [moment - timedelta(seconds=20)] * len(young)
    late = [index for index in range(boundary, len(made)) if made[index].late]
    for index in range(len(made)):
        if index not in late:
            insert(made, index, starts[index])
    for size, (kind, number) in before:
        one_run(size, kind, number)
        place = Checkpoint.objects.filter(name__startswith="backfill:").first()
        assert place is None or place.last_id < FIRST_ID + boundary, "passes rows that may still commit"
    for index in late:
        insert(made, index, starts[index])
    for size, (kind, number) in after:
        one_run(size, kind, number)
    # The run that goes on from wherever the checkpoint stands must not have skipped what committed late.
    first = one_run(last, "no cut", 0)
    assert first["complete"]
    assert written() == submissions()
    assert many.orphans() == {}
    again = one_run(last, "no cut", 0)
    assert (again["read"], again["written"]) == (len(made), 0)
    broken = LegacySubmission.objects.filter(xqueue_header="{").count()
    present = len(submissions())
    duplicates = len(made) - broken - present
    counted = {name: number for name, number in again["classes"].items() if number}
    expected = {"present": present, "malformed": broken, "duplicate": duplicates}
    assert counted == {name: number for name, number in expected.items() if number}
    assert written() == submissions()
