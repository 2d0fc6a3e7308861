"""What ends a campaign's doing at once: a canary that fails, a pause in a round, a round that takes long, bad mail."""

import dataclasses
import itertools
from datetime import timedelta

import pytest
from django.core import mail
from django.core.cache import cache
from django.core.mail.backends import locmem
from django.core.management import call_command
from django.db import OperationalError
from django.utils.timezone import now
from waffle.models import Switch

from migration_shim import api
from migration_shim.campaign import actions, facts, records, states, trouble
from migration_shim.campaign import round as campaign_round
from migration_shim.campaign.document import document
from migration_shim.campaign.standing import standings, turn
from migration_shim.conf import load
from migration_shim.core.campaign import Action, CourseFacts, Health, Preflight
from migration_shim.core.campaign_plan import Plan
from migration_shim.core.data import Document, ExitCode, Phase
from migration_shim.models import Campaign, CampaignCourse, CampaignLine, CoursePhase
from tests.builders import rows
from tests.campaign.conftest import COURSES, A, B, C, is_ill, take_round
from tests.schemas import validate

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])


@pytest.fixture
def start(xqueue):
    """Start a campaign of the three courses with these options."""

    def call(*words):
        chosen = [word for course in COURSES for word in ("--course", course)]
        rules = ["--to", "complete", "--name", "one", "--reason", "term over", "--execute", "--new", "--canary", A]
        call_command("xqueue_campaign", "start", *chosen, *rules, *words, "--format", "json")
        return records.named("one")

    return call


def test_a_canary_that_was_well_and_then_failed_holds_up_the_others(start, monkeypatch):
    rows.enter("live", A)
    campaign = start("--limit", "9")
    CampaignCourse.objects.filter(course_id=A).update(well_since=CoursePhase.objects.get(course_id=A).since)
    assert turn(campaign, B, Phase.LIVE) == ""
    is_ill(monkeypatch, A)
    monkeypatch.setattr(actions, "do", lambda *args: actions.Done(waits="is waited for"))
    take_round()
    assert CampaignCourse.objects.get(course_id=A).state == "failed"
    assert turn(campaign, B, Phase.LIVE) == f"the canary {A} has failed, and holds up the others until it is resumed"


def test_a_look_that_ends_after_a_course_was_stopped_does_not_take_it_for_well(start, monkeypatch):
    rows.enter("live", B)
    campaign = start("--limit", "1")
    before = campaign.courses.get(course_id=B)
    entered = CoursePhase.objects.get(course_id=B).since
    found = CourseFacts(phase=Phase.LIVE, since=timedelta(days=9), entered=entered, health=Health.WELL)
    states.stop(campaign, campaign.courses.get(course_id=B), dataclasses.replace(found, health=Health.FAILED))
    states.note_health(campaign, before, found, load())
    assert standings(campaign)[B].in_flight


def test_a_course_that_was_well_in_live_and_then_failed_takes_up_a_slot_again(start, monkeypatch):
    rows.enter("live", B)
    campaign = start("--limit", "1")
    CampaignCourse.objects.filter(course_id=B).update(well_since=CoursePhase.objects.get(course_id=B).since)
    assert not standings(campaign)[B].in_flight
    is_ill(monkeypatch, B)
    monkeypatch.setattr(actions, "do", lambda *args: actions.Done(waits="is waited for"))
    take_round()
    assert standings(campaign)[B].in_flight


@pytest.mark.parametrize("what", ["pause", "stop", "freeze", "kill switch"])
def test_what_an_operator_says_in_a_round_counts_for_the_rest_of_it(start, monkeypatch, what):
    for course in (A, B, C):
        rows.enter("shadow", course)
    campaign = start("--limit", "9")
    did = []

    def do(action, campaign, course_id, *args):
        did.append((action, course_id))
        if what == "freeze":
            plan = records.planned({"freezes": ("2000-01-01..2999-12-31",)})
            records.change(records.named("one"), plan, None, reason="r", by="ada")
        elif what == "kill switch":
            Switch.objects.create(name="migration_shim.kill_switch", active=True)
            cache.clear()
        elif not did[1:]:
            getattr(records, what)(records.named("one"), reason="r", by="ada")
        return actions.Done(waits="is waited for")

    monkeypatch.setattr(actions, "do", do)
    take_round()
    assert did == [(Action.HISTORY, A)]
    assert campaign.courses.filter(state="going").count() == 3


