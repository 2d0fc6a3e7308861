"""Overrides of the gate, as several documents have them."""

from typing import Annotated, TypedDict

from ..data import Phase, Verdict
from .parts import Count, Moment, one_of, says


class Override(TypedDict):
    """An override of the gate, or of what a release finds, as it is on record."""

    id: Annotated[Count, says("Its number.")]
    step_to: Annotated[Annotated[str, one_of(Phase)], says("The step that it was for.")]
    causes: Annotated[
        list[str],
        says("The codes of what it passed, as the signer named them; empty where a release before did not ask."),
    ]
    reason: Annotated[str, says("Why, in the words of whoever signed.")]
    signed_by: Annotated[str, says("Who signed.")]
    seconded_by: Annotated[str, says("Who signed as the second person; empty where none had to.")]
    signed_at: Annotated[Moment, says("When.")]
    expires_at: Annotated[
        Moment, says("When it ended: with its step. Of a proposal: until when a second person may sign it.")
    ]
    used_at: Annotated[Moment | None, says("When its step was taken; null while it waits for a second person.")]
    verdict: Annotated[Annotated[str, one_of(Verdict)], says("What the gate said then.")]
    reasons: Annotated[list[str], says("Why it said so.")]


class CourseOverride(TypedDict):
    """An override as the status of a course has it: what is needed to tell of it."""

    id: int
    step_to: Annotated[str, one_of(Phase), says("The step that it was for.")]
    causes: Annotated[
        list[str],
        says("The codes of what it passed, as the signer named them; empty where a release before did not ask."),
    ]
    reason: str
    signed_by: str
    seconded_by: Annotated[str, says("Who signed as the second person; empty where none had to.")]
    expires_at: Annotated[
        Moment, says("When it ended: with its step. Of a proposal: until when a second person may sign it.")
    ]
    used_at: Annotated[Moment | None, says("When its step was taken; null while it waits for a second person.")]
