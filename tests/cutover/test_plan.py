"""The plan of one step: what comes of rows in flight, what graders must poll, XQueue's settings, the way back."""

import json

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, InterfaceError
from django.utils.connection import ConnectionDoesNotExist
from django.utils.timezone import now
from model_bakery import baker
from submissions.models import ExternalGraderDetail, StudentItem, Submission

from migration_shim import api, toggles
from migration_shim.core.data import Authority, ExitCode, Move, Phase
from migration_shim.core.errors import IllegalStep
from migration_shim.core.grader_queues import Served, served
from migration_shim.core.phases import flags_of
from migration_shim.cutover import impact
from migration_shim.cutover.overrides import Request
from migration_shim.lms import flags
from migration_shim.models import CoursePhase, FlagOverride, LedgerEntry, Run
from migration_shim.reports import terminal
from tests.builders import rows
from tests.builders.rows import COURSE, fresh  # noqa: F401
from tests.schemas import validate

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
LEGACY, TARGET = Authority
NOTHING = frozenset()
BOTH = frozenset(Authority)


def polled(phase, left):
    suffixes = {"shadow_suffix": ".s", "reverse_suffix": ".r"}
    found = served(phase, ["q"], left=left, **suffixes)
    return {(queue.queue, str(queue.seam), str(queue.holds), queue.until_empty) for queue in found}


@pytest.mark.parametrize(
    ("phase", "left", "expected"),
    [
        (Phase.LEGACY, NOTHING, {("q", "legacy", "real", False)}),
        (Phase.LEGACY, BOTH, {("q", "legacy", "real", False), ("q", "target", "real", True)}),
        (Phase.SHADOW, NOTHING, {("q", "legacy", "real", False), ("q.s", "target", "shadow", False)}),
        (
            Phase.SHADOW,
            BOTH,
            {("q", "legacy", "real", False), ("q.s", "target", "shadow", False), ("q", "target", "real", True)},
        ),
        (Phase.LIVE, NOTHING, {("q", "target", "real", False), ("q.r", "legacy", "reverse", False)}),
        (
            Phase.LIVE,
            BOTH,
            {("q", "target", "real", False), ("q.r", "legacy", "reverse", False), ("q", "legacy", "real", True)},
        ),
        (Phase.COMPLETE, frozenset({TARGET}), {("q", "target", "real", False)}),
        (Phase.COMPLETE, BOTH, {("q", "target", "real", False), ("q", "legacy", "real", True)}),
    ],
)
def test_what_must_be_polled(phase, left, expected):
    assert polled(phase, left) == expected
    assert list(served(phase, [], shadow_suffix="", reverse_suffix="", left=BOTH)) == []
    assert all(
        isinstance(queue, Served) for queue in served(phase, "q", shadow_suffix="", reverse_suffix="", left=BOTH)
    )


def step(to, execute=False, **how):
    toggles.new_work_cycle()
    document = api.cutover(COURSE, to, reason="r", execute=execute, user="ada", login=None, **how)
    return validate(document.content)


def real_row(queue="exu-py1"):
    """A learner's own row of the target, in flight."""
    item = baker.make(StudentItem, course_id=COURSE, student_id=rows.anonymous_id(1), item_id=rows.usage_key("a" * 32))
    submission = baker.make(Submission, student_item=item, answer="x")
    baker.make(ExternalGraderDetail, submission=submission, queue_name=queue, status="pending")


def test_the_plan_of_live():
    rows.legacy_row(1)
    rows.legacy_row(2, pull_time=now(), pullkey="x")
    rows.backfill()
    step(Phase.SHADOW, execute=True)
    LedgerEntry.objects.filter(pk=LedgerEntry.objects.latest("pk").pk).update(move=Move.HELD)
    plan = step(Phase.LIVE, override=Request())
    assert plan["in_flight"] == {"legacy": {"queued": 1, "pulled": 1}, "target": {}}
    assert [(move["side"], move["rows"], move["what"], move["instead"]) for move in plan["becomes"]] == [
        ("legacy", 2, "drain", f"xqueue_backfill --mode handoff --course {COURSE}"),
        ("between", 1, "held", f"xqueue_backfill --mode handoff --course {COURSE} --execute"),
    ]
    assert plan["serve"] == [
        {"queue": "exu-py1", "seam": "target", "holds": "real", "until_empty": False},
        {"queue": "exu-py1.reverse", "seam": "legacy", "holds": "reverse", "until_empty": False},
        {"queue": "exu-py1", "seam": "legacy", "holds": "real", "until_empty": True},
    ]
    assert plan["xqueues"] == {"exu-py1.reverse": None, "exu-py1": None}
    assert plan["way_back"].endswith("--to legacy --reason TEXT --execute")
    shown = terminal.render(plan)
    for line in (
        "exu-py1.reverse at XQueue (reverse shadows)",
        "exu-py1 at XQueue, until it is empty",
        "exu-py1 at the watcher seam\n",
        '    "exu-py1.reverse": None,',
        "2 rows drain (legacy)",
        "to finish it: xqueue_backfill --mode handoff",
        "OVERRIDE of a gate that says INCONCLUSIVE",
    ):
        assert line in shown
    assert "Next: the same command with --override-reasons stale,needs_pairs --user LOGIN --execute" in shown


