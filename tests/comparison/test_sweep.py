"""A full run of all courses looks at what is settled in one sweep over the site, and misses nothing of it."""

from datetime import timedelta

import pytest
from django.db import OperationalError
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail, Score, StudentItem, Submission

from migration_shim import toggles
from migration_shim.comparison import candidates, sweep
from migration_shim.comparison.score_styles import ScoreStyles
from migration_shim.core.data import ScoreStyle
from migration_shim.models import LedgerEntry, LegacySubmission, Run
from migration_shim.runs.control import Control, Stopped
from tests.builders import changes, rows
from tests.builders.rows import COURSE, WRONG, fresh  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
OTHER = "course-v1:ExU+PY2+2026"
BOTH = (COURSE, OTHER)
HOUR = timedelta(hours=1)
USERS = 7


def settled(users=range(USERS), course=COURSE):
    """Pairs that both systems have graded long ago, by user; compared and settled."""
    made = {user: rows.legacy_row(user, age=timedelta(hours=3), course=course, answer=f"x = {user}") for user in users}
    rows.backfill()
    for row in made.values():
        changes.both_graded(row, ago=HOUR)
    rows.reconcile(*BOTH)
    assert not LedgerEntry.objects.filter(settled_at=None).exists()
    return made


def at_detail(**columns):
    return lambda row: ExternalGraderDetail.objects.filter(pk=changes.detail_of(row).pk).update(**columns)


def submission_of(row):
    return Submission.objects.get(pk=changes.detail_of(row).submission_id)


def twin(row):
    """Another living row of the same submission, as an operator's script might leave it."""
    own = changes.detail_of(row)
    beside = Submission.objects.create(
        student_item=own.submission.student_item, attempt_number=9, answer="x", submitted_at=now()
    )
    made = ExternalGraderDetail.objects.create(submission=beside, queue_name=own.queue_name, queue_key=own.queue_key)
    ExternalGraderDetail.objects.filter(pk=made.pk).update(status_time=now() - HOUR)


#: What leaves no time behind, so that no other run finds it.
SILENT = {
    "legacy's reply": lambda row: rows.change([row], grader_reply=WRONG),
    "legacy's header": lambda row: rows.change([row], xqueue_header="{}"),
    "legacy's body": lambda row: rows.change([row], xqueue_body="{}"),
    "legacy's row is gone": lambda row: LegacySubmission.objects.filter(pk=row.pk).delete(),
    "the target's reply": at_detail(grader_reply=WRONG),
    "the target's queue": at_detail(queue_name=rows.QUEUE),
    "the target's answer": lambda row: Submission.objects.filter(pk=submission_of(row).pk).update(answer="other"),
    "the score": lambda row: Score.objects.filter(submission=submission_of(row)).update(points_earned=7),
    "the score is gone": lambda row: Score.objects.filter(submission=submission_of(row)).delete(),
    "another score": lambda row: Score.objects.create(
        student_item=submission_of(row).student_item,
        submission=submission_of(row),
        points_earned=1,
        points_possible=1,
    ),
    "the learner": lambda row: StudentItem.objects.filter(submission=submission_of(row)).update(student_id="open"),
    "the target's row is gone": lambda row: changes.detail_of(row).delete(),
    "a twin": twin,
    "the entry": lambda row: LedgerEntry.objects.filter(legacy_id=row.pk).update(leases=7, lease_key="x"),
    "an unknown digest": lambda row: LedgerEntry.objects.filter(legacy_id=row.pk).update(target_seen="?"),
    "an unknown digest of legacy": lambda row: LedgerEntry.objects.filter(legacy_id=row.pk).update(legacy_seen="?"),
    "no digest": lambda row: LedgerEntry.objects.filter(legacy_id=row.pk).update(target_seen=""),
}


