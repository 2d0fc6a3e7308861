"""
What can end a command, each cause in one message: what happened, what it means, what to do.

The texts are fixed. Beside them only what the operator has configured is named (an alias, a server, a path), never the
text of another library's error, which may hold a password, or a learner's answer in a statement.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import codes
from .data import ExitCode
from .documents.error import ErrorDocument

SCHEMA = "migration_shim.error/1"
#: What shells and supervisors take for a Ctrl-C: 128 and the signal's number. It is no sum of our bits.
INTERRUPTED = ExitCode(130)

_XQUEUE_MEANS = "Nothing more can be read of legacy, so nothing can be judged. What was committed before is kept."
_LMS_MEANS = "Phases, records and the target are in this database: nothing was done, or nothing more."
_AGAIN = "Then run the same command again."


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """
    One cause that ends a command.

    ``passing`` says that another try may succeed without anything being changed: a loop goes on.
    """

    code: str
    message: str
    means: str
    do: str
    exit_code: ExitCode = ExitCode.ERROR
    passing: bool = False

    @property
    def page(self) -> str:
        """Return the page and heading of the runbook that the cause opens."""
        return codes.page("error", self.code)

    def document(self) -> ErrorDocument:
        """Return the document of ``--format json``."""
        return {
            "schema": SCHEMA,
            "code": self.code,
            "message": self.message,
            "means": self.means,
            "do": self.do,
            "page": self.page,
            "exit_code": int(self.exit_code),
        }

    def said(self) -> str:
        """Return the cause in one line, for a list of problems."""
        return f"{self.code}: {self.message}"


#: What happens to a database, with what it means for XQueue's and for the LMS's, what to do, and whether it may pass.
#: ``{what}`` is the database in words, ``{server}`` its address, ``{user}`` its account and ``{name}`` its name.
_DATABASE: dict[str, tuple[str, str, bool]] = {
    "refused": (
        "{what} is down or out of reach: {server} takes no connection.",
        "Start the server, or correct HOST and PORT of {alias} in DATABASES; a firewall may be between.",
        True,
    ),
    "unknown_host": (
        "{what} cannot be found: {server} leads to no address.",
        "Correct HOST of {alias} in DATABASES, or the name server of this machine.",
        True,
    ),
    "timeout": (
        "{what} does not answer: {server} was silent until the time was up.",
        "Look whether the server hangs, or a firewall drops the packets between this machine and it.",
        True,
    ),
    "no_file": (
        "{what} cannot be opened: there is no file {server}, or it may not be read.",
        "Correct NAME of {alias} in DATABASES, or the rights of the file and its folder.",
        True,
    ),
    "slow": (
        "{what} is too slow: {server} ended a statement that took longer than it may.",
        "Look for load on the server, and for a missing index.",
        True,
    ),
    "lost": (
        "{what} went away: {server} closed the connection, or was silent, during a statement.",
        "Look into the server's log: it was stopped or restarted, or it hangs.",
        True,
    ),
    "crowded": (
        "{what} lets nobody in: {server} has no connection left.",
        "Look who holds them (SHOW PROCESSLIST), or raise max_connections.",
        True,
    ),
    "busy": (
        "{what} is locked by others: {server} could not give the rows in time.",
        "Run the same command again; if it comes again, look for a transaction that stays open.",
        True,
    ),
    "full": ("{what} cannot write: the disk of {server} is full.", "Make room on the server's disk.", False),
    "password": (
        "{what} refuses the login of {user}: wrong user or password, or not from this machine.",
        "Correct USER and PASSWORD of {alias} in DATABASES, or the account's host on {server}.",
        False,
    ),
    "no_database": (
        "{what} is not there: {server} has no database {name}.",
        "Correct NAME of {alias} in DATABASES.",
        False,
    ),
    "denied": (
        "{what} denies {user} {right}: a GRANT is missing.",
        "Give the account its rights; the page has the statements.",
        False,
    ),
    "closed": (
        "{what} does not let {user} into the database {name}: a GRANT is missing, or it is another database.",
        "Correct NAME of {alias} in DATABASES, or give the account its rights; the page has the statements.",
        False,
    ),
    "read_only": (
        "{what} takes no writes: {server} is read-only, a replica perhaps.",
        "Point {alias} at the primary.",
        False,
    ),
    "no_table": (
        "{what} has no table {table}: {name} on {server} is another database, or an empty one.",
        "Correct NAME and HOST of {alias} in DATABASES.",
        False,
    ),
    "no_column": (
        "{what} has a table that lacks a column the command needs: another release made it.",
        "Check that {alias} in DATABASES leads to the right database.",
        False,
    ),
    "other": (
        "{what} answered with an error ({kind}).",
        "Run the command again with --traceback, where nobody else reads along: the text may name learners.",
        False,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A database as it is configured: nothing of it is a secret."""

    alias: str
    is_xqueue: bool
    server: str
    user: str
    name: str


