"""What preflight looks for in the installation itself: databases, platform, and who answers where."""

from __future__ import annotations

from .findings import BLOCKER, NOTE, WARNING, Rule, by_code

_RELEASE = (
    Rule(
        code="submissions_unsupported",
        severity=BLOCKER,
        effect="The installed edx-submissions is not one that this app was made for and tested with.",
        advice="Install edx-submissions>=3.12.2,<5.",
    ),
    Rule(
        code="django_unsupported",
        severity=WARNING,
        effect="The installed Django is not one that this app was tested with.",
        advice="Install Django>=5.2.7,<5.3.",
    ),
    Rule(
        code="pins_replaced",
        severity=WARNING,
        effect="The LMS runs on versions that its own requirements do not pin, and that nobody has tested it with.",
        advice="Install with pip install -c requirements/edx/base.txt of the platform, and let go only the pins that "
        "the table of releases names.",
    ),
    Rule(
        code="sender_unusable",
        severity=WARNING,
        effect="The platform's own sender gives no queue_key, and the installed edx-submissions takes nothing without: "
        "a course with send_to_submission_course.enable on loses every submission that does not go through this app.",
        advice="Turn that flag off for every course.",
    ),
    Rule(
        code="scores_not_scaled",
        severity=WARNING,
        effect="edx-submissions before 4.0.2 stores a score as it comes: a fraction is refused, five tries, then the "
        "submission fails.",
        advice="Install edx-submissions 4.0.2 where graders give fractions, or leave their courses on legacy.",
    ),
)

_DATABASES = (
    Rule(
        code="migrations_missing",
        severity=BLOCKER,
        effect="Tables or columns that this app or edx-submissions needs are not there.",
        advice="Run: manage.py migrate",
    ),
    Rule(
        code="uuid_columns",
        severity=BLOCKER,
        effect="Django writes whole UUIDs to MariaDB; these columns are too short, and refuse them.",
        advice="Change the columns to MariaDB's own type: ALTER TABLE ... MODIFY ... uuid NOT NULL.",
    ),
    Rule(
        code="legacy_unreadable",
        severity=BLOCKER,
        effect="XQueue's table cannot be read.",
        advice="Check the alias xqueue of DATABASES, and what its account may do.",
    ),
    Rule(
        code="legacy_no_primary",
        severity=BLOCKER,
        effect="The alias xqueue leads to no primary: handoff and return are refused, older attempts not retired.",
        advice="Point the alias at the primary of XQueue's database.",
    ),
    Rule(
        code="legacy_primary_unknown",
        severity=BLOCKER,
        effect="Nobody can tell whether the alias xqueue leads to the primary: handoff and return are refused.",
        advice="Grant the account the right to ask, or name the server in the setting LEGACY_PRIMARY.",
    ),
    Rule(
        code="grant_update",
        severity=BLOCKER,
        effect="The account may not retire XQueue's rows: no handoff, and in live older attempts are graded too.",
        advice="Run the statement on XQueue's database.",
    ),
    Rule(
        code="grant_return",
        severity=WARNING,
        effect="The account may not write what a return writes: what is in flight on the target could not come back.",
        advice="Run the statement on XQueue's database before the course goes live.",
    ),
    Rule(
        code="grant_excess",
        severity=WARNING,
        effect="The account of the alias xqueue may do more on XQueue's server than this app ever does.",
        advice="Give the alias an account that may SELECT, INSERT and UPDATE (retired, pull_time, pullkey, grader_id) "
        "on queue_submission, and nothing else.",
    ),
    Rule(
        code="charset",
        severity=BLOCKER,
        effect="What has no full Unicode refuses an emoji, or turns it into a question mark.",
        advice="Convert the tables to utf8mb4, and set the charset utf8mb4 in the alias's OPTIONS.",
    ),
    Rule(
        code="isolation",
        severity=WARNING,
        effect="Only READ COMMITTED is tested; above it a transaction reads the past, and waits for more locks.",
        advice="Set the isolation_level of the alias's OPTIONS to 'read committed', which is Django's default.",
    ),
    Rule(
        code="not_strict",
        severity=WARNING,
        effect="Without a strict mode the server cuts a text that is too long, where it should refuse it.",
        advice="Add STRICT_TRANS_TABLES to the sql_mode of the server or of the alias's init_command.",
    ),
)

