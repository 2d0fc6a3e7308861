"""What the status says of a course beyond what it reads: whether it may move, what changed, what is missing."""

from datetime import timedelta

import pytest
from django.utils.timezone import now
from edx_django_utils.cache import RequestCache

from migration_shim import api
from migration_shim.core.data import Phase
from migration_shim.legacy import course_search
from migration_shim.models import CoursePhase, GateOverride, LedgerEntry, LegacyCourse, Run
from migration_shim.reports import course_words, terminal
from migration_shim.status import document as status_document
from migration_shim.status import ranking
from tests.builders import rows
from tests.builders.rows import COURSE, clean_course, fresh  # noqa: F401
from tests.schemas import validate

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
OTHER = "course-v1:ExU+OTHER+2026"


def course(course_id=COURSE):
    RequestCache.clear_all_namespaces()
    return validate(api.status([course_id]).content)["courses"][0]


def site():
    RequestCache.clear_all_namespaces()
    return validate(api.status().content)


def test_a_pass_of_the_gate_is_ready_until_its_permit_ends(clean):
    rows.enter("shadow")
    api.gate(COURSE)
    found = course()
    assert (found["word"], found["may_move"], found["because"]) == ("ready", {"to": "live", "by": "permit"}, [])
    assert found["next"] == f"xqueue_cutover --course {COURSE} --to live --reason TEXT"
    CoursePhase.objects.update(permit_until=now() - timedelta(seconds=1))
    found = course()
    assert (found["word"], found["may_move"]["by"]) == ("stale", None)
    assert found["because"][0]["text"] == "the permit for live has ended: ask the gate again"


def test_evidence_that_grows_old_makes_it_stale_without_a_new_gate(clean):
    rows.enter("shadow")
    api.gate(COURSE)
    CoursePhase.objects.update(permit_until=now() + timedelta(days=9))
    Run.objects.filter(kind="reconcile").update(finished_at=now() - timedelta(days=2))
    found = course()
    assert (found["word"], found["next"]) == ("stale", f"xqueue_reconcile --course {COURSE}")


def test_an_alarm_since_the_gate_counts_at_once(clean):
    rows.enter("shadow")
    api.gate(COURSE)
    rows.entries(1, divergences="lost")
    found = course()
    assert (found["word"], found["lost"], found["may_move"]["by"]) == ("lost", 1, None)
    assert "LOST" in course_words.head_lines(site())[0]


def test_an_override_is_shown_and_permits_nothing_more(clean):
    rows.enter("shadow")
    until = now() + timedelta(hours=1)
    values = {"course_id": COURSE, "step_to": "live", "signed_by": "ada", "verdict": "FAIL", "reason": "exam"}
    signed = GateOverride.objects.create(expires_at=until, **values)
    found = course()
    assert (found["word"], found["may_move"]) == ("stale", {"to": "live", "by": None})
    said = f"override to live by ada, used {course_words.clock(signed.created_at.isoformat())}"
    assert f"  in force: {said}" in terminal.render(api.status([COURSE]).content)
    assert said in terminal.render(api.status().content)


@pytest.mark.parametrize(
    ("phase", "step", "by"),
    [("legacy", "shadow", "anybody"), ("shadow", "live", None), ("live", "complete", None), ("complete", None, None)],
)
def test_the_next_step_of_every_phase(phase, step, by):
    rows.enter(phase)
    assert course()["may_move"] == {"to": step, "by": by}


def test_a_gates_document_of_the_release_before_is_ranked_by_its_cause():
    rows.enter("shadow")
    document = {"verdict": "FAIL", "cause": "slow", "phase": "shadow", "reasons": ["95 of 100", "too few"]}
    run = Run.objects.create(kind="gate", scope=COURSE, complete=True, finished_at=now(), document=document)
    assert [reason["word"] for reason in course()["because"]] == ["slow", "slow"]
    odd = {"verdict": "FAIL", "cause": "slow", "reason_causes": [], "reasons": ["95 of 100"]}
    stale = {"verdict": "STALE", "cause": "stale"}
    for document, word in (({"verdict": "FAIL"}, "unknown"), (stale, "stale"), (odd, "slow")):
        run.document = document
        run.save()
        assert course()["word"] == word  # and never ready


