"""
Two hundred courses in eight states: text, JSON and metrics rank them as an oracle does, and no course is left out.

The gate's documents are made by the gate from evidence. The oracle knows only in which state each course was put, and
the order of the words as the operator's page has it.
"""

import io
import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import call_command
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now
from edx_django_utils.cache import RequestCache
from prometheus_client.parser import text_string_to_metric_families

from migration_shim import api, toggles
from migration_shim.conf import load
from migration_shim.core.data import Phase
from migration_shim.core.evidence import CohortEvidence, Evidence, Latency
from migration_shim.core.gate import evaluate
from migration_shim.core.phases import flags_of
from migration_shim.cutover import gate
from migration_shim.legacy import course_search
from migration_shim.models import CoursePhase, LegacyCourse, LegacySubmission, Run
from migration_shim.status import ranking
from tests.builders import rows
from tests.builders.rows import fresh  # noqa: F401
from tests.schemas import validate

pytestmark = [pytest.mark.django_db(databases=["default", "xqueue"]), pytest.mark.timeout(600)]

#: The states, in the order in which the page for operators ranks them.
STATES = ("leak", "differs", "blocked", "stale", "needs_pairs", "ready", "not_begun", "moved")
HEAD = (
    "{total} courses: {each} LEAK, {each} ready, {each} need pairs, {each} stale, {each} blocked, {each} differ, "
    "{each} not begun, {each} moved"
)
#: Clean pairs that a whole course needs, and those that a course has which lacks some.
ENOUGH, TOO_FEW, A_DAY = 449, 237, 70
NOT_POLLED = "reverse_queue_not_polled exu-py1.reverse"


def tally(pairs, **changes):
    fields = {"name": rows.QUEUE, "entries": pairs, "graded_pairs": pairs, "diverged": 0, "deterministic": 0}
    return CohortEvidence(**fields | {"payload_compared": pairs} | changes)


def evidence(state):
    """What speaks for and against a course in this state."""
    pairs = TOO_FEW if state == "needs_pairs" else ENOUGH
    wrong = {"diverged": 3, "deterministic": 3, "classes": ("state",)} if state == "differs" else {}
    blockers = {"blocked": ("queue_unknown exu-py1",), "needs_pairs": (NOT_POLLED,)}
    return Evidence(
        reconcile_age=10.0,
        reconcile_complete=True,
        preflight_age=10.0,
        preflight_blockers=blockers.get(state, ()),
        problems=(tally(pairs, name="problem", **wrong),),
        queues=(tally(pairs),),
        missing=0,
        overdue=0,
        fence_leaks=0,
        double_authority=0,
        lost=0,
        undelivered=4 if state == "moved" else 0,
        wrong_side=0,
        stuck=0,
        latency=Latency(timed=pairs, legacy=10.0, target=10.0),
    )


def name_of(number):
    return f"course-v1:ExU+CS{number}+2026"


def put(number):
    """Put a course in the state of its number, and return the state."""
    course, state = name_of(number), STATES[number % len(STATES)]
    open_rows = {} if number % 3 else {"retired": True, "return_time": now()}
    rows.legacy_row(number, course=course, age=timedelta(seconds=20), **open_rows)
    if state == "not_begun":
        if number % 16 == STATES.index("not_begun"):
            rows.in_phase("legacy", course)  # known, and nothing was begun; the others are in XQueue only
        return state
    phase = Phase.SHADOW
    rows.in_phase(phase, course)
    found = evidence(state)
    result = evaluate(found, load().thresholds())
    moment = now() - timedelta(days=2 if state == "stale" else 0)
    if state == "ready":
        CoursePhase.objects.filter(course_id=course).update(permit="live", permit_until=now() + timedelta(hours=3))
    run = {"scope": course, "complete": True, "started_at": moment, "finished_at": moment}
    Run.objects.create(kind="gate", document=gate.document(course, result, found), **run)
    Run.objects.create(kind="preflight", document={"findings": []}, **run)
    days = [(moment - timedelta(days=back)).date().isoformat() for back in range(1, 8)]
    daily = [{"day": day, "compared": A_DAY, "diverged": 0} for day in days]
    document = {"fence_leaks": 0, "double_authority": 0, "daily": daily, "queues": [rows.QUEUE]}
    Run.objects.create(kind="reconcile", document=document, **run)
    if state == "leak":
        rows.entries(1, course_id=course, divergences="fence_leak")
    else:
        rows.entries(1, course_id=course)
    if state == "moved":
        phase = Phase.COMPLETE
        rows.in_phase(phase, course)  # its gate has judged a step that was taken since
    toggles.force_flags(course, *flags_of(phase))
    return state


def look():
    RequestCache.clear_all_namespaces()
    assert course_search.look(lambda: None)["complete"]


