"""
The incidents: what breaks, what an operator sees, what the runbook says to do, and what must hold afterwards.

Each takes the course in the phase in which the one before has left it.
"""

from __future__ import annotations

import itertools
import os
import shlex
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from typing import Any

from django.db.models import F
from submissions.models import StudentItem

from migration_shim.models import Run
from sandbox import runbook, waiting
from sandbox.databases import PROJECT_ROOT
from sandbox.demo import stage, story, witness
from sandbox.demo.stage import Attempt, Stage
from sandbox.demo.story import CLEAN, CLEAN_QUEUE, Story
from sandbox.lms.models import LearnerEffect

#: What nobody can wait for in a drill.
SHORT = {
    "GATE_THRESHOLD": 0.2,
    "HANDOFF_SETTLE_SECONDS": 10,  # the shortest that the app lets a handoff have
    "PROCESSING_DELAY_SECONDS": 2,
    "LEASE_SECONDS": 5,
    "BREAKER_SECONDS": 2,
    "PRESENCE_GRACE_SECONDS": 3,
}
_learners = itertools.count(9_100_001)
Source = LearnerEffect.Source


def runs(told: Story, running: Stage, heading: str, *words: str, exit_code: int | None = 0, lines: int = 6) -> str:
    """Run a command that this section of the runbook has; a drill of another one would prove nothing of the runbook."""
    command = shlex.join(words)
    if runbook.shape(command) not in runbook.commands(heading):
        told.check(f"the runbook has under {heading!r}: {command}", False)
    return told.operator(running, *words, exit_code=exit_code, lines=lines)


def status(running: Stage) -> dict[str, Any]:
    """What the operator's first look shows, site and course in one."""
    found = stage.document(running, "xqueue_status", "--course", CLEAN)
    return found | found["courses"][0]


def gate(told: Story, running: Stage, heading: str, exit_code: int | None) -> dict[str, Any]:
    """Ask the gate as the section does; its document."""
    runs(told, running, heading, "xqueue_gate", "--course", CLEAN, exit_code=exit_code, lines=3)
    return stage.document(running, "xqueue_gate", "--course", CLEAN)


def submit(running: Stage, number: int) -> list[Attempt]:
    """New learners, one submission each, through the LMS."""
    problems = itertools.cycle(witness.problems_of(CLEAN))
    attempts = []
    for problem in itertools.islice(problems, number):
        (learner,) = stage.make_learners(next(_learners), 1)
        attempts.append(stage.submit(running, learner, problem, story.answer(problem, right=True)))
    return attempts


def one_grade_each(told: Story, attempts: list[Attempt], source: Source) -> None:
    """Each of these learners has exactly one grade, from there, and nobody waits."""
    expected = Counter({source.value: 1})
    exactly = sum(found == expected for found in witness.grades(attempts).values())
    told.check("every learner has exactly one grade", exactly == len(attempts), f"{exactly} of {len(attempts)}")
    told.check("nobody waits", witness.still_queued(attempts) == 0)


def xqueue_is_down(told: Story, running: Stage) -> None:
    """The course is live and XQueue is away: learners notice nothing, and their copies are made up for."""
    told.chapter("XQueue is down while the course is live")
    with running.xqueue.away():
        attempts = submit(running, 8)
        stage.grader_on_target(CLEAN_QUEUE).drain(say=told.say)
        one_grade_each(told, attempts, Source.EVENT)
        told.operator(running, "xqueue_status", "--course", CLEAN, exit_code=None, lines=5)
        seen = status(running)
        told.check("status says that copies are paused", seen["breakers"]["reverse"]["open"])
        told.check("and owed", seen["copies"]["reverse"] != {})
    told.say("XQueue is back")

    def look() -> dict[str, int]:
        runs(told, running, "Copies are paused", "xqueue_watch", "--once", exit_code=None, lines=3)
        return status(running)["copies"]["reverse"]

    waiting.until("copies that are owed", look, {}.__eq__, say=told.say)
    told.check("every copy is there", status(running)["copies"]["reverse"] == {})
    stage.grader_on_legacy(running, f"{CLEAN_QUEUE}.reverse").drain(say=told.say)
    one_grade_each(told, attempts, Source.EVENT)


