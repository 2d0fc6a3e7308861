"""The status document: what both systems hold and for how long, who serves the queues, and what there is to look at."""

import itertools
import json
import re
from collections import Counter
from datetime import timedelta

import pytest
from django.db import OperationalError, connections
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now
from edx_django_utils.cache import RequestCache
from submissions.models import ExternalGraderDetail
from waffle import get_waffle_flag_model

from migration_shim import api, toggles
from migration_shim.copies import breaker
from migration_shim.core.attention import CHECKS, age
from migration_shim.core.data import ExitCode, Leg, Move, Phase
from migration_shim.core.phases import flags_of
from migration_shim.lms import flags
from migration_shim.models import (
    CoursePhase,
    Divergence,
    FlagOverride,
    GateOverride,
    LedgerEntry,
    LegacySubmission,
    Run,
)
from migration_shim.reports import terminal
from migration_shim.status import document as status
from sandbox import capture
from tests.builders import rows
from tests.builders.rows import COURSE, QUEUE, clean_course, fresh  # noqa: F401
from tests.ledger.counters.oracle import forget_counters
from tests.schemas import validate

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
OTHER = "course-v1:ExU+OTHER+2026"
LATE = timedelta(hours=2)


def read(*courses):
    """The document of these courses, checked against its schema."""
    RequestCache.clear_all_namespaces()
    return validate(api.status(list(courses or (COURSE,))).content)


def course(**fields):
    """The one course of the document, with these fields only."""
    found = read()["courses"][0]
    return {name: found[name] for name in fields} if fields else found


def whats(found=None):
    return [item["what"] for item in (found or course())["attention"]]


def about(seconds, expected):
    """Whether an age is as expected, on a machine that may be slow."""
    return expected <= seconds < expected + 120


def imported(*legacy, **fields):
    """Shadows of these rows, through the backfill; ``fields`` are then set on their target rows."""
    rows.backfill()
    ids = [row.pk for row in legacy]
    details = ExternalGraderDetail.objects.filter(
        submission_id__in=LedgerEntry.objects.filter(legacy_id__in=ids).values("target_submission_id")
    )
    details.update(**fields)
    return details


def real(details):
    """Make a learner's own rows out of shadows, as far as status can see."""
    for detail in details.select_related("submission__student_item"):
        item = detail.submission.student_item
        type(item).objects.filter(pk=item.pk).update(
            student_id=item.student_id.removeprefix("shadow:"), item_id=item.item_id.removeprefix("shadow:")
        )
    details.update(queue_name=QUEUE)


# --- what is in flight ------------------------------------------------------------------------------------------------


def test_legacy_by_state_and_age():
    rows.legacy_row(1, age=timedelta(minutes=10))
    rows.legacy_row(2, age=timedelta(hours=3))
    rows.legacy_row(3, age=timedelta(hours=5), pull_time=now() - timedelta(minutes=1), pullkey="k")
    rows.legacy_row(4, age=timedelta(days=9), **rows.graded())
    rows.legacy_row(5, course=OTHER, age=timedelta(days=2))
    first, other = read(COURSE, OTHER)["courses"]
    assert first["in_flight"]["legacy"] == {"queued": 2, "pulled": 1}
    assert about(first["in_flight_oldest_seconds"]["legacy"]["queued"], 3 * 3600)
    assert about(first["in_flight_oldest_seconds"]["legacy"]["pulled"], 5 * 3600)
    assert other["in_flight"]["legacy"] == {"queued": 1}


