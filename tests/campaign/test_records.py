"""Campaigns on record: what starts one, what changes it, and what the command says; without a round of the watch."""

import json
import re

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.utils.timezone import now

from migration_shim import api, toggles
from migration_shim.campaign import records
from migration_shim.core.data import ExitCode, Phase
from migration_shim.models import Campaign, CampaignCourse, CampaignLine, LegacyCourse, PhaseChange
from tests.builders import rows
from tests.builders.rows import fresh  # noqa: F401
from tests.schemas import validate

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
A, B, C = COURSES = [f"course-v1:ExU+{name}+2026" for name in "ABC"]


def run(*words, **options):
    """A call of the command; the exit code and the document."""
    from migration_shim.management.commands.xqueue_campaign import Command

    command = Command()
    call_command(command, *words, "--format", "json", **options)
    return command.exit_code


@pytest.fixture
def campaign(capsys):
    """The command, as (words) to (exit code, document)."""

    def call(*words):
        capsys.readouterr()
        # XQueue has no rows here, so no course is known but by its record.
        code = run(*words, *["--new"] * (words[0] == "start"))
        return code, validate(json.loads(capsys.readouterr().out))

    return call


def started(campaign, *words, courses=COURSES, name="one"):
    chosen = [word for course in courses for word in ("--course", course)]
    return campaign("start", *chosen, "--to", "complete", "--reason", "term over", "--name", name, "--new", *words)


def test_a_plan_writes_nothing_and_says_what_would_be(campaign):
    rows.in_phase("shadow", B)
    toggles.force_flags(B, True, False)
    code, content = started(campaign, "--canary", C)
    assert (code, content["executed"]) == (ExitCode.OK, False)
    assert [(course["course"], course["phase"], course["next"]) for course in content["campaigns"][0]["courses"]] == [
        (A, "legacy", "preflight"),
        (B, "shadow", "history"),
        (C, "legacy", "preflight"),
    ]
    assert content["campaigns"][0]["canary"] == C
    assert not Campaign.objects.exists()


def test_a_start_puts_rules_and_courses_on_record(campaign):
    rules = ["--limit", "5", "--soak", "2d", "--window", "Mon-Thu 09:00-16:00 Europe/Berlin"]
    rules += ["--freeze", "2026-12-10..2026-12-20", "--not-before", "2026-12-01"]
    _code, content = started(campaign, *rules, "--canary", A, "--execute")
    (found,) = content["campaigns"]
    assert found["state"] == "running" and content["executed"]
    assert {key: found[key] for key in ("limit", "soak", "windows", "freezes", "not_before", "zone", "canary")} == {
        "limit": 5,
        "soak": "2d",
        "windows": ["Mon-Thu 09:00-16:00 Europe/Berlin"],
        "freezes": ["2026-12-10..2026-12-20"],
        "not_before": "2026-12-01",
        "zone": "Europe/Berlin",
        "canary": A,
    }
    assert [(line["what"], line["text"]) for line in found["lines"]] == [("start", "term over")]
    assert list(CampaignCourse.objects.order_by("place").values_list("course_id", flat=True)) == COURSES


def test_a_course_is_in_one_campaign_at_a_time(campaign):
    started(campaign, "--canary", A, "--execute", courses=[A, B])
    with pytest.raises(
        CommandError, match=rf"one campaign at a time: {A.replace('+', '.')} in one".replace("+", r"\+")
    ):
        started(campaign, "--canary", C, "--execute", courses=[C, A], name="two")
    assert CampaignCourse.objects.count() == 2
    campaign("stop", "--reason", "not now", "--execute")
    assert started(campaign, "--canary", C, "--execute", courses=[C, A], name="two")[0] == ExitCode.OK


def test_the_database_keeps_a_course_from_two_campaigns_that_start_at_once(campaign):
    started(campaign, "--execute", courses=[A])
    plan = records.planned({})
    other, members = records.new([B], Phase.LIVE, name="two", canary=B, plan=plan, reason="r", by="ada")
    members[0].course_id = A  # as if it had looked before the other was stored
    with pytest.raises(IntegrityError), transaction.atomic():
        records.start(other, members, by="ada")
    assert Campaign.objects.count() == 1


