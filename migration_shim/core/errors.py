"""
The errors of migration_shim. The docstring of a class is its default message.

Errors of libraries (Django, requests, edx-submissions) are translated where they are met, once.
"""

from __future__ import annotations


class ShimError(Exception):
    """Something went wrong in migration_shim."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class ConfigurationError(ShimError):
    """The MIGRATION_SHIM settings are not usable."""


class Malformed(ShimError):
    """
    A header, body or callback that cannot be read.

    ``reason`` is one of a fixed set of short codes, fit for a report; it never holds any of the text itself.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Unfit(ShimError):
    """
    A submission that the target cannot hold. ``reason`` is a short code; ``message`` can be shown to a learner.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class PhaseUnreadable(ShimError):
    """The grading service cannot take the submission now. Nothing of it was stored; please try again."""


class SenderUnusable(ShimError):
    """The platform's own sender cannot call the installed edx-submissions. Nothing was stored; please try again."""


class TargetWriteFailed(ShimError):
    """
    The target did not store the submission.

    ``reason`` is the name of the error behind it. ``passing`` says that it was contention (a deadlock, a lock wait, two
    first attempts at once), so that another try may succeed; ``taken``, that another session was quicker with a row of
    the same key, which has undone nothing but the one statement.
    """

    def __init__(self, reason: str, *, passing: bool = False, taken: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.passing = passing
        self.taken = taken


class FileUnavailable(ShimError):
    """
    A file of a legacy row that cannot be read. ``reason`` is a short code, ``name`` the file's storage key; it is empty
    where the row's own columns are at fault, or all of its files together.
    """

    def __init__(self, reason: str, name: str) -> None:
        super().__init__(f"{reason}: {name}")
        self.reason = reason
        self.name = name


class VerificationFailed(ShimError):
    """
    The target does not hold what was meant to be written. ``what`` names the column, never its contents.
    """

    def __init__(self, legacy_id: int, what: str) -> None:
        super().__init__(f"legacy row {legacy_id}: the target does not hold what was written ({what})")
        self.what = what


class LegacyNotWritable(ShimError):
    """The account of the alias ``xqueue`` may not write what is to be written, or the alias is no primary."""


class LedgerNotOurs(LegacyNotWritable):
    """The ledger belongs to another LMS (a cloned database): nothing of it may be acted on until it is adopted."""


class LegacyNotReadable(ShimError):
    """The account of the alias ``xqueue`` may not read XQueue's table, or there is none behind the alias."""


class LegacyReplaced(ShimError):
    """XQueue's table was made anew or restored: ids that were read are other rows' now."""

    def __init__(self, row_id: int, walked: int) -> None:
        super().__init__(
            f"XQueue's table was made anew or restored: its row {row_id} arrived after all that were read up to id "
            f"{walked}, so the ids that the ledger knows may be other rows' now. Nothing is linked. Make sure that the "
            f"alias xqueue leads to the right database, then run: xqueue_reconcile --all --relink"
        )


class PredictionUnavailable(ShimError):
    """What the installed edx-submissions would store for a reply cannot be told, so stored points cannot be judged."""


class RunLocked(ShimError):
    """Another run of the same kind holds the lock."""


class WorkersFailed(ShimError):
    """The Celery workers could not do a range of ids."""


class IllegalMove(ShimError):
    """A submission cannot come from one move between the systems to another; ``before`` and ``to`` are their names."""

    def __init__(self, before: str, to: str) -> None:
        super().__init__(f"A submission whose move is {before} cannot become {to}. Nothing was written.")
        self.before = before
        self.to = to


class BrokerDown(WorkersFailed):
    """Celery's broker does not take the work. ``address`` is where it should be, without any credentials."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"Celery's broker does not take the work{f': {address} cannot be reached' if address else ''}."
        )
        self.address = address


class IllegalStep(ShimError):
    """The phase machine does not allow this step."""


class NotNow(ShimError):
    """A step of a campaign may not be taken at this moment; the message says what it waits for."""


class LogIsAddedTo(ShimError):
    """The log of phase changes is only added to: its entries are never changed or removed."""