def test_captured_rows_are_counted_as_they_are_one_by_one():
    """The second path: a statement for each course, and the rows' own columns."""
    capture.load_capture(rows.DATA)
    for history in (False, True):
        rows.backfill(history=history)
    document = read(*api.known_courses())
    waiting = LegacySubmission.objects.using("xqueue").filter(retired=False).values_list("xqueue_header", "pull_time")
    for one in document["courses"]:
        states = ["pulled" if pulled else "queued" for header, pulled in waiting if f"/{one['course']}/" in header]
        assert one["in_flight"]["legacy"] == Counter(states), one["course"]
    assert sum(sum(one["in_flight"]["legacy"].values()) for one in document["courses"]) > 10
    ages = (now() - row.arrival_time for row in LegacySubmission.objects.filter(retired=False))
    oldest = (max(one["in_flight_oldest_seconds"]["legacy"].values(), default=0) for one in document["courses"])
    assert max(oldest) <= round(max(ages).total_seconds(), 1)  # told in tenths, which may be more than it was


def test_courses_that_differ_in_case_only_are_two():
    lower = COURSE.replace("PY1", "py1")
    rows.legacy_row(1)
    rows.legacy_row(2, course=lower)
    rows.legacy_row(3, course=lower)
    found = {one["course"]: one["in_flight"]["legacy"] for one in read(COURSE, lower)["courses"]}
    assert found == {COURSE: {"queued": 1}, lower: {"queued": 2}}


def test_a_course_that_is_quoted_in_its_callback_is_found():
    quoted = "course-v1:Ex%C3%9C+PY1+2026"
    header = rows.header(1, "a" * 32, "k", course=quoted)
    rows.legacy_row(1, xqueue_header=header)
    assert read("course-v1:ExÜ+PY1+2026")["courses"][0]["in_flight"]["legacy"] == {"queued": 1}


def test_target_by_state_and_age_without_shadows_and_history():
    legacy = [rows.legacy_row(user, problem=f"{user:032x}", age=LATE) for user in range(5)]
    details = imported(*legacy)
    learners = details.filter(submission_id__in=list(details.values_list("submission_id", flat=True)[:3]))
    learners = ExternalGraderDetail.objects.filter(pk__in=list(learners.values_list("pk", flat=True)))
    real(learners)
    ids = list(learners.order_by("pk").values_list("pk", flat=True))
    ExternalGraderDetail.objects.filter(pk=ids[0]).update(status="pulled", status_time=now())
    ExternalGraderDetail.objects.filter(pk=ids[1]).update(status="failed")
    found = course()
    assert found["in_flight"]["target"] == {"pending": 1, "pulled": 1}
    assert about(found["in_flight_oldest_seconds"]["target"]["pending"], LATE.total_seconds())
    assert found["failed"] == 1
    assert "failed" in whats(found)
    assert found["stuck_leases"] == {"rows": 0, "oldest_seconds": None}


def test_a_lease_that_has_run_out_is_stuck():
    imported(rows.legacy_row(1), status="pulled", status_time=now() - timedelta(seconds=900))
    found = course()
    assert found["stuck_leases"]["rows"] == 1
    assert about(found["stuck_leases"]["oldest_seconds"], 900)
    assert "stuck_leases" in whats(found)
    assert found["in_flight"]["target"] == {}  # a shadow is nobody's submission


def test_legacy_that_does_not_answer_is_not_shown_as_nothing(monkeypatch):
    imported(rows.legacy_row(1))

    def down():
        raise OperationalError(2002, "down")

    monkeypatch.setattr(status.snapshot.legacy_open_rows, "all_rows", down)
    document = read()
    assert not document["legacy_readable"]
    assert document["courses"][0]["in_flight"]["legacy"] is None
    shown = terminal.render(document)
    assert "LEGACY'S DATABASE DOES NOT ANSWER" in shown
    assert "in flight on legacy: not known" in shown
    monkeypatch.setenv("COLUMNS", "200")
    table = [line for line in terminal.render(document | {"site": True}).splitlines() if line.startswith("PY1 ")]
    cells = re.split("  +", table[0])
    assert cells[cells.index("?") + 1] == "0"  # on legacy and on target


