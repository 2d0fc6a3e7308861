"""The pages of the dashboard: who may see and do what, what they show, and steps through the same door as commands."""

import threading
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import OperationalError, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.timezone import now
from edx_django_utils.cache import RequestCache

from migration_shim import api, toggles
from migration_shim.admin import dashboard_context
from migration_shim.core.data import Move, Phase
from migration_shim.core.phases import flags_of
from migration_shim.legacy import course_search
from migration_shim.models import CoursePhase, GateOverride, KnownDifference, LedgerEntry, PhaseChange, Run
from migration_shim.status import document as status
from tests.admin.reading import Page
from tests.builders import rows
from tests.builders.rows import COURSE, clean_course, fresh  # noqa: F401

BOTH = ["default", "xqueue"]
pytestmark = pytest.mark.django_db(databases=BOTH)
shared = pytest.mark.django_db(databases=BOTH, transaction=True)
OVERVIEW, ONE, PLAN, STEP = (
    reverse(f"admin:migration_shim_{name}") for name in ("dashboard", "course", "plan", "step")
)
HERE = f"{ONE}?{urlencode({'course': COURSE})}"
MARKUP = '<script>alert("x")</script>'


def somebody(name, *permissions, staff=True, enforce=False, **fields):
    """A client with a session of somebody who may do this."""
    user = get_user_model().objects.create_user(name, password="pw", is_staff=staff, **fields)
    for permission in permissions:
        user.user_permissions.add(Permission.objects.get(content_type__app_label="migration_shim", codename=permission))
    client = Client(enforce_csrf_checks=enforce, **rows.HOST)
    client.force_login(user)
    return client


@pytest.fixture(name="viewer")
def who_may_look():
    return somebody("grace", "view_coursephase")


@pytest.fixture(name="operator")
def who_may_step():
    return somebody("ada", "view_coursephase", "step_course")


def form(to="shadow", course=COURSE, **fields):
    return {"course": course, "to": to} | fields


def text(answer):
    return Page(answer.content.decode()).text


# --- who may do what --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "url"), [("get", OVERVIEW), ("get", HERE), ("post", PLAN), ("post", STEP)])
def test_nobody_gets_in_without_a_login(method, url):
    answer = getattr(Client(**rows.HOST), method)(url, form())
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith("/admin/login/")
    no_staff = somebody("learner", "step_course", "view_coursephase", staff=False)
    assert getattr(no_staff, method)(url, form()).status_code == 302
    assert not PhaseChange.objects.exists()


@pytest.mark.parametrize(("method", "url"), [("get", OVERVIEW), ("get", HERE), ("post", PLAN), ("post", STEP)])
def test_staff_without_permission_is_refused(method, url):
    assert getattr(somebody("eve"), method)(url, form()).status_code == 403


def test_a_viewer_sees_everything_and_steps_nothing(viewer):
    rows.in_phase("shadow")
    toggles.force_flags(COURSE, *flags_of(Phase.SHADOW))
    assert COURSE in text(viewer.get(OVERVIEW))
    page = viewer.get(HERE)
    assert "migration_shim.step_course" in text(page)
    assert 'action="' + PLAN not in page.content.decode()
    for url in (PLAN, STEP):
        assert viewer.post(url, form("legacy", expected="shadow", reason="r")).status_code == 403
    assert not PhaseChange.objects.exists()
    assert CoursePhase.objects.get(course_id=COURSE).phase == "shadow"


@pytest.mark.parametrize("url", [PLAN, STEP])
def test_a_step_is_never_a_get(operator, url):
    assert operator.get(url, form(expected="legacy", reason="r")).status_code == 405
    assert operator.post(OVERVIEW).status_code == 405


@pytest.mark.parametrize("url", [PLAN, STEP])
def test_a_post_from_elsewhere_is_refused(url):
    client = somebody("ada", "step_course", enforce=True)
    rows.in_phase("legacy")
    assert client.post(url, form(expected="legacy", reason="r")).status_code == 403
    assert not PhaseChange.objects.exists()


# --- a step -----------------------------------------------------------------------------------------------------------


def fields(page, url):
    """What the form that posts there would send, by its own fields: the page has others, with tokens of their own."""
    inside = page.content.decode().partition(f'action="{url}">')[2].partition("</form>")[0]
    return {one["name"]: one["value"] for one, _ in Page(inside).all("input") if one["type"] == "hidden"}


