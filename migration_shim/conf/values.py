"""
Every setting: its key, its type with the rules for its value, its default, and what it is for.

The comments are what docs/reference/settings.rst and Open edX's own documentation are made from.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..core.evidence import Thresholds
from ..core.identity import has_suffix
from . import rules

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
    legacy_connect_timeout: rules.Deadline = 3.05
    # .. setting_name: MIGRATION_SHIM["LEGACY_READ_TIMEOUT"]
    # .. setting_default: 10.0
    # .. setting_description: Seconds to wait for XQueue's answer. The default is the LMS's own.
    legacy_read_timeout: rules.Deadline = 10.0
    # .. setting_name: MIGRATION_SHIM["PYTHON_DOOR"]
    # .. setting_default: False
    # .. setting_description: Let the platform's own XQueueInterface hand every submission to the router. Off, nothing
    #   of the platform is touched.
    python_door: bool = False
    # .. setting_name: MIGRATION_SHIM["PYTHON_DOOR_SECONDS"]
    # .. setting_default: 30.0
    # .. setting_description: The deadline of one whole call of the Python door: login, submit, and a copy if any is
    #   left.
    python_door_seconds: rules.Deadline = 30.0
    # .. setting_name: MIGRATION_SHIM["HTTP_DOOR_SECONDS"]
    # .. setting_default: 9.0
    # .. setting_description: The deadline of one whole call of the HTTP door. It must stay under the LMS's read timeout
    #   of 10 seconds, or learners are told of failures that were none.
    http_door_seconds: rules.Deadline = 9.0
    # .. setting_name: MIGRATION_SHIM["SUBMIT_USERS"]
    # .. setting_default: {}
    # .. setting_description: The accounts of the HTTP door, password by user name. They are the door's own: neither
    #   Django's users nor its sessions know them.
    submit_users: rules.Passwords = field(default_factory=dict, repr=False)
    # .. setting_name: MIGRATION_SHIM["COPIES"]
    # .. setting_default: "deferred"
    # .. setting_description: "deferred" writes each copy in a Celery worker, and leaves it to xqueue_watch where there
    #   is no Celery; "inline" writes shadows in the submit call itself, for tests and small sites, with no bound on the
    #   time it adds.
    copies: rules.WhenCopied = "deferred"
    # .. setting_name: MIGRATION_SHIM["CELERY_QUEUE"]
    # .. setting_default: None
    # .. setting_description: The Celery queue of the app's tasks. None: the platform's default queue.
    celery_queue: str | None = None
    # .. setting_name: MIGRATION_SHIM["PUBLISH_SECONDS"]
    # .. setting_default: 0.5
    # .. setting_description: How long telling a worker of what is owed may take before it counts as failed.
    publish_seconds: rules.Number = 0.5
    # .. setting_name: MIGRATION_SHIM["BREAKER_FAILURES"]
    # .. setting_default: 5
    # .. setting_description: Failures in a row after which copies are no longer tried for a while.
    breaker_failures: rules.Count = 5
    # .. setting_name: MIGRATION_SHIM["BREAKER_SECONDS"]
    # .. setting_default: 30
    # .. setting_description: How long an open breaker keeps copies from being tried; then one is let through.
    breaker_seconds: rules.Count = 30
    # .. setting_name: MIGRATION_SHIM["SAMPLE_PERCENT"]
    # .. setting_default: {}
    # .. setting_description: The share of learners, in percent, whose submissions are copied, by course id; "*" stands
    #   for every other course. What is not named is copied whole.
    sample_percent: rules.Shares = field(default_factory=dict)
    # .. setting_name: MIGRATION_SHIM["POINTS_RESOLVER"]
    # .. setting_default: "migration_shim.lms.points.from_student_modules"
    # .. setting_description: A function of (course id, usage key) that knows a problem's maximum score where the block
    #   is not at hand, or returns None; then 1 is assumed and counted.
    points_resolver: str = "migration_shim.lms.points.from_student_modules"
    # .. setting_name: MIGRATION_SHIM["REVERSE_QUEUE_SUFFIX"]
    # .. setting_default: ".reverse"
    # .. setting_description: Appended to a queue's name for reverse shadows. XQueue must know that queue (XQUEUES) and
    #   a grader must poll it.
    reverse_queue_suffix: rules.Suffix = ".reverse"
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
    callback_hosts: rules.CallbackHosts = field(default_factory=list)
    # .. setting_name: MIGRATION_SHIM["FOREIGN_CALLBACK_HOSTS"]
    # .. setting_default: []
    # .. setting_description: Hosts of other LMSs on the same XQueue, as a staging one. Their rows are left alone
    #   without a word; those of a host that neither setting names are left alone too, and block live and complete while
    #   any is open.
    foreign_callback_hosts: rules.CallbackHosts = field(default_factory=list)
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
    legacy_file_hosts: rules.FileHosts = field(default_factory=list)
    # .. setting_name: MIGRATION_SHIM["LEGACY_FILE_LIMIT"]
    # .. setting_default: 8388608
    # .. setting_description: The largest file, in bytes, that is copied from XQueue's storage. The LMS
    #   itself allows 4 MB.
    legacy_file_limit: rules.Count = 8 * 1024 * 1024
    # .. setting_name: MIGRATION_SHIM["LEGACY_ROW_LIMIT"]
    # .. setting_default: 104857600
    # .. setting_description: The largest sum of the files of one row, in bytes. The LMS allows 20 files an input.
    legacy_row_limit: rules.Count = 100 * 1024 * 1024
    # .. setting_name: MIGRATION_SHIM["SHADOW_QUEUE_SUFFIX"]
    # .. setting_default: ".shadow"
    # .. setting_description: Appended to a queue's name for its shadows on the target. A grader must poll that queue.
    shadow_queue_suffix: rules.Suffix = ".shadow"
    # .. setting_name: MIGRATION_SHIM["ECHO_QUEUE_SUFFIX"]
    # .. setting_default: ".echo"
    # .. setting_description: Appended to a queue's name for imported history. No grader polls that queue.
    echo_queue_suffix: rules.Suffix = ".echo"
    # .. setting_name: MIGRATION_SHIM["HELD_QUEUE_SUFFIX"]
    # .. setting_default: ".held"
    # .. setting_description: Appended to a queue's name for rows that a handoff holds. No grader polls that queue.
    held_queue_suffix: rules.Suffix = ".held"
    # .. setting_name: MIGRATION_SHIM["GRADER_QUEUES"]
    # .. setting_default: {}
    # .. setting_description: Which queues the watcher seam hands to which account, as lists by user name; "*" stands
    #   for every queue, and for every account that is not named. Empty: every account of the group xqueue has every
    #   queue. No account has those of held rows and of imported history. xqueue_status --watcher-config prints one.
    grader_queues: rules.QueuesByUser = field(default_factory=dict)
    # .. setting_name: MIGRATION_SHIM["HANDOFF_SETTLE_SECONDS"]
    # .. setting_default: 60
    # .. setting_description: How long a handoff waits between taking a row from legacy's graders and giving it to the
    #   target's: a pull that XQueue had begun before may bring the row back for so long. Never under the time that an
    #   XQueue worker may take for one request; check E014 refuses less than 10.
    handoff_settle_seconds: rules.Number = 60
    # .. setting_name: MIGRATION_SHIM["PROCESSING_DELAY_SECONDS"]
    # .. setting_default: 60
    # .. setting_description: XQueue's SUBMISSION_PROCESSING_DELAY, in seconds (XQueue has it in minutes). A row that
    #   was pulled within it is with a grader, and is not handed off.
    processing_delay_seconds: rules.Number = 60
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
    push_queues: rules.Queues = field(default_factory=list)
    # .. setting_name: MIGRATION_SHIM["HOLD_SECONDS"]
    # .. setting_default: 2.0
    # .. setting_description: The watcher seam hands out nothing younger than this. CAPA saves its queue state only
    #   after the door has returned; a grade that is faster than that is lost.
    hold_seconds: rules.Number = 2.0
    # .. setting_name: MIGRATION_SHIM["LEASE_SECONDS"]
    # .. setting_default: 300
    # .. setting_description: How long a grader has for a submission before it is offered again, with a new key.
    lease_seconds: rules.Count = 300
    # .. setting_name: MIGRATION_SHIM["LEASE_LIMIT"]
    # .. setting_default: 5
    # .. setting_description: A submission whose leases have run out this often is failed. See HAND_OUT_SECONDS for
    #   those that count.
    lease_limit: rules.Count = 5
    # .. setting_name: MIGRATION_SHIM["HAND_OUT_SECONDS"]
    # .. setting_default: 0.5
    # .. setting_description: A lease counts towards LEASE_LIMIT only if the watcher seam answered within so many
    #   seconds, and the grader's next request came after that: what took longer may not have reached it. Half the
    #   time-out of your watchers (REQUESTS_TIMEOUT in xqwatcher.json, 1 by default).
    hand_out_seconds: rules.Number = 0.5
    # .. setting_name: MIGRATION_SHIM["HAND_OUT_LIMIT"]
    # .. setting_default: 15
    # .. setting_description: A submission that was handed out so often without a result is an alarm
    #   (handed_out_in_vain), whether or not its leases count. One that the ledger knows nothing of is failed then.
    hand_out_limit: rules.Count = 15
    # .. setting_name: MIGRATION_SHIM["TELL_LEARNER_OF_FAILURE"]
    # .. setting_default: True
    # .. setting_description: When a submission has failed for good, give its learner XQueue's message that it could not
    #   be graded, instead of leaving it queued for ever.
    tell_learner_of_failure: bool = True
    # .. setting_name: MIGRATION_SHIM["OVERLAP_SECONDS"]
    # .. setting_default: 60
    # .. setting_description: Legacy ids commit out of order. A checkpoint never passes the oldest id that arrived
    #   within this many seconds; that tail is read again by the next run.
    overlap_seconds: rules.Count = 60
    # .. setting_name: MIGRATION_SHIM["VERIFY_ROWS"]
    # .. setting_default: 10000
    # .. setting_description: How many rows of a backfill are read back before they are committed and compared with what
    #   was meant: all rows of a run of up to this many, of a longer one every so many batches. 0: none.
    verify_rows: rules.Count = 10_000
    # .. setting_name: MIGRATION_SHIM["PAUSE_FILE"]
    # .. setting_default: None
    # .. setting_description: A path. While a file stands there, long runs wait before their next batch, on every
    #   machine that sees it.
    pause_file: str | None = None
    # .. setting_name: MIGRATION_SHIM["THROTTLE_LAG_SECONDS"]
    # .. setting_default: 10.0
    # .. setting_description: Long runs wait while a replica is further behind its source than this. None: never.
    #   Lag can be seen on a replica only: name yours in THROTTLE_REPLICAS.
    throttle_lag_seconds: rules.OptionalNumber = 10.0
    # .. setting_name: MIGRATION_SHIM["THROTTLE_REPLICAS"]
    # .. setting_default: []
    # .. setting_description: Aliases of DATABASES that are asked for lag and load besides default and xqueue, as
    #   read_replica. The account needs REPLICATION CLIENT (MariaDB: REPLICA MONITOR); without it the lag is unknown,
    #   and nobody waits for it.
    throttle_replicas: rules.Aliases = field(default_factory=list)
    # .. setting_name: MIGRATION_SHIM["THROTTLE_THREADS_RUNNING"]
    # .. setting_default: 25
    # .. setting_description: Long runs wait while a database server runs more threads than this (Threads_running).
    #   None: never.
    throttle_threads_running: rules.OptionalCount = 25
    # .. setting_name: MIGRATION_SHIM["RANGE_ROWS"]
    # .. setting_default: 5000
    # .. setting_description: Rows in the range of ids that one task takes where Celery's workers do the work: legacy
    #   rows of a backfill, ledger entries of a reconcile.
    range_rows: rules.AtLeastOne = 5000
    # .. setting_name: MIGRATION_SHIM["RANGE_STALL_SECONDS"]
    # .. setting_default: 60.0
    # .. setting_description: A range that a worker has begun and that has not moved for so long is sent again: its
    #   worker may be dead. Sent for nothing it does no harm. It should be longer than a batch takes.
    range_stall_seconds: rules.Number = 60.0
    # .. setting_name: MIGRATION_SHIM["PRESENCE_GRACE_SECONDS"]
    # .. setting_default: 120
    # .. setting_description: How long after its arrival a submission may lack its copy before that is a divergence.
    presence_grace_seconds: rules.Count = 120
    # .. setting_name: MIGRATION_SHIM["GRADING_DEADLINE_SECONDS"]
    # .. setting_default: 3600
    # .. setting_description: How long one side may still be grading when the other has finished (waiting); after that
    #   the pair is overdue.
    grading_deadline_seconds: rules.Count = 3600
    # .. setting_name: MIGRATION_SHIM["DELIVERY_GRACE_SECONDS"]
    # .. setting_default: 120
    # .. setting_description: How long after a submission's row has ended its learner's state may still wait for the
    #   grade. Then the learner is undelivered: an alarm, and the gate fails.
    delivery_grace_seconds: rules.Count = 120
    # .. setting_name: MIGRATION_SHIM["SCORE_RECEIVERS"]
    # .. setting_default: ["lms", "openedx", "xmodule"]
    # .. setting_description: Packages or modules whose receiver of EXTERNAL_GRADER_SCORE_SUBMITTED gives learners their
    #   grades. Without one of them no result is delivered: preflight blocks, and nothing is delivered again.
    score_receivers: rules.Packages = field(default_factory=lambda: ["lms", "openedx", "xmodule"])
    # .. setting_name: MIGRATION_SHIM["WATCH_STEP_BACK"]
    # .. setting_default: False
    # .. setting_description: Let xqueue_watch step a course back to legacy, once, when the target has failed it and
    #   XQueue has just answered a login and a get_queuelen. Off: it says so and sends the signal, and does nothing.
    watch_step_back: bool = False
    # .. setting_name: MIGRATION_SHIM["WATCH_OVERDUE_LIMIT"]
    # .. setting_default: 5
    # .. setting_description: So many submissions of a course may be overdue on the target before xqueue_watch takes
    #   that for its failure. Fewer are an alarm: one may be a program that no grader gets through.
    watch_overdue_limit: rules.Count = 5
    # .. setting_name: MIGRATION_SHIM["WATCH_STUCK_SECONDS"]
    # .. setting_default: 900
    # .. setting_description: A queue is stuck when a submission has waited in it for so many seconds, and in all that
    #   time no grader has given a result for the queue. Three leases by default.
    watch_stuck_seconds: rules.Number = 900
    # .. setting_name: MIGRATION_SHIM["WATCH_PURGE"]
    # .. setting_default: False
    # .. setting_description: Let every round of xqueue_watch drop the residue of entries that have been settled for
    #   PURGE_AFTER_SECONDS, and stored contents that no row names. Off: it only counts them.
    watch_purge: bool = False
    # .. setting_name: MIGRATION_SHIM["PURGE_AFTER_SECONDS"]
    # .. setting_default: 2592000
    # .. setting_description: How long an entry has to be settled before its residue (raw header, payload, student_info,
    #   extra keys) may be dropped. 30 days.
    purge_after_seconds: rules.Count = 30 * 24 * 3600
    # .. setting_name: MIGRATION_SHIM["CAMPAIGN_EMAILS"]
    # .. setting_default: []
    # .. setting_description: Who is told by e-mail, through Django's EMAIL settings, when a campaign or one of its
    #   courses stops or arrives. Empty: nobody; the signal campaign_told and the log say it in any case.
    campaign_emails: rules.Addresses = field(default_factory=list)
    # .. setting_name: MIGRATION_SHIM["CAMPAIGN_HISTORY_ROWS"]
    # .. setting_default: 20000
    # .. setting_description: How many rows of XQueue a round of xqueue_watch reads at most to import the history of one
    #   course of a campaign. What is left is read by the next rounds.
    campaign_history_rows: rules.AtLeastOne = 20_000
    # .. setting_name: MIGRATION_SHIM["CAMPAIGN_SECONDS"]
    # .. setting_default: 300
    # .. setting_description: After so many seconds a round of xqueue_watch begins nothing more of campaigns, and what
    #   has taken longer is cut off. Imports and comparisons go on in the next round, a preflight has to be run by hand.
    campaign_seconds: rules.AtLeastOne = 300
    # .. setting_name: MIGRATION_SHIM["OVERRIDE_SECONDS"]
    # .. setting_default: 86400
    # .. setting_description: How long a proposed override of the gate waits for its second person. Without
    #   OVERRIDE_NEEDS_SECOND there are no proposals: an override ends with the step that it was signed for.
    override_seconds: rules.Count = 24 * 3600
    # .. setting_name: MIGRATION_SHIM["OVERRIDE_NEEDS_SECOND"]
    # .. setting_default: False
    # .. setting_description: Let an override of the gate take its step only when a second person has signed the same.
    #   The first one's command is a proposal, and changes nothing.
    override_needs_second: bool = False
    # .. setting_name: MIGRATION_SHIM["EVIDENCE_MAX_AGE_SECONDS"]
    # .. setting_default: 86400
    # .. setting_description: A reconcile, a preflight or a permit older than this is stale. Nothing stale opens
    #   a gate.
    evidence_max_age_seconds: rules.Count = 24 * 3600
    # .. setting_name: MIGRATION_SHIM["EVIDENCE_DAYS"]
    # .. setting_default: 30
    # .. setting_description: For how many days a clean pair counts at the gate, from when the target graded or echoed
    #   it: in whole days of UTC, so that the day in which the window begins does not count. A queue to which no
    #   submission came for so long is idle. Divergences do not age.
    evidence_days: rules.Days = 30
    # .. setting_name: MIGRATION_SHIM["PREFLIGHT_GRADERS"]
    # .. setting_default: {}
    # .. setting_description: Accounts that xqueue_preflight logs in with at the watcher seam, password by user name:
    #   Django users of the group xqueue. Not those of watchers: where the platform lets a user have one session, it
    #   would log them out.
    preflight_graders: rules.Passwords = field(default_factory=dict, repr=False)
    # .. setting_name: MIGRATION_SHIM["GATE_THRESHOLD"]
    # .. setting_default: 0.01
    # .. setting_description: The rate of unexplained divergences that a course must be shown to be under. 0.01 needs
    #   449 clean pairs, 0.05 needs 88.
    gate_threshold: rules.Rate = 0.01
    # .. setting_name: MIGRATION_SHIM["GATE_ERROR"]
    # .. setting_default: 0.05
    # .. setting_description: The chance, over all looks together, that a course at the threshold is let through.
    gate_error: rules.Rate = 0.05
    # .. setting_name: MIGRATION_SHIM["GATE_MIN_PAIRS_PER_QUEUE"]
    # .. setting_default: 5
    # .. setting_description: Pairs that a real grader must have graded on both sides, for every queue.
    gate_min_pairs_per_queue: rules.Count = 5
    # .. setting_name: MIGRATION_SHIM["GATE_MIN_PAIRS_PER_PROBLEM"]
    # .. setting_default: 20
    # .. setting_description: Graded pairs a problem needs, or all it has if it has fewer; with fewer it is thin.
    gate_min_pairs_per_problem: rules.Count = 20
    # .. setting_name: MIGRATION_SHIM["GATE_THIN_SHARE"]
    # .. setting_default: 0.05
    # .. setting_description: Thin problems block unless together they carry less than this share of the traffic.
    gate_thin_share: rules.Rate = 0.05
    # .. setting_name: MIGRATION_SHIM["GATE_LATENCY_FACTOR"]
    # .. setting_default: 2.0
    # .. setting_description: The target's 95th percentile, from arrival to result, may be so many times legacy's, plus
    #   GATE_LATENCY_SECONDS.
    gate_latency_factor: rules.Number = 2.0
    # .. setting_name: MIGRATION_SHIM["GATE_LATENCY_SECONDS"]
    # .. setting_default: 60.0
    # .. setting_description: See GATE_LATENCY_FACTOR.
    gate_latency_seconds: rules.Number = 60.0
    # .. setting_name: MIGRATION_SHIM["GATE_NOISE_CAP"]
    # .. setting_default: 0.05
    # .. setting_description: The most that shadows graded twice on the target may excuse, as a rate.
    gate_noise_cap: rules.Rate = 0.05
    # .. setting_name: MIGRATION_SHIM["TWIN_PERCENT"]
    # .. setting_default: 0
    # .. setting_description: The share of shadows, in percent, that are graded twice on the target, to learn how often
    #   its graders disagree with themselves. Decided by a hash of the submission; written by a reconcile, for courses
    #   in shadow, of submissions that both systems have graded. Never for SIDE_EFFECT_QUEUES. 0: none.
    twin_percent: rules.Percent = 0
    # .. setting_name: MIGRATION_SHIM["SIDE_EFFECT_QUEUES"]
    # .. setting_default: []
    # .. setting_description: Queues whose graders must not grade a submission twice, by name. The gate asks for no pair
    #   of theirs that a real grader has graded on both sides, and says so: echo is all the proof that there is.
    side_effect_queues: rules.Queues = field(default_factory=list)
    # .. setting_name: MIGRATION_SHIM["SIDE_EFFECT_FREE_QUEUES"]
    # .. setting_default: []
    # .. setting_description: Queues whose graders may grade a submission twice, by name: nothing but the reply comes of
    #   it. Preflight notes every queue that is in neither list.
    side_effect_free_queues: rules.Queues = field(default_factory=list)

    @property
    def suffixes(self) -> tuple[str, ...]:
        """What the names of queues end in that are the shim's own."""
        return (
            self.held_queue_suffix,
            self.echo_queue_suffix,
            self.shadow_queue_suffix,
            self.reverse_queue_suffix,
        )

    @property
    def late_reply_seconds(self) -> float:
        """
        How long after its outcome a submission may still change: a late reply, or a copy that was handed out meanwhile.

        Older ones are settled. Twice XQueue's processing delay plus the lease.
        """
        return 2 * self.processing_delay_seconds + self.lease_seconds

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