def of_database(cause: str, place: Place, *, table: str = "", right: str = "", kind: str = "") -> Failure:
    """
    Return the failure of a database.

    Args:
        cause: a key of ``_DATABASE``.
        place: the database.
        table: the table that is missing.
        right: the right that is missing, as ``SELECT on queue_submission``.
        kind: the error's number or class, where nothing better is known.
    """
    if cause in ("no_table", "no_column") and not place.is_xqueue:
        return _no_table(table, place)
    message, do, passing = _DATABASE[cause]
    values = {
        "what": "XQueue's database" if place.is_xqueue else "The LMS's database",
        "alias": f"the alias {place.alias}",
        "server": place.server,
        "user": place.user or "the account",
        "name": place.name,
        "table": table or "of the name asked for",
        "right": right or "what the command needs",
        "kind": kind,
    }
    return Failure(
        code=f"{'xqueue' if place.is_xqueue else 'lms'}_database_{cause}",
        message=message.format(**values),
        means=_XQUEUE_MEANS if place.is_xqueue else _LMS_MEANS,
        do=f"{do.format(**values)} {_AGAIN}",
        passing=passing,
    )


def _no_table(table: str, place: Place) -> Failure:
    if table.startswith("submissions_"):
        return Failure(
            code="target_gone",
            message=f"The target is gone: the LMS's database has no table {table}.",
            means="edx-submissions was taken out, its migrations were not run, or this is not the LMS's database.",
            do="Run manage.py migrate submissions; if it was already, correct NAME and HOST of default in DATABASES.",
        )
    return Failure(
        code="tables_not_ours",
        message=f"The LMS's database {place.name} has no table {table or 'of the name asked for'}.",
        means="The migrations of this release were not run, or this is not the LMS's database.",
        do="Run manage.py migrate. " + _AGAIN,
    )


def no_alias() -> Failure:
    """Return the failure of a site whose DATABASES does not name XQueue's database."""
    return Failure(
        code="xqueue_database_no_alias",
        message="DATABASES has no alias xqueue.",
        means=_XQUEUE_MEANS,
        do="Add XQueue's database to DATABASES under that alias. " + _AGAIN,
    )


def tables_of_another_release(said: str) -> Failure:
    """Return the failure of tables that are not this release's; ``said`` names them."""
    return Failure(
        code="tables_not_ours",
        message=said,
        means="Nothing was done: this release does no work on them, and until then no course can be moved.",
        do="Run manage.py migrate migration_shim. " + _AGAIN,
    )


def broker_down(address: str) -> Failure:
    """Return the failure of Celery's broker at an address without its credentials."""
    return Failure(
        code="broker_down",
        message=f"Celery's broker does not take the work{f': {address} cannot be reached' if address else ''}.",
        means="No worker got it. What workers have done already is kept.",
        do="Start the broker or correct CELERY_BROKER_URL; or run the same command without --workers.",
        passing=True,
    )


def cache_down(kind: str) -> Failure:
    """Return the failure of the cache."""
    return Failure(
        code="cache_down",
        message=f"The cache does not answer ({kind}).",
        means="What the command asked of the platform needs it. Phases are read from the database: submissions go on.",
        do="Start the cache's server, or correct CACHES. " + _AGAIN,
        passing=True,
    )


def file_not_written(name: str, why: str, *, full: bool) -> Failure:
    """Return the failure of a file, or of stdout, that cannot be read or written."""
    return Failure(
        code="disk_full" if full else "file_unusable",
        message=f"{name} could not be used: {why}.",
        means="The work is done and on record; what was to be written is not there, or not whole."
        if full
        else "The file is as it was before. What the command did up to here is on record.",
        do=("Make room, " if full else "Correct the path or its rights, ") + "and run the same command again.",
    )


def interrupted() -> Failure:
    """Return the failure of a command that a person broke off."""
    return Failure(
        code="interrupted",
        message="Interrupted.",
        means="What was committed before is kept; the open batch was rolled back.",
        do="Run the same command again to go on.",
        exit_code=INTERRUPTED,
    )


def unexpected(kind: str, place: str) -> Failure:
    """Return the failure that is a fault of this app, by the class of its error and where in our code it came up."""
    return Failure(
        code="unexpected",
        message=f"An error that nobody expected: {kind}{f' at {place}' if place else ''}.",
        means="A fault of this app. The open transaction was rolled back, what was committed before is kept.",
        do="Run it again with --traceback and report what it says. Read it first: the text may name learners.",
    )


def refused(message: str, code: str = "refused", exit_code: ExitCode = ExitCode.ERROR) -> Failure:
    """Return the failure whose message is the app's own, and says what to do itself."""
    means, do = _OWN[code]
    return Failure(code=code, message=message, means=means, do=do, exit_code=exit_code)


_OWN = {
    "refused": ("The command was refused, or ended here.", "Do what the message asks for. " + _AGAIN),
    "settings_unusable": (
        "Nothing was done: the settings would not do what they seem to say.",
        "Correct MIGRATION_SHIM; manage.py check --tag migration_shim names every complaint.",
    ),
    "checks_complain": (
        "Nothing was done: the installation would not work as it is set up.",
        "Run manage.py check --tag migration_shim --fail-level WARNING, and mend what it names.",
    ),
    "legacy_unreadable": (
        "A course would look as if it had no rows, so nothing was judged.",
        "Check the alias xqueue of DATABASES, and what its account may do. " + _AGAIN,
    ),
    "legacy_not_writable": (
        "Nothing was changed on legacy.",
        "Do what the message asks for. " + _AGAIN,
    ),
    "workers_failed": (
        "The ranges were taken back; what was committed is kept.",
        "Look into the workers' log. Run the same command again, or without --workers.",
    ),
    "run_locked": (
        "Another run does the same work now. Nothing was done.",
        "Wait for it, or until the lock frees. xqueue_status --runs lists all runs.",
    ),
    "usage": ("The command line is wrong. Nothing was done.", "The command's --help lists its options."),
}