def test_plan_then_step_with_a_reason_as_in_a_browser():
    client = somebody("ada", "view_coursephase", "step_course", enforce=True)
    rows.in_phase("legacy")
    headers = {"headers": {"referer": f"https://courses.example.edu{ONE}"}}
    page = client.post(PLAN, fields(client.get(HERE), PLAN) | {"to": "shadow"}, **headers)
    assert page.status_code == 200
    assert "legacy → shadow" in text(page) and "migration_shim.dual_write: off -> on" in text(page)
    assert not PhaseChange.objects.exists() and toggles.flags_for(COURSE) == (False, False)
    answer = client.post(STEP, fields(page, STEP) | {"reason": "a first look"}, follow=True, **headers)
    assert answer.redirect_chain == [(HERE, 302)]
    assert f"Done. {COURSE} is in shadow now." in text(answer)
    change = PhaseChange.objects.get()
    assert (change.step_from, change.step_to, change.changed_by, change.reason) == (
        *("legacy", "shadow", "ada", "a first look"),
    )
    assert change.evidence["login"] == "ada"
    assert "a first look" in text(answer)


def test_a_step_without_a_reason_shows_the_plan_again(operator):
    rows.in_phase("legacy")
    for reason in ("", "   "):
        page = operator.post(STEP, form(expected="legacy", reason=reason))
        assert page.status_code == 400
        assert "Say why" in text(page) and "legacy → shadow" in text(page)
    assert not PhaseChange.objects.exists()


def test_live_only_through_the_gate(operator):
    rows.in_phase("shadow")
    toggles.force_flags(COURSE, *flags_of(Phase.SHADOW))
    page = operator.post(PLAN, form("live"))
    assert "Not permitted." in text(page) and "because there was no preflight" in text(page)
    page = operator.post(STEP, form("live", expected="shadow", reason="now", execute="1"))
    assert page.status_code == 409
    assert "The gate is closed by now" in text(page)
    for half, said in (
        ({}, "were not named: stale, needs_pairs"),
        ({"causes": "stale"}, "were not named: needs_pairs"),
        ({"causes": "stale, needs_pairs"}, "confirmed by the course's id"),
        ({"causes": "stale, needs_pairs", "confirm": "yes"}, "confirmed by the course's id"),
    ):
        page = operator.post(STEP, form("live", expected="shadow", reason="now", override="on", **half))
        assert page.status_code == 409
        assert said in text(page)
    assert CoursePhase.objects.get(course_id=COURSE).phase == "shadow"
    assert not GateOverride.objects.exists() and not PhaseChange.objects.exists()


def past_the_gate(client, reason="an exam"):
    """Sign as in a browser: the plan's own form, with codes and id typed."""
    page = client.post(PLAN, form("live"))
    assert "Open are: stale, needs_pairs" in text(page)
    typed = {"reason": reason, "causes": "needs_pairs, STALE", "confirm": COURSE}
    return client.post(STEP, fields(page, STEP) | typed, follow=True)


def test_past_the_gate_with_codes_and_id_typed(operator):
    rows.in_phase("shadow")
    toggles.force_flags(COURSE, *flags_of(Phase.SHADOW))
    page = past_the_gate(operator)
    assert f"Done. {COURSE} is in live now." in text(page)
    assert "OVERRIDE to live by ada on" in text(page)
    assert "(passed stale, needs_pairs; signed by ada)" in text(page)  # in the log of steps
    assert GateOverride.objects.get().signed_by == "ada"


def test_past_the_gate_by_two(operator, settings):
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"OVERRIDE_NEEDS_SECOND": True}
    rows.in_phase("shadow")
    toggles.force_flags(COURSE, *flags_of(Phase.SHADOW))
    page = past_the_gate(operator)
    assert f"Proposed. {COURSE} stays in shadow" in text(page)
    assert "OVERRIDE PROPOSED to live by ada past stale, needs_pairs: an exam" in text(page)
    assert "override proposed" in text(operator.get(OVERVIEW))
    assert "ada has proposed this override already" in text(past_the_gate(operator))
    assert CoursePhase.objects.get(course_id=COURSE).phase == "shadow"
    page = past_the_gate(somebody("grace", "view_coursephase", "step_course"))
    assert f"Done. {COURSE} is in live now." in text(page)
    assert "signed by ada and grace" in text(page) and "PROPOSED" not in text(page)


