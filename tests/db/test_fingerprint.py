"""Digests made by the databases: rows that differ in anything have two, and what cannot be told is never the same."""

from datetime import timedelta

import pytest
from django.db import connection, connections
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail, Score, StudentItem, Submission

from migration_shim.comparison import candidates
from migration_shim.db import fingerprint
from migration_shim.legacy import fingerprints as legacy_changing
from migration_shim.models import LedgerEntry, LegacySubmission
from migration_shim.target import fingerprints as target_changing
from tests.builders import changes, rows
from tests.builders.rows import fresh  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
RULES = candidates.Rules.of("basis", {})
#: Texts that a careless concatenation or a collation takes for one another, or for NULL.
ODD = ["", " ", "-", "NULL", "a", "A", "a ", "à", "a,b", "a','b", "1:a", "\\", "\N{PILE OF POO}", "0", "1"]
LATER = now() + timedelta(hours=1)


def of_legacy(row):
    return legacy_changing.digests([row.pk])[row.pk]


def of_target(row):
    entry = changes.entry_of(row)
    return candidates.fingerprints_now([entry.pk], RULES)[entry.pk].target_seen


@pytest.fixture(params=["checks", "MD5"])
def form(request, monkeypatch):
    """In what form the server says what a text says: where it has no two checks, as of an older server."""
    if request.param == "MD5":
        if connection.vendor != "mysql":
            pytest.skip("SQLite has one form only")
        monkeypatch.setattr(fingerprint, "has_two_checks", lambda here: False)
    return request.param


def pair():
    row = rows.legacy_row(age=timedelta(hours=3))
    rows.backfill()
    changes.both_graded(row, ago=timedelta(hours=1))
    return row


@pytest.mark.parametrize("column", ["xqueue_header", "xqueue_body", "s3_keys", "grader_id", "pullkey", "grader_reply"])
def test_of_a_legacy_row_every_text_counts_byte_for_byte(form, column):
    row = pair()
    found = set()
    for text in ODD:
        rows.change([row], **{column: text})
        found.add(of_legacy(row))
    assert len(found) == len(ODD)
    assert all(len(digest) == 16 for digest in found)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("retired", [True, False]),
        ("lms_ack", [True, False]),
        ("num_failures", [0, 1, 10]),
        ("arrival_time", [now(), LATER]),
        ("pull_time", [None, now(), LATER]),
        ("push_time", [None, now(), LATER]),
        ("return_time", [None, now(), LATER]),
    ],
)
def test_of_a_legacy_row_every_other_column_counts(column, values):
    row = pair()
    found = set()
    for value in values:
        rows.change([row], **{column: value})
        found.add(of_legacy(row))
    assert len(found) == len(values)


def test_what_moves_from_one_column_into_the_next_is_a_change(form):
    row = pair()
    found = set()
    for columns in (("a", "bc"), ("ab", "c"), ("", "abc"), ("abc", "")):
        rows.change([row], **dict(zip(("grader_id", "pullkey"), columns, strict=True)))
        found.add(of_legacy(row))
    moment = now()
    for times in ((None, moment), (moment, None), (None, None), (moment, moment)):
        rows.change([row], **dict(zip(("pull_time", "push_time"), times, strict=True)))
        found.add(of_legacy(row))
    assert len(found) == 8


def of_detail(**columns):
    return lambda row: ExternalGraderDetail.objects.filter(pk=changes.detail_of(row).pk).update(**columns)


def of_item(**columns):
    return lambda row: StudentItem.objects.filter(submission=changes.detail_of(row).submission_id).update(**columns)


def of_entry(**columns):
    return lambda row: LedgerEntry.objects.filter(legacy_id=row.pk).update(**columns)


def another_row(status):
    """Beside the submission's own: a twin, if it is alive."""

    def write(row):
        own = changes.detail_of(row)
        beside = Submission.objects.create(
            student_item=own.submission.student_item, attempt_number=9, answer="x", submitted_at=now()
        )
        ExternalGraderDetail.objects.create(
            submission=beside, queue_name=own.queue_name, queue_key=own.queue_key, status=status
        )

    return write


CHANGES = {
    **{f"{name} {text!r}": of_detail(**{name: text}) for name in ("queue_name", "grader_reply") for text in ODD},
    **{f"{name} {text!r}": of_detail(**{name: text}) for name in ("pullkey", "queue_key") for text in [None, *ODD]},
    **{f"{name} {text!r}": of_item(**{name: text}) for name in ("student_id", "item_id", "course_id") for text in ODD},
    **{f"lease {text!r}": of_entry(lease_key=text) for text in ODD},
    "no reply": of_detail(grader_reply=None),
    "status": of_detail(status="pulled"),
    "status_time": of_detail(status_time=LATER),
    "created_at": of_detail(created_at=LATER),
    "num_failures": of_detail(num_failures=7),
    "points_possible": of_detail(points_possible=7),
    "answer": lambda row: Submission.objects.filter(pk=changes.detail_of(row).submission_id).update(answer="another"),
    "score": lambda row: Score.objects.update(points_earned=7),
    "no score": lambda row: Score.objects.all().delete(),
    "a twin": another_row("pending"),
    "authority": of_entry(authority="target"),
    "move": of_entry(move="held"),
    "legacy_leg": of_entry(legacy_leg="failed"),
    "target_leg": of_entry(target_leg="failed"),
    "double_authority": of_entry(double_authority=True),
    "leases": of_entry(leases=7),
    "echo": of_entry(echo=True),
    "superseded_at": of_entry(superseded_at=LATER),
}


