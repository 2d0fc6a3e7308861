"""What a campaign does with a course: each action is the use case of a command, called as an operator would call it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

from .. import reconcile, toggles
from ..backfill import start as backfill
from ..backfill.request import Request
from ..conf import ShimSettings
from ..core.campaign import Action
from ..core.data import Document, Grading, Phase
from ..core.documents.preflight import PreflightDocument
from ..core.findings import BLOCKER
from ..core.wording import counted
from ..cutover import gate
from ..cutover import steps as cutover_steps
from ..models import Campaign
from ..preflight import run as preflight
from ..runs.control import Control, Stopped
from . import facts
from .step_check import check

_TIME = "the end of its time in a round"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """
    What came of an action. ``waits`` says why the course goes no further now; ``said`` goes into the history.

    ``line`` is the word for ``said`` there, where the course waits and later rounds have to know of it.
    """

    said: str = ""
    waits: str = ""
    line: str = ""


class TimeIsUp(Stopped):
    """An action has had its time, and what it has not done is left: the watch has other duties."""


def do(
    action: Action, campaign: Campaign, course_id: str, phase: Phase, settings: ShimSettings, alive: Callable[..., None]
) -> Done:
    """
    Do one action with a course that is in ``phase``.

    Each may be killed at any point and done again: a preflight, a reconcile and a verdict are made anew, an import goes
    on from its checkpoint, and a step is taken with its record or not at all. One that has taken ``CAMPAIGN_SECONDS``
    is cut off; a step never is.

    Args:
        action: what to do.
        campaign: the campaign.
        course_id: the course.
        phase: the phase that it was found in.
        settings: the settings in force.
        alive: called while the work goes on; it shows a sign of life.

    Raises:
        NotNow, IllegalStep: a step that may not be taken, by now.
        ShimError: as the use cases say.
    """
    if action.phase is not None:
        return _step(action.phase, campaign, course_id, phase)
    with _time_for_it(settings, alive) as in_time:
        try:
            return _work(action, campaign, course_id, settings, in_time)
        except TimeIsUp:  # a preflight; whatever goes on from where it was has ended by itself
            limit = f"{settings.campaign_seconds} s"
            command = f"xqueue_preflight --course {course_id}" + " --probe" * (action is Action.PROBE)
            said = f"its preflight takes more than {limit} (CAMPAIGN_SECONDS): run {command}"
            return Done(said=said, waits=said, line=facts.CUT_OFF)


@contextmanager
def _time_for_it(settings: ShimSettings, alive: Callable[..., None]) -> Iterator[Callable[..., None]]:
    """
    Give an action its time. It is asked for with every sign of life, also by runs within it, which end in good order.

    Raises:
        TimeIsUp: from what this yields.
    """
    until = monotonic() + settings.campaign_seconds

    def check(*args: object) -> None:
        alive()
        if monotonic() >= until:
            raise TimeIsUp(_TIME)

    with Control(toggles.kill_switch_ignored, settings=settings, beat=check):
        yield check


def _work(
    action: Action, campaign: Campaign, course_id: str, settings: ShimSettings, alive: Callable[..., None]
) -> Done:
    if action in (Action.PREFLIGHT, Action.PROBE):
        document = preflight.run(course_id, alive, probe=action is Action.PROBE)
        return _preflighted(action, document)
    if action is Action.HISTORY:
        return _history(campaign, course_id, settings, alive)
    if action is Action.RECONCILE:
        content = reconcile.run([course_id], alive, tell=alive).content["courses"][0]
        return Done(waits="" if content["complete"] else f"its reconcile was stopped by {content['stopped_by']}")
    judged = gate.run_gate(course_id).content
    said = "; ".join(judged["reasons"])
    return Done(said=judged["verdict"], waits="" if judged["verdict"] == "PASS" else f"waits for the gate: {said}")


def _step(to: Phase, campaign: Campaign, course_id: str, phase: Phase) -> Done:
    document = cutover_steps.run(
        course_id,
        to,
        reason=f"campaign {campaign.name}: {campaign.reason}",
        execute=True,
        user=f"campaign {campaign.name}",
        login=None,
        expected=phase,
        permit_check=lambda: check(campaign.pk, course_id, phase, to),
    )
    if document.exit_code:
        return Done(waits=f"waits for the gate: {'; '.join(document.content['reasons'])}")
    return Done(said=f"stepped from {phase} to {to}")


def _preflighted(action: Action, document: Document[PreflightDocument]) -> Done:
    unsent = [probe["said"] for probe in document.content["probes"] if not probe["sent"]]
    if action is Action.PROBE and unsent:
        return Done(
            said=f"not sent: {'; '.join(unsent)}", waits=f"its probe was not sent: {unsent[0]}", line=facts.UNSENT
        )
    number = sum(item["severity"] == BLOCKER for item in document.content["findings"])
    return Done(said=counted(number, "blocker"))


def _history(campaign: Campaign, course_id: str, settings: ShimSettings, alive: Callable[..., None]) -> Done:
    """Import graded rows, a bounded number a round; when all are there, store legacy's replies on them and compare."""
    if not facts.is_imported(campaign, course_id):
        request = Request(
            courses=frozenset([course_id]), history=True, execute=True, limit=settings.campaign_history_rows
        )
        imported = backfill.start(request, alive, alive).content
        if imported["stopped_by"] == _TIME and not imported["read"]:
            said = f"XQueue is read for more than {settings.campaign_seconds} s before a row is imported"
            said = f"{said}: set CAMPAIGN_SECONDS higher"
            return Done(said=said, waits=said, line=facts.CUT_OFF)
        if not imported["complete"]:
            return Done(waits=f"imports its history: {imported['left']} rows of XQueue left to read")
    content = reconcile.run([course_id], alive, grading=Grading.ECHO, tell=alive).content["courses"][0]
    if not content["complete"]:
        # So that the next round need not read all of XQueue once more.
        return Done(
            said=f"imported, and {content['echoed']} of legacy's replies echoed by now",
            waits=f"its reconcile was stopped by {content['stopped_by']}",
            line=facts.IMPORTED,
        )
    return Done(said=f"imported, and {content['echoed']} of legacy's replies echoed")
