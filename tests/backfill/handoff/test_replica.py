"""A writable replica that lags, behind the alias and the printed grants: nothing is moved by what it says."""

import os
from datetime import timedelta

import pytest
from django.db import connections
from submissions.models import ExternalGraderDetail

from migration_shim import conf
from migration_shim.backfill import unfinished
from migration_shim.backfill.give_back import run as give_back
from migration_shim.backfill.handoff import run as handoff
from migration_shim.backfill.request import Mode, Request
from migration_shim.core.errors import LegacyNotWritable
from migration_shim.legacy import rows as legacy_rows
from migration_shim.models import LedgerEntry, LegacySubmission
from tests.backfill.handoff import replication
from tests.builders import handing_off as world
from tests.builders import rows
from tests.builders.rows import fresh  # noqa: F401

pytestmark = [
    pytest.mark.django_db(databases=["default", "xqueue"], transaction=True),
    pytest.mark.skipif(
        not os.environ.get("MIGRATION_SHIM_LEGACY_DB", "").startswith("mysql"), reason="SQLite has no replicas"
    ),
]
TABLE = "GRANT SELECT, INSERT, UPDATE (retired, pull_time, pullkey, grader_id) ON {table} TO {account}"
ASK = "GRANT REPLICA MONITOR ON *.* TO {account}"


@pytest.fixture(scope="module")
def servers(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():
        if not connections["xqueue"].mysql_is_mariadb:
            pytest.skip("the pair is of MariaDB's, and takes no table of MySQL's")
        with replication.pair() as pair:
            yield pair


@pytest.fixture
def lagging(servers):
    """40 learners' rows on both; 30 of them graded on the primary since, which the replica has not heard of."""
    with servers.alias(servers.primary):
        sent = [world.submitted(user) for user in range(100, 140)]
        servers.catch_up()
        servers.stop()
        rows.change(sent[:30], **rows.graded(ago=timedelta(minutes=5)))
    yield servers
    servers.do(servers.replica, "START SLAVE SQL_THREAD")
    with servers.alias(servers.primary):
        LegacySubmission.objects.all().delete()
    servers.catch_up()


#: What the account may do beside writing, and what is said of the replica then.
ACCOUNTS = {"it may not ask": ([TABLE], "is unknown"), "as printed": ([TABLE, ASK], "is a replica")}


@pytest.mark.parametrize(("grants", "said"), ACCOUNTS.values(), ids=ACCOUNTS)
def test_nothing_is_moved_by_what_a_lagging_replica_says(live, lagging, grants, said):
    """Of 40 rows that it shows as open, 30 were graded long ago: moved, they would be graded once more."""
    with lagging.alias(lagging.replica, *grants):
        with pytest.raises(LegacyNotWritable, match=said):
            world.run()
        (advice, *_) = world.run(execute=False).content["advice"]
        assert advice.startswith("--execute would be refused: ") and said in advice
        assert LegacySubmission.objects.filter(retired=True).count() == 0
    assert not LedgerEntry.objects.exists() and not ExternalGraderDetail.objects.exists()
    with lagging.alias(lagging.primary, TABLE, ASK):
        content = world.run().content
    assert (content["released"], content["double_authority"]) == (10, 0)


@pytest.mark.parametrize(("grants", "said"), ACCOUNTS.values(), ids=ACCOUNTS)
def test_nothing_is_given_back_to_or_finished_on_a_lagging_replica(live, lagging, shim, grants, said):
    shim(HANDOFF_SETTLE_SECONDS=3600)
    with lagging.alias(lagging.primary, TABLE, ASK):
        (candidate, *_) = handoff.handoff_plan.class_page(
            legacy_rows.page(after=0, unretired_only=True, size=1),
            handoff.handoff_plan.policy(Request(mode=Mode.HANDOFF, execute=True), conf.load()),
            None,
        )
        entry = handoff.hold(candidate.parsed, candidate.keys, None, conf.load())
    with lagging.alias(lagging.replica, *grants):
        with pytest.raises(LegacyNotWritable, match=said):
            unfinished.finish_handoff(rows.COURSE, conf.load(), lambda: None)
        with pytest.raises(LegacyNotWritable, match=said):
            give_back.run(Request(mode=Mode.RETURN, execute=True), rows.ignore)
    assert LedgerEntry.objects.get().move == entry.move == "held"


@pytest.mark.parametrize("grants", [account[0] for account in ACCOUNTS.values()], ids=ACCOUNTS)
def test_the_link_passes_over_no_row_that_the_replica_has_not_got_yet(servers, grants):
    """Ids commit out of order: what a replica shows may be old by its clock, with a lower id that is still to come."""
    rows.in_phase("shadow")
    old = timedelta(minutes=5)
    try:
        with servers.alias(servers.primary):
            rows.legacy_row(8, age=old, id=1_000_001)
            servers.catch_up()
            servers.stop()
            rows.legacy_row(7, age=old, id=1_000_000)
        with servers.alias(servers.replica, *grants):
            rows.reconcile()
            assert list(LedgerEntry.objects.values_list("legacy_id", flat=True)) == [1_000_001]
            servers.do(servers.replica, "START SLAVE SQL_THREAD")
            servers.catch_up()
            rows.reconcile()
            assert set(LedgerEntry.objects.values_list("legacy_id", flat=True)) == {1_000_000, 1_000_001}
    finally:
        servers.do(servers.replica, "START SLAVE SQL_THREAD")
        with servers.alias(servers.primary):
            LegacySubmission.objects.all().delete()
        servers.catch_up()