def a_handoff_is_killed(told: Story, running: Stage, attempts: list[Attempt]) -> None:
    """Rows are held, and the process that held them is gone: no grader has them until the handoff is finished."""
    told.chapter("A handoff is killed while it holds rows")
    words = ("xqueue_backfill", "--mode", "handoff", "--course", CLEAN, "--execute")
    command = [sys.executable, str(PROJECT_ROOT / "sandbox" / "manage.py"), *words]
    handoff = subprocess.Popen(
        command, env=os.environ | running.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    rows = lambda: witness.target_rows(f"{CLEAN_QUEUE}.held").total()  # noqa: E731
    waiting.until("rows that the handoff holds", rows, lambda held: held > 0 or handoff.poll() is not None)
    handoff.kill()
    handoff.wait()
    told.check("it was killed in time", rows() > 0)
    told.check("status says that rows are held", status(running)["held"]["rows"] > 0)
    told.say("two minutes pass: a run that shows no sign of life is dead then, and its lock with it")
    Run.objects.filter(finished_at=None).update(heartbeat_at=F("heartbeat_at") - timedelta(minutes=2))
    runs(told, running, "Held rows", *words, exit_code=None, lines=8)
    told.check("nothing is held any more", status(running)["held"]["rows"] == 0)
    told.check("legacy has nothing in flight", witness.unretired(CLEAN) == 0)
    stage.grader_on_target(CLEAN_QUEUE).drain(say=told.say)
    one_grade_each(told, attempts, Source.EVENT)


def a_fence_leaks(told: Story, running: Stage) -> None:
    """A hand in the database makes a copy with half a fence: the gate closes at one, and no override passes it."""
    told.chapter("A fence leaks")
    leak = StudentItem.objects.create(
        student_id="shadow:" + "a" * 32, course_id=CLEAN, item_id="block-v1:ExU+PY1+2026+type@problem+block@leak"
    )
    runs(told, running, "Fence leak", "xqueue_reconcile", "--course", CLEAN, exit_code=2, lines=3)
    seen = gate(told, running, "Fence leak", 2)
    told.check("the gate says so", seen["verdict"] == "FAIL" and seen["evidence"]["fence_leaks"] == 1)
    runs(told, running, "Stop all copies at once", "waffle_switch", "migration_shim.kill_switch", "on", "--create")
    told.check("status shows the switch", status(running)["kill_switch"])
    told.say("the runbook's query finds the row; it is a planted one, so it goes")
    found = witness.half_fenced(CLEAN)
    told.check("it is found", found == [leak.pk])
    leak.delete()
    runs(told, running, "Stop all copies at once", "waffle_switch", "migration_shim.kill_switch", "off")
    words = ("xqueue_known", "--cure", "fence_leak", "--course", CLEAN, "--reason", "a planted row, deleted")
    runs(told, running, "Fence leak", *words, lines=3)
    runs(told, running, "Fence leak", "xqueue_reconcile", "--course", CLEAN, exit_code=None, lines=3)
    seen = gate(told, running, "Fence leak", None)
    told.check("the gate has nothing against the fence any more", seen["evidence"]["fence_leaks"] == 0)


def the_targets_graders_die(told: Story, running: Stage) -> None:
    """They have pulled submissions and will never answer: the course goes back, and takes along what is in flight."""
    told.chapter("The target's graders die with submissions in their hands")
    attempts = submit(running, 6)
    grader = stage.grader_on_target(CLEAN_QUEUE)
    pulled = [grader.clients[0].pull(CLEAN_QUEUE) for _ in range(3)]
    told.check("three are in dead hands", all(pulled))
    words = ("xqueue_cutover", "--course", CLEAN, "--to", "legacy", "--reason", "graders are dead", "--execute")
    runs(told, running, "Going back", *words, lines=4)
    told.say("what a dead grader holds is free when its lease has run out")
    back = ("xqueue_backfill", "--mode", "return", "--course", CLEAN, "--execute")
    heading = "Take a course back with what is in flight (return)"

    def look() -> dict[str, int]:
        runs(told, running, heading, *back, exit_code=None, lines=3)
        return status(running)["in_flight"]["target"]

    waiting.until("submissions on their way back", look, {}.__eq__, say=told.say)
    told.check("everything is back", witness.target_rows(CLEAN_QUEUE).keys().isdisjoint({"pending", "pulled"}))
    stage.grader_on_legacy(running, CLEAN_QUEUE).drain(say=told.say)
    one_grade_each(told, attempts, Source.CALLBACK)


def evidence_grows_old(told: Story, running: Stage) -> None:
    """Nobody has reconciled for two days: no step on such evidence."""
    told.chapter("Evidence grows old")
    step = ("xqueue_cutover", "--course", CLEAN, "--to", "shadow", "--reason", "once more", "--execute")
    runs(told, running, "A course from legacy to shadow", *step, lines=2)
    told.say("two days pass")
    aged = {name: F(name) - timedelta(days=2) for name in ("started_at", "finished_at", "heartbeat_at")}
    Run.objects.exclude(finished_at=None).update(**aged)
    told.check("the gate says STALE", gate(told, running, "Stale evidence", 10)["verdict"] == "STALE")
    runs(told, running, "Stale evidence", "xqueue_reconcile", "--course", CLEAN, exit_code=None, lines=2)
    runs(told, running, "Stale evidence", "xqueue_preflight", "--course", CLEAN, exit_code=None, lines=2)
    told.check("and judges again afterwards", gate(told, running, "Stale evidence", None)["verdict"] != "STALE")
