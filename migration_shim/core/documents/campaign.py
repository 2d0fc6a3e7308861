"""The document ``migration_shim.xqueue_campaign/1``."""

from typing import Annotated, TypedDict

from msgspec import Meta

from ..campaign import Action, CampaignState, MemberState
from ..data import Phase
from .parts import Count, Moment, one_of, says


class MemberCounts(TypedDict):
    """``campaigns.counts``."""

    going: Count
    parked: Count
    failed: Count
    done: Count


class CampaignCourseDocument(TypedDict):
    """An item of ``campaigns.courses``."""

    course: str
    phase: Annotated[str, one_of(Phase)]
    state: Annotated[
        str,
        one_of(MemberState),
        says("going: on its way. parked: somebody else has moved it. failed: it is not well. done: it has arrived."),
    ]
    next: Annotated[Annotated[str, one_of(Action)] | None, says("What is done next; null while it waits.")]
    says: Annotated[str, says("What it does or waits for, in one line.")]
    expected_at: Annotated[
        str | None, says("When it will have what it waits for, by an estimate; null where there is none.")
    ]


class HistoryLine(TypedDict):
    """An item of ``campaigns.lines``."""

    at: Moment
    by: str
    course: Annotated[str, says("Empty: of all.")]
    what: str
    text: str


class DescribedCampaign(TypedDict):
    """An item of ``campaigns``."""

    name: str
    state: Annotated[str, one_of(CampaignState)]
    said: Annotated[
        str, says("Why it is paused, was stopped or is done, or takes no step at the moment; empty while it runs.")
    ]
    to: Annotated[str, one_of("shadow", "live", "complete")]
    canary: str
    canary_because: Annotated[str, says("Of a start: why it is this one, where nobody has named it.")]
    limit: Annotated[int, Meta(ge=1)]
    soak: str
    windows: list[str]
    freezes: list[str]
    not_before: str
    zone: Annotated[str, says("The time zone of its windows, freezes and first day.")]
    reason: str
    started_at: Moment
    started_by: str
    counts: MemberCounts
    courses: list[CampaignCourseDocument]
    lines: Annotated[list[HistoryLine], says("Its newest history lines, the newest first.")]


class CampaignDocument(TypedDict):
    """
    Campaigns.

    The document of xqueue_campaign.
    """

    schema: Annotated[str, one_of("migration_shim.xqueue_campaign/1")]
    at: Annotated[Moment, says("When.")]
    action: Annotated[str, one_of("start", "status", "pause", "resume", "change", "stop"), says("The sub-command.")]
    executed: Annotated[bool, says("Whether something was written.")]
    campaigns: Annotated[
        list[DescribedCampaign],
        says("The campaigns, the oldest first, with their courses in the order in which they go."),
    ]