def test_a_legacy_table_that_is_not_there():
    """The same with a real database: what it says is an error of its own kind on each."""
    with connections["xqueue"].cursor() as cursor:
        cursor.execute("ALTER TABLE queue_submission RENAME TO queue_submission_away")
    try:
        assert not api.status([COURSE]).content["legacy_readable"]
    finally:
        with connections["xqueue"].cursor() as cursor:
            cursor.execute("ALTER TABLE queue_submission_away RENAME TO queue_submission")


# --- queues that nobody serves ----------------------------------------------------------------------------------------


def unserved(document):
    return [(queue["side"], queue["queue"], queue["rows"], queue["courses"]) for queue in document]


def test_queues_without_a_watcher_on_both_sides():
    imported(rows.legacy_row(1, age=LATE), rows.legacy_row(2, age=LATE))
    rows.legacy_row(3, queue="young", age=timedelta(seconds=10))
    rows.legacy_row(4, queue=QUEUE + ".reverse", xqueue_header='{"lms_callback_url": "https://x/sink/t/"}', age=LATE)
    document = read()
    assert unserved(document["queues_without_watcher"]) == [
        ("legacy", QUEUE, 2, [COURSE]),
        ("legacy", QUEUE + ".reverse", 1, []),
        ("target", QUEUE + ".shadow", 2, [COURSE]),
    ]
    assert [queue["queue"] for queue in document["courses"][0]["queues_without_watcher"]] == [QUEUE, QUEUE + ".shadow"]
    assert whats(document["courses"][0]).count("no_watcher") == 2
    rows.reconcile()  # it says which queues are the course's
    assert ("legacy", QUEUE + ".reverse", 1, [COURSE]) in unserved(read()["queues_without_watcher"])


def test_a_queue_that_somebody_pulls_from_is_served():
    imported(rows.legacy_row(1, age=LATE), rows.legacy_row(2, age=LATE, pull_time=now(), pullkey="k"))
    one = ExternalGraderDetail.objects.order_by("pk").first()
    ExternalGraderDetail.objects.filter(pk=one.pk).update(status="retired", status_time=now())
    assert read()["queues_without_watcher"] == []


def test_queues_that_no_grader_polls_are_none_without_a_watcher(settings):
    imported(rows.legacy_row(1, age=LATE), queue_name=QUEUE + ".held")
    rows.legacy_row(2, age=LATE, queue="pushed")
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"PUSH_QUEUES": ["pushed"]}
    rows.change(LegacySubmission.objects.filter(queue_name=QUEUE), retired=True)
    assert read()["queues_without_watcher"] == []


# --- phase, flags and permit ------------------------------------------------------------------------------------------


def tick(phase, key=COURSE):
    toggles.force_flags(key, *flags_of(phase))


def test_who_set_the_phase_and_when():
    api.cutover(COURSE, Phase.SHADOW, reason="a first look", execute=True, user="ada", login=None)
    found = course()
    assert (found["phase"], found["changed_by"], found["reason"]) == ("shadow", "ada", "a first look")
    assert found["changed_at"] is not None and not found["drift"]


def test_a_flip_by_hand_that_is_due_is_recorded_and_one_that_is_not_is_drift():
    tick(Phase.SHADOW)
    assert course()["phase"] == "shadow"
    assert CoursePhase.objects.get(course_id=COURSE).phase == "shadow"
    tick(Phase.LIVE)
    document = api.status([COURSE])
    found = document.content["courses"][0]
    assert (found["phase"], found["asked"], found["drift"]) == ("shadow", "live", True)
    assert found["drift_because"] == "the gate has given no permit for live"
    assert document.exit_code == ExitCode.STALE
    assert found["attention"][0]["commands"] == [
        f"xqueue_cutover --course {COURSE} --to live --reason TEXT",
        f"xqueue_cutover --course {COURSE} --to shadow --reason TEXT --execute",
    ]


def test_why_the_flags_are_not_obeyed():
    rows.in_phase("legacy")
    tick(Phase.COMPLETE)
    assert course()["drift_because"] == "from legacy a course can go to shadow"
    rows.in_phase("shadow")
    CoursePhase.objects.update(permit="live", permit_until=now() - timedelta(hours=1))
    tick(Phase.LIVE)
    assert course()["drift_because"].startswith("the permit ended at ")


