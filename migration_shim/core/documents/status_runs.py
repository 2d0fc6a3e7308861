"""The document ``migration_shim.xqueue_status_runs/1``."""

from typing import Annotated, TypedDict

from .parts import Moment, NonNegative, one_of, says


class UnfinishedRun(TypedDict):
    """An item of ``runs``."""

    id: Annotated[int, says("The id of the run.")]
    command: Annotated[str, says("The command that began it.")]
    scope: Annotated[
        str, says("What it is about: a course, or what a backfill was asked for; empty for the whole site.")
    ]
    state: Annotated[
        str,
        one_of("running", "waiting", "silent", "dead"),
        says("By its signs of life alone: silent looks dead, dead holds no lock any more."),
    ]
    started_at: Annotated[Moment, says("When it began.")]
    last_sign_at: Annotated[Moment, says("Its last sign of life.")]
    last_sign_seconds: Annotated[NonNegative, says("How long ago that was.")]
    frees_at: Annotated[Moment, says("When its lock frees if no further sign of life comes.")]
    waits_for: Annotated[str, says("Why it does no batch at the moment; empty while it works.")]
    pid: Annotated[
        int | None,
        says("The process on that host; null for a run of an older release. In containers every process may be 1."),
    ]
    host: Annotated[str, says("The host or container; empty for a run of an older release.")]
    user: Annotated[str, says("The operating system's name of whoever began it; may be empty.")]


class StatusRunsDocument(TypedDict):
    """
    Unfinished runs.

    The document of xqueue_status --runs.
    """

    schema: Annotated[str, one_of("migration_shim.xqueue_status_runs/1")]
    at: Annotated[Moment, says("When.")]
    runs: Annotated[list[UnfinishedRun], says("The unfinished runs, the newest first.")]
    more: Annotated[bool, says("Whether there are more than are listed.")]
    page: Annotated[str, says("The page of the runbook, with its anchor.")]