def test_membership_is_what_it_was_at_the_start(campaign):
    for course in (A, B):
        rows.in_phase("legacy", course)
    campaign("start", "--org", "ExU", "--to", "shadow", "--reason", "r", "--canary", A, "--execute")
    rows.in_phase("legacy", C)
    assert [course["course"] for course in campaign("status")[1]["campaigns"][0]["courses"]] == [A, B]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--canary", "course-v1:ExU+Z+1"], "canary"),
        (["--name", "no name"], "is no name"),
        (["--window", "Mon 09:00-10:00 UTC", "--window", "Mon 09:00-10:00 Europe/Berlin"], "several time zones"),
        (["--not-before", "soon"], "a day or a time"),
    ],
)
def test_what_is_refused_with_a_reason(campaign, words, said):
    name = [] if "--name" in words else ["--name", "one"]
    with pytest.raises(CommandError, match=said):
        campaign("start", "--course", A, "--new", "--to", "live", "--reason", "r", *name, *words)


@pytest.mark.parametrize(
    "words",
    [
        ["--to", "legacy"],
        ["--to", "live", "--window", "always"],
        ["--to", "live", "--freeze", "never"],
        ["--to", "live", "--soak", "long"],
        ["--to", "live", "--limit", "0"],
        ["--to", "live", "--reason", " "],
        [],
    ],
)
def test_wrong_words_are_a_usage_error(campaign, words):
    with pytest.raises(CommandError) as refused:
        campaign("start", "--course", A, *([] if "--reason" in words else ["--reason", "r"]), *words)
    assert refused.value.returncode == ExitCode.USAGE


def test_changes_are_recorded_with_who_when_and_why(campaign):
    started(campaign, "--canary", A, "--execute", "--limit", "2", "--freeze", "2026-12-24")
    campaign("change", "--limit", "5", "--canary", B, "--clear", "freeze", "--reason", "it goes well", "--execute")
    code, content = campaign("pause", "--reason", "exams", "--execute")
    assert code == ExitCode.LEFT_BEHIND
    (found,) = content["campaigns"]
    assert found["state"] == "paused" and "exams" in found["said"]
    assert all("paused" not in (course["next"] or "") for course in found["courses"])
    code, content = campaign("resume", "--reason", "over", "--execute")
    assert (code, content["campaigns"][0]["state"]) == (ExitCode.OK, "running")
    campaign("stop", "--reason", "enough", "--execute")
    assert campaign("status")[1]["campaigns"] == []
    (found,) = campaign("status", "--all")[1]["campaigns"]
    assert {course["says"] for course in found["courses"]} == {"stays in legacy"}
    assert (found["state"], found["limit"], found["canary"], found["freezes"]) == ("stopped", 5, B, [])
    lines = list(CampaignLine.objects.order_by("id").values_list("what", "text"))
    assert lines == [
        ("start", "term over"),
        ("change", f"limit 2 -> 5, freezes ['2026-12-24'] -> [], canary {A} -> {B}: it goes well"),
        ("pause", "exams"),
        ("resume", "over"),
        ("stop", "enough"),
    ]
    with pytest.raises(CommandError, match="is stopped: start another"):
        campaign("resume", "--name", "one", "--reason", "r", "--execute")


def test_what_would_be_changed_is_shown_and_not_written(campaign):
    started(campaign, "--canary", A, "--execute")
    for words in (["change", "--limit", "7"], ["pause"], ["stop"], ["resume"]):
        _code, content = campaign(*words, "--reason", "r")
        assert not content["executed"]
    (found,) = campaign("status")[1]["campaigns"]
    assert (found["state"], found["limit"]) == ("running", 1)
    assert campaign("change", "--limit", "7", "--reason", "r")[1]["campaigns"][0]["limit"] == 7


def test_a_change_without_a_rule_a_name_that_is_not_there_and_two_at_once(campaign):
    started(campaign, "--execute", courses=[A])
    with pytest.raises(CommandError, match="names no rule"):
        campaign("change", "--reason", "r", "--execute")
    with pytest.raises(CommandError, match="no campaign 'two'"):
        campaign("pause", "--name", "two", "--reason", "r")
    started(campaign, "--execute", courses=[B], name="two")
    with pytest.raises(CommandError, match="at work: one, two"):
        campaign("pause", "--reason", "r")
    with pytest.raises(CommandError, match="neither parked nor failed"):
        campaign("resume", "--name", "one", "--course", A, "--reason", "r", "--execute")