def test_a_round_that_takes_long_leaves_the_rest_to_the_next_one_which_begins_there(start, monkeypatch):
    start("--limit", "9")
    seconds = itertools.count(step=load().campaign_seconds / 3)
    monkeypatch.setattr(campaign_round, "monotonic", lambda: next(seconds))
    did = []

    def do(action, campaign, course_id, *args):
        did.append(course_id)
        return actions.Done(waits="is waited for")

    monkeypatch.setattr(actions, "do", do)
    (campaign,) = validate(api.watch().content)["campaigns"]
    assert (did, campaign["courses"][-1]) == (
        [A, B],
        {"course": C, "did": [], "says": "waits for the next round: this one took long", "looked_at": None},
    )
    api.watch()
    api.watch()
    assert did == [A, B, A, C, A, B]


def test_a_change_on_top_of_one_that_its_operator_has_not_seen_is_refused(start):
    start()
    mine, theirs = records.named("one"), records.named("one")
    frozen = records.planned({"freezes": ("2026-12-10..2026-12-20",)}, Plan.from_json(theirs.plan))
    records.change(theirs, frozen, None, reason="exams", by="grace")
    more = records.planned({"limit": 8}, Plan.from_json(mine.plan))
    with pytest.raises(records.CampaignRefused, match="was changed meanwhile"):
        records.change(mine, more, None, reason="it goes well", by="ada")
    assert Campaign.objects.get().plan["freezes"] == ["2026-12-10..2026-12-20"]
    records.change(records.named("one"), Plan.from_json(records.named("one").plan), B, reason="r", by="ada")
    with pytest.raises(records.CampaignRefused, match="was changed meanwhile"):
        records.change(theirs, frozen, C, reason="r", by="grace")


def test_of_several_courses_all_go_on_or_none(start):
    campaign = start()
    CampaignCourse.objects.filter(course_id=A).update(state="failed")
    with pytest.raises(records.CampaignRefused, match="neither parked nor failed"):
        records.resume(campaign, [A, B], reason="r", by="ada")
    assert CampaignCourse.objects.get(course_id=A).state == "failed"
    assert not campaign.lines.filter(what="resume").exists()


def test_a_probe_that_cannot_be_sent_to_every_queue_is_not_sent_again_in_every_round(start, monkeypatch):
    rows.enter("shadow", A, now() - timedelta(days=1))
    campaign = start()
    CampaignLine.objects.create(campaign=campaign, course_id=A, what="history", by="xqueue_watch")
    real, sent = facts.gather, []

    def gather(*args, **options):
        known = {"health": Health.WELL, "reconciled": True, "lacks": ""}
        unpolled = Preflight(age=timedelta(minutes=1), unpolled=("one.reverse", "two.reverse"))
        return dataclasses.replace(real(*args, **options), preflight=unpolled, **known)

    def probe(course_id, alive, *, probe):
        sent.append(course_id)
        probes = [{"sent": True, "said": "sent"}, {"sent": False, "said": "two has no graded row"}]
        return Document(content={"findings": [], "probes": probes}, exit_code=ExitCode.OK)

    monkeypatch.setattr(facts, "gather", gather)
    monkeypatch.setattr(actions.preflight, "run", probe)
    CampaignCourse.objects.exclude(course_id=A).update(state="parked")
    assert take_round()[A] == "its probe was not sent: two has no graded row"
    assert take_round()[A] == "its probe was not sent; it is tried again every hour, and the history says why"
    assert sent == [A]
    (line,) = campaign.lines.filter(what="no probe")
    assert (line.course_id, line.text) == (A, "not sent: two has no graded row")
    campaign.lines.update(at=now() - timedelta(minutes=61))
    take_round()
    assert sent == [A, A]