def test_of_a_target_row_and_its_entry_everything_that_is_compared_counts():
    row = pair()
    found = {}
    for name, change in CHANGES.items():
        with changes.undone():
            change(row)
            found[name] = of_target(row)
    alike = {digest: [name for name, other in found.items() if other == digest] for digest in found.values()}
    assert [names for names in alike.values() if len(names) > 1] == []
    assert of_target(row) not in found.values()


def test_a_superseded_row_beside_it_is_no_change():
    row = pair()
    before = of_target(row)
    another_row("retired")(row)
    assert of_target(row) == before


def test_what_has_several_scores_is_never_the_same():
    row = pair()
    score = Score.objects.get()
    Score.objects.create(
        student_item=score.student_item, submission=score.submission, points_earned=1, points_possible=1
    )
    assert of_target(row) == fingerprint.UNKNOWN
    rows.reconcile()
    assert rows.reconcile(full=True)[0].content["compared"] == 1
    glance = candidates.snapshot_reader(RULES, echo=False)("l.id > %s", [0])
    assert [one.stands for one in glance] == [0]


def test_a_second_score_is_seen_where_a_page_ends_between_the_two(monkeypatch):
    before = rows.legacy_row(8, age=timedelta(hours=3))
    row = pair()
    changes.both_graded(before, ago=timedelta(hours=1))
    rows.reconcile()
    score = Score.objects.get(submission_id=changes.detail_of(row).submission_id)
    again = {"student_item": score.student_item, "submission": score.submission, "points_possible": 1}
    read = candidates.snapshot_reader(RULES, echo=False)
    LedgerEntry.objects.update(seen=RULES.default)

    def changed():
        pages = list(candidates.pages(read, rows.COURSE, since=None, echo=False))
        assert [glance.id for page in pages for glance in page] == list(ids)
        return [pk for page in pages for pk in candidates.changed(page)]

    ids = LedgerEntry.objects.order_by("id").values_list("id", flat=True)
    monkeypatch.setattr(candidates, "PAGE", 1)
    assert changed() == []
    Score.objects.create(points_earned=score.points_earned, **again)  # whichever of the two is read says the same
    assert changed() == [changes.entry_of(row).pk]


@pytest.mark.skipif(connection.vendor != "mysql", reason="a limit of MySQL")
@pytest.mark.parametrize("side", ["xqueue", "default"])
def test_a_row_too_large_for_an_md5_is_compared_every_time(side, monkeypatch):
    """No single text of it is: a digest of each is made, but not of all together."""
    monkeypatch.setattr(fingerprint, "has_two_checks", lambda here: False)
    row = pair()
    with connections[side].cursor() as cursor:
        if side == "xqueue":
            cursor.execute("UPDATE queue_submission SET grader_reply = REPEAT('x', @@max_allowed_packet - 100)")
        else:
            cursor.execute(
                "UPDATE submissions_externalgraderdetail SET grader_reply = REPEAT('x', @@max_allowed_packet - 100)"
            )
    seen = candidates.fingerprints_now([changes.entry_of(row).pk], RULES)[changes.entry_of(row).pk]
    assert (seen.legacy_seen if side == "xqueue" else seen.target_seen) == fingerprint.UNKNOWN
    LedgerEntry.objects.update(**seen._asdict(), result="equal", payload_compared_at=now(), settled_at=now())
    page = candidates.snapshot_reader(RULES, echo=False)("l.id > %s", [0])
    assert candidates.changed(page) == [changes.entry_of(row).pk]


def test_no_row_is_too_large_for_the_checks():
    if not fingerprint.has_two_checks(connections["xqueue"]):
        pytest.skip("the server has no checks that go on")
    row = pair()
    found = set()
    for text in "xy":
        with connections["xqueue"].cursor() as cursor:
            cursor.execute("UPDATE queue_submission SET grader_reply = REPEAT(%s, @@max_allowed_packet - 100)", [text])
        found.add(of_legacy(row))
    assert len(found) == 2
    assert fingerprint.UNKNOWN not in found


@pytest.mark.skipif(connection.vendor != "mysql", reason="SQLite has no character sets")
def test_the_same_bytes_in_another_character_set_are_a_change(form):
    of_text = fingerprint.sql(connection, fingerprint.texts(connection, ["x.t"], long="x.t"))
    found = set()
    for charset in ("utf8mb4", "latin1"):
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {of_text} FROM (SELECT _{charset} X'C3A9' AS t) x")
            found |= set(cursor.fetchall())
    assert len(found) == 2
    assert (None,) not in found


@pytest.mark.parametrize(("attempt", "known"), [(target_changing.EARLY, True), (target_changing.EARLY + 1, False)])
def test_in_a_crowd_a_twin_of_an_early_attempt_is_seen_and_of_a_late_one_no_digest_is_made(attempt, known):
    row = pair()
    own = changes.detail_of(row).submission
    Submission.objects.filter(pk=own.pk).update(attempt_number=attempt)
    Submission.objects.bulk_create(
        Submission(student_item=own.student_item, attempt_number=20 + number, answer="x", submitted_at=now())
        for number in range(target_changing.CROWD)
    )
    before = of_target(row)
    another_row("pending")(row)
    assert (before != fingerprint.UNKNOWN) is known
    assert (of_target(row) != before) is known


def test_a_row_that_is_gone_is_a_change_and_stays_none_after_it():
    row = pair()
    entry = changes.entry_of(row)
    rows.reconcile()
    rows.reconcile(full=True)
    LegacySubmission.objects.all().delete()
    page = candidates.snapshot_reader(RULES, echo=False)
    LedgerEntry.objects.update(seen=RULES.default)
    assert candidates.changed(page("l.id > %s", [0])) == [entry.pk]
    LedgerEntry.objects.update(legacy_seen=candidates.fingerprints_now([entry.pk], RULES)[entry.pk].legacy_seen)
    assert candidates.changed(page("l.id > %s", [0])) == []
