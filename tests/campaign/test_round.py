"""A round of campaigns: one course holds up no other, what others do parks, what concerns all stops, and it is told."""

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest
from django.core import mail
from django.core.cache import cache
from django.core.management import call_command
from django.db import OperationalError
from django.utils.timezone import now
from waffle.models import Switch

from migration_shim import api, tasks, toggles
from migration_shim.campaign import actions, facts, records, trouble
from migration_shim.campaign import round as campaign_round
from migration_shim.campaign.document import document
from migration_shim.campaign.standing import standings, turn
from migration_shim.conf import load
from migration_shim.core.campaign import Action, Health
from migration_shim.core.data import ExitCode, Phase
from migration_shim.core.errors import NotNow
from migration_shim.models import Campaign, CampaignCourse, CampaignLine, CoursePhase, LedgerStamp, PhaseChange, Run
from migration_shim.reports import terminal
from migration_shim.signals import campaign_told
from tests.builders import rows
from tests.builders.campus import Clock
from tests.campaign.conftest import A, B, C
from tests.schemas import validate

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])


@pytest.fixture
def did(monkeypatch):
    """What campaigns did, as (action, course); nothing is really done but steps."""
    found = []
    real = actions.do

    def do(action, campaign, course_id, *args):
        found.append((action.value, course_id))
        if action is Action.PREFLIGHT:
            Run.objects.create(
                kind="preflight", scope=course_id, finished_at=now(), complete=True, document={"findings": []}
            )
            return actions.Done()
        return real(action, campaign, course_id, *args) if action.phase else actions.Done(waits="is waited for")

    monkeypatch.setattr(actions, "do", do)
    return found


@pytest.fixture
def watch(django_capture_on_commit_callbacks):
    """A round; its document."""

    def call(expect=ExitCode.OK):
        with django_capture_on_commit_callbacks(execute=True):
            document = api.watch()
        assert document.exit_code == expect, document.content["problems"]
        assert terminal.render(validate(document.content))
        return document.content

    return call


@pytest.fixture
def told():
    """Every signal of a campaign, as (what, course, text)."""
    found = []

    def receive(sender, campaign, course_id, what, text, **kwargs):
        found.append((what, course_id, text))

    campaign_told.connect(receive)
    yield found
    campaign_told.disconnect(receive)


def says(content):
    (campaign,) = content["campaigns"]
    return {course["course"]: course["says"] for course in campaign["courses"]}


def by_hand(to, course=A, user="ada"):
    api.cutover(course, to, reason="r", execute=True, user=user, login=None)


def well(*courses):
    """Let courses have been shown well in the phase that they are in."""
    for course in courses:
        since = CoursePhase.objects.get(course_id=course).since
        CampaignCourse.objects.filter(course_id=course).update(well_since=since)


def test_the_canary_goes_first_and_its_step_is_on_record(start, did, watch):
    campaign = start("--canary", B, "--limit", "3")
    content = watch()
    assert did == [("preflight", B), ("shadow", B), ("preflight", A), ("preflight", C)]
    assert says(content) == {
        B: "stepped from legacy to shadow",
        A: f"the canary {B} is not healthy in shadow yet",
        C: f"the canary {B} is not healthy in shadow yet",
    }
    step = PhaseChange.objects.get()
    assert (step.course_id, step.changed_by, step.reason) == (B, "campaign one", "campaign one: term over")
    assert step.evidence["campaign"] == campaign.pk


def test_no_more_are_in_flight_than_the_limit_allows(start, did, watch):
    start("--limit", "1")
    rows.in_phase("shadow", A)
    toggles.force_flags(A, True, False)
    well(A)
    content = watch()
    assert [step for step in did if step[0] == "shadow"] == [("shadow", B)]
    assert says(content)[C] == "1 course is in flight, and --limit allows 1"


def test_a_course_that_fails_is_a_problem_and_the_next_goes_on(start, did, watch, monkeypatch):
    start("--limit", "3")
    real = facts.gather

    def gather(campaign, member, settings, **options):
        if member.course_id == A:
            raise OperationalError("(1205, 'Lock wait timeout exceeded')")
        return real(campaign, member, settings, **options)

    monkeypatch.setattr(facts, "gather", gather)
    content = watch(expect=ExitCode.ERROR)
    assert [(item["step"], item["course"], item["said"]) for item in content["problems"]] == [
        ("campaign", A, "OperationalError")
    ]
    assert did == [("preflight", B), ("preflight", C)]


