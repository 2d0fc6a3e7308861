"""Removing shadows when a migration is over: fenced rows and their files, and never a real one."""

import pytest
from submissions.models import (
    DELETED,
    ExternalGraderDetail,
    Score,
    ScoreSummary,
    StudentItem,
    Submission,
    SubmissionFile,
)

from migration_shim.models import LedgerEntry
from migration_shim.target import removal
from sandbox.databases import LEGACY_MEDIA, SANDBOX_DIR
from tests.builders import rows
from tests.builders.rows import fresh  # noqa: F401
from tests.builders.watchers import SHADOW, real

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
KEY = "fedcba9876543210fedcba9876543210"
MEDIA = SANDBOX_DIR / "media" / "lms"
OTHER = rows.COURSE.lower()  # another course, which a collation without case takes for the same


@pytest.fixture(autouse=True)
def stored():
    """A file in XQueue's storage, for rows that have one."""
    path = LEGACY_MEDIA / rows.QUEUE / KEY
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"print()\n")
    yield
    path.unlink()


def target():
    """All that edx-submissions holds, but for what is fenced in the course."""
    fenced = StudentItem.objects.filter(student_id__startswith="shadow:", item_id__startswith="s")
    fenced = [item.pk for item in fenced if item.course_id == f"shadow:{rows.COURSE}"]
    return {
        StudentItem: list(StudentItem.objects.exclude(pk__in=fenced).order_by("pk").values_list()),
        Submission: list(Submission.objects.exclude(student_item__in=fenced).order_by("pk").values_list()),
        ExternalGraderDetail: list(
            ExternalGraderDetail.objects.exclude(submission__student_item__in=fenced).order_by("pk").values_list()
        ),
        SubmissionFile: list(
            SubmissionFile.objects.exclude(external_grader__submission__student_item__in=fenced)
            .order_by("pk")
            .values_list()
        ),
        Score: list(Score.objects.exclude(student_item__in=fenced).order_by("pk").values_list()),
        ScoreSummary: list(ScoreSummary.objects.exclude(student_item__in=fenced).order_by("pk").values_list()),
    }


def shadows(number, course=rows.COURSE):
    """So many shadows of a course, each with a file."""
    # Learners of their own: on MariaDB edx-submissions itself takes items that differ in case for one.
    first = 900 if course == rows.COURSE else 950
    for user in range(first, first + number):
        rows.legacy_row(user, course=course, files={"a.py": KEY})
    rows.backfill(courses=frozenset([course]))


def quiet(done, total):
    """Take no notice of the progress."""


def test_shadows_go_with_their_scores_and_files_and_nothing_else_does(watcher):
    shadows(5)
    watcher.grade(queue=SHADOW)
    watcher.grade(queue=SHADOW)
    sent = real(user=900, files={"mine.py": b"1"})
    assert watcher.grade() == (0, "")
    shadows(1, OTHER)
    before = target()
    assert {len(before[StudentItem]), len(before[Submission]), len(before[SubmissionFile])} == {2}
    assert len(before[Score]) == len(before[ScoreSummary]) == 1
    names = list(SubmissionFile.objects.values_list("file", flat=True))
    assert len(names) == 7 and all((MEDIA / name).is_file() for name in names)

    assert removal.remove_shadows(rows.COURSE, quiet) == 5

    for model, found in before.items():
        assert list(model.objects.order_by("pk").values_list()) == found, model
    kept = set(SubmissionFile.objects.values_list("file", flat=True))
    assert [name for name in names if (MEDIA / name).exists()] == [name for name in names if name in kept]
    assert sent.detail.status == "retired"


def test_the_ledger_says_that_they_were_removed():
    shadows(2)
    shadows(1, OTHER)
    sent = real()
    removal.remove_shadows(rows.COURSE, quiet)
    found = {(entry.course_id, entry.target_leg, entry.target_reason) for entry in LedgerEntry.objects.all()}
    assert found == {(rows.COURSE, "none", "removed"), (OTHER, "stored", ""), (rows.COURSE, "stored", "")}
    removed = LedgerEntry.objects.filter(target_reason="removed")
    assert {entry.target_submission_id for entry in removed} == {None} and len(removed) == 2
    assert sent.entry.target_leg == "stored"


def test_learners_whose_ids_look_like_a_shadows_are_left_alone():
    """Half a fence is a leak to be looked at, not a shadow; and a text in the middle of an id is no fence."""
    shadows(1)
    learner, item = rows.anonymous_id(1), rows.usage_key("b")
    pairs = [
        (f"shadow:{learner}", item),
        (learner, f"shadow:{item}"),
        (f"x-shadow:{learner}", f"shadow:{item}"),
        (f"shadow:{learner}", f"x-shadow:{item}"),
        ("shadow:short", f"shadow:{item}"),
        (f"SHADOW:{learner}", f"SHADOW:{item}"),
        (f"shadow_{learner}", f"shadow_{item}"),
    ]
    kept = []
    for number, (student_id, item_id) in enumerate(pairs):
        fields = {"student_id": student_id, "item_id": item_id, "course_id": rows.COURSE, "item_type": f"p{number}"}
        kept.append(
            Submission.objects.create(student_item=StudentItem.objects.create(**fields), answer="a", attempt_number=1)
        )
        # The same again without a submission.
        StudentItem.objects.create(**fields | {"item_id": item_id + "+"})
    assert removal.remove_shadows(rows.COURSE, quiet) == 1
    assert list(Submission.objects.order_by("pk")) == kept
    assert StudentItem.objects.count() == 2 * len(kept)


def test_it_works_in_batches_and_says_how_far_it_is(monkeypatch):
    monkeypatch.setattr(removal, "BATCH", 2)
    shadows(5)
    said = []
    assert removal.remove_shadows(rows.COURSE, lambda done, total: said.append((done, total))) == 5
    assert said == [(2, 5), (4, 5), (5, 5)]
    assert removal.count_shadows(rows.COURSE) == Submission.objects.count() == StudentItem.objects.count() == 0


def test_a_second_run_finds_nothing_and_changes_nothing():
    shadows(2)
    real()
    assert removal.remove_shadows(rows.COURSE, quiet) == 2
    before = target()
    entries = list(LedgerEntry.objects.order_by("pk").values_list())
    assert removal.remove_shadows(rows.COURSE, quiet) == 0
    assert target() == before
    assert list(LedgerEntry.objects.order_by("pk").values_list()) == entries


def test_a_run_that_was_stopped_is_finished_by_the_next(monkeypatch):
    monkeypatch.setattr(removal, "BATCH", 2)
    shadows(5)

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        removal.remove_shadows(rows.COURSE, stop)
    assert removal.count_shadows(rows.COURSE) == 3
    assert removal.remove_shadows(rows.COURSE, quiet) == 3
    assert StudentItem.objects.count() == 0


def test_a_file_that_is_gone_stops_nothing():
    shadows(2)
    (MEDIA / SubmissionFile.objects.first().file.name).unlink()
    assert removal.remove_shadows(rows.COURSE, quiet) == 2


def test_the_other_course_is_counted_apart():
    shadows(2)
    shadows(3, OTHER)
    assert (removal.count_shadows(rows.COURSE), removal.count_shadows(OTHER)) == (2, 3)


def test_a_soft_deleted_shadow_goes_too():
    """A state reset by staff marks a submission as deleted; edx-submissions' own manager then hides it."""
    shadows(2)
    Submission.objects.filter(pk=Submission.objects.first().pk).update(status=DELETED)
    assert Submission.objects.count() == 1
    assert removal.remove_shadows(rows.COURSE, quiet) == 2
    assert Submission._objects.count() == 0