def test_a_step_that_flags_ask_for_before_the_start_parks_nobody(campaign):
    toggles.force_flags(A, True, False)
    _code, content = started(campaign, "--execute", courses=[A])
    (course,) = content["campaigns"][0]["courses"]
    assert (course["phase"], course["next"], course["says"]) == ("shadow", "history", "next: history")
    assert PhaseChange.objects.get().changed_by == "flag"


def test_what_is_no_step_parks_nobody_and_a_step_by_hand_does(campaign):
    started(campaign, "--execute", courses=[A])
    record = rows.in_phase("legacy", A)
    PhaseChange.objects.append(record, Phase.LEGACY, by="ada", reason="looked who waits", evidence={})
    record.save()
    assert campaign("status")[1]["campaigns"][0]["courses"][0]["says"] == "next: preflight"
    api.cutover(A, Phase.SHADOW, reason="r", execute=True, user="ada", login=None)
    says = campaign("status")[1]["campaigns"][0]["courses"][0]["says"]
    command = f"xqueue_campaign resume --name one --course {A} --reason TEXT --execute"
    assert says == f"parked: stepped to shadow by ada; {command}"
    # No round of the watch has put it on record yet, and the command does what the screen says all the same.
    (course,) = campaign(*command.split()[1:])[1]["campaigns"][0]["courses"]
    assert (course["phase"], course["says"]) == ("shadow", "next: history")


def test_hostile_text_is_escaped_on_a_terminal(campaign, capsys):
    started(campaign, "--execute", courses=[A])
    Campaign.objects.update(reason="\x1b[2Jcleared\r\n")
    capsys.readouterr()
    call_command("xqueue_campaign", "status")
    printed = capsys.readouterr().out
    assert "\x1b" not in printed and "\\x1b[2Jcleared" in printed