@pytest.mark.parametrize("name", SILENT)
def test_every_silent_change_is_opened_and_nothing_else(name):
    made = settled()
    with Control(toggles.stop_reason) as control:
        assert sweep.open_changed(control, rows.ignore) == 0
        pk = changes.entry_of(made[3]).pk
        SILENT[name](made[3])
        assert sweep.open_changed(control, rows.ignore) == 1
    assert list(LedgerEntry.objects.filter(settled_at=None).values_list("id", flat=True)) == [pk]


@pytest.mark.parametrize("name", SILENT)
def test_a_swept_run_stores_what_a_full_one_of_the_course_would(name):
    made = settled()
    found = []
    for courses in ([COURSE], BOTH):
        with changes.undone():
            SILENT[name](made[3])
            content = rows.reconcile(*courses, full=True)[0].content
            course = content["courses"][0]
            found.append((changes.stored(), course["full"], course["looked_at"], content["classes"]))
    for one, other in zip(*found, strict=True):
        assert one == other
    assert found[0][1:3] == (True, USERS)


def test_what_is_open_is_left_to_the_runs_of_the_courses_and_what_is_settled_is_not(monkeypatch):
    settled()
    settled(range(20, 22), OTHER)
    waiting = rows.legacy_row(9)
    rows.backfill()
    rows.reconcile(*BOTH)
    seen, changed = [], candidates.changed
    monkeypatch.setattr(candidates, "PAGE", 4)
    monkeypatch.setattr(candidates, "changed", lambda page: seen.append([one.id for one in page]) or changed(page))
    done = []
    from migration_shim import api

    content = api.reconcile(list(BOTH), lambda *so_far: done.append(so_far), full=True).content
    assert [len(page) for page in seen] == [4, 4, 1, 1]
    assert seen[3] == [changes.entry_of(waiting).pk]
    assert [course["looked_at"] for course in content["courses"]] == [USERS + 1, 2]
    assert done[:3] == [(4, 10), (8, 10), (9, 10)]
    assert content["equal"] == 9


def test_only_several_courses_that_are_all_there_are_get_a_sweep():
    settled([1])
    assert sweep.is_worth_it(BOTH)
    assert not sweep.is_worth_it([COURSE])
    settled([2], OTHER)
    assert sweep.is_worth_it(BOTH)
    assert not sweep.is_worth_it([COURSE, "course-v1:ExU+PY3+2026"])


def test_after_an_upgrade_a_swept_course_is_looked_at_all_the_same(monkeypatch):
    from migration_shim.runs import records

    settled()
    before = LedgerEntry.objects.first().seen
    new = records.versions() | {"edx-submissions": "5.0.0"}
    monkeypatch.setattr(records, "versions", lambda: new)
    content = rows.reconcile(*BOTH, full=True)[0].content["courses"][0]
    assert (content["full"], content["looked_at"]) == (True, USERS)
    assert LedgerEntry.objects.first().seen != before


def test_a_document_says_that_all_was_looked_at_when_the_sweep_began():
    settled()
    began = now().isoformat()
    content = rows.reconcile(*BOTH, full=True)[0].content["courses"][0]
    assert began < content["last_full_at"] < content["watermark"]
    later = rows.reconcile(*BOTH)[0].content["courses"][0]
    assert (later["full"], later["last_full_at"]) == (False, content["last_full_at"])


def test_where_no_sweep_can_be_made_each_run_looks_at_its_course(monkeypatch):
    made = settled()
    rows.change([made[3]], grader_reply=WRONG)

    def away(*args):
        raise OperationalError(2013, "Lost connection")

    monkeypatch.setattr(sweep, "open_changed", away)
    content = rows.reconcile(*BOTH, full=True)[0].content
    assert (content["courses"][0]["full"], content["courses"][0]["looked_at"], content["diverged"]) == (True, USERS, 1)


def test_a_stop_in_a_sweep_stops_the_run_and_is_no_evidence(monkeypatch):
    settled()
    monkeypatch.setattr(toggles, "stop_reason", lambda: "somebody said so")
    document = rows.reconcile(*BOTH, full=True)[0]
    assert [course["complete"] for course in document.content["courses"]] == [False]
    assert document.content["courses"][0]["stopped_by"] == "somebody said so"


