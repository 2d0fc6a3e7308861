"""The document ``migration_shim.error/1``."""

from typing import Annotated, TypedDict

from msgspec import Meta

from .parts import one_of, says


class ErrorDocument(TypedDict):
    """
    Why a command ended.

    The only document on stdout of a command with --format json that could not go on. Its exit code is that of the
    process.
    """

    schema: Annotated[str, one_of("migration_shim.error/1")]
    code: Annotated[str, Meta(pattern="^[a-z_]+$"), says("The cause, one of docs/runbook/codes.md.")]
    message: Annotated[
        str,
        Meta(min_length=1),
        says("What happened, the cause first. Never a password, a statement or a learner's text."),
    ]
    means: Annotated[str, Meta(min_length=1), says("What it means for the work.")]
    do: Annotated[str, Meta(min_length=1), says("What to do about it.")]
    page: Annotated[str, Meta(pattern="^docs/.+\\.md#.+"), says("The page of the runbook, with its anchor.")]
    exit_code: Annotated[int, Meta(ge=1), says("The exit code of the process.")]