def test_a_permit_is_shown_with_the_command():
    rows.in_phase("shadow")
    tick(Phase.SHADOW)
    CoursePhase.objects.update(permit="live", permit_until=now() + timedelta(hours=1))
    assert f"xqueue_cutover --course {COURSE} --to live --reason TEXT" in terminal.render(read())


@pytest.mark.parametrize("everyone", [None, True, False])
def test_flags_of_many_courses_are_those_of_each(everyone):
    """In one statement what ``toggles.flags_for`` reads course by course, whatever is forced where, or undone later."""
    flag = toggles.FLAGS[0]
    row, _ = get_waffle_flag_model().objects.get_or_create(name=flag)
    row.everyone = everyone
    row.save()
    row.flush()
    courses = []
    for number, (own, org) in enumerate(itertools.product((None, True, False, "undone"), repeat=2)):
        key = f"course-v1:Org{number}+C+1"
        for scope, name, value in (("org", f"Org{number}", org), ("course", key, own)):
            if value is not None:
                FlagOverride(
                    flag=flag, scope=scope, key=name, force=True if value == "undone" else value, enabled=True
                ).save()
            if value == "undone":
                FlagOverride(flag=flag, scope=scope, key=name, force=True, enabled=False).save()
        courses.append(key)
    RequestCache.clear_all_namespaces()
    expected = {key: toggles.flags_for(key) for key in courses}
    assert len(set(expected.values())) == 2
    found = {one["course"]: tuple(one["flags"].values()) for one in read(*courses)["courses"]}
    assert found == expected


def test_what_else_is_written_into_the_log_has_set_no_phase():
    """A look-up of a learner, or a signature."""
    api.cutover(COURSE, Phase.SHADOW, reason="a first look", execute=True, user="ada", login=None)
    api.undelivered(COURSE, learners=True, reason="a learner asks", user="ben")
    assert (course()["changed_by"], course()["reason"]) == ("ada", "a first look")


def test_the_text_says_that_a_course_was_released():
    rows.in_phase("complete")
    assert "released" not in terminal.render(read())
    CoursePhase.objects.update(released_at=now())
    assert f"  released to the platform's own path since {now():%a}" in terminal.render(read())


def test_the_platforms_own_flag_past_the_shim(monkeypatch):
    assert course()["platform_flag"] is None
    monkeypatch.setattr(status.toggles, "in_platform", lambda: True)
    monkeypatch.setattr(status.snapshot.queries, "_platform_overrides", status.snapshot.queries._own_overrides)
    monkeypatch.setattr(flags, "submission_flags_on", lambda keys: dict.fromkeys(keys, True))
    rows.in_phase("complete")
    monkeypatch.setattr(status.toggles, "phase_of", lambda key: toggles.decide(Phase.LEGACY, Phase.LEGACY, permit=None))
    document = api.status([COURSE])
    assert "past_the_shim" in whats(document.content["courses"][0])
    assert document.exit_code == ExitCode.STALE
    CoursePhase.objects.update(released_at=now())
    assert "past_the_shim" not in whats(api.status([COURSE]).content["courses"][0])


# --- copies, moves, alarms, runs --------------------------------------------------------------------------------------


def test_copies_owed_are_copies_only():
    rows.entries(2, target_leg=Leg.MISSING)
    rows.entries(1, target_leg=Leg.FAILED)
    rows.entries(3, authority="target", phase="live", legacy_leg=Leg.MISSING)
    rows.entries(1, legacy_leg=Leg.FAILED, target_leg=Leg.NONE)  # legacy refused it, and its learner was told
    rows.entries(1, course_id=OTHER, target_leg=Leg.MISSING)
    found = course()
    assert found["copies"] == {"shadow": {"failed": 1, "missing": 2}, "reverse": {"missing": 3}}
    assert whats(found) == ["copies_owed", "copies_owed"]


