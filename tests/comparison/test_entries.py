"""What the rules compare is read by one statement a server, and is what each reader by itself says."""

from datetime import timedelta

import pytest
from django.core.files.base import ContentFile
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail, Score, Submission

from migration_shim.comparison import candidates, entries, pairs
from migration_shim.comparison.score_styles import ScoreStyles
from migration_shim.conf import load
from migration_shim.legacy import fingerprints as legacy_fingerprints
from migration_shim.models import Divergence, LedgerEntry
from migration_shim.target import outcomes
from tests.builders import changes, rows
from tests.builders.rows import RIGHT, WRONG, fresh  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
RULES = candidates.Rules.of("basis", {})
HOUR = timedelta(hours=1)


def pair(user=7, target=WRONG):
    row = rows.legacy_row(user, age=3 * HOUR)
    rows.backfill()
    changes.both_graded(row, RIGHT, target, ago=HOUR)
    return row


def again(row):
    """Another living row of its StudentItem and key."""
    own = changes.detail_of(row)
    submission = Submission.objects.create(
        student_item=own.submission.student_item, attempt_number=9, answer="x", submitted_at=now()
    )
    ExternalGraderDetail.objects.create(submission=submission, queue_name=own.queue_name, queue_key=own.queue_key)


def again_retired(row):
    """It has no outcome itself, and so does not count among the living rows."""
    again(row)
    ExternalGraderDetail.objects.filter(pk=changes.detail_of(row).pk).update(status="retired", grader_reply=None)


def another_score(row):
    kept = Score.objects.get(submission=changes.detail_of(row).submission)
    kept.pk, kept.points_earned = None, 0
    kept.save(force_insert=True)


def with_file(row):
    changes.detail_of(row).files.create(original_filename="a.txt", file=ContentFile(b"a", name="a"))


def missing(row):
    LedgerEntry.objects.filter(legacy_id=row.pk).update(target_submission_id=None)


KINDS = (lambda row: None, again, again_retired, another_score, with_file, missing)


@pytest.mark.parametrize(
    "kind", KINDS, ids=["plain", "again", "again_retired", "another_score", "with_file", "missing"]
)
def test_one_statement_says_what_each_reader_does(kind):
    row = pair()
    kind(row)
    other = pair(8)
    wanted = {entry.pk: entry for entry in LedgerEntry.objects.all()}
    seen = candidates.fingerprints_now(wanted, RULES)
    sides = outcomes.sides(entry.target_submission_id or 0 for entry in wanted.values())
    found = entries.read(wanted, RULES)
    assert [one.entry.id for one in found] == sorted(wanted)
    for one in found:
        model = wanted[one.entry.id]
        assert {name: getattr(model, name) for name in entries._NAMES} == {
            name: getattr(one.entry, name) for name in entries._NAMES
        }
        assert (one.seen, one.target_seen) == (seen[model.pk].seen, seen[model.pk].target_seen)
        side = None if one.target is None else outcomes.side(one.target, one.points, one.others, None)
        assert side == sides.get(model.target_submission_id or 0)
        assert one.has_files is (kind is with_file and model.legacy_id == row.pk)
        if one.target is not None:
            kept = ExternalGraderDetail.objects.get(submission_id=model.target_submission_id)
            assert entries.answer_of(one.answer) == kept.submission.answer
    ids = [row.pk, other.pk]
    digests = {row_id: digest for row_id, (_, digest) in legacy_fingerprints.with_digests(ids).items()}
    assert digests == legacy_fingerprints.digests(ids)


def statements(number):
    """The statements of a batch of the rules, over so many pairs that differ, each with a file."""
    made = [pair(100 * number + user) for user in range(number)]
    for row in made:
        with_file(row)
    context = pairs.ComparisonContext(settings=load(), styles=ScoreStyles({}, {}), register=[])
    found = list(LedgerEntry.objects.filter(legacy_id__in=[row.pk for row in made]).values_list("pk", flat=True))
    with CaptureQueriesContext(connections["default"]) as ours, CaptureQueriesContext(connections["xqueue"]) as theirs:
        pairs.compare_entries(entries.read(found, RULES), now(), context)
    assert Divergence.objects.filter(klass="correctness", entry_id__in=found).count() == number
    return [query["sql"] for query in (*ours.captured_queries, *theirs.captured_queries)]


def test_the_number_of_statements_does_not_depend_on_that_of_the_pairs():
    one, three = statements(1), statements(3)
    if connection.vendor == "mysql":  # elsewhere an UPDATE is one a row
        assert len(one) == len(three)
    # Nothing is on record yet that would have to go.
    assert not [sql for sql in three if "DELETE" in sql]
    assert len([sql for sql in three if "submissions_submissionfile" in sql and "FROM `submissions_sub" in sql]) <= 1