_PLATFORM = (
    Rule(
        code="site",
        severity=BLOCKER,
        effect="The installation's own checks fail.",
        advice="Run: manage.py check --tag migration_shim --fail-level WARNING",
    ),
    Rule(
        code="bodies_tracked",
        severity=BLOCKER,
        effect="The platform's tracking log gets what is sent to these URLs: with the callback and the key of a "
        "submission anybody can post a grade.",
        advice="Add ^/migration_shim/ (or where the app is mounted) to TRACKING_IGNORE_URL_PATTERNS, where nothing "
        "sets it anew after the plugins' settings; treat the tracking logs so far as secrets.",
    ),
    Rule(
        code="no_score_receiver",
        severity=BLOCKER,
        effect="The platform has no receiver of EXTERNAL_GRADER_SCORE_SUBMITTED: the target would store every grade, "
        "and no learner would get one.",
        advice="Install a release of the platform that has it, or name the module of yours in "
        'MIGRATION_SHIM["SCORE_RECEIVERS"].',
    ),
    Rule(
        code="no_lms",
        severity=NOTE,
        effect="There is no courseware app here: nobody can ask whether grades arrive (undelivered: not applicable).",
        advice="Run reconcile and watch in the LMS.",
    ),
    Rule(
        code="no_graders",
        severity=WARNING,
        effect="Nobody may pull from the target: only active users of the Django group xqueue may.",
        advice="Make the group, and a user in it for each watcher (xqueue_status --watcher-config lists them).",
    ),
    Rule(
        code="single_login",
        severity=WARNING,
        effect="The platform lets a user have one session: watchers that share an account log each other out for ever.",
        advice="Make an account for each watcher, or name the group in SINGLE_LOGIN_EXEMPT_GROUPS where the release "
        "of the platform knows that setting (mid 2026).",
    ),
    Rule(
        code="cache_not_shared",
        severity=WARNING,
        effect="Each process has a cache of its own: an open breaker is seen by one process and not by the others.",
        advice="Use a cache that all processes share, as memcached or Redis.",
    ),
    Rule(
        code="cache_failed",
        severity=WARNING,
        effect="The cache cannot be read: every process has breakers of its own.",
        advice="Check CACHES, and whether the server behind it answers.",
    ),
    Rule(
        code="cache_no_timeout",
        severity=WARNING,
        effect="A cache that falls silent holds every request of the platform that asks it, learners' submissions too, "
        "before the app has a say.",
        advice="Give its client a timeout, in OPTIONS: socket_timeout and socket_connect_timeout for Redis, timeout "
        "and connect_timeout for memcached.",
    ),
    Rule(
        code="celery_missing",
        severity=NOTE,
        effect="Without Celery nothing writes deferred copies but the next xqueue_backfill or xqueue_watch.",
        advice="Install the extra migration_shim[celery], or run xqueue_watch.",
    ),
    Rule(
        code="celery_eager",
        severity=WARNING,
        effect="Celery has no workers of its own: copies stay missing until a backfill or xqueue_watch writes them.",
        advice="In production give Celery a broker, and unset CELERY_TASK_ALWAYS_EAGER.",
    ),
    Rule(
        code="broker_unreachable",
        severity=WARNING,
        effect="Celery's broker does not answer: copies stay missing until a backfill or xqueue_watch writes them.",
        advice="Check the broker, and CELERY_BROKER_URL of the process that ran this.",
    ),
    Rule(
        code="broker_no_timeout",
        severity=NOTE,
        effect="A broker that falls silent holds requests in which the platform sends tasks of its own. What the app "
        "sends for a submission has a limit.",
        advice="Set socket_timeout and socket_connect_timeout in CELERY_BROKER_TRANSPORT_OPTIONS.",
    ),
    Rule(
        code="storage_unusable",
        severity=BLOCKER,
        effect="edx-submissions' storage cannot be used: submissions with files would be refused.",
        advice='Check EDX_SUBMISSIONS["MEDIA"], or MEDIA_ROOT, and what the process may do there.',
    ),
    Rule(
        code="legacy_storage_unusable",
        severity=WARNING,
        effect="XQueue's storage cannot be read: rows with files stay on legacy.",
        advice='Check MIGRATION_SHIM["LEGACY_STORAGE"], and what the process may read there.',
    ),
    Rule(
        code="platform_flag",
        severity=BLOCKER,
        effect="send_to_submission_course.enable is on: the platform passes the router by, and loses what the target's "
        "own endpoint loses.",
        advice="Turn it off for the course. Only xqueue_cutover --release may turn it on.",
    ),
    Rule(
        code="unwatched",
        severity=WARNING,
        effect="Rows wait in a queue that nobody has polled for longer than a lease.",
        advice="Let a watcher poll it (xqueue_status --watcher-config).",
    ),
)