def test_held_and_returning_rows_with_their_age():
    rows.entries(1, move=Move.HELD, moved_at=now() - timedelta(seconds=70))
    rows.entries(2, move=Move.FENCED, moved_at=now() - timedelta(seconds=500))
    rows.entries(1, move=Move.RETURNING, moved_at=now() - timedelta(hours=1))
    rows.entries(4, move=Move.WATCHED, moved_at=now() - LATE)
    found = course()
    assert (found["held"]["rows"], found["returning"]["rows"]) == (3, 1)
    assert about(found["held"]["oldest_seconds"], 500) and about(found["returning"]["oldest_seconds"], 3600)
    assert whats(found)[:2] == ["held", "returning"]
    assert f"xqueue_backfill --mode handoff --course {COURSE} --execute" in terminal.render(read())


def test_alarms_since_the_last_reconcile_count_at_once():
    assert (course()["fence_leaks"], course()["double_authority"]) == (None, None)
    rows.reconciled(document={"double_authority": 2})
    assert (course()["fence_leaks"], course()["double_authority"]) == (0, 2)
    rows.entries(1, divergences="fence_leak")
    assert Divergence.objects.count() == 1
    found = course()
    assert (found["fence_leaks"], found["double_authority"]) == (1, 2)
    assert whats(found)[:2] == ["fence_leak", "double_authority"]


def test_runs_and_the_verdict_with_its_age(clean):
    api.gate(COURSE)
    Run.objects.filter(kind="gate").update(finished_at=now() - timedelta(hours=6))
    Run.objects.create(kind="reconcile", scope=COURSE, document={})  # at work
    found = course()
    assert found["verdict"] == "PASS" and about(found["verdict_age_seconds"], 6 * 3600)
    assert found["last_runs"]["reconcile"]["complete"] is False
    assert found["last_runs"]["reconcile"]["finished_at"] is None
    assert found["fence_leaks"] == 0  # of the complete one before it
    assert found["last_runs"]["preflight"]["complete"]
    assert found["ledger_rows"] == 449


def backfilled(scope, *, hours, **fields):
    at = now() - timedelta(hours=hours)
    document = {"mode": scope.split()[0], "written": 5}
    values = {"kind": "backfill", "scope": scope, "started_at": at, "finished_at": at, "complete": True}
    return Run.objects.create(**(values | {"document": document} | fields))


def test_the_last_backfill_named_the_course_or_none():
    assert course()["last_runs"]["backfill"] is None
    everything = backfilled("shadow open", hours=9)
    backfilled(f"shadow open {OTHER}", hours=1)
    backfilled(f"shadow open queue:{QUEUE}", hours=1)
    backfilled(f"shadow open {COURSE}x", hours=1)
    assert course()["last_runs"]["backfill"]["id"] == everything.pk
    both = backfilled(f"handoff {OTHER} {COURSE}", hours=1)
    assert course()["last_runs"]["backfill"] | {"mode": "handoff", "written": 5} == course()["last_runs"]["backfill"]
    assert course()["last_runs"]["backfill"]["id"] == both.pk
    died = backfilled(f"return {COURSE}", hours=0, finished_at=None, complete=False, document={})
    found = course()["last_runs"]["backfill"]
    assert (found["id"], found["mode"], found["written"]) == (died.pk, None, None)
    assert "still running, or died" in terminal.render(read())


def test_a_real_backfill_and_reconcile_are_on_it():
    rows.legacy_row(1, **rows.graded())
    rows.legacy_row(2)
    rows.backfill(courses=frozenset([COURSE]))
    rows.reconcile()
    found = course()
    assert (found["last_runs"]["backfill"]["mode"], found["last_runs"]["backfill"]["written"]) == ("shadow", 1)
    assert found["last_full_reconcile_at"] is not None
    assert read()["ledger"] == {"rows": 1, "residue": 1}
    LedgerEntry.objects.update(purged_at=now())
    forget_counters()
    assert read()["ledger"] == {"rows": 1, "residue": 0}