class Silent(locmem.EmailBackend):
    """An e-mail backend that waits as long as it is told to; None is for ever."""

    waits = []

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.timeout = None

    def send_messages(self, messages):
        self.waits.append(self.timeout)
        return super().send_messages(messages)


def test_a_mail_server_that_is_silent_holds_up_no_round_for_long(
    start, settings, monkeypatch, django_capture_on_commit_callbacks
):
    settings.MIGRATION_SHIM = {**settings.MIGRATION_SHIM, "CAMPAIGN_EMAILS": ["ops@example.edu"]}
    settings.EMAIL_BACKEND = f"{__name__}.Silent"
    monkeypatch.setattr(Silent, "waits", [])
    campaign = start()
    monkeypatch.setattr(trouble, "trouble_of_all", lambda: "the kill switch is on")
    with django_capture_on_commit_callbacks(execute=True):
        take_round()
    campaign.refresh_from_db()
    assert campaign.state == "paused"
    assert len(mail.outbox) == 1 and len(Silent.waits) == 1
    assert Silent.waits[0] is not None and Silent.waits[0] <= 30


def test_the_site_s_own_patience_with_its_mail_server_is_kept(
    start, settings, monkeypatch, django_capture_on_commit_callbacks
):
    settings.MIGRATION_SHIM = {**settings.MIGRATION_SHIM, "CAMPAIGN_EMAILS": ["ops@example.edu"]}
    settings.EMAIL_BACKEND = f"{__name__}.Patient"
    monkeypatch.setattr(Silent, "waits", [])
    start()
    monkeypatch.setattr(trouble, "trouble_of_all", lambda: "the kill switch is on")
    with django_capture_on_commit_callbacks(execute=True):
        take_round()
    assert Silent.waits == [77]


class Patient(Silent):
    """An e-mail backend whose site has set a time."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.timeout = 77


class Counted(locmem.EmailBackend):
    """An e-mail backend that notes how many messages each connection was to take, and takes none where it is down."""

    tried, down = [], False

    def send_messages(self, messages):
        self.tried.append(len(messages))
        if self.down:
            raise OSError("connection refused")
        return super().send_messages(messages)


@pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)
@pytest.mark.parametrize("down", [False, True])
def test_a_round_asks_a_mail_server_once_for_all_it_has_to_say(start, settings, monkeypatch, caplog, down):
    settings.MIGRATION_SHIM = {**settings.MIGRATION_SHIM, "CAMPAIGN_EMAILS": ["ops@example.edu"]}
    settings.EMAIL_BACKEND = f"{__name__}.Counted"
    monkeypatch.setattr(Counted, "tried", [])
    monkeypatch.setattr(Counted, "down", down)
    start()
    for course in COURSES:
        api.cutover(course, Phase.SHADOW, reason="r", execute=True, user="ada", login=None)
    take_round()
    assert set(CampaignCourse.objects.values_list("state", flat=True)) == {"parked"}
    assert (Counted.tried, len(mail.outbox)) == ([3], 0 if down else 3)
    assert caplog.text.count("campaign_mail_failed: of 3 e-mails some or all were not sent: OSError") == down


def test_a_course_that_cannot_be_looked_at_is_shown_as_such_beside_the_others(start, monkeypatch):
    campaign = start()
    real = facts.gather

    def gather(campaign, member, settings, **options):
        if member.course_id == B:
            raise OperationalError("(2003, 'gone')")
        return real(campaign, member, settings, **options)

    monkeypatch.setattr(facts, "gather", gather)
    shown = document([campaign], "status", executed=False)
    (content,) = validate(shown.content)["campaigns"]
    found = {course["course"]: course for course in content["courses"]}
    assert found[B]["says"].startswith("cannot be told now: ")
    assert found[B]["next"] is None and found[B]["phase"] == "legacy"
    assert found[A]["next"] == found[C]["next"] == "preflight"
    assert shown.exit_code == 1