def test_live_with_an_open_gate_and_the_way_back(clean, operator):
    toggles.force_flags(COURSE, *flags_of(Phase.SHADOW))
    assert "PASS" in text(operator.post(PLAN, form("live")))
    assert operator.post(STEP, form("live", expected="shadow", reason="proved")).status_code == 302
    assert CoursePhase.objects.get(course_id=COURSE).phase == "live"
    Run.objects.all().delete()  # no evidence at all any more
    assert operator.post(STEP, form("legacy", expected="live", reason="an exam")).status_code == 302
    assert CoursePhase.objects.get(course_id=COURSE).phase == "legacy"


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("drift", [True, False])
def test_legacy_is_always_offered(phase, drift):
    offered = dashboard_context.steps(phase, drift=drift)
    assert ("legacy" in offered) is (phase is not Phase.LEGACY or drift)
    assert (phase.value in offered) is drift


def test_drift_shows_both_ways_out_and_to_stay_is_one(operator):
    rows.in_phase("shadow")
    toggles.force_flags(COURSE, *flags_of(Phase.LIVE))
    assert "flags ask for live" in text(operator.get(OVERVIEW))
    page = text(operator.get(HERE))
    assert f"xqueue_cutover --course {COURSE} --to shadow --reason TEXT --execute" in page
    assert "shadow (stay, and set the flags right)" in page
    assert operator.post(STEP, form("shadow", expected="shadow", reason="not yet")).status_code == 302
    RequestCache.clear_all_namespaces()
    assert toggles.flags_for(COURSE) == flags_of(Phase.SHADOW)


def test_a_plan_that_is_out_of_date_is_not_taken(operator):
    rows.in_phase("legacy")
    assert operator.post(PLAN, form("shadow")).status_code == 200
    api.cutover(COURSE, Phase.SHADOW, reason="sooner", execute=True, user="grace", login=None)
    page = operator.post(STEP, form("shadow", expected="legacy", reason="mine"))
    assert page.status_code == 409
    assert "Nothing was changed." in text(page) and "is in phase shadow already" in text(page)
    page = operator.post(STEP, form("legacy", expected="live", reason="mine"))
    assert "is in shadow by now, no longer in live: look again." in text(page)
    assert PhaseChange.objects.count() == 1


@pytest.mark.parametrize(
    "sent",
    [
        form(course="PY1"),
        form(course=MARKUP),
        form(course="course-v1:" + "x" * 300 + "+A+1"),
        form("done"),
        {"to": "shadow"},
        {"course": COURSE},
        form(expected="nowhere", reason="r"),
        form(reason="r"),
    ],
)
def test_a_forged_form_is_refused(operator, sent):
    answer = operator.post(STEP, sent)
    assert answer.status_code == 400
    assert "<script>alert" not in answer.content.decode()
    assert not PhaseChange.objects.exists() and not CoursePhase.objects.exists()


def test_settings_that_are_not_usable_are_said(operator, settings):
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"LEASE_SECONDS": "many"}
    for answer in (operator.get(OVERVIEW), operator.get(HERE)):
        assert answer.status_code == 503
        assert "LEASE_SECONDS" in text(answer)


def test_where_the_checks_find_anything_only_the_way_back_is_taken(operator, settings):
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"HTTP_DOOR_SECONDS": 20.0}
    rows.in_phase("shadow")
    toggles.force_flags(COURSE, *flags_of(Phase.SHADOW))
    for url in (PLAN, STEP):
        refused = operator.post(url, form("live", expected="shadow", reason="r"))
        assert refused.status_code == 409
        assert "HTTP_DOOR_SECONDS must be under 10" in text(refused)
    assert not PhaseChange.objects.exists()
    assert operator.post(PLAN, form("legacy")).status_code == 200
    assert operator.post(STEP, form("legacy", expected="shadow", reason="r")).status_code == 302
    assert CoursePhase.objects.get(course_id=COURSE).phase == "legacy"