_REACH = (
    Rule(
        code="xqueue_unreachable",
        severity=BLOCKER,
        effect="XQueue does not let the submitting account log in and ask for a queue's length, from where this ran.",
        advice='Check MIGRATION_SHIM["LEGACY_URL"] and its account, or XQUEUE_INTERFACE.',
    ),
    Rule(
        code="legacy_is_door",
        severity=BLOCKER,
        effect="What is configured as XQueue is this app's own submit door: nothing could be submitted.",
        advice='Set MIGRATION_SHIM["LEGACY_URL"] and its account to XQueue itself.',
    ),
    Rule(
        code="no_door",
        severity=WARNING,
        effect="The LMS submits past the router: a course's phase does not decide who grades, and nothing is copied "
        "but by backfills.",
        advice='Set MIGRATION_SHIM["PYTHON_DOOR"], or lead XQUEUE_INTERFACE["url"] to the submit door.',
    ),
    Rule(
        code="door_unreachable",
        severity=BLOCKER,
        effect='Neither the submit door nor XQueue answers at XQUEUE_INTERFACE["url"]: learners cannot submit.',
        advice="Start the service there, or correct the URL.",
    ),
    Rule(
        code="door_closed",
        severity=BLOCKER,
        effect='The process at XQUEUE_INTERFACE["url"] takes no submissions: learners are refused.',
        advice="Lead the URL to the submit door's own service, started with MIGRATION_SHIM_SUBMIT_DOOR=1.",
    ),
    Rule(
        code="door_refuses",
        severity=BLOCKER,
        effect='The submit door does not take the account of XQUEUE_INTERFACE["django_auth"]: learners are refused.',
        advice='Put that account into MIGRATION_SHIM["SUBMIT_USERS"] of the submit door\'s service.',
    ),
    Rule(
        code="seam_unreachable",
        severity=WARNING,
        effect="The watcher seam does not answer from where this ran. Graders may reach it all the same.",
        advice="From a grader's host run: curl LMS_ROOT_URL/migration_shim/healthz",
    ),
    Rule(
        code="seam_refuses",
        severity=BLOCKER,
        effect="The watcher seam does not let a configured account of graders log in and poll.",
        advice="Check its password, the Django group xqueue, and that LMS_ROOT_URL is the https address: over http a "
        "Secure session cookie is never sent back.",
    ),
    Rule(
        code="seam_slow",
        severity=WARNING,
        effect="The watcher seam answers a poll so slowly that watchers may have given up: what they are handed is "
        "lost, and no lease counts against a submission whose grader dies.",
        advice="Give it more workers, and set REQUESTS_TIMEOUT in xqwatcher.json (xqueue_status --watcher-config) and "
        'MIGRATION_SHIM["HAND_OUT_SECONDS"] to half of it.',
    ),
    Rule(
        code="seam_untried",
        severity=NOTE,
        effect="Nobody has logged in at the watcher seam: no account of graders is configured here.",
        advice='Name one in MIGRATION_SHIM["PREFLIGHT_GRADERS"] that no watcher uses.',
    ),
)

_LMSS = (
    Rule(
        code="callback_host_unknown",
        severity=BLOCKER,
        effect="XQueue holds rows of the course that another LMS may have sent: no setting names the host of their "
        "callbacks. They are left alone, and while any is open the course cannot go live or complete.",
        advice='Name the host in MIGRATION_SHIM["CALLBACK_HOSTS"] if it is this LMS (an older name of it, for one), '
        'else in ["FOREIGN_CALLBACK_HOSTS"].',
    ),
    Rule(
        code="callback_hosts_several",
        severity=WARNING,
        effect="Callbacks of the course name several hosts, and nothing says which is this LMS: all rows are taken for "
        "its own, those of another LMS too.",
        advice='Set LMS_ROOT_URL, or MIGRATION_SHIM["CALLBACK_HOSTS"].',
    ),
    Rule(
        code="callback_host_unnamed",
        severity=WARNING,
        effect="Submissions have come through our own door with callbacks to this host, and no setting says that it is "
        "this LMS, or one says that it is another.",
        advice='Name it in MIGRATION_SHIM["CALLBACK_HOSTS"], or find out which LMS submits here.',
    ),
    Rule(
        code="other_lms",
        severity=NOTE,
        effect="Another LMS has sent rows of the same course; they are left alone and counted nowhere.",
        advice="Nothing.",
    ),
    Rule(
        code="ledger_not_ours",
        severity=BLOCKER,
        effect="The ledger belongs to another LMS: nothing is moved, superseded on legacy, purged or swept.",
        advice="See the runbook, 'Several LMSs on one XQueue'.",
    ),
)

SITE_RULES = by_code(*_RELEASE, *_DATABASES, *_PLATFORM, *_REACH, *_LMSS)