def printed(*words):
    RequestCache.clear_all_namespaces()
    out = io.StringIO()
    call_command("xqueue_status", *words, stdout=out)
    return out.getvalue()


def statements():
    RequestCache.clear_all_namespaces()
    with CaptureQueriesContext(connections["default"]) as ours, CaptureQueriesContext(connections["xqueue"]) as theirs:
        api.status()
    return len(ours), len(theirs)


def forecast_of(at):
    """The day on which the missing pairs have come, by a second path: so many whole days and the begun one."""
    moment = datetime.fromisoformat(at)
    begun = moment.astimezone(UTC).hour / 24 + moment.minute / 1440 + moment.second / 86400
    return moment + timedelta(days=(ENOUGH - TOO_FEW) / (7 * A_DAY / (7 + begun)))


def assert_what_is_missing_is_told(content):
    """How many pairs, and when they will be there; the routine blocker is no reason."""
    for item in content["courses"]:
        if item["word"] != "needs_pairs":
            assert item["forecast"] is None
            continue
        assert item["forecast"]["pairs"] == ENOUGH - TOO_FEW
        off = datetime.fromisoformat(item["forecast"]["at"]) - forecast_of(content["at"])
        assert abs(off) < timedelta(minutes=2)
        assert item["todo"] == [NOT_POLLED] and item["actor"] == "nobody" and item["next"] == ""


def assert_the_text_ranks_them(monkeypatch, oracle):
    for columns in ("80", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        lines = printed().splitlines()
        assert max(map(len, lines)) <= int(columns)
        said = " ".join(lines[: next(place for place, line in enumerate(lines) if "in XQueue" in line)])
        assert re.sub(r"\s+", " ", said) == HEAD.format(total=200, each=25)
        start = next(place for place, line in enumerate(lines) if line.startswith("course "))
        table = [line.split()[:2] for line in lines[start + 1 :] if line.startswith("CS")]
        assert [f"course-v1:ExU+{short}+2026" for short, _ in table] == oracle
    assert sum("needs 212 pairs, about " in line for line in lines) == 25


def assert_the_metrics_say_the_same(states, unknown):
    found = {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(printed("--format", "prometheus"))
        for sample in family.samples
    }
    assert {state: found["migration_shim_courses", (state,)] for state in STATES} == dict.fromkeys(STATES, 25)
    words = {key: value for (name, key), value in found.items() if name == "migration_shim_course_word"}
    assert {course: word for (course, word), value in words.items() if value == 1} == states
    assert sum(words.values()) == 200
    assert found["migration_shim_xqueue_courses", ()] == 200
    assert found["migration_shim_xqueue_courses_unknown", ()] == len(unknown)
    assert found["migration_shim_xqueue_courses_age_seconds", ()] < 600


def test_two_hundred_courses_in_eight_states_are_ranked_as_an_oracle_ranks_them(monkeypatch):
    states = {name_of(number): put(number) for number in range(24)}
    look()
    statements()  # waffle's cache is warm from now on
    few = statements()
    states |= {name_of(number): put(number) for number in range(24, 200)}
    assert len(states) == 200 and set(states.values()) == set(STATES)
    before = set(LegacyCourse.objects.values_list("course_id", flat=True))
    look()
    assert statements() == few
    for number in range(0, 200, 4):
        rows.legacy_row(1000 + number, course=name_of(number), age=timedelta(seconds=20))
        if states[name_of(number)] not in ("not_begun",):
            rows.entries(3, course_id=name_of(number))
    assert statements() == few
    oracle = sorted(states, key=lambda course: (STATES.index(states[course]), course))

    content = validate(json.loads(printed("--format", "json")))
    assert [(item["course"], item["word"], item["rank"]) for item in content["courses"]] == [
        (course, states[course], place) for place, course in enumerate(oracle, start=1)
    ]
    assert content["counts"] == dict.fromkeys(STATES, 25)
    assert ranking.words(list(states)) == states
    assert content["problems"] == []

    # Every course that a row of XQueue names is in it, whether the shim knows it or not.
    named = re.compile(r"/courses/(.+?)/xqueue/")
    headers = LegacySubmission.objects.using("xqueue").values_list("xqueue_header", flat=True)
    in_xqueue = {named.search(header)[1] for header in headers}
    assert len(before) == 24 and in_xqueue == set(states)
    assert in_xqueue <= {item["course"] for item in content["courses"]}
    unknown = {item["course"] for item in content["courses"] if not item["known"]}
    assert unknown == {course for course in states if states[course] == "not_begun"} - set(
        CoursePhase.objects.values_list("course_id", flat=True)
    )
    assert 0 < len(unknown) < 25
    assert content["xqueue"]["courses"] == 200 and content["xqueue"]["known"] == 200 - len(unknown)

    assert_what_is_missing_is_told(content)
    assert_the_text_ranks_them(monkeypatch, oracle)
    assert_the_metrics_say_the_same(states, unknown)
