"""
The settings of the app: one dictionary, ``MIGRATION_SHIM``, typed and defaulted here.

Read it with ``load()`` inside functions, never at import: in a plugin app a setting read at import is the default.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import types
import typing
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings as django_settings

from .core.errors import ConfigurationError
from .core.evidence import Thresholds
from .core.hosts import named_host
from .core.identity import has_suffix

#: The alias of XQueue's database in DATABASES.
LEGACY_ALIAS = "xqueue"
#: The keys that say which copies are written, where and how: while one of them is not usable, none is started.
COPY_KEYS = frozenset(
    {
        "BREAKER_FAILURES",
        "BREAKER_SECONDS",
        "CELERY_QUEUE",
        "COPIES",
        "ECHO_QUEUE_SUFFIX",
        "HELD_QUEUE_SUFFIX",
        "PUBLISH_SECONDS",
        "REVERSE_QUEUE_SUFFIX",
        "SAMPLE_PERCENT",
        "SHADOW_QUEUE_SUFFIX",
        "SINK_ROOT",
    }
)
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShimSettings:
    """The settings in force. A field ``legacy_url`` is the key ``LEGACY_URL`` of the dictionary."""

    # .. setting_name: MIGRATION_SHIM["LEGACY_URL"]
    # .. setting_default: None
    # .. setting_description: XQueue's base URL, as in XQUEUE_INTERFACE["url"]. None takes it, and the account below,
    #   from the platform's XQUEUE_INTERFACE, so that an LMS configures them once.
    legacy_url: str | None = None
    # .. setting_name: MIGRATION_SHIM["LEGACY_USERNAME"]
    # .. setting_default: None
    # .. setting_description: The XQueue account that submits. None: XQUEUE_INTERFACE["django_auth"]["username"].
    legacy_username: str | None = None
    # .. setting_name: MIGRATION_SHIM["LEGACY_PASSWORD"]
    # .. setting_default: None
    # .. setting_description: Its password. None: XQUEUE_INTERFACE["django_auth"]["password"].
    legacy_password: str | None = field(default=None, repr=False)
    # .. setting_name: MIGRATION_SHIM["LEGACY_CONNECT_TIMEOUT"]
    # .. setting_default: 3.05
    # .. setting_description: Seconds to wait for a connection to XQueue. The default is the LMS's own.
    legacy_connect_timeout: float = 3.05
    # .. setting_name: MIGRATION_SHIM["LEGACY_READ_TIMEOUT"]
    # .. setting_default: 10.0
    # .. setting_description: Seconds to wait for XQueue's answer. The default is the LMS's own.
    legacy_read_timeout: float = 10.0
    # .. setting_name: MIGRATION_SHIM["PYTHON_DOOR"]
    # .. setting_default: False
    # .. setting_description: Let the platform's own XQueueInterface hand every submission to the router. Off, nothing
    #   of the platform is touched.
    python_door: bool = False
    # .. setting_name: MIGRATION_SHIM["PYTHON_DOOR_SECONDS"]
    # .. setting_default: 30.0
    # .. setting_description: The deadline of one whole call of the Python door: login, submit, and a copy if any is
    #   left.
    python_door_seconds: float = 30.0
    # .. setting_name: MIGRATION_SHIM["HTTP_DOOR_SECONDS"]
    # .. setting_default: 9.0
    # .. setting_description: The deadline of one whole call of the HTTP door. It must stay under the LMS's read timeout
    #   of 10 seconds, or learners are told of failures that were none.
    http_door_seconds: float = 9.0
    # .. setting_name: MIGRATION_SHIM["SUBMIT_USERS"]
    # .. setting_default: {}
    # .. setting_description: The accounts of the HTTP door, password by user name. They are the door's own: neither
    #   Django's users nor its sessions know them.
    submit_users: dict = field(default_factory=dict, repr=False)
    # .. setting_name: MIGRATION_SHIM["COPIES"]
    # .. setting_default: "deferred"
    # .. setting_description: "deferred" writes each copy in a Celery worker, and leaves it to xqueue_watch where there
    #   is no Celery; "inline" writes shadows in the submit call itself, for tests and small sites, with no bound on the
    #   time it adds.
    copies: str = "deferred"
    # .. setting_name: MIGRATION_SHIM["CELERY_QUEUE"]
    # .. setting_default: None
    # .. setting_description: The Celery queue of the app's tasks. None: the platform's default queue.
    celery_queue: str | None = None
    # .. setting_name: MIGRATION_SHIM["PUBLISH_SECONDS"]
    # .. setting_default: 0.5
    # .. setting_description: How long telling a worker of what is owed may take before it counts as failed.
    publish_seconds: float = 0.5
    # .. setting_name: MIGRATION_SHIM["BREAKER_FAILURES"]
    # .. setting_default: 5
    # .. setting_description: Failures in a row after which copies are no longer tried for a while.
    breaker_failures: int = 5
    # .. setting_name: MIGRATION_SHIM["BREAKER_SECONDS"]
    # .. setting_default: 30
    # .. setting_description: How long an open breaker keeps copies from being tried; then one is let through.
    breaker_seconds: int = 30
    # .. setting_name: MIGRATION_SHIM["SAMPLE_PERCENT"]
    # .. setting_default: {}
    # .. setting_description: The share of learners, in percent, whose submissions are copied, by course id; "*" stands
    #   for every other course. What is not named is copied whole.
    sample_percent: dict = field(default_factory=dict)
    # .. setting_name: MIGRATION_SHIM["POINTS_RESOLVER"]
    # .. setting_default: "migration_shim.lms.points.from_student_modules"
    # .. setting_description: A function of (course id, usage key) that knows a problem's maximum score where the block
    #   is not at hand, or returns None; then 1 is assumed and counted.
    points_resolver: str = "migration_shim.lms.points.from_student_modules"
    # .. setting_name: MIGRATION_SHIM["REVERSE_QUEUE_SUFFIX"]
    # .. setting_default: ".reverse"
    # .. setting_description: Appended to a queue's name for reverse shadows. XQueue must know that queue (XQUEUES) and
    #   a grader must poll it.
    reverse_queue_suffix: str = ".reverse"
    # .. setting_name: MIGRATION_SHIM["SINK_ROOT"]
    # .. setting_default: None
    # .. setting_description: The URL under which XQueue reaches this app's URLs, without a slash at the end. None:
    #   LMS_ROOT_URL plus /migration_shim. The whole sink URL has to fit into 128 characters.
    sink_root: str | None = None
    # .. setting_name: MIGRATION_SHIM["CALLBACK_HOSTS"]
    # .. setting_default: []
    # .. setting_description: Hosts that callbacks of this LMS name, each as name or name:port, beside those of
    #   LMS_ROOT_URL, XQUEUE_INTERFACE["callback_url"] and the site configurations: a name that it had before, or one
    #   more of its own. XQueue's rows of every other host are left alone.
    callback_hosts: list = field(default_factory=list)
    # .. setting_name: MIGRATION_SHIM["FOREIGN_CALLBACK_HOSTS"]
    # .. setting_default: []
    # .. setting_description: Hosts of other LMSs on the same XQueue, as a staging one. Their rows are left alone
    #   without a word; those of a host that neither setting names are left alone too, and block live and complete while
    #   any is open.
    foreign_callback_hosts: list = field(default_factory=list)
    # .. setting_name: MIGRATION_SHIM["LEGACY_STORAGE"]
    # .. setting_default: {}
    # .. setting_description: Where XQueue keeps uploaded files, as {"BACKEND": path of a Django storage class,
    #   "OPTIONS": {...}}; files are read as <queue name>/<key>. Where that is the bucket or folder that edx-submissions
    #   uses too, files are linked, not copied. A return writes their URLs into XQueue's rows: give it XQueue's own
    #   (base_url, or as long a life of signed ones). Empty: see LEGACY_FILE_HOSTS.
    legacy_storage: dict = field(default_factory=dict)
    # .. setting_name: MIGRATION_SHIM["LEGACY_FILE_HOSTS"]
    # .. setting_default: []
    # .. setting_description: Without LEGACY_STORAGE: the hosts that files may be fetched from by the URLs in XQueue's
    #   rows, each as a name, or as name:port where the port is not the scheme's own. Empty too: rows with files stay
    #   on legacy (class drain).
    legacy_file_hosts: list = field(default_factory=list)
    # .. setting_name: MIGRATION_SHIM["LEGACY_FILE_LIMIT"]
    # .. setting_default: 8388608
    # .. setting_description: The largest file, in bytes, that is copied from XQueue's storage. The LMS
    #   itself allows 4 MB.
    legacy_file_limit: int = 8 * 1024 * 1024
    # .. setting_name: MIGRATION_SHIM["LEGACY_ROW_LIMIT"]
    # .. setting_default: 104857600
    # .. setting_description: The largest sum of the files of one row, in bytes. The LMS allows 20 files an input.
    legacy_row_limit: int = 100 * 1024 * 1024
    # .. setting_name: MIGRATION_SHIM["SHADOW_QUEUE_SUFFIX"]
    # .. setting_default: ".shadow"
    # .. setting_description: Appended to a queue's name for its shadows on the target. A grader must poll that queue.
    shadow_queue_suffix: str = ".shadow"
    # .. setting_name: MIGRATION_SHIM["ECHO_QUEUE_SUFFIX"]
    # .. setting_default: ".echo"
    # .. setting_description: Appended to a queue's name for imported history. No grader polls that queue.
    echo_queue_suffix: str = ".echo"
    # .. setting_name: MIGRATION_SHIM["HELD_QUEUE_SUFFIX"]
    # .. setting_default: ".held"
    # .. setting_description: Appended to a queue's name for rows that a handoff holds. No grader polls that queue.
    held_queue_suffix: str = ".held"
    # .. setting_name: MIGRATION_SHIM["GRADER_QUEUES"]
    # .. setting_default: {}
    # .. setting_description: Which queues the watcher seam hands to which account, as lists by user name; "*" stands
    #   for every queue, and for every account that is not named. Empty: every account of the group xqueue has every
    #   queue. No account has those of held rows and of imported history. xqueue_status --watcher-config prints one.
    grader_queues: dict = field(default_factory=dict)
    # .. setting_name: MIGRATION_SHIM["HANDOFF_SETTLE_SECONDS"]
    # .. setting_default: 60
    # .. setting_description: How long a handoff waits between taking a row from legacy's graders and giving it to the
    #   target's: a pull that XQueue had begun before may bring the row back for so long. Never under the time that an
    #   XQueue worker may take for one request; check E014 refuses less than 10.
    handoff_settle_seconds: float = 60
    # .. setting_name: MIGRATION_SHIM["PROCESSING_DELAY_SECONDS"]
    # .. setting_default: 60
    # .. setting_description: XQueue's SUBMISSION_PROCESSING_DELAY, in seconds (XQueue has it in minutes). A row that
    #   was pulled within it is with a grader, and is not handed off.
    processing_delay_seconds: float = 60
    # .. setting_name: MIGRATION_SHIM["LEGACY_PRIMARY"]
    # .. setting_default: None
    # .. setting_description: The server behind the alias xqueue, as "host:port" in its own words (@@hostname, @@port),
    #   if you vouch for it being the primary. Counts only where the account may not ask the server itself; another
    #   server behind the alias, as after a failover, is unknown again.
    legacy_primary: str | None = None
    # .. setting_name: MIGRATION_SHIM["PUSH_QUEUES"]
    # .. setting_default: []
    # .. setting_description: Queues that XQueue pushes to a URL. edx-submissions cannot push: their rows are left to
    #   legacy.
    push_queues: list = field(default_factory=list)
    # .. setting_name: MIGRATION_SHIM["HOLD_SECONDS"]
    # .. setting_default: 2.0
    # .. setting_description: The watcher seam hands out nothing younger than this. CAPA saves its queue state only
    #   after the door has returned; a grade that is faster than that is lost.
    hold_seconds: float = 2.0
    # .. setting_name: MIGRATION_SHIM["LEASE_SECONDS"]
    # .. setting_default: 300
    # .. setting_description: How long a grader has for a submission before it is offered again, with a new key.
    lease_seconds: int = 300
    # .. setting_name: MIGRATION_SHIM["LEASE_LIMIT"]
    # .. setting_default: 5
    # .. setting_description: A submission whose leases have run out this often is failed. See HAND_OUT_SECONDS for
    #   those that count.
    lease_limit: int = 5
    # .. setting_name: MIGRATION_SHIM["HAND_OUT_SECONDS"]
    # .. setting_default: 0.5
    # .. setting_description: A lease counts towards LEASE_LIMIT only if the watcher seam answered within so many
    #   seconds, and the grader's next request came after that: what took longer may not have reached it. Half the
    #   time-out of your watchers (REQUESTS_TIMEOUT in xqwatcher.json, 1 by default).
    hand_out_seconds: float = 0.5
    # .. setting_name: MIGRATION_SHIM["HAND_OUT_LIMIT"]
    # .. setting_default: 15
    # .. setting_description: A submission that was handed out so often without a result is an alarm
    #   (handed_out_in_vain), whether or not its leases count. One that the ledger knows nothing of is failed then.
    hand_out_limit: int = 15
    # .. setting_name: MIGRATION_SHIM["TELL_LEARNER_OF_FAILURE"]
    # .. setting_default: True
    # .. setting_description: When a submission has failed for good, give its learner XQueue's message that it could not
    #   be graded, instead of leaving it queued for ever.
    tell_learner_of_failure: bool = True
    # .. setting_name: MIGRATION_SHIM["OVERLAP_SECONDS"]
    # .. setting_default: 60
    # .. setting_description: Legacy ids commit out of order. A checkpoint never passes the oldest id that arrived
    #   within this many seconds; that tail is read again by the next run.
    overlap_seconds: int = 60
    # .. setting_name: MIGRATION_SHIM["VERIFY_ROWS"]
    # .. setting_default: 10000
    # .. setting_description: How many rows of a backfill are read back before they are committed and compared with what
    #   was meant: all rows of a run of up to this many, of a longer one every so many batches. 0: none.
    verify_rows: int = 10_000
    # .. setting_name: MIGRATION_SHIM["PAUSE_FILE"]
    # .. setting_default: None
    # .. setting_description: A path. While a file stands there, long runs wait before their next batch, on every
    #   machine that sees it.
    pause_file: str | None = None
    # .. setting_name: MIGRATION_SHIM["THROTTLE_LAG_SECONDS"]
    # .. setting_default: 10.0
    # .. setting_description: Long runs wait while a replica is further behind its source than this. None: never.
    #   Lag can be seen on a replica only: name yours in THROTTLE_REPLICAS.
    throttle_lag_seconds: float | None = 10.0
    # .. setting_name: MIGRATION_SHIM["THROTTLE_REPLICAS"]
    # .. setting_default: []
    # .. setting_description: Aliases of DATABASES that are asked for lag and load besides default and xqueue, as
    #   read_replica. The account needs REPLICATION CLIENT (MariaDB: REPLICA MONITOR); without it the lag is unknown,
    #   and nobody waits for it.
    throttle_replicas: list = field(default_factory=list)
    # .. setting_name: MIGRATION_SHIM["THROTTLE_THREADS_RUNNING"]
    # .. setting_default: 25
    # .. setting_description: Long runs wait while a database server runs more threads than this (Threads_running).
    #   None: never.
    throttle_threads_running: int | None = 25
    # .. setting_name: MIGRATION_SHIM["RANGE_ROWS"]
    # .. setting_default: 5000
    # .. setting_description: Rows in the range of ids that one task takes where Celery's workers do the work: legacy
    #   rows of a backfill, ledger entries of a reconcile.
    range_rows: int = 5000
    # .. setting_name: MIGRATION_SHIM["RANGE_STALL_SECONDS"]
    # .. setting_default: 60.0
    # .. setting_description: A range that a worker has begun and that has not moved for so long is sent again: its
    #   worker may be dead. Sent for nothing it does no harm. It should be longer than a batch takes.
    range_stall_seconds: float = 60.0
    # .. setting_name: MIGRATION_SHIM["PRESENCE_GRACE_SECONDS"]
    # .. setting_default: 120
    # .. setting_description: How long after its arrival a submission may lack its copy before that is a divergence.
    presence_grace_seconds: int = 120
    # .. setting_name: MIGRATION_SHIM["GRADING_DEADLINE_SECONDS"]
    # .. setting_default: 3600
    # .. setting_description: How long one side may still be grading when the other has finished (waiting); after that
    #   the pair is overdue.
    grading_deadline_seconds: int = 3600
    # .. setting_name: MIGRATION_SHIM["LATE_REPLY_SECONDS"]
    # .. setting_default: 420
    # .. setting_description: How long after its outcome a submission may still change (late replies, handed-out
    #   copies); older ones are settled, and only xqueue_reconcile --full looks at them. Twice XQueue's processing delay
    #   plus the lease.
    late_reply_seconds: int = 420
    # .. setting_name: MIGRATION_SHIM["DELIVERY_GRACE_SECONDS"]
    # .. setting_default: 120
    # .. setting_description: How long after a submission's row has ended its learner's state may still wait for the
    #   grade. Then the learner is undelivered: an alarm, and the gate fails.
    delivery_grace_seconds: int = 120
    # .. setting_name: MIGRATION_SHIM["SCORE_RECEIVERS"]
    # .. setting_default: ["lms", "openedx", "xmodule"]
    # .. setting_description: Packages or modules whose receiver of EXTERNAL_GRADER_SCORE_SUBMITTED gives learners their
    #   grades. Without one of them no result is delivered: preflight blocks, and nothing is delivered again.
    score_receivers: list = field(default_factory=lambda: ["lms", "openedx", "xmodule"])
    # .. setting_name: MIGRATION_SHIM["WATCH_STEP_BACK"]
    # .. setting_default: False
    # .. setting_description: Let xqueue_watch step a course back to legacy, once, when the target has failed it and
    #   XQueue has just answered a login and a get_queuelen. Off: it says so and sends the signal, and does nothing.
    watch_step_back: bool = False
    # .. setting_name: MIGRATION_SHIM["WATCH_OVERDUE_LIMIT"]
    # .. setting_default: 5
    # .. setting_description: So many submissions of a course may be overdue on the target before xqueue_watch takes
    #   that for its failure. Fewer are an alarm: one may be a program that no grader gets through.
    watch_overdue_limit: int = 5
    # .. setting_name: MIGRATION_SHIM["WATCH_STUCK_SECONDS"]
    # .. setting_default: 900
    # .. setting_description: A queue is stuck when a submission has waited in it for so many seconds, and in all that
    #   time no grader has given a result for the queue. Three leases by default.
    watch_stuck_seconds: float = 900
    # .. setting_name: MIGRATION_SHIM["WATCH_PURGE"]
    # .. setting_default: False
    # .. setting_description: Let every round of xqueue_watch drop the residue of entries that have been settled for
    #   PURGE_AFTER_SECONDS, and stored contents that no row names. Off: it only counts them.
    watch_purge: bool = False
    # .. setting_name: MIGRATION_SHIM["PURGE_AFTER_SECONDS"]
    # .. setting_default: 2592000
    # .. setting_description: How long an entry has to be settled before its residue (raw header, payload, student_info,
    #   extra keys) may be dropped. 30 days.
    purge_after_seconds: int = 30 * 24 * 3600
    # .. setting_name: MIGRATION_SHIM["SWEEP_AFTER_SECONDS"]
    # .. setting_default: 86400
    # .. setting_description: How old a stored content must be before it may be removed because no row names it; at
    #   least 3600. Contents are stored before the transaction that writes their rows.
    sweep_after_seconds: int = 24 * 3600
    # .. setting_name: MIGRATION_SHIM["OVERRIDE_SECONDS"]
    # .. setting_default: 86400
    # .. setting_description: How long a signed override of the gate lasts, and is printed on every report.
    override_seconds: int = 24 * 3600
    # .. setting_name: MIGRATION_SHIM["EVIDENCE_MAX_AGE_SECONDS"]
    # .. setting_default: 86400
    # .. setting_description: A reconcile, a preflight or a permit older than this is stale. Nothing stale opens
    #   a gate.
    evidence_max_age_seconds: int = 24 * 3600
    # .. setting_name: MIGRATION_SHIM["EVIDENCE_DAYS"]
    # .. setting_default: 30
    # .. setting_description: For how many days a clean pair counts at the gate, from when the target graded or echoed
    #   it: in whole days of UTC, so that the day in which the window begins does not count. A queue to which no
    #   submission came for so long is idle. Divergences do not age.
    evidence_days: float = 30
    # .. setting_name: MIGRATION_SHIM["PREFLIGHT_GRADERS"]
    # .. setting_default: {}
    # .. setting_description: Accounts that xqueue_preflight logs in with at the watcher seam, password by user name:
    #   Django users of the group xqueue. Not those of watchers: where the platform lets a user have one session, it
    #   would log them out.
    preflight_graders: dict = field(default_factory=dict, repr=False)
    # .. setting_name: MIGRATION_SHIM["GATE_THRESHOLD"]
    # .. setting_default: 0.01
    # .. setting_description: The rate of unexplained divergences that a course must be shown to be under. 0.01 needs
    #   449 clean pairs, 0.05 needs 88.
    gate_threshold: float = 0.01
    # .. setting_name: MIGRATION_SHIM["GATE_ERROR"]
    # .. setting_default: 0.05
    # .. setting_description: The chance, over all looks together, that a course at the threshold is let through.
    gate_error: float = 0.05
    # .. setting_name: MIGRATION_SHIM["GATE_MIN_PAIRS_PER_QUEUE"]
    # .. setting_default: 5
    # .. setting_description: Pairs that a real grader must have graded on both sides, for every queue.
    gate_min_pairs_per_queue: int = 5
    # .. setting_name: MIGRATION_SHIM["GATE_MIN_PAIRS_PER_PROBLEM"]
    # .. setting_default: 20
    # .. setting_description: Graded pairs a problem needs, or all it has if it has fewer; with fewer it is thin.
    gate_min_pairs_per_problem: int = 20
    # .. setting_name: MIGRATION_SHIM["GATE_THIN_SHARE"]
    # .. setting_default: 0.05
    # .. setting_description: Thin problems block unless together they carry less than this share of the traffic.
    gate_thin_share: float = 0.05
    # .. setting_name: MIGRATION_SHIM["GATE_LATENCY_FACTOR"]
    # .. setting_default: 2.0
    # .. setting_description: The target's 95th percentile, from arrival to result, may be so many times legacy's, plus
    #   GATE_LATENCY_SECONDS.
    gate_latency_factor: float = 2.0
    # .. setting_name: MIGRATION_SHIM["GATE_LATENCY_SECONDS"]
    # .. setting_default: 60.0
    # .. setting_description: See GATE_LATENCY_FACTOR.
    gate_latency_seconds: float = 60.0
    # .. setting_name: MIGRATION_SHIM["GATE_NOISE_CAP"]
    # .. setting_default: 0.05
    # .. setting_description: The most that shadows graded twice on the target may excuse, as a rate.
    gate_noise_cap: float = 0.05
    # .. setting_name: MIGRATION_SHIM["TWIN_PERCENT"]
    # .. setting_default: 0
    # .. setting_description: The share of shadows, in percent, that are graded twice on the target, to learn how often
    #   its graders disagree with themselves. Decided by a hash of the submission; written by a reconcile, for courses
    #   in shadow, of submissions that both systems have graded. Never for SIDE_EFFECT_QUEUES. 0: none.
    twin_percent: float = 0
    # .. setting_name: MIGRATION_SHIM["SIDE_EFFECT_QUEUES"]
    # .. setting_default: []
    # .. setting_description: Queues whose graders must not grade a submission twice, by name. The gate asks for no pair
    #   of theirs that a real grader has graded on both sides, and says so: echo is all the proof that there is.
    side_effect_queues: list = field(default_factory=list)
    # .. setting_name: MIGRATION_SHIM["SIDE_EFFECT_FREE_QUEUES"]
    # .. setting_default: []
    # .. setting_description: Queues whose graders may grade a submission twice, by name: nothing but the reply comes of
    #   it. Preflight notes every queue that is in neither list.
    side_effect_free_queues: list = field(default_factory=list)

    @property
    def suffixes(self) -> tuple[str, ...]:
        """What the names of queues end in that are the shim's own."""
        return (
            self.held_queue_suffix,
            self.echo_queue_suffix,
            self.shadow_queue_suffix,
            self.reverse_queue_suffix,
        )

    def may_pull(self, account: str, queue_name: str) -> bool:
        """Whether the watcher seam hands a queue to a grader's account."""
        if has_suffix(queue_name, (self.held_queue_suffix, self.echo_queue_suffix)):
            return False
        names = self.grader_queues.get(account, self.grader_queues.get("*", ())) if self.grader_queues else ("*",)
        return "*" in names or queue_name in names

    def sample_of(self, course_id: str) -> float:
        """The share of a course's learners, in percent, whose submissions are copied."""
        return self.sample_percent.get(course_id, self.sample_percent.get("*", 100))

    def thresholds(self) -> Thresholds:
        """The gate's part of the settings."""
        return Thresholds(
            rate=self.gate_threshold,
            error=self.gate_error,
            pairs_per_queue=self.gate_min_pairs_per_queue,
            pairs_per_problem=self.gate_min_pairs_per_problem,
            thin_share=self.gate_thin_share,
            max_age_seconds=self.evidence_max_age_seconds,
            latency_factor=self.gate_latency_factor,
            latency_seconds=self.gate_latency_seconds,
            noise_cap=self.gate_noise_cap,
            demand_all=True,
            evidence_days=self.evidence_days,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LegacyAccess:
    """How to reach XQueue over HTTP. Timeouts in seconds."""

    url: str
    username: str
    # Left out of the representation: error reporters print the variables of a traceback.
    password: str = field(repr=False)
    basic_auth: tuple[str, str] | None = field(repr=False)
    timeout: tuple[float, float]


@functools.cache
def _types() -> dict[str, tuple[str, Any]]:
    hints = typing.get_type_hints(ShimSettings)
    return {name.upper(): (name, hint) for name, hint in hints.items()}


def _accepts(hint: Any, value: Any) -> bool:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if isinstance(value, bool):
        return bool in options
    if float in options and isinstance(value, int):
        return True
    return isinstance(value, options)


def _range_problem(key: str, value: Any) -> str | None:
    rates = {"GATE_THRESHOLD", "GATE_ERROR", "GATE_THIN_SHARE", "GATE_NOISE_CAP"}
    if key in rates and not 0 < value < 1:
        return f"MIGRATION_SHIM[{key!r}] must lie between 0 and 1."
    if key.endswith(("_TIMEOUT", "_DOOR_SECONDS")) and not 0 < value < math.inf:
        return f"MIGRATION_SHIM[{key!r}] must be a number of seconds above 0."
    if key == "TWIN_PERCENT" and not 0 <= value <= 100:
        return "MIGRATION_SHIM['TWIN_PERCENT'] must be a number from 0 to 100."
    if isinstance(value, int | float) and not isinstance(value, bool) and value < 0:
        return f"MIGRATION_SHIM[{key!r}] must not be negative."
    if key == "SWEEP_AFTER_SECONDS" and value < 3600:
        return "MIGRATION_SHIM['SWEEP_AFTER_SECONDS'] must be at least 3600: a transaction may still be at work."
    if key == "EVIDENCE_DAYS" and not 0 < value <= 36500:
        return "MIGRATION_SHIM['EVIDENCE_DAYS'] must be a number of days above 0, of a hundred years at most."
    if key == "RANGE_ROWS" and value < 1:
        return "MIGRATION_SHIM['RANGE_ROWS'] must be above 0."
    if key == "THROTTLE_REPLICAS" and not all(isinstance(alias, str) for alias in value):
        return "MIGRATION_SHIM['THROTTLE_REPLICAS'] must be a list of database aliases."
    queue_lists = ("PUSH_QUEUES", "SIDE_EFFECT_QUEUES", "SIDE_EFFECT_FREE_QUEUES")
    if key in queue_lists and not all(isinstance(name, str) for name in value):
        return f"MIGRATION_SHIM[{key!r}] must be a list of queue names."
    if key == "SCORE_RECEIVERS" and not all(isinstance(name, str) and name for name in value):
        return "MIGRATION_SHIM['SCORE_RECEIVERS'] must be a list of Python packages or modules."
    if key == "COPIES" and value not in ("deferred", "inline"):
        return "MIGRATION_SHIM['COPIES'] must be 'deferred' or 'inline'."
    if key == "SAMPLE_PERCENT" and not all(
        isinstance(percent, int | float) and not isinstance(percent, bool) and 0 <= percent <= 100
        for percent in value.values()
    ):
        return "MIGRATION_SHIM['SAMPLE_PERCENT'] must map courses to numbers from 0 to 100."
    if key in ("SUBMIT_USERS", "PREFLIGHT_GRADERS") and not all(
        isinstance(name, str) and isinstance(password, str) and password for name, password in value.items()
    ):
        return f"MIGRATION_SHIM[{key!r}] must map user names to passwords that are not empty."
    if key == "GRADER_QUEUES" and not all(
        isinstance(name, str) and isinstance(queues, list | tuple) and all(isinstance(queue, str) for queue in queues)
        for name, queues in value.items()
    ):
        return "MIGRATION_SHIM['GRADER_QUEUES'] must map user names to lists of queue names."
    if key == "LEGACY_FILE_HOSTS" and not all(isinstance(host, str) and _HOST.fullmatch(host) for host in value):
        return "MIGRATION_SHIM['LEGACY_FILE_HOSTS'] must be a list of host names, as name or name:port."
    if key.endswith("CALLBACK_HOSTS") and not all(isinstance(host, str) and named_host(host) for host in value):
        return f"MIGRATION_SHIM[{key!r}] must be a list of host names, as name or name:port."
    if key.endswith("_SUFFIX") and not value:
        return f"MIGRATION_SHIM[{key!r}] must not be empty: a copy needs a queue of its own."
    return None


def _default(name: str) -> Any:
    return next(item.default for item in dataclasses.fields(ShimSettings) if item.name == name)


def problems() -> list[str]:
    """Every reason why the dictionary is not usable, each naming its key; empty when it is."""
    return [text for _, text in _found()]


def _found() -> list[tuple[str, str]]:
    """What is wrong with the dictionary: key by key, the key itself (empty: all of them) and the reason."""
    given = getattr(django_settings, "MIGRATION_SHIM", {})
    if not isinstance(given, dict):
        return [("", "MIGRATION_SHIM must be a dictionary.")]
    known = _types()
    found = []
    for key, value in given.items():
        if key not in known:
            found.append((key, f"MIGRATION_SHIM[{key!r}] is not a setting of migration_shim."))
        elif not _accepts(known[key][1], value):
            # The value is not shown: it may be a password.
            text = f"MIGRATION_SHIM[{key!r}] is a {type(value).__name__}, which does not fit {known[key][1]}."
            found.append((key, text))
        elif (problem := _range_problem(key, value)) is not None:
            found.append((key, problem))
    shadow, echo = (given.get(key, _default(key.lower())) for key in ("SHADOW_QUEUE_SUFFIX", "ECHO_QUEUE_SUFFIX"))
    if shadow == echo:
        text = 'MIGRATION_SHIM["ECHO_QUEUE_SUFFIX"] must not be that of shadows: no grader may poll its queues.'
        found.append(("ECHO_QUEUE_SUFFIX", text))
    if given.get("HELD_QUEUE_SUFFIX", _default("held_queue_suffix")) in (shadow, echo):
        text = 'MIGRATION_SHIM["HELD_QUEUE_SUFFIX"] must be one of its own: no grader may poll its queues.'
        found.append(("HELD_QUEUE_SUFFIX", text))
    if both := frozenset.intersection(*callback_hosts()):
        names = ", ".join(sorted(both))
        text = f'MIGRATION_SHIM["CALLBACK_HOSTS"] and ["FOREIGN_CALLBACK_HOSTS"] both name {names}.'
        found.append(("FOREIGN_CALLBACK_HOSTS", text))
    return found


def callback_hosts() -> tuple[frozenset[str], frozenset[str]]:
    """
    The hosts that CALLBACK_HOSTS and FOREIGN_CALLBACK_HOSTS name, each as ``core.hosts.host_of`` gives it.

    It looks at these keys only, and a list that is not usable names none: then the rows of its hosts are left alone.
    """
    given = getattr(django_settings, "MIGRATION_SHIM", {})
    lists = [
        given.get(key) if isinstance(given, dict) else None for key in ("CALLBACK_HOSTS", "FOREIGN_CALLBACK_HOSTS")
    ]
    ours, foreign = (
        frozenset(named_host(host) for host in hosts if isinstance(host, str)) - {""}
        if isinstance(hosts, list)
        else frozenset()
        for hosts in lists
    )
    return ours, foreign


def load() -> ShimSettings:
    """
    The settings in force.

    Raises:
        ConfigurationError: naming every bad key. Who serves learners or graders asks ``usable`` instead.
    """
    if found := problems():
        raise ConfigurationError(" ".join(found))
    return usable()[0]


def usable() -> tuple[ShimSettings, frozenset[str]]:
    """
    What can be used of the settings, and the keys that cannot; a bad key has its default.

    For the doors and the watcher seam: a mistake in one key disables what that key configures, and nothing else. Which
    system is authoritative for a course needs no key at all.
    """
    given = getattr(django_settings, "MIGRATION_SHIM", {})
    known = _types()
    bad = frozenset(key for key, _ in _found())
    if "" in bad:
        return ShimSettings(), frozenset(known)
    good = {known[key][0]: value for key, value in given.items() if key in known and key not in bad}
    return ShimSettings(**good), bad


def legacy_access() -> LegacyAccess:
    """
    How to reach XQueue, from ``MIGRATION_SHIM`` or else from the platform's ``XQUEUE_INTERFACE``.

    It looks at the legacy keys only, and passes over one that is not usable, so that a mistake in the dictionary never
    cuts a learner off from legacy.

    Raises:
        ConfigurationError: when neither names a URL.
    """
    given = getattr(django_settings, "MIGRATION_SHIM", {})
    known = _types()
    ours = {
        key: value
        for key, value in (given.items() if isinstance(given, dict) else ())
        if key in known and _accepts(known[key][1], value) and _range_problem(key, value) is None
    }
    platform = getattr(django_settings, "XQUEUE_INTERFACE", None) or {}
    account = platform.get("django_auth") or {}
    url = ours.get("LEGACY_URL") or platform.get("url")
    if not url:
        raise ConfigurationError('Neither MIGRATION_SHIM["LEGACY_URL"] nor XQUEUE_INTERFACE["url"] is set.')
    basic_auth = platform.get("basic_auth")
    return LegacyAccess(
        url=str(url).rstrip("/"),
        username=ours.get("LEGACY_USERNAME") or account.get("username") or "",
        password=ours.get("LEGACY_PASSWORD") or account.get("password") or "",
        basic_auth=(str(basic_auth[0]), str(basic_auth[1])) if basic_auth else None,
        timeout=(
            ours.get("LEGACY_CONNECT_TIMEOUT", _default("legacy_connect_timeout")),
            ours.get("LEGACY_READ_TIMEOUT", _default("legacy_read_timeout")),
        ),
    )