@pytest.mark.parametrize("user", ["ada", "xqueue_watch"])
def test_a_step_of_somebody_else_parks_its_course_until_it_is_resumed(start, did, watch, told, user, settings):
    settings.MIGRATION_SHIM = {**settings.MIGRATION_SHIM, "CAMPAIGN_EMAILS": ["ops@example.edu"]}
    start(courses=[A])
    watch()
    by_hand(Phase.LEGACY, user=user)
    did.clear()
    line = (
        f"parked: stepped to legacy by {user}; xqueue_campaign resume --name one --course {A} --reason TEXT --execute"
    )
    assert says(watch()) == {A: line}
    assert watch()["campaigns"][0]["courses"] == []
    assert (did, told[-1], [item[0] for item in told].count("parked")) == ([], ("parked", A, line), 1)
    (message,) = mail.outbox
    assert (message.subject, message.to) == (f"Campaign one: {A} parked", ["ops@example.edu"])
    assert line in message.body
    call_command("xqueue_campaign", "resume", "--course", A, "--reason", "mended", "--execute")
    assert says(watch()) == {A: "stepped from legacy to shadow"}


def test_a_flag_changed_by_hand_parks_too(start, did, watch):
    start(courses=[A])
    toggles.force_flags(A, True, False)
    assert "parked: stepped to shadow by hand" in says(watch())[A]
    assert did == []


def test_a_course_that_is_not_well_is_stopped_and_needs_a_person(start, did, watch, told, monkeypatch):
    start(courses=[A])
    real = facts.gather

    def gather(*args, **options):
        return dataclasses.replace(real(*args, **options), health=Health.FAILED, health_said="3 overdue")

    monkeypatch.setattr(facts, "gather", gather)
    line = f"failed in legacy: 3 overdue; xqueue_campaign resume --name one --course {A} --reason TEXT --execute"
    assert says(watch()) == {A: line}
    assert told[-1] == ("failed", A, line)
    monkeypatch.setattr(facts, "gather", real)
    (campaign,) = watch()["campaigns"]
    assert (campaign["state"], campaign["courses"], did) == ("running", [], [])


def test_flags_that_ask_for_more_than_the_gate_gives_are_left_to_a_person(start, did, watch):
    rows.in_phase("shadow", A)
    toggles.force_flags(A, True, True)
    start(courses=[A])
    assert says(watch()) == {A: "waits for its flags, which ask for live"}
    assert did == []


def trouble_with(what, xqueue, monkeypatch):
    def down():
        raise OperationalError("gone")

    if what == "kill switch":
        Switch.objects.create(name="migration_shim.kill_switch", active=True)
    elif what == "stamp":
        LedgerStamp.objects.create(host="other.example.edu")
    elif what == "XQueue":
        xqueue[1] = "cannot connect to server"
    else:
        monkeypatch.setattr(trouble.rows, "clock", down)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("kill switch", "the kill switch is on"),
        ("stamp", "The ledger belongs to the LMS at other.example.edu"),
    ],
)
def test_what_concerns_all_courses_stops_the_campaign(
    start, did, told, xqueue, monkeypatch, settings, what, said, watch
):
    settings.MIGRATION_SHIM = {**settings.MIGRATION_SHIM, "CAMPAIGN_EMAILS": ["ops@example.edu"]}
    start()
    trouble_with(what, xqueue, monkeypatch)
    content = watch(expect=ExitCode.ERROR if what == "stamp" else ExitCode.OK)
    (campaign,) = content["campaigns"]
    assert (campaign["state"], campaign["courses"], did) == ("paused", [], [])
    assert said in campaign["said"]
    assert [message.subject for message in mail.outbox] == ["Campaign one: all courses paused"]
    assert told[-1][0] == "paused" and len(told) == 1
    # It stays so, whatever becomes of the trouble, until a person says that it may go on.
    monkeypatch.setattr(trouble, "trouble_of_all", lambda: "")
    (campaign,) = watch(expect=ExitCode.ERROR if what == "stamp" else ExitCode.OK)["campaigns"]
    assert (campaign["state"], campaign["courses"], did) == ("paused", [], [])
    assert said in campaign["said"]
    records.resume(records.named("one"), [], reason="r", by="ada")
    assert did == []
    Switch.objects.all().delete()
    cache.clear()  # waffle does so once the transaction is committed
    LedgerStamp.objects.all().delete()
    toggles.new_work_cycle()
    watch()
    assert ("preflight", A) in did


