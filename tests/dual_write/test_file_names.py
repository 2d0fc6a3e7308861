"""Files whose names the transport rewrites: the rows meet, and both systems' graders get XQueue's name."""

import json
from datetime import timedelta

import pytest
from django.utils.timezone import now
from submissions.models import SubmissionFile

from migration_shim.models import CoursePhase, LedgerEntry, LegacySubmission
from tests.builders.attempts import attempt, put_course_in
from tests.builders.outbox import drain
from tests.builders.rows import reconcile

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "xqueue"])

#: The files that a learner sends, and those that XQueue has then: the number is the one whose contents are left.
FILES = {
    "one name twice": (["main.py", "main.py"], {"main.py": 1}),
    "one name after all": (["a.py", "a.py ", "b.py"], {"a.py": 1, "b.py": 2}),
    "quotes": (['my "final" code.py'], {"my %22final%22 code.py": 0}),
    "a line break": (["line\nbreak.py"], {"line%0Abreak.py": 0}),
    "blanks": ([" two  blanks.py "], {"two  blanks.py": 0}),
    "other letters": (["über 日本.py"], {"über 日本.py": 0}),
    "percent and semicolon": (["%41;x=y.py"], {"%41;x=y.py": 0}),
}


def an_hour_later():
    """Nobody waits for a copy any more."""
    CoursePhase.objects.update(since=now() - timedelta(hours=2))
    LedgerEntry.objects.update(arrived_at=now() - timedelta(hours=1), created_at=now() - timedelta(hours=1))
    LegacySubmission.objects.update(arrival_time=now() - timedelta(minutes=59))


def on_target():
    """What the target's graders get: the contents by name."""
    return {file.original_filename: file.file.read() for file in SubmissionFile.objects.all()}


@pytest.mark.parametrize("copies", ["inline", "deferred"])
@pytest.mark.parametrize("case", FILES)
@pytest.mark.parametrize("phase", ["shadow", "live"])
def test_the_rows_meet_and_the_graders_get_the_same(phase, case, copies, legacy, shim):
    shim(COPIES=copies)
    sent, there = FILES[case]
    put_course_in(phase)
    one = attempt(files=[(name, f"content {number}".encode()) for number, name in enumerate(sent)])
    assert one.send()[0] == 0
    drain()
    assert set(json.loads(LegacySubmission.objects.get().s3_keys)) == set(there)
    assert on_target() == {name: f"content {number}".encode() for name, number in there.items()}
    an_hour_later()
    document, found = reconcile()
    entry = LedgerEntry.objects.get()
    assert (entry.origin, entry.legacy_id) == ("router", LegacySubmission.objects.get().pk)
    assert (found, document.content["waiting"], entry.payload_compared_at is not None) == ([], 1, True)


def test_sent_again_it_is_the_same_submission(legacy):
    put_course_in("complete")
    one = attempt(files=[('my "final" code.py', b"a"), (" x.py", b"b")])
    assert [one.send(), one.send()] == [(0, ""), (0, "")]
    assert LedgerEntry.objects.count() == 1
