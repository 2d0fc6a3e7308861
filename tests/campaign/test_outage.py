"""An XQueue that does not answer: no step is taken meanwhile, and only what lasts pauses the campaign."""

import pytest
from django.core import mail
from django.db import InterfaceError, OperationalError
from django.utils.connection import ConnectionDoesNotExist
from django.utils.timezone import now

from migration_shim import toggles
from migration_shim.campaign import outage, records, trouble
from migration_shim.campaign.document import document
from migration_shim.core.data import Phase
from migration_shim.legacy.client import LegacyClient
from migration_shim.models import Campaign, CampaignLine, PhaseChange, Run
from tests.builders.campus import Clock
from tests.campaign.conftest import A, take_round

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
ANSWER = "Valid queue names are: q"


@pytest.fixture
def clock(monkeypatch):
    """The time, which goes on by itself and by ``goes_on``."""
    return Clock(monkeypatch)


def is_ready(course=A):
    Run.objects.create(kind="preflight", scope=course, finished_at=now(), complete=True, document={"findings": []})


def history():
    return [line.what for line in CampaignLine.objects.filter(course_id="").order_by("id")]


@pytest.mark.parametrize("what", ["XQueue", "database"])
def test_a_hiccup_takes_no_step_and_the_next_round_goes_on(start, xqueue, monkeypatch, what):
    campaign = start(courses=[A])
    is_ready()

    def down():
        raise OperationalError("gone")

    with monkeypatch.context() as silent:
        if what == "XQueue":
            silent.setattr(LegacyClient, "queue_length", lambda *args: (1, "cannot connect to server"))
        else:
            silent.setattr(trouble.rows, "clock", down)
        assert take_round() == {}
    campaign.refresh_from_db()
    assert (campaign.state, PhaseChange.objects.count()) == ("running", 0)
    assert "does not answer" in campaign.said and "is paused after 3 rounds and 30 min in a row" in campaign.said
    assert document([campaign], "status", executed=False).content["campaigns"][0]["said"] == campaign.said
    assert take_round() == {A: "stepped from legacy to shadow"}
    campaign.refresh_from_db()
    assert (campaign.state, campaign.said) == ("running", "")
    assert history() == ["start", "no answer", "answers again"]


@pytest.mark.parametrize("error", [InterfaceError, ConnectionDoesNotExist])
def test_however_the_database_fails_to_answer_it_counts(start, monkeypatch, error):
    campaign = start(courses=[A])

    def down():
        raise error("xqueue")

    monkeypatch.setattr(trouble.rows, "clock", down)
    assert take_round() == {}
    campaign.refresh_from_db()
    assert campaign.said.endswith(f"XQueue's database does not answer: {error.__name__}")
    assert history() == ["start", "no answer"]


def rounds(clock, *minutes):
    """A round after each of so many minutes; the campaign's state after each."""
    found = []
    for pause in minutes:
        clock.goes_on(minutes=pause)
        take_round()
        found.append(Campaign.objects.get().state)
    return found


@pytest.mark.parametrize(
    ("minutes", "states"),
    [
        ((0, 10, 10, 9), ["running"] * 4),  # not for long enough
        ((0, 10, 10, 11), ["running"] * 3 + ["paused"]),
        ((0, 600), ["running"] * 2),  # not often enough: nobody has asked in between
        ((0, 600, 1), ["running"] * 2 + ["paused"]),
    ],
)
def test_what_lasts_for_rounds_and_for_long_pauses_the_campaign_and_is_told(
    start, xqueue, clock, settings, minutes, states, django_capture_on_commit_callbacks
):
    settings.MIGRATION_SHIM = {**settings.MIGRATION_SHIM, "CAMPAIGN_EMAILS": ["ops@example.edu"]}
    start(courses=[A])
    xqueue[1] = "cannot connect to server"
    with django_capture_on_commit_callbacks(execute=True):
        assert rounds(clock, *minutes) == states
    paused = states[-1] == "paused"
    assert [message.subject for message in mail.outbox] == ["Campaign one: all courses paused"] * paused
    assert Campaign.objects.get().said.startswith("stopped by what concerns all, for ") is paused
    assert PhaseChange.objects.count() == 0
    assert history().count("no answer") == min(len(minutes) - paused, outage.ROUNDS)


def test_an_answer_in_between_or_a_person_begins_the_count_anew(start, xqueue, clock):
    campaign = start(courses=[A])
    for _ in range(3):
        xqueue[1] = "cannot connect to server"
        assert rounds(clock, 20, 20) == ["running"] * 2
        xqueue[1] = ANSWER
        assert rounds(clock, 1) == ["running"]
    xqueue[1] = "cannot connect to server"
    assert rounds(clock, 1, 20, 20)[-1] == "paused"
    records.resume(campaign, [], reason="it was mended", by="ada")
    assert rounds(clock, 1, 1, 1) == ["running"] * 3


def test_xqueue_is_asked_once_more_right_before_a_step(start, xqueue, monkeypatch):
    campaign = start(courses=[A])
    is_ready()
    answers = iter(["", "XQueue does not answer: cannot connect to server"])
    monkeypatch.setattr(trouble, "no_answer", lambda: next(answers))
    assert take_round() == {A: "waits: XQueue does not answer: cannot connect to server"}
    assert toggles.phase_of(A).phase is Phase.LEGACY
    campaign.refresh_from_db()
    assert (campaign.state, campaign.said) == ("running", "")


def test_a_round_of_an_outage_that_is_killed_counts_once_or_not_at_all(start, xqueue, monkeypatch):
    start(courses=[A])
    xqueue[1] = "cannot connect to server"

    def killed(*args, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as killing:
        killing.setattr(Campaign, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            take_round()
    assert history() == ["start"]
    take_round()
    assert history() == ["start", "no answer"]