def test_a_mail_server_that_is_down_and_a_receiver_that_raises_break_no_round(start, did, watch, settings, caplog):
    settings.MIGRATION_SHIM = {**settings.MIGRATION_SHIM, "CAMPAIGN_EMAILS": ["ops@example.edu"]}
    settings.EMAIL_BACKEND = "tests.campaign.test_round.Nobody"
    start(courses=[A])

    def receiver(**kwargs):
        raise RuntimeError

    campaign_told.connect(receiver)
    try:
        by_hand(Phase.SHADOW)
        content = watch()
    finally:
        campaign_told.disconnect(receiver)
    assert content["problems"] == []
    assert CampaignCourse.objects.get().state == "parked"
    assert "an e-mail of a campaign was not sent: OSError" in caplog.text
    assert "the receiver receiver failed: RuntimeError" in caplog.text


class Nobody:
    """An e-mail backend behind which nobody answers."""

    def __init__(self, **kwargs):
        raise OSError("connection refused")


def test_nothing_is_stepped_outside_the_window_or_in_a_freeze(start, did, watch, monkeypatch):
    clock = Clock(monkeypatch)
    clock.is_at(datetime(2040, 1, 1, 12, tzinfo=UTC))  # a Sunday
    start("--window", "Mon-Thu 09:00-16:00 Europe/Berlin", "--freeze", "2040-01-02", courses=[A])
    assert says(watch()) == {A: "waits for the window, Tue 09:00 Europe/Berlin"}
    clock.is_at(datetime(2040, 1, 2, 10, tzinfo=UTC))
    assert says(watch()) == {A: "waits for the end of the freeze 2040-01-02..2040-01-02, Tue 09:00 Europe/Berlin"}
    assert did == [("preflight", A), ("preflight", A)][: len(did)]
    clock.is_at(datetime(2040, 1, 3, 8, 30, tzinfo=UTC))
    assert says(watch()) == {A: "stepped from legacy to shadow"}


def test_a_course_that_has_waited_for_fourteen_days_leaves_its_slot(start):
    campaign = start("--limit", "1")
    for course, days in ((A, 20), (B, 13)):
        rows.in_phase("live", course, now() - timedelta(days=days))
    Campaign.objects.update(started_at=now() - timedelta(days=30))
    campaign.refresh_from_db()
    flying = {course: found.in_flight for course, found in standings(campaign).items()}
    assert flying == {A: False, B: True, C: False}
    CampaignCourse.objects.filter(course_id=A).update(resumed_at=now())
    assert standings(campaign)[A].in_flight


def test_the_canary_has_to_be_well_where_the_others_are_to_go(start):
    campaign = start("--limit", "9")
    rows.in_phase("live", A)
    assert turn(campaign, B, Phase.LIVE) == f"the canary {A} is not healthy in live yet"
    well(A)
    assert turn(campaign, B, Phase.LIVE) == ""
    assert turn(campaign, B, Phase.COMPLETE) == f"the canary {A} is not healthy in complete yet"
    # A stay in live before counts for nothing.
    rows.in_phase("live", A, now())
    assert turn(campaign, B, Phase.LIVE) == f"the canary {A} is not healthy in live yet"


@pytest.mark.parametrize("what", ["paused", "parked", "by hand", "drift", "window", "limit", "kill switch"])
def test_what_was_true_a_moment_ago_counts_for_nothing_under_the_locks(start, what, xqueue, monkeypatch):
    campaign = start("--limit", "1")
    if what == "paused":
        records.pause(records.named("one"), reason="r", by="ada")
    elif what == "parked":
        CampaignCourse.objects.filter(course_id=A).update(state="parked")
    elif what == "by hand":
        by_hand(Phase.SHADOW)
        by_hand(Phase.LEGACY)
    elif what == "drift":
        toggles.force_flags(A, False, True)
    elif what == "window":
        Campaign.objects.update(plan=campaign.plan | {"freezes": ["2000-01-01..2999-12-31"]})
    elif what == "limit":
        rows.in_phase("shadow", B)
    else:
        trouble_with(what, xqueue, monkeypatch)
    before = PhaseChange.objects.count()
    with pytest.raises(NotNow):
        actions.do(Action.SHADOW, campaign, A, Phase.LEGACY, load(), lambda *args: None)
    toggles.new_work_cycle()
    assert toggles.phase_of(A).phase is Phase.LEGACY
    assert PhaseChange.objects.count() == before