def test_the_way_back_says_what_becomes_of_the_targets_rows():
    rows.in_phase("live")
    toggles.force_flags(COURSE, *flags_of(Phase.LIVE))
    real_row()
    rows.entries(1, authority="target", phase="live")
    done = step(Phase.LEGACY, execute=True)
    assert [(move["side"], move["rows"], move["what"], move["instead"]) for move in done["becomes"]] == [
        ("target", 1, "drain", f"xqueue_backfill --mode return --course {COURSE}")
    ]
    assert ("exu-py1", "target", True) in [
        (queue["queue"], queue["seam"], queue["until_empty"]) for queue in done["serve"]
    ]
    assert terminal.render(done).splitlines()[-1] == f"Next: xqueue_status --course {COURSE}"


def test_queues_are_known_from_the_preflight_before_there_is_a_ledger():
    assert "No queue of the course is known yet" in terminal.render(step(Phase.SHADOW))
    Run.objects.create(
        kind="preflight",
        scope=COURSE,
        finished_at=now(),
        complete=True,
        document={"queues": ["b", "a"], "findings": []},
    )
    rows.entries(1, queue_name="c")
    assert impact.queues_of(COURSE) == ["a", "b", "c"]
    plan = step(Phase.SHADOW)
    assert plan["xqueues"] == {"a": None, "b": None, "c": None}
    assert plan["next"][0] == f"xqueue_backfill --mode shadow --course {COURSE} --execute"


@pytest.mark.parametrize(
    "error",
    [
        DatabaseError("Lost connection"),
        InterfaceError(0, "closed"),
        ConnectionDoesNotExist("The connection 'xqueue' doesn't exist."),
    ],
    ids=["away", "closed", "switched off for good"],
)
def test_the_way_back_needs_no_answer_of_legacys_database(error, monkeypatch):
    rows.in_phase("live")
    toggles.force_flags(COURSE, *flags_of(Phase.LIVE))
    rows.entries(1, authority="target", phase="live")

    def gone():
        raise error

    monkeypatch.setattr(impact.legacy_open_rows, "our_rows", gone)
    done = step(Phase.LEGACY, execute=True)
    assert done["executed"]
    assert done["in_flight"]["legacy"] is None
    assert "in flight on legacy: unknown, its database does not answer" in terminal.render(done)
    assert toggles.phase_of(COURSE).phase is Phase.LEGACY


def test_outside_an_lms_nothing_can_be_released():
    assert flags.submission_flag_on(COURSE) is False
    assert toggles.bypasses_shim(COURSE) is False
    rows.in_phase("legacy")
    with pytest.raises(CommandError, match="run this in an LMS") as refused:
        call_command(
            "xqueue_cutover", "--course", COURSE, "--to", "complete", "--reason", "r", "--release", "--execute"
        )
    assert refused.value.returncode == ExitCode.ERROR


def test_one_course_is_no_wave(capsys):
    rows.in_phase("legacy")
    call_command("xqueue_cutover", "--course", COURSE, "--to", "shadow", "--reason", "r", "--format", "json")
    assert json.loads(capsys.readouterr().out)["schema"] == "migration_shim.xqueue_cutover/1"


def test_what_is_no_course_key_takes_no_step_on_and_may_go_back():
    """From Python any text can be given; commands take none that is no course."""
    step = {"reason": "r", "user": "u", "login": None}
    with pytest.raises(IllegalStep, match="'garbage' is no course id"):
        api.cutover("garbage", Phase.SHADOW, execute=True, **step)
    assert not CoursePhase.objects.exists() and not FlagOverride.objects.exists()
    rows.in_phase("shadow", "garbage")  # as an older release left it
    toggles.force_flags("garbage", *flags_of(Phase.SHADOW))
    assert api.cutover("garbage", Phase.LEGACY, execute=True, **step).content["executed"]
