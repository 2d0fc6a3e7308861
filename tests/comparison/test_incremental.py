"""An incremental run says what a full one would of all that happened lately, writes what changed, looks at little."""

import json
from collections import Counter
from datetime import timedelta

import pytest
from django.db import OperationalError, connections, reset_queries
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from submissions.models import ExternalGraderDetail, Score

from migration_shim.comparison import candidates, equal_pairs, pair_rows, pairs, results
from migration_shim.core.data import ScoreStyle
from migration_shim.core.scoring import style_of, style_sign
from migration_shim.cutover import gate
from migration_shim.db import retry
from migration_shim.models import Divergence, LedgerEntry, LegacySubmission, Run
from migration_shim.runs import records as runs
from tests.builders import changes, rows
from tests.builders.rows import COURSE, RIGHT, WRONG, fresh  # noqa: F401

BOTH = ["default", "xqueue"]
pytestmark = pytest.mark.django_db(databases=BOTH)
HOUR = timedelta(hours=1)


def looked_at(**options):
    return rows.reconcile(**options)[0].content["looked_at"]


def settled_pair(user=7, legacy=RIGHT, target=None, **columns):
    """A pair that both systems have graded long ago."""
    row = rows.legacy_row(user, age=timedelta(hours=3), **columns)
    rows.backfill()
    changes.both_graded(row, legacy, target, ago=HOUR)
    return row


# Incremental and full

OPS = {
    "legacy grades it right": lambda row: changes.legacy_graded(row, RIGHT),
    "legacy grades it wrong": lambda row: changes.legacy_graded(row, WRONG),
    "legacy's reply is invalid": lambda row: changes.legacy_graded(row, changes.INVALID),
    "legacy gives it up": lambda row: rows.change(
        [row], retired=True, num_failures=4, lms_ack=False, pull_time=now(), return_time=now()
    ),
    "a newer attempt retires it": lambda row: [
        rows.legacy_row(int(json.loads(json.loads(row.xqueue_body)["student_info"])["anonymous_student_id"], 16)),
        rows.change([row], retired=True, pull_time=now()),
    ],
    "an operator retires it": lambda row: rows.change([row], retired=True, pull_time=now()),
    "the target's grader pulls it": changes.target_pulled,
    "the target grades it right": lambda row: changes.target_graded(row, RIGHT),
    "the target grades it wrong": lambda row: changes.target_graded(row, WRONG),
    "the target grades it half": lambda row: changes.target_graded(row, changes.HALF),
    "the target fails it": lambda row: ExternalGraderDetail.objects.filter(pk=changes.detail_of(row).pk).update(
        status="failed", status_time=now(), num_failures=5
    ),
    "the router supersedes it": changes.target_superseded,
    "its score is lost": lambda row: [
        Score.objects.filter(submission_id=changes.detail_of(row).submission_id).delete(),
        ExternalGraderDetail.objects.filter(pk=changes.detail_of(row).pk).update(status_time=now()),
    ],
    "legacy's retention removes it": lambda row: row.retired and LegacySubmission.objects.filter(pk=row.pk).delete(),
}


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(sorted(OPS))), max_size=4), max_size=3))
def test_incremental_runs_store_what_a_full_one_would(batches):
    with changes.undone():
        made = [rows.legacy_row(user, age=timedelta(hours=3), answer=f"x = {user}") for user in range(6)]
        rows.backfill()
        for row in made[:3]:
            changes.both_graded(row, ago=HOUR)
        rows.reconcile()
        assert LedgerEntry.objects.filter(settled_at__isnull=False).count() == 3
        for batch in batches:
            for number, name in batch:
                row = LegacySubmission.objects.filter(pk=made[number].pk).first()
                if row is not None and not (name == "legacy's retention removes it" and not _read_final(row)):
                    OPS[name](row)
            document, _ = rows.reconcile()
            assert document.content["courses"][0]["full"] is False
        incremental, counts = changes.stored(), document.content if batches else rows.reconcile()[0].content
        LedgerEntry.objects.update(seen="not what it was")  # so that everything is compared anew
        full = rows.reconcile(full=True)[0].content
        assert full["courses"][0]["full"] is True
        assert changes.stored() == incremental
        for key in ("of", "compared", "equal", "diverged", "waiting", "overdue", "classes", "known_differences"):
            assert full[key] == counts[key]