def test_a_history_is_imported_in_bounded_parts(start, watch, settings):
    settings.MIGRATION_SHIM = {**settings.MIGRATION_SHIM, "CAMPAIGN_HISTORY_ROWS": 2, "OVERLAP_SECONDS": 0}
    for user in range(5):
        rows.legacy_row(user, course=A, **rows.graded())
    rows.enter("shadow", A)
    start(courses=[A])
    said = [says(watch(expect=ExitCode.OK))[A] for _ in range(3)]
    assert said[:2] == [f"imports its history: {left} rows of XQueue left to read" for left in (3, 1)]
    assert "imports its history" not in said[2]
    assert CampaignLine.objects.filter(what="history").values_list("text", flat=True).get() == (
        "imported, and 5 of legacy's replies echoed"
    )


def test_a_campaign_whose_courses_have_all_arrived_is_done(start, watch, told):
    start(courses=[A], to="shadow")
    rows.in_phase("shadow", A)
    toggles.force_flags(A, True, False)
    watch()
    assert Campaign.objects.get().state == "done"
    assert [item[0] for item in told] == ["done", "done"]
    assert not CampaignCourse.objects.filter(held=True).exists()
    by_hand(Phase.LEGACY)
    (course,) = document([records.named("one")], "status", executed=False).content["campaigns"][0]["courses"]
    assert course["says"] == "has arrived in shadow, and was then stepped to legacy by ada"


def test_a_watch_over_named_courses_takes_steps_of_no_other(start, did):
    start("--limit", "3")
    api.watch([B])
    assert did == [("preflight", B)]


def test_celery_beat_takes_the_steps_as_the_command_does(start, did):
    start(courses=[A])
    assert tasks.watch() == "exit code 0"
    assert did == [("preflight", A), ("shadow", A)]
    assert toggles.phase_of(A).phase is Phase.SHADOW


def test_a_site_whose_load_is_too_high_puts_campaigns_off(start, did, watch, settings, tmp_path):
    pause = tmp_path / "pause"
    pause.touch()
    settings.MIGRATION_SHIM = {**settings.MIGRATION_SHIM, "PAUSE_FILE": str(pause)}
    start(courses=[A])
    assert watch()["campaigns"] == []
    pause.unlink()
    watch()
    assert ("shadow", A) in did


def test_a_round_without_campaigns_costs_one_statement(django_assert_num_queries):
    with django_assert_num_queries(1):
        assert not campaign_round.is_any_at_work()


def test_a_course_that_lacks_pairs_says_how_many_and_about_when(start, did, watch):
    campaign = start(courses=[A])
    watch()
    CampaignLine.objects.create(campaign=campaign, course_id=A, what="history", by="xqueue_watch")
    rows.entries(249, course_id=A)
    days = [{"day": (now() - timedelta(days=ago)).date().isoformat(), "compared": 25} for ago in range(1, 8)]
    # The traffic of seven whole days; the day that has only begun has had none.
    told = {"fence_leaks": 0, "double_authority": 0, "learners": {"applies": True}, "daily": days}
    Run.objects.create(kind="reconcile", scope=A, complete=True, finished_at=now(), document=told)

    (course,) = document([campaign], "status", executed=False).content["campaigns"][0]["courses"]
    assert course["says"] == "waits for 200 more graded pairs without a divergence"
    midnight = now().replace(hour=0, minute=0, second=0, microsecond=0)
    per_day = 175 / ((now() - midnight) / timedelta(days=1) + 7)
    expected = now() + timedelta(days=200 / per_day)
    assert abs(datetime.fromisoformat(course["expected_at"]) - expected) < timedelta(minutes=5)
    shown = terminal.render(validate(document([campaign], "status", executed=False).content))
    assert f", about {expected:%a} {expected.day} {expected:%b}" in " ".join(shown.split())

    Run.objects.create(kind="reconcile", scope=A, complete=True, finished_at=now(), document=told | {"daily": []})
    (course,) = document([campaign], "status", executed=False).content["campaigns"][0]["courses"]
    assert course["expected_at"] is None