def test_what_changed_since_the_run_before(clean):
    rows.enter("shadow")
    api.gate(COURSE)
    first = Run.objects.get(kind="gate")
    Run.objects.filter(kind="reconcile").delete()
    LedgerEntry.objects.filter(pk__in=list(LedgerEntry.objects.values_list("pk", flat=True)[:49])).delete()
    api.gate(COURSE)
    changes = {(item["run"], item["what"]): (item["was"], item["is"]) for item in course()["changes"]}
    assert changes == {
        ("gate", "verdict"): ("PASS", "INCONCLUSIVE"),
        ("gate", "cause"): ("ready", "stale"),
        ("gate", "pairs"): (449, 400),
    }
    said = f"changed since the gate of {course_words.clock(first.finished_at.isoformat())}: pairs 449 then, 400 now"
    assert said in terminal.render(api.status([COURSE]).content)
    assert site()["courses"][0]["changes"] == []  # of a course that was asked for


def test_a_course_that_is_in_xqueue_only_is_shown_and_nothing_is_written_for_it():
    rows.legacy_row(1, course=OTHER)
    assert site()["courses"] == []
    assert site()["xqueue"] == {
        "courses": None,
        "known": None,
        "unknown_lms": None,
        "looked_at": None,
        "under_way": False,
    }
    course_search.look(lambda: None)
    found = site()
    (one,) = found["courses"]
    assert (one["course"], one["word"], one["known"], one["short"]) == (OTHER, "not_begun", False, "OTHER")
    assert one["found_in_xqueue"]["open_rows"] == 1
    assert (found["xqueue"]["courses"], found["xqueue"]["known"], found["counts"]) == (1, 0, {"not_begun": 1})
    assert not CoursePhase.objects.exists()


def test_a_course_with_blockers_on_record_is_sent_to_preflight_and_not_to_shadow():
    CoursePhase.objects.create(course_id=COURSE, phase="legacy")
    reverse = {"code": "reverse_queue_not_polled", "severity": "blocker"}  # of live, and nobody has set it up yet
    warned = {"code": "unwatched", "severity": "warning"}
    files = {"code": "files_no_storage", "severity": "blocker"}
    run = rows.preflighted()
    for findings, todo, following in (
        ([reverse, warned], [], f"xqueue_cutover --course {COURSE} --to shadow --reason TEXT"),
        ([files, files, reverse], ["files_no_storage"], f"xqueue_preflight --course {COURSE}"),
    ):
        Run.objects.filter(pk=run.pk).update(document={"findings": findings})
        found = course()
        assert (found["word"], found["todo"], found["next"]) == ("not_begun", todo, following)
    said = terminal.render(api.status([COURSE]).content)
    assert "for a later step: files_no_storage" in said


def test_a_look_that_is_not_at_its_end_says_at_least():
    rows.legacy_row(1, course=OTHER)
    rows.legacy_row(1)
    course_search.look(lambda: None, seeks=1)
    assert course_words.head_lines(site())[1].startswith("at least ")
    course_search.look(lambda: None)
    assert course_words.head_lines(site())[1] == "2 courses in XQueue, 0 known to the shim (looked just now)"
    course_search.look(lambda: None, seeks=1)
    assert course_words.head_lines(site())[1].endswith("(looked just now, a new look is under way)")


def test_courses_of_an_lms_that_no_setting_names_are_counted_and_not_listed(settings):
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"CALLBACK_HOSTS": ["courses.example.edu"]}
    LegacyCourse.objects.create(course_id=OTHER, host="who.example.net")
    course_search.look(lambda: None)
    LegacyCourse.objects.create(course_id=OTHER, host="who.example.net")
    found = site()
    assert (found["courses"], found["xqueue"]["unknown_lms"]) == ([], 1)
    assert course_words.head_lines(found)[-1].endswith("; 1 more of LMSs that no setting names")


def test_a_course_that_cannot_be_read_has_a_word_too(monkeypatch):
    rows.enter("shadow")
    rows.enter("shadow", OTHER)
    original = status_document.course.describe

    def describe(course_id, *args, **options):
        if course_id == OTHER:
            raise ValueError
        return original(course_id, *args, **options)

    monkeypatch.setattr(status_document.course, "describe", describe)
    found = site()
    assert found["counts"] == {"unknown": 1, "stale": 1}
    assert [(item["course"], item["rank"]) for item in found["courses"]] == [(COURSE, 2)]
    assert ranking.words([COURSE, OTHER]) == {COURSE: "stale", OTHER: "unknown"}
    assert ranking.words([]) == {}


@pytest.mark.parametrize("phase", list(Phase))
def test_words_of_the_ranking_are_those_of_the_status(phase):
    rows.enter(phase)
    assert ranking.words([COURSE]) == {COURSE: course()["word"]}