def _read_final(row):
    """Retention takes what was final, and what a reconcile has read as such."""
    return row.retired and changes.entry_of(row).legacy_state not in ("", "queued", "pulled")


# What is looked at, and what is written


def writes(context):
    return [
        query["sql"]
        for query in context.captured_queries
        if "migration_shim_ledgerentry" in query["sql"].lower() and "UPDATE " in query["sql"]
    ]


@pytest.mark.parametrize("full", [False, True])
def test_a_second_run_writes_to_no_entry(full):
    for user in range(4):
        settled_pair(user)
    settled_pair(5, RIGHT, WRONG)
    waiting = rows.legacy_row(6)
    rows.backfill()
    rows.reconcile()
    before = changes.stored()
    reset_queries()  # the log of a connection is bounded, and a context reads nothing of a full one
    with CaptureQueriesContext(connections["default"]) as context:
        rows.reconcile(full=full)
    assert writes(context) == []
    assert changes.stored() == before
    changes.legacy_graded(waiting)  # the contrast
    with CaptureQueriesContext(connections["default"]) as context:
        rows.reconcile(full=full)
    assert len(writes(context)) == 1


def one_sided(side):
    """A pair of the router's of which one side has vanished before anybody has read it; its row on that side."""
    row = rows.legacy_row(7, age=timedelta(hours=3))
    rows.backfill()
    LedgerEntry.objects.update(legacy_state="")
    changes.both_graded(row, ago=HOUR)
    gone = LegacySubmission.objects.get() if side == "legacy" else changes.detail_of(row)
    type(gone).objects.filter(pk=gone.pk).delete()
    return gone


@pytest.mark.parametrize("side", ["legacy", "target"])
def test_what_has_one_side_is_compared_again_when_the_other_one_is_there(side, monkeypatch):
    compared, changed = [], candidates.changed
    monkeypatch.setattr(candidates, "changed", lambda page: compared.append(changed(page)) or compared[-1])
    gone = one_sided(side)
    pk = LedgerEntry.objects.get().pk
    found = [rows.reconcile()[0].content for _ in range(3)]
    assert [(one["looked_at"], one["classes"]["presence"]) for one in found] == [(1, 1)] * 3
    assert compared == [[pk], [], []]
    gone.save(force_insert=True)
    found = [rows.reconcile()[0].content for _ in range(2)]
    assert [one["equal"] for one in found] == [1, 1]
    assert compared[3:4] == [[pk]]


@pytest.mark.parametrize(
    "columns",
    [
        {"copy_due": now()},
        {"superseded_at": now()},
        {"move": "held"},
        {"target_state": "pulled"},
        {"legacy_state": "superseded", "target_state": "missing"},
        {"legacy_state": "graded", "target_state": "queued"},
    ],
)
def test_what_has_one_side_is_compared_every_time_where_more_than_its_rows_tells(columns):
    one_sided("legacy")
    rows.reconcile()
    rules = candidates.Rules.of("basis", {})
    read = candidates.snapshot_reader(rules, echo=False)

    def stands():
        pk = LedgerEntry.objects.get().pk
        LedgerEntry.objects.update(**candidates.fingerprints_now([pk], rules)[pk]._asdict())
        return [glance.stands for glance in read("l.id > %s", [0])]

    assert stands() == [1]
    with changes.undone():
        LedgerEntry.objects.update(**columns)
        assert stands() == [0]


def test_what_is_settled_is_looked_at_by_full_runs_only():
    for user in range(3):
        settled_pair(user)
    rows.legacy_row(8)
    rows.backfill()
    assert looked_at() == 4  # the first run is a full one
    assert looked_at() == 1
    assert looked_at(full=True) == 4
    content = rows.reconcile()[0].content
    assert (content["looked_at"], content["compared"], content["equal"]) == (1, 4, 3)


def test_what_was_graded_a_moment_ago_is_not_settled_yet(settings):
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"PROCESSING_DELAY_SECONDS": 120, "LEASE_SECONDS": 360}
    row = rows.legacy_row()
    rows.backfill()
    changes.both_graded(row, ago=timedelta(seconds=590))
    rows.reconcile()
    assert LedgerEntry.objects.get().settled_at is None
    assert looked_at() == 1
    LedgerEntry.objects.update(compared_at=now() - timedelta(seconds=601))
    rows.reconcile()
    assert LedgerEntry.objects.get().settled_at is not None
    assert looked_at() == 0