@shared
def test_of_two_operators_at_once_one_wins_and_the_other_is_told():
    rows.in_phase("legacy")
    clients = [somebody(name, "step_course", "view_coursephase") for name in ("ada", "grace")]
    together, answers = threading.Barrier(2), []

    def step(client, name):
        try:
            together.wait(60)
            answers.append(client.post(STEP, form(expected="legacy", reason=f"by {name}")))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=step, args=pair) for pair in zip(clients, ("ada", "grace"), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert sorted(answer.status_code for answer in answers) == [302, 409]
    change = PhaseChange.objects.get()
    loser = next(answer for answer in answers if answer.status_code == 409)
    assert f"{COURSE} is in phase shadow already." in text(loser)
    assert change.reason == f"by {change.changed_by}"


# --- what the pages show ----------------------------------------------------------------------------------------------


def test_the_overview_shows_what_the_status_says(viewer):
    rows.in_phase("shadow")
    toggles.force_flags(COURSE, *flags_of(Phase.SHADOW))
    rows.legacy_row(1, age=timedelta(hours=3))
    rows.entries(2, move=Move.HELD, moved_at=now())
    today = now().date()
    daily = [
        {"day": (today - timedelta(days=back)).isoformat(), "compared": 10, "diverged": back} for back in (20, 3, 0)
    ]
    rows.reconciled(document={"daily": daily, "queues": [rows.QUEUE]})
    Run.objects.create(
        kind="gate",
        scope=COURSE,
        complete=True,
        finished_at=now(),
        document={"verdict": "FAIL", "reasons": ["too few"]},
    )
    page = text(viewer.get(OVERVIEW))
    for words in ("shadow for", "unknown judged just now", "1 oldest 3 h", "3 of 20 diverge", "held", "no watcher"):
        assert words in page, words
    page = text(viewer.get(HERE))
    for words in ("HELD by a handoff: 2 rows", "1 queued, the oldest 3 h", "too few", "Last backfill never"):
        assert words in page, words


def test_the_site_is_above_the_courses(viewer, monkeypatch):
    def down():
        raise OperationalError(2002, "down")

    rows.in_phase("shadow")
    monkeypatch.setattr(status.snapshot.legacy_open_rows, "all_rows", down)
    monkeypatch.setattr(status.toggles, "kill_switch_on", lambda: True)
    for url in (OVERVIEW, HERE):
        page = text(viewer.get(url))
        assert "Legacy's database does not answer." in page and "not known" in page
        assert "The kill switch is on." in page


def test_markup_shows_as_text(operator):
    course = "course-v1:ExU+Ünï.code-~_+2026"
    rows.in_phase("shadow", course)
    toggles.force_flags(course, *flags_of(Phase.SHADOW))
    rows.legacy_row(1, queue=MARKUP, age=timedelta(hours=1))
    api.cutover(course, Phase.LEGACY, reason=MARKUP, execute=True, user="<i>ada</i>", login=None)
    Run.objects.create(
        kind="gate", scope=course, complete=True, finished_at=now(), document={"verdict": "FAIL", "reasons": [MARKUP]}
    )
    one = f"{ONE}?{urlencode({'course': course})}"
    for answer in (operator.get(OVERVIEW), operator.get(one), operator.post(PLAN, form("shadow", course=course))):
        page = answer.content.decode()
        assert answer.status_code == 200
        assert "<script>alert" not in page and "<i>ada" not in page
    assert MARKUP in text(operator.get(one))
    link = next(a for a, words in Page(operator.get(OVERVIEW).content.decode()).all("a") if words == course)
    assert operator.get(link["href"]).context["course"]["course"] == course


def test_a_course_that_nobody_knows_yet_can_be_looked_at_and_started(operator):
    page = text(operator.get(HERE))
    assert "Phase legacy" in page and "Verdict none" in page
    assert not CoursePhase.objects.exists()
    assert "No course is known to the shim yet." in text(operator.get(OVERVIEW))
    assert operator.post(STEP, form(expected="legacy", reason="start")).status_code == 302


def test_pages_load_nothing_and_run_nothing(operator):
    rows.in_phase("shadow")
    for url in (OVERVIEW, HERE):
        own = operator.get(url).content.decode().partition('class="shim"')[2].partition("<!-- END Content -->")[0]
        assert own and "<script" not in own and "src=" not in own and "http://" not in own and "https://" not in own
        assert "javascript:" not in own and " on" + "click" not in own


def test_many_courses_take_as_many_statements_as_one(viewer):
    def statements():
        RequestCache.clear_all_namespaces()
        with (
            CaptureQueriesContext(connections["default"]) as ours,
            CaptureQueriesContext(connections["xqueue"]) as theirs,
        ):
            assert viewer.get(OVERVIEW).status_code == 200
        return len(ours) + len(theirs)

    def course(number):
        key = f"course-v1:ExU+C{number}+2026"
        rows.in_phase("shadow", key)
        toggles.force_flags(key, *flags_of(Phase.SHADOW))
        rows.legacy_row(number, course=key)
        Run.objects.create(kind="reconcile", scope=key, complete=True, finished_at=now(), document={"daily": []})

    course(0)
    viewer.get(OVERVIEW)
    one = statements()
    for number in range(1, 12):
        course(number)
    assert statements() == one <= 39


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ([], "nothing compared"),
        ([("2026-11-22", 0, 0)], "nothing compared"),
        ([("2026-11-22", 1000, 1), ("2026-11-09", 5, 0)], "1 of 1005 diverge"),
        ([("2026-11-08", 9, 9), ("2026-11-23", 9, 9)], "nothing compared"),  # before and behind the days shown
    ],
)
def test_a_trend_in_bars_and_words(days, expected):
    today = now().date().replace(year=2026, month=11, day=22)
    found = dashboard_context.trend([{"day": day, "compared": all_, "diverged": bad} for day, all_, bad in days], today)
    assert found["text"] == expected
    assert len(found["bars"]) == 14
    for bar in found["bars"]:
        assert 0 <= bar["y"] <= found["height"] and bar["height"] >= 0
        assert bar["y"] + bar["height"] + bar["bad_height"] <= found["height"] + 0.2
        assert (bar["bad_height"] >= 1) is (bar["diverged"] > 0)  # one in a thousand is seen


