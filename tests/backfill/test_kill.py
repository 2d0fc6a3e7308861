"""``kill -9`` at random moments of a backfill, then a plain re-run: the same end as if nothing had happened."""

import os
import random
import time
from datetime import timedelta

import pytest
from django.db import connections
from django.utils.timezone import now

from migration_shim.core.data import ExitCode
from migration_shim.models import LedgerEntry, Run
from tests.builders import many_rows as many
from tests.builders import rows
from tests.builders import slow_commands as processes
from tests.builders.rows import fresh  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)

WALK = ("xqueue_backfill", "--mode", "shadow", "--all", "--execute", "--format", "json")


def forget_the_dead():
    """What two minutes without a heartbeat do."""
    Run.objects.filter(finished_at=None).update(heartbeat_at=now() - timedelta(seconds=121))


def kill_and_run_again(number, kills, seed, batch_size):
    many.make(number)
    assert rows.backfill(batch_size=None).content["written"] == number
    expected = many.fingerprint()
    assert expected[0] == number
    many.forget()
    chance, seen, killed = random.Random(seed), [0], 0
    # Slowed down a little, so that there are moments enough before the end, in the transaction and between two.
    while killed < kills and seen[-1] < number:
        child = processes.start(*WALK, "--batch-size", str(batch_size), slow=0.02)
        enough = seen[-1] + (number - seen[-1]) * chance.random() / max(kills - killed, 1)
        processes.wait_until(lambda: LedgerEntry.objects.count() > enough or child.poll() is not None)  # noqa: B023
        time.sleep(chance.random() * 0.1)
        child.kill()
        child.communicate()
        killed += child.returncode < 0
        seen.append(LedgerEntry.objects.count())
        assert many.orphans() == {}
        assert seen[-1] >= seen[-2], "what was committed is gone"
        forget_the_dead()
    assert killed == kills
    assert len(set(seen)) > kills // 2, "the kills hit nothing"
    ran = rows.manage(*WALK)
    assert ran.returncode == ExitCode.OK, ran.stderr
    assert many.fingerprint() == expected
    assert many.orphans() == {}
    again = rows.backfill(batch_size=None).content
    assert (again["read"], again["written"], again["classes"]["present"]) == (number, 0, number)


def test_five_kills_leave_no_trace():
    sqlite = connections["default"].vendor == "sqlite"
    kill_and_run_again(600 if sqlite else 1_000, kills=5, seed=random.randrange(10**6), batch_size=25)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_fifty_kills_leave_no_trace():
    sqlite = connections["default"].vendor == "sqlite"
    seed = int(os.environ.get("MIGRATION_SHIM_TEST_SEED", "0")) or random.randrange(10**6)
    print(f"seed {seed}")
    kill_and_run_again(8_000 if sqlite else 20_000, kills=50, seed=seed, batch_size=100)