def test_what_was_retired_without_a_time_settles_after_it_was_seen_so(settings):
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"PROCESSING_DELAY_SECONDS": 120, "LEASE_SECONDS": 360}
    row = rows.legacy_row(age=timedelta(hours=3))
    rows.backfill()
    rows.change([row], retired=True)
    changes.target_superseded(row)
    rows.reconcile()
    assert LedgerEntry.objects.get().settled_at is None
    LedgerEntry.objects.update(compared_at=now() - timedelta(seconds=601))
    rows.reconcile()
    assert LedgerEntry.objects.get().settled_at is not None


@pytest.mark.parametrize("side", ["pulled lately on legacy", "touched lately on the target"])
def test_a_late_reply_to_a_settled_row_is_found(side):
    row = settled_pair()
    rows.reconcile()
    assert looked_at() == 0
    if side == "pulled lately on legacy":
        changes.legacy_graded(row, WRONG)
    else:
        changes.target_graded(row, WRONG)
    content = rows.reconcile()[0].content
    assert (content["looked_at"], content["diverged"], content["equal"]) == (1, 1, 0)
    assert content["courses"][0]["full"] is False


def test_a_late_reply_without_a_sign_is_found_by_a_full_run():
    row = settled_pair()
    rows.reconcile()
    rows.change([row], grader_reply=WRONG)
    assert rows.reconcile()[0].content["equal"] == 1
    assert rows.reconcile(full=True)[0].content["diverged"] == 1
    assert rows.reconcile()[0].content["diverged"] == 1


def test_a_score_that_was_lost_is_found_by_a_full_run():
    settled_pair()
    rows.reconcile()
    Score.objects.all().delete()
    assert rows.reconcile(full=True)[0].content["classes"]["lost"] == 1


def test_a_row_of_the_reverse_queue_that_was_pulled_lately_is_found():
    row = settled_pair()
    rows.reconcile()
    rows.change([row], queue_name=f"{rows.QUEUE}.reverse", pull_time=now())
    assert looked_at() == 1


def test_another_copy_of_a_settled_submission_is_found():
    row = settled_pair()
    rows.reconcile()
    assert looked_at() == 0
    changes.again(row, arrival_time=row.arrival_time)
    content = rows.reconcile()[0].content
    assert content["looked_at"] == 1
    assert content["diverged"] + content["waiting"] + content["overdue"] == 1


# Full runs that nobody asked for


def full(**options):
    return rows.reconcile(**options)[0].content["courses"][0]["full"]


def test_a_run_after_an_upgrade_looks_at_everything_again(monkeypatch):
    settled_pair()
    assert (full(), full()) == (True, False)
    before = LedgerEntry.objects.get().seen
    new = runs.versions() | {"edx-submissions": "5.0.0"}
    monkeypatch.setattr(runs, "versions", lambda: new)
    assert (full(), full()) == (True, False)
    assert LedgerEntry.objects.get().seen != before  # it was compared, not only looked at


def test_a_run_under_other_rules_looks_at_everything_again(settings):
    settled_pair()
    rows.reconcile()
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"GRADING_DEADLINE_SECONDS": 7200}
    assert full()
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"COPIES": "inline"}
    assert not full()


def test_a_run_that_learns_how_a_queue_scores_judges_everything_by_it():
    """Of 4 points: 1 is full marks in a queue of ratios, and a quarter of them in a queue of points."""
    one = settled_pair(1)
    LedgerEntry.objects.update(points_possible=4)
    ExternalGraderDetail.objects.update(points_possible=4)
    Score.objects.update(points_earned=4)
    content = rows.reconcile()[0].content
    assert content["equal"] == 1
    assert content["courses"][0]["styles"] == {rows.QUEUE: "ratio"}
    for user in (2, 3):
        settled_pair(user, '{"correct": true, "score": 3, "msg": "<p>3 of 4</p>"}')
    assert style_of(Counter(style_sign(*one) for one in [(1, 4), (3, 4), (3, 4)])) is ScoreStyle.ABSOLUTE
    new = LedgerEntry.objects.exclude(legacy_id=one.pk)
    new.update(points_possible=4)
    ids = list(new.values_list("target_submission_id", flat=True))
    ExternalGraderDetail.objects.filter(submission_id__in=ids).update(points_possible=4)
    Score.objects.filter(submission_id__in=ids).update(points_earned=12)
    content = rows.reconcile()[0].content
    assert content["courses"][0]["styles"] == {rows.QUEUE: "absolute"}
    assert LedgerEntry.objects.get(legacy_id=one.pk).divergences == "scale"