def test_a_sweep_shows_a_sign_of_life_to_nobody(monkeypatch):
    """It has no record of its own; the beat of the control must not look for one."""
    settled()
    monkeypatch.setattr("migration_shim.runs.control.BEAT_SECONDS", 0.0)
    course = rows.reconcile(*BOTH, full=True)[0].content["courses"][0]
    assert course["last_full_at"] < course["watermark"]  # there was a sweep


def test_what_a_run_beside_the_sweep_has_settled_by_an_older_look_is_looked_at(monkeypatch):
    """It has passed an entry, the sweep opens it, and the run settles it again as one that it has looked at."""
    made = settled()
    settled([20], OTHER)
    LedgerEntry.objects.update(compared_at=now() - timedelta(days=30))
    open_changed, settle = sweep.open_changed, candidates.settle
    opened = []

    def sweep_before_settling(*args):
        monkeypatch.setattr(candidates, "settle", settle)
        rows.change([made[3]], grader_reply=WRONG)
        with Control(toggles.stop_reason) as control:
            opened.append(open_changed(control, rows.ignore))
        settle(*args)

    def beside_a_run(*args):
        monkeypatch.setattr(candidates, "settle", sweep_before_settling)
        rows.reconcile(COURSE)
        return opened[0]

    monkeypatch.setattr(sweep, "open_changed", beside_a_run)
    content = rows.reconcile(*BOTH, full=True)[0].content
    assert opened == [1]
    assert [(course["full"], course["diverged"]) for course in content["courses"]] == [(True, 1), (True, 0)]


def test_what_a_stopped_run_has_judged_by_other_rules_is_judged_anew(monkeypatch, settings):
    settled()
    settled([20], OTHER)
    rules = LedgerEntry.objects.values_list("seen", flat=True).distinct()
    usual, [before] = settings.MIGRATION_SHIM, rules

    def stop(*args):
        raise Stopped("somebody said so")

    with monkeypatch.context() as patch:
        patch.setattr(candidates, "settle", stop)
        settings.MIGRATION_SHIM = usual | {"GRADING_DEADLINE_SECONDS": 7}
        rows.reconcile(COURSE)
    settings.MIGRATION_SHIM = usual
    assert len(rules.all()) == 2 and not LedgerEntry.objects.filter(settled_at=None).exists()
    rows.reconcile(*BOTH, full=True)
    assert list(rules.all()) == [before]


def test_what_was_judged_before_a_queues_scores_were_known_is_judged_anew(monkeypatch):
    """They may be known by what no run has compared: then no result of the last run says how they are to be read."""
    settled()
    settled([20], OTHER)
    rules = LedgerEntry.objects.values_list("seen", flat=True).distinct()
    [before] = rules
    queues = LedgerEntry.objects.values_list("queue_name", flat=True).distinct()
    learnt = ScoreStyles(dict.fromkeys(queues, ScoreStyle.RATIO), {})
    monkeypatch.setattr(ScoreStyles, "learnt", lambda *of: learnt)
    rows.reconcile(*BOTH, full=True)
    assert before not in rules.all()


def test_a_run_that_has_died_beside_the_sweep_may_have_worked_until_then():
    """It has no end. Another one that came to its end after the sweep has not looked at what is settled."""
    began = now() - timedelta(minutes=10)
    swept = sweep.Swept(began, began + timedelta(minutes=2))

    def run(minutes, finished):
        record = Run.objects.create(kind="reconcile", scope=COURSE, finished_at=finished)
        Run.objects.filter(pk=record.pk).update(started_at=began + timedelta(minutes=minutes))
        return record

    died = run(-1, None)
    last, this = run(3, began + timedelta(minutes=4)), run(5, None)
    assert not swept.serves(this, last)
    Run.objects.filter(pk=died.pk).update(finished_at=began - timedelta(seconds=1))
    assert swept.serves(this, last)
