"""The drill's script: a course on its way to ``live``, then one incident after the other."""

from __future__ import annotations

import json
import time

from sandbox.demo import stage, story
from sandbox.demo.stage import Attempt, Stage
from sandbox.demo.story import CLEAN, CLEAN_QUEUE, Story
from sandbox.drill import incidents

ENVIRONMENT = {
    "SANDBOX_SHIM_SETTINGS": json.dumps(incidents.SHORT),
    "SANDBOX_WAITTIME_BETWEEN_REQUESTS": "0",
    "SANDBOX_PROCESSING_DELAY": "0.03",  # minutes
    **story.SLOW,
}


def play(told: Story) -> None:
    """Play the whole drill. The caller has emptied and prepared the databases."""
    started = time.monotonic()
    story.load(told)
    with stage.running(**ENVIRONMENT) as running:
        waiting = to_live(told, running)
        incidents.a_handoff_is_killed(told, running, waiting)
        incidents.xqueue_is_down(told, running)
        incidents.a_fence_leaks(told, running)
        incidents.the_targets_graders_die(told, running)
        incidents.evidence_grows_old(told, running)
    story.end(told, time.monotonic() - started)


def to_live(told: Story, running: Stage) -> list[Attempt]:
    """As in the demo, in short. Gives the learners whose submissions legacy holds when the course has become live."""
    told.chapter("A course goes live")
    told.operator(running, "xqueue_preflight", "--course", CLEAN, "--probe", exit_code=2, lines=1)
    stage.grader_on_legacy(running, f"{CLEAN_QUEUE}.reverse").drain(say=told.say)
    cutover = ("xqueue_cutover", "--course", CLEAN, "--reason", "drill", "--execute", "--to")
    told.operator(running, *cutover, "shadow", lines=1)
    incidents.submit(running, 8)  # the gate wants to know how long either system takes
    told.operator(running, "xqueue_backfill", "--mode", "shadow", "--course", CLEAN, "--execute", lines=1)
    stage.grader_on_target(f"{CLEAN_QUEUE}.shadow").drain(say=told.say)
    stage.grader_on_legacy(running, CLEAN_QUEUE).drain(say=told.say)
    for command in ("xqueue_preflight", "xqueue_reconcile", "xqueue_gate"):
        told.operator(running, command, "--course", CLEAN, lines=1)
    waiting = incidents.submit(running, 5)
    told.operator(running, *cutover, "live", lines=1)
    return waiting
