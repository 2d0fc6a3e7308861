"""An action that takes long is cut off, so that learners do not wait for the watch; what it has done is not lost."""

import functools
import itertools

import pytest
from django.utils.timezone import now

from migration_shim import api
from migration_shim.campaign import actions
from migration_shim.campaign import round as campaign_round
from migration_shim.conf import load
from migration_shim.core.campaign import Action
from migration_shim.core.data import Phase
from migration_shim.models import CampaignLine, LedgerEntry, Run
from migration_shim.runs import control
from migration_shim.watch import guard
from tests.builders import rows
from tests.builders.campus import Clock
from tests.campaign.conftest import A, B, C, take_round

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
STOPPED = "its reconcile was stopped by the end of its time in a round"


@pytest.fixture
def seconds(monkeypatch):
    """How many seconds go by with each look at the clock of an action; every batch looks, and not each five seconds."""
    passed, each = [0.0], [0.0]

    def monotonic():
        passed[0] += each[0]
        return passed[0]

    monkeypatch.setattr(actions, "monotonic", monotonic)
    monkeypatch.setattr(control, "BEAT_SECONDS", 0.0)
    return each


def test_a_preflight_that_takes_too_long_is_cut_off_and_left_to_a_person(start, seconds, monkeypatch):
    for user in range(3):
        rows.legacy_row(user, course=A, **rows.graded())
    clock = Clock(monkeypatch)
    start(courses=[A, B])
    seconds[0] = 301
    said = take_round()
    line = f"its preflight takes more than 300 s (CAMPAIGN_SECONDS): run xqueue_preflight --course {A}"
    assert said[A] == line
    assert not Run.objects.get(kind="preflight", scope=A).complete
    assert CampaignLine.objects.get(course_id=A).text == line
    # It is not tried in every round, or each would take as long; but it is in an hour.
    waits = "waits for an operator: its preflight takes longer than a round; the history says more"
    assert take_round()[A] == waits
    assert Run.objects.filter(kind="preflight", scope=A).count() == 1
    clock.goes_on(minutes=61)
    assert take_round()[A] == line
    # Once a person has run it the campaign goes on.
    seconds[0] = 0
    Run.objects.create(kind="preflight", scope=A, finished_at=now(), complete=True, document={"findings": []})
    assert take_round()[A] == "stepped from legacy to shadow"


def test_a_probe_that_takes_too_long_is_left_to_a_person_who_is_told_to_send_it(start, seconds):
    rows.legacy_row(1, course=A, **rows.graded())
    campaign = start(courses=[A])
    seconds[0] = 301
    found = actions.do(Action.PROBE, campaign, A, Phase.SHADOW, load(), lambda *args: None)
    assert found.said.endswith(f" (CAMPAIGN_SECONDS): run xqueue_preflight --course {A} --probe")


def test_an_import_that_takes_too_long_goes_on_where_it_was(start, seconds, settings, monkeypatch):
    settings.MIGRATION_SHIM = {**settings.MIGRATION_SHIM, "OVERLAP_SECONDS": 0}
    monkeypatch.setattr(actions, "Request", functools.partial(actions.Request, batch_size=1))
    for user in range(4):
        rows.legacy_row(user, course=A, **rows.graded())
    rows.enter("shadow", A)
    start(courses=[A])
    seconds[0] = 40
    found = []
    while not CampaignLine.objects.filter(what__in=("imported", "history")).exists():
        found.append(take_round()[A])
        assert len(found) < 30
    assert all(said.startswith("imports its history: ") for said in found[:-1]) and len(found) > 1
    assert LedgerEntry.objects.filter(course_id=A).count() == 4


