"""The document ``migration_shim.xqueue_backfill/1``."""

from typing import Annotated, NotRequired, TypedDict

from msgspec import Meta

from ..data import RowClass
from .parts import Count, Moment, NonNegative, one_of, says


class RowClasses(TypedDict):
    """Rows by class; every row read has exactly one."""

    imported: Annotated[
        Count, says("In flight; gets a shadow. Handoff: moved to the target. Return: back on legacy, with the way.")
    ]
    present: Annotated[Count, says("The target holds it already.")]
    final: Annotated[Count, says("Graded; imported to an echo queue.")]
    given_up: Annotated[Count, says("Retired without an outcome.")]
    drain: Annotated[Count, says("Left to legacy, with the reason.")]
    superseded: Annotated[Count, says("Replaced by a newer attempt of the same learner and input.")]
    collided: Annotated[Count, says("Retired by XQueue for another input or problem; its learner still waits.")]
    duplicate: Annotated[Count, says("Another row is this submission's.")]
    copy: Annotated[Count, says("A reverse shadow, never imported.")]
    malformed: Annotated[Count, says("Cannot be read as a submission, with the reason.")]
    out_of_scope: Annotated[Count, says("Not asked for.")]


class MissingFile(TypedDict):
    """An item of ``files_missing``."""

    legacy_id: Annotated[int, says("The row in queue_submission.")]
    reason: Annotated[str, says("As in reasons.")]
    key: Annotated[
        str,
        says(
            "The file's key: XQueue keeps it as <queue name>/<key>. The name that the learner gave it is not shown.",
            pattern="^[0-9a-f]{32}$",
        ),
    ]


class HandoffQueue(TypedDict):
    """An item of ``queues``."""

    queue: Annotated[str, says("Its name on legacy.")]
    move: Annotated[Count, says("Rows that move, or were moved.")]
    drain: Annotated[Count, says("Rows that legacy has to finish.")]
    other: Annotated[Count, says("Rows of any other class, those out of scope apart.")]
    pull_seen: Annotated[bool, says("Whether a legacy grader has pulled within the last processing delay.")]


class CountedRows(TypedDict):
    """What the rows that were read are, and what became of them."""

    read: Annotated[Count, says("Rows read by this run: legacy's, or for a return the target's.")]
    written: Annotated[
        Count, says("Copies written on the target by this run. Return: rows revived or inserted on legacy.")
    ]
    adds_mb: Annotated[
        NonNegative,
        says(
            "About how many megabytes the copies take (plan) or took in the LMS's database, rows and indexes, "
            "from the length of their text. Files are not in it."
        ),
    ]
    classes: Annotated[RowClasses, says("Rows by class; every row read has exactly one.")]
    reasons: Annotated[
        dict[Annotated[str, one_of(RowClass)], dict[str, Annotated[int, Meta(ge=1)]]],
        says(
            "For classes that have several: rows by reason. The reasons of a class that is listed add up to "
            "it, but for rows without one."
        ),
    ]
    files_missing: NotRequired[
        Annotated[
            list[MissingFile],
            says(
                "Rows that stay on legacy for want of a file, the first 100 of them. Empty where every file is to "
                "be had.",
                max_length=100,
            ),
        ]
    ]
    waited: Annotated[
        dict[Annotated[str, one_of("pause_file", "lag", "load")], NonNegative],
        says(
            "Seconds waited before batches, by what spoke against more load. With workers the sum over them, "
            "and the command's own."
        ),
    ]


class BackfillDocument(CountedRows):
    """
    What a backfill read and wrote.

    The document of xqueue_backfill. The counts of classes add up to read.
    """

    schema: Annotated[str, one_of("migration_shim.xqueue_backfill/1")]
    mode: Annotated[Annotated[str, one_of("shadow", "handoff", "return")], says("What was made of the rows.")]
    executed: Annotated[bool, says("Whether it wrote; false for a plan.")]
    scope: Annotated[str, says("Which rows were asked for; the checkpoint and the lock are kept under this name.")]
    finished_at: Annotated[Moment, says("When the run ended.")]
    left: NotRequired[Annotated[Count, says("Rows in scope of the walk that were not read before the run stopped.")]]
    sample_percent: Annotated[
        dict[str, Annotated[float, Meta(ge=0, le=100)]],
        says("The share of learners whose submissions are copied, in percent, by course; empty: all of them."),
    ]
    checkpoint: Annotated[Count, says("The legacy id up to which rows are done; an interrupted run goes on behind it.")]
    complete: Annotated[bool, says("Whether the end was reached; false after --limit, a signal or the kill switch.")]
    stopped_by: Annotated[
        Annotated[str, one_of("", "SIGINT", "SIGTERM", "kill switch")],
        says("What stopped the run between two batches; empty when nothing did."),
    ]
    next: NotRequired[Annotated[list[str], says("The commands to run next, in order, without manage.py.")]]
    seconds: Annotated[NonNegative, says("How long it took.")]
    held: NotRequired[
        Annotated[Count, says("Handoff: rows whose target row is held now, in this scope; the next run finishes them.")]
    ]
    released: NotRequired[Annotated[Count, says("Handoff: rows given to the target's graders by this run.")]]
    dropped: NotRequired[
        Annotated[
            Count,
            says(
                "Handoff: held rows taken back by this run, because legacy had the row again or the learner "
                "replaced it."
            ),
        ]
    ]
    double_authority: NotRequired[
        Annotated[
            Count,
            says(
                "Handoff: released rows that this run found alive on legacy again, and retired again. It closes "
                "the gate."
            ),
        ]
    ]
    queues: NotRequired[Annotated[list[HandoffQueue], says("Handoff: what the rows read are, queue by queue.")]]
    advice: NotRequired[
        Annotated[list[str], says("Handoff and return: what to do before --execute, and what could not be found out.")]
    ]