def test_a_status_fits_into_eighty_columns(campaign, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    rules = ("--window", "Mon-Thu 09:00-16:00 Europe/Berlin", "--freeze", "2026-12-10..2026-12-20")
    started(campaign, "--canary", A, "--execute", *rules)
    Campaign.objects.update(reason="word " * 80, said="why " * 90, state="paused")
    capsys.readouterr()
    call_command("xqueue_campaign", "status")
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_a_status_of_many_courses_is_one_line_each_with_those_first_that_wait_for_a_person(
    campaign, capsys, monkeypatch
):
    courses = [f"course-v1:ExU+M{number:02}+2026" for number in range(45)]
    started(campaign, "--canary", courses[0], "--execute", courses=courses)
    parked, failed = courses[30], courses[20]
    for course, state in ((parked, "parked"), (failed, "failed")):
        says = f"{state} in legacy: 3 overdue; xqueue_campaign resume --name one --course {course} --reason TEXT"
        CampaignCourse.objects.filter(course_id=course).update(state=state, said=says)
    printed = {}
    for columns in ("80", None):
        monkeypatch.setenv("COLUMNS", columns) if columns else monkeypatch.delenv("COLUMNS")
        capsys.readouterr()
        call_command("xqueue_campaign", "status")
        printed[columns] = capsys.readouterr().out.splitlines()
    for found in printed.values():
        assert found[0] == "Campaign one: running, 45 courses to complete: 1 failed, 1 parked, 43 going"
        shown = [line.partition(":")[0].split() for line in found]
        places = [next(place for place, words in enumerate(shown) if course[14:17] in words) for course in courses]
        assert sorted(places) == list(range(min(places), min(places) + 45))
        assert [places.index(min(places) + place) for place in range(3)] == [20, 30, 0]
        command = "\n".join(found).replace(" \\\n ", "").splitlines()[-1]
        assert command == f"Next: xqueue_campaign resume --name one --course {failed} --reason TEXT --execute"
    assert len(printed["80"]) <= 53
    assert max(map(len, printed["80"])) <= 80
    assert "legacy   going  M00 (canary): next: preflight" in printed[None]


def found_in_xqueue(course, rows_open, host="courses.example.edu"):
    LegacyCourse.objects.create(course_id=course, host=host, open_rows=rows_open, first_seen_at=now(), seen_at=now())


def test_a_canary_that_nobody_names_has_few_submissions_and_the_plan_says_so(campaign, capsys):
    def canary(*words):
        (found,) = started(campaign, *words)[1]["campaigns"]
        return found["canary"], found["canary_because"]

    first = f"the canary is {A}, the first one: no submissions are known of any; --canary names another"
    assert canary() == (A, first)
    rows.entries(3, course_id=B)
    rows.entries(5, course_id=C)
    most = "it has the most submissions in the ledger (5 entries); --canary names another"
    assert canary() == (C, f"the canary is {C}: {most}")
    found_in_xqueue(A, 7)
    found_in_xqueue(B, 2)
    found_in_xqueue(C, 0)
    fewest = "it has the fewest submissions open in XQueue of those that have any (2); --canary names another"
    assert canary() == (B, f"the canary is {B}: {fewest}")
    assert canary("--canary", A) == (A, "")
    capsys.readouterr()
    call_command("xqueue_campaign", "start", "--course", A, "--course", B, "--to", "live", "--reason", "r")
    printed = capsys.readouterr().out
    assert f"  The canary is {B}: {fewest}" in printed.splitlines()
    # Said again, the command would choose again, by what is open then.
    assert f"Next: the same command with --canary {B} --execute" in " ".join(printed.split())
    call_command("xqueue_campaign", "start", "--course", A, "--canary", A, "--to", "live", "--reason", "r")
    assert "Next: the same command with --execute" in " ".join(capsys.readouterr().out.split())
    # A site that has moved on since the plan must not begin with another course than the one that was read.
    with pytest.raises(CommandError, match=re.escape(f"it would be {B} now")) as refused:
        canary("--execute")
    assert refused.value.returncode == ExitCode.USAGE and not Campaign.objects.exists()
    assert canary("--canary", B, "--execute")[0] == B == records.named("one").canary


def test_of_one_course_nobody_has_to_name_the_canary(campaign):
    assert started(campaign, "--execute", courses=[A])[1]["campaigns"][0]["canary"] == A


def test_a_campaign_of_no_course_is_none(campaign, capsys):
    rows.in_phase("legacy", A)
    call_command("xqueue_campaign", "start", "--state", "live", "--to", "complete", "--reason", "r", "--execute")
    assert capsys.readouterr().out == "No course of those is in the state live: nothing to do.\n"
    assert not Campaign.objects.exists()


def test_rows_of_an_lms_that_no_setting_names_make_no_canary(campaign, settings):
    settings.MIGRATION_SHIM = {**settings.MIGRATION_SHIM, "CALLBACK_HOSTS": ["courses.example.edu"]}
    found_in_xqueue(A, 7)
    found_in_xqueue(A, 1, host="who.example.net")
    found_in_xqueue(B, 2)
    found_in_xqueue(C, 1, host="who.example.net")
    assert started(campaign)[1]["campaigns"][0]["canary"] == B


def test_a_plan_says_of_a_closed_window_what_the_campaign_says_once_it_is_started(campaign):
    rows.in_phase("shadow", A)
    toggles.force_flags(A, True, False)
    rules = ("--not-before", "2099-01-01")
    (planned,) = started(campaign, *rules, courses=[A])[1]["campaigns"][0]["courses"]
    (begun,) = started(campaign, *rules, "--execute", courses=[A])[1]["campaigns"][0]["courses"]
    assert planned["says"].startswith("waits for ") and "2099" in planned["says"]
    assert planned == begun


def test_without_a_campaign_at_work_none_is_asked_for(campaign):
    with pytest.raises(CommandError, match="No campaign is at work; xqueue_campaign status --all"):
        campaign("pause", "--reason", "exam")


@pytest.mark.parametrize("words", [("xqueue_campaign", "start"), ("xqueue_cutover",)])
def test_a_phase_that_no_step_leads_to_is_named_with_those_that_there_are(words):
    with pytest.raises(CommandError, match=r"--to: 'nowhere' is none of (legacy, )?shadow, live, complete"):
        call_command(*words, "--course", A, "--to", "nowhere", "--reason", "x")