def test_overrides_that_the_phase_rests_on_and_proposals_that_still_wait():
    values = {"course_id": COURSE, "step_to": "live", "signed_by": "ada", "verdict": "FAIL"}
    ended, waits = now() - timedelta(hours=1), now() + timedelta(hours=1)
    GateOverride.objects.create(expires_at=ended, used_at=ended, reason="taken", causes=["stale"], **values)
    for reason, until in (("asked for", waits), ("too late", ended)):
        bound = {"evidence": {"log_id": 0}, "causes": ["stale"]}
        GateOverride.objects.create(proposal=True, expires_at=until, reason=reason, **bound, **values)
    found = course()
    assert [item["reason"] for item in found["overrides"]] == ["taken"]
    assert [item["reason"] for item in found["override_proposals"]] == ["asked for"]
    assert whats() == ["override_proposed", "override"]


def test_everything_that_there_is_to_look_at_has_a_kind_of_its_own():
    assert set(CHECKS) == {
        "fence_leak",
        "double_authority",
        "undelivered",
        "wrong_side",
        "counters_differ",
        "past_the_shim",
        "drift",
        "held",
        "returning",
        "handed_out_in_vain",
        "failed",
        "no_watcher",
        "unknown_queue",
        "stuck_leases",
        "unknown_lms",
        "copies_owed",
        "passed_through",
        "new_queue",
        "override_proposed",
        "override",
    }
    assert whats() == []


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172800, "2 d"), (None, "unknown")],
)
def test_an_age_has_one_unit(seconds, said):
    assert age(seconds) == said


# --- what it costs ----------------------------------------------------------------------------------------------------


def statements(courses):
    RequestCache.clear_all_namespaces()
    with CaptureQueriesContext(connections["default"]) as ours, CaptureQueriesContext(connections["xqueue"]) as theirs:
        found = api.status(courses).content
    assert len(found["courses"]) == len(courses)
    return len(ours), len(theirs)


def test_many_courses_take_as_many_statements_as_one():
    courses = [f"course-v1:ExU+C{number}+2026" for number in range(12)]
    for number, key in enumerate(courses):
        rows.in_phase("shadow", key)
        tick(Phase.SHADOW, key)
        rows.legacy_row(number, course=key, age=LATE)
        rows.entries(2, course_id=key, move=Move.HELD, moved_at=now())
        Run.objects.create(kind="reconcile", scope=key, complete=True, finished_at=now(), document={"daily": []})
        Run.objects.create(kind="gate", scope=key, complete=True, finished_at=now(), document={"verdict": "FAIL"})
    one, many = statements(courses[:1]), statements(courses)
    assert many == one
    assert one[0] <= 32 and one[1] <= 2


def test_reading_writes_nothing():
    rows.legacy_row(1)
    tick(Phase.LIVE)
    rows.in_phase("shadow")
    RequestCache.clear_all_namespaces()
    api.status([COURSE])
    with CaptureQueriesContext(connections["default"]) as captured:
        api.status([COURSE])
    assert [query["sql"] for query in captured if not query["sql"].startswith("SELECT")] == []


def test_no_learner_is_in_it():
    row = rows.legacy_row(7)
    imported(row, status="failed")
    printed = json.dumps(read())
    assert rows.anonymous_id(7) not in printed
    assert json.loads(row.xqueue_header)["lms_key"] not in printed


def test_breakers_are_shown():
    for _ in range(50):
        breaker.failed("shadow", status.load())
    assert read()["breakers"]["shadow"]["open"]
    breaker.reset()


def test_a_record_whose_id_is_no_course_key_hides_no_other_course():
    """A release before, or somebody past the app, may have left one."""
    rows.enter("shadow")
    rows.in_phase("legacy", "no course key")
    found = {course["course"]: course["phase"] for course in api.status().content["courses"]}
    assert found == {COURSE: "shadow", "no course key": "legacy"}