def test_an_import_that_never_comes_to_its_first_row_is_left_to_a_person(start, seconds):
    rows.legacy_row(1, course=A, **rows.graded())
    rows.enter("shadow", A)
    start(courses=[A])
    seconds[0] = 301
    said = "XQueue is read for more than 300 s before a row is imported: set CAMPAIGN_SECONDS higher"
    assert take_round()[A] == said
    assert take_round()[A] == "waits for an operator: its history takes longer than a round; the history says more"
    assert [line.text for line in CampaignLine.objects.filter(course_id=A)] == [said]


def test_an_echo_that_is_cut_off_needs_no_second_import(start, seconds, settings, monkeypatch):
    settings.MIGRATION_SHIM = {**settings.MIGRATION_SHIM, "OVERLAP_SECONDS": 0}
    for user in range(3):
        rows.legacy_row(user, course=A, **rows.graded())
    rows.enter("shadow", A)
    start(courses=[A])
    real, imports = actions.backfill.start, []

    def imported(*args):
        imports.append(args)
        try:
            return real(*args)
        finally:
            seconds[0] = 400 * (len(imports) == 1)

    monkeypatch.setattr(actions.backfill, "start", imported)
    assert take_round()[A] == STOPPED
    assert [line.text for line in CampaignLine.objects.filter(what="imported")] == [
        "imported, and 0 of legacy's replies echoed by now"
    ]
    assert not CampaignLine.objects.filter(what="history").exists()
    seconds[0] = 0
    take_round()
    assert CampaignLine.objects.get(what="history").text == "imported, and 3 of legacy's replies echoed"
    assert len(imports) == 1


def test_the_watch_ends_its_round_in_time_and_its_own_duties_come_first(start, seconds, monkeypatch):
    """A preflight that would go on for ever: the round has looked at the courses before, and ends."""
    start("--limit", "9")
    rows.enter("shadow", B)
    order = []
    real, guarded = actions.preflight.run, guard.guard
    monkeypatch.setattr("migration_shim.watch.guard.guard", lambda *a: order.append("guard") or guarded(*a))

    def endless(course_id, alive, *, probe):
        order.append("preflight")
        seconds[0] = 10
        for _ in range(1000):
            alive(0, 1)
        return real(course_id, alive, probe=probe)

    monkeypatch.setattr(actions.preflight, "run", endless)
    document = api.watch()
    (campaign,) = document.content["campaigns"]
    says = {course["course"]: course["says"] for course in campaign["courses"]}
    assert says[A].startswith("its preflight takes more than 300 s") and says[C].startswith("its preflight takes")
    assert document.content["problems"] == [] and document.content["complete"]
    assert order.index("guard") < order.index("preflight")


def test_of_campaigns_that_take_all_the_time_each_has_its_turn(start, monkeypatch):
    names = ["one", "two", "three"]
    courses = {name: f"course-v1:ExU+{name}+2026" for name in names}
    for name in names:
        start(courses=[courses[name]], name=name)
    moments, did = itertools.count(step=200), []
    monkeypatch.setattr(campaign_round, "monotonic", lambda: next(moments))

    def do(action, campaign, course_id, *args):
        did.append(campaign.name)
        return actions.Done(waits="is waited for")

    monkeypatch.setattr(actions, "do", do)
    for _ in range(6):
        api.watch()
    assert did == names * 2


def test_of_many_courses_that_each_take_long_all_have_their_turn(start, monkeypatch):
    courses = [f"course-v1:ExU+{name}+2026" for name in "ABCDEFG"]
    start("--limit", "9", courses=courses)
    start("--limit", "9", courses=["course-v1:ExU+Z+2026"], name="two")
    seconds = itertools.count(step=load().campaign_seconds / 4)
    monkeypatch.setattr(campaign_round, "monotonic", lambda: next(seconds))
    did = []

    def do(action, campaign, course_id, *args):
        did.append(course_id)
        return actions.Done(waits="is waited for")

    monkeypatch.setattr(actions, "do", do)
    for _ in range(9):  # each has time for three, the canary among them
        api.watch()
    assert {*courses, "course-v1:ExU+Z+2026"} == set(did)