# --- the records ------------------------------------------------------------------------------------------------------

RECORDS = ["run", "phasechange", "divergence", "knowndifference", "gateoverride", "coursephase"]


@pytest.fixture(name="owner")
def superuser():
    user = get_user_model().objects.create_superuser("root", password="pw")
    client = Client(**rows.HOST)
    client.force_login(user)
    return client


def record(name, learner_row):
    """One row of a kind."""
    rows.entries(1, divergences="state", raw_header=learner_row.xqueue_header)
    LedgerEntry.objects.update(learner=rows.anonymous_id(7))
    api.cutover(COURSE, Phase.SHADOW, reason=MARKUP, execute=True, user="ada", login=None)
    rows.reconciled()
    KnownDifference.objects.create(klass="score", course_id=COURSE, reason=MARKUP, owner="ada", expires_at=now())
    values = {"course_id": COURSE, "step_to": "live", "signed_by": "ada", "verdict": "FAIL", "reason": MARKUP}
    GateOverride.objects.create(expires_at=now(), **values)
    return apps.get_model("migration_shim", name).objects.order_by("-pk").first()


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_is_to_be_read_and_never_written(owner, name, known):
    learner_row = rows.legacy_row(7)
    one = known(name, learner_row)
    base = f"/admin/migration_shim/{name}/"
    for url in (base, f"{base}{one.pk}/change/"):
        answer = owner.get(url)
        assert answer.status_code == 200
        page = answer.content.decode()
        assert "<script>alert" not in page and "Save" not in page
        assert rows.anonymous_id(7) not in page and learner_row.xqueue_header not in page
    assert owner.get(f"{base}add/").status_code == 403
    assert owner.post(f"{base}{one.pk}/change/", {"reason": "else"}).status_code == 403
    assert owner.post(f"{base}{one.pk}/delete/", {"post": "yes"}).status_code == 403
    owner.post(base, {"action": "delete_selected", "_selected_action": one.pk, "post": "yes"})
    assert type(one).objects.filter(pk=one.pk).exists()


@pytest.fixture(name="known")
def records():
    return record


def test_the_ledger_is_not_in_the_admin(owner):
    listed = [model["object_name"] for app in owner.get("/admin/").context["app_list"] for model in app["models"]]
    assert "Run" in listed and "LedgerEntry" not in listed and "LegacySubmission" not in listed
    assert owner.get("/admin/migration_shim/ledgerentry/").status_code == 404


def test_the_admin_leads_to_the_dashboard(owner):
    for url in ("/admin/migration_shim/", "/admin/migration_shim/coursephase/"):
        assert f'href="{OVERVIEW}"' in owner.get(url).content.decode()


# --- the ranking ------------------------------------------------------------------------------------------------------


def test_the_overview_ranks_the_courses_as_the_command_does(operator):
    rows.in_phase("complete", "course-v1:ExU+A+1")
    toggles.force_flags("course-v1:ExU+A+1", *flags_of(Phase.COMPLETE))
    rows.in_phase("shadow", "course-v1:ExU+B+1")
    toggles.force_flags("course-v1:ExU+B+1", *flags_of(Phase.SHADOW))
    rows.entries(1, course_id="course-v1:ExU+B+1", divergences="fence_leak")
    rows.legacy_row(1, course="course-v1:ExU+C+1")
    course_search.look(lambda: None)
    page = text(operator.get(OVERVIEW))
    content = api.status().content
    found = [item["course"] for item in content["courses"]]
    assert found == ["course-v1:ExU+B+1", "course-v1:ExU+C+1", "course-v1:ExU+A+1"]
    assert [page.index(name) for name in found] == sorted(page.index(name) for name in found)
    for line in (
        "3 courses: 1 LEAK, 1 not begun, 1 moved",
        "1 course in XQueue, 0 known to the shim (looked just now)",
    ):
        assert line in page
    for said in ("LEAK", "found in XQueue, 1 open row", "1 copy has reached a learner, or could"):
        assert said in page
