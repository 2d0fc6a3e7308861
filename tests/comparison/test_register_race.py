"""A register applied while a reconcile stores: what is stored is neither hidden nor counted twice."""

import threading
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.utils.timezone import now

from migration_shim import api
from migration_shim.comparison import legacy_outcomes, results
from migration_shim.comparison.candidates import Fingerprints
from migration_shim.core.data import Comparison, DivergenceClass, PairStatus
from migration_shim.ledger import known_differences
from migration_shim.models import Divergence, KnownDifference, LedgerEntry
from tests.builders.rows import COURSE, clean_course, entries, fresh, usage_key  # noqa: F401

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "xqueue"])
B = usage_key("b")
SCORE, STATE = DivergenceClass.SCORE, DivergenceClass.STATE


def register(klass=SCORE):
    known_differences.add(klass, reason="understood", owner="ada", days=3)
    return KnownDifference.objects.latest("pk")


def verdict():
    return api.gate(COURSE).content["verdict"]


def store(*classes):
    """Store what a reconcile finds of the entry, which knows the register."""
    entry = LedgerEntry.objects.get(item_id=B)
    gone = legacy_outcomes.vanished_side(entry)
    result = Comparison(status=PairStatus.DIVERGED, divergences=dict.fromkeys(classes, "text"))
    found = results.PairResult(
        entry=entry, result=result, legacy=gone, target=gone, seen=Fingerprints("x", "", ""), payload_at=now()
    )
    results.store_results([found], known_differences.of_course(COURSE, now()), now(), timedelta(minutes=7))


def test_what_is_stored_while_the_register_is_applied_counts(clean):
    """The reconcile comes at the very moment at which the register has read the entry, and is about to say known."""
    entries(1, item_id=B, result=PairStatus.DIVERGED, divergences="score")
    register()
    threads = []

    def elsewhere():
        try:
            store(SCORE, STATE)
        finally:
            connections.close_all()

    def meanwhile(execute, sql, params, many, context):
        if not threads and sql.startswith("UPDATE") and "ledgerentry" in sql:
            threads.append(threading.Thread(target=elsewhere))
            threads[0].start()
            threads[0].join(0.7)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(meanwhile):
        known_differences.apply(COURSE, now())
    [thread] = threads
    thread.join()
    entry = LedgerEntry.objects.get(item_id=B)
    assert (entry.result, entry.divergences) == ("diverged", "score,state")
    assert verdict() == "FAIL"
    register(STATE)
    assert verdict() == "PASS"


def test_what_an_older_release_has_hidden_is_found_again(clean):
    entries(1, item_id=B, result=PairStatus.DIVERGED, divergences="score,state")
    entry = register()
    Divergence.objects.filter(klass="score").update(known=entry)
    LedgerEntry.objects.filter(item_id=B).update(result=PairStatus.KNOWN, known="register 1")
    known_differences.apply(COURSE, now())
    assert LedgerEntry.objects.filter(item_id=B, result=PairStatus.DIVERGED, known="").exists()


def test_what_is_all_covered_is_known_whoever_stored_it_last(clean):
    entries(1, item_id=B, result=PairStatus.DIVERGED, divergences="score")
    Divergence.objects.update(known=register())
    assert verdict() == "PASS"
    assert LedgerEntry.objects.get(item_id=B).result == PairStatus.KNOWN


def test_what_a_handoff_has_taken_gets_no_result(clean):
    entries(1, item_id=B, result=PairStatus.NONE, divergences="score", target_leg="stored")
    register()
    known_differences.apply(COURSE, now())
    assert LedgerEntry.objects.get(item_id=B).result == PairStatus.NONE