# Stopped, killed, raced


def test_a_run_that_was_killed_in_the_middle_is_taken_up_and_is_no_evidence(monkeypatch):
    monkeypatch.setattr(candidates, "PAGE", 2)
    for user in range(6):
        settled_pair(user)

    class Killed(BaseException):
        pass

    def die(*args):
        if LedgerEntry.objects.exclude(seen="").count() >= 4:
            raise Killed

    with pytest.raises(Killed):
        comparing_run(die)
    assert LedgerEntry.objects.exclude(seen="").count() == 4
    assert not gate.evaluate_course(COURSE)[1].reconcile_complete
    seen = dict(LedgerEntry.objects.values_list("id", "compared_at"))
    document, _ = rows.reconcile()
    assert document.content["courses"][0]["full"] is True
    assert document.content["equal"] == 6
    again = dict(LedgerEntry.objects.values_list("id", "compared_at"))
    assert sum(seen[pk] == at for pk, at in again.items()) == 4  # what was done is not done again


def comparing_run(progress):
    from migration_shim import api

    return api.reconcile([COURSE], progress, lambda divergence: None)


@pytest.mark.parametrize("differs", [False, True])
def test_an_entry_that_is_changed_while_it_is_compared_keeps_what_it_has(differs, monkeypatch):
    """A grader, a handoff or a link was quicker: what was compared is not what is there."""
    row = settled_pair(target=WRONG if differs else None)
    module, name = (pairs, "legacy_sides") if differs else (pair_rows.legacy_fingerprints, "plain_rows")
    real = getattr(module, name)

    def leased_meanwhile(*args, **options):
        LedgerEntry.objects.update(lease_key="another", leases=2)
        return real(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module, name, leased_meanwhile)
        if not differs:  # the rules would judge it as it is by now
            patch.setattr(pairs, "compare_entries", lambda *args: None)
        rows.reconcile()
    entry = changes.entry_of(row)
    assert (entry.result, entry.seen, entry.lease_key) == ("none", "", "another")
    assert not Divergence.objects.exists()
    changes.target_graded(row, ago=HOUR)
    rows.reconcile()
    assert changes.entry_of(row).result == "equal"


@pytest.mark.django_db(databases=BOTH, transaction=True)
@pytest.mark.parametrize(("target", "module", "equal"), [(None, equal_pairs, 1), (WRONG, results, 0)])
def test_a_deadlock_is_tried_again(target, module, equal, monkeypatch):
    monkeypatch.setattr(retry.time, "sleep", lambda seconds: None)
    settled_pair(target=target)
    real, tries = module._write, []

    def fail_twice(*args):
        tries.append(args)
        if len(tries) < 3:
            raise OperationalError(1213, "Deadlock found when trying to get lock")
        return real(*args)

    monkeypatch.setattr(module, "_write", fail_twice)
    assert rows.reconcile()[0].content["equal"] == equal
    assert len(tries) == 3


def test_the_statements_of_a_batch_do_not_grow_with_its_pairs():
    def statements(number):
        reset_queries()
        with (
            CaptureQueriesContext(connections["default"]) as target,
            CaptureQueriesContext(connections["xqueue"]) as old,
        ):
            rows.reconcile(full=True)
        assert LedgerEntry.objects.exclude(result="none").count() == number
        return len(target), len(old)

    found = []
    for number in (2, 5, 60):
        for user in range(LedgerEntry.objects.count(), number):
            row = rows.legacy_row(user, age=timedelta(hours=3), problem=f"{user % 3:032x}")
            rows.change([row], **rows.graded(ago=HOUR))
        LedgerEntry.objects.update(seen="not what it was")
        rows.backfill(history=True)
        LedgerEntry.objects.update(history=False)
        rows.grade_target(status="pending")
        found.append(statements(number))
    assert found[1] == found[2]  # the first run has things of its own to do


def test_a_document_says_what_was_looked_at_and_when_everything_was():
    settled_pair()
    first = rows.reconcile()[0].content["courses"][0]
    second = rows.reconcile()[0].content["courses"][0]
    assert first["last_full_at"] == second["last_full_at"] == first["watermark"]
    assert second["watermark"] > first["watermark"]
    assert first["versions"] == runs.versions()
    assert first["settings_digest"] == second["settings_digest"]
    assert Run.objects.filter(kind="reconcile", complete=True).count() == 2
