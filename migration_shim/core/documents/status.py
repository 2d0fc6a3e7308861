"""The document ``migration_shim.xqueue_status/1``."""

from typing import Annotated, TypedDict

from msgspec import Meta

from .parts import Count, CourseProblem, Moment, one_of, says
from .status_course import UnservedQueue
from .status_judgement import CourseStatus, Word


class Breaker(TypedDict):
    """An item of ``breakers``."""

    failures: Annotated[Count, says("Failures in a row.")]
    open: Annotated[bool, says("Whether copies of this leg are not tried for now.")]


class Login(TypedDict):
    """An item of ``watchers_past_the_seam.logins``."""

    address: Annotated[str, says("The peer as the LMS sees it, or unknown.")]
    first_seen_at: Annotated[Moment, says("The first login on record.")]
    last_seen_at: Annotated[Moment, says("The newest.")]
    logins: Annotated[int, Meta(ge=1), says("How many.")]


class WatchersPastTheSeam(TypedDict):
    """``watchers_past_the_seam``."""

    point_them_at: Annotated[str, says("The server to name in their configuration.")]
    logins: Annotated[list[Login], says("By address, the newest login first.")]


class CallbackHosts(TypedDict):
    """``callback_hosts``."""

    ours: Annotated[list[str], says("This LMS's.")]
    foreign: Annotated[list[str], says("Other LMSs', by FOREIGN_CALLBACK_HOSTS.")]
    unnamed: Annotated[list[str], says("Seen at our own door, and named by no setting, or as another LMS's.")]


class UnservedQueueOfSite(UnservedQueue):
    """An item of ``queues_without_watcher``."""

    courses: Annotated[list[str], says("Whose rows they are, as far as they say.")]


class LedgerSize(TypedDict):
    """``ledger``."""

    rows: Annotated[Count, says("Entries.")]
    residue: Annotated[Count, says("Entries whose residue has not been purged.")]


class XQueueCourses(TypedDict):
    """``xqueue``."""

    courses: Annotated[Count | None, says("How many of this LMS; null where nothing has ever looked.")]
    known: Annotated[Count | None, says("How many of them the shim knows.")]
    unknown_lms: Annotated[
        Count | None, says("Courses whose callbacks name a host of which no setting says whose it is.")
    ]
    looked_at: Annotated[Moment | None, says("When a search last came to its end.")]
    under_way: Annotated[bool, says("Whether a search has begun since and not come to its end.")]


class StatusDocument(TypedDict):
    """
    Where every course stands.

    The document of xqueue_status.
    """

    schema: Annotated[str, one_of("migration_shim.xqueue_status/1")]
    at: Annotated[Moment, says("When.")]
    kill_switch: Annotated[bool, says("Whether copies and runs are stopped everywhere.")]
    breakers: Annotated[dict[str, Breaker], says("By leg.")]
    watchers_past_the_seam: Annotated[
        WatchersPastTheSeam,
        says("Graders' logins at edx-submissions' own endpoint, where payload keys and seeds are lost."),
    ]
    callback_hosts: Annotated[CallbackHosts, says("Hosts that callbacks name.")]
    ledger_complaint: Annotated[
        str, says("Why the ledger may not be acted on: it belongs to another LMS. Empty where it may.")
    ]
    courses: Annotated[list[CourseStatus], says("Course by course.")]
    site: Annotated[bool, says("Whether these are all courses that the shim knows: nobody named any.")]
    legacy_readable: Annotated[
        bool, says("Whether legacy's database answered. Without it nothing is known of what legacy holds.")
    ]
    queues_without_watcher: Annotated[
        list[UnservedQueueOfSite],
        says(
            "Queues in which something has waited for longer than a lease, and from which nobody has "
            "pulled for as long."
        ),
    ]
    ledger: Annotated[LedgerSize, says("The size of the ledger.")]
    problems: Annotated[
        list[CourseProblem],
        says("Courses that something went wrong with, or that another run is at work on; they are not among courses."),
    ]
    counts: Annotated[
        dict[Word, Annotated[int, Meta(ge=1)]],
        says("How many courses have each word; the worst word first."),
    ]
    xqueue: Annotated[XQueueCourses, says("The courses that XQueue has rows of, as the watch has found them.")]
