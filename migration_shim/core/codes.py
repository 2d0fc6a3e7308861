"""
Every code that an operator may meet, with one line of meaning and the heading of the runbook that it opens.

A heading is named by its text, not by its page: ``pages`` knows which page has it, and is made anew by
``docs/generate.py`` when headings move. The index of all codes is ``docs/runbook/codes.md``, made from here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .pages import PAGES


@dataclass(frozen=True, slots=True)
class Code:
    """What a code means, what to do (where no page says more), and the heading that it opens."""

    meaning: str
    heading: str
    do: str = ""


#: Headings of the index itself, for codes that need no page of their own.
LOG, FINDING = "Log lines", "Findings of a preflight"
_XQUEUE_AWAY, _XQUEUE_NOT_OURS = "XQueue's database does not answer", "XQueue's database refuses the account"
_LMS_AWAY, _LMS_NOT_OURS = "The LMS's database does not answer", "The LMS's database refuses the account"
_REFUSED, _OVERRIDE = "The command is refused", "An override of the gate"
_CLOSED, _BREACH, _CHECKS = "The gate is closed", "The watch says BREACH", "The app's checks complain"

_AWAY = {
    "refused": "The server is down or out of reach: it takes no connection.",
    "no_file": "The file of an SQLite database cannot be opened.",
    "unknown_host": "The server's name leads to no address.",
    "timeout": "The server did not answer in time.",
    "slow": "A statement took longer than the server lets it.",
    "lost": "The server closed the connection, or was silent, during a statement.",
    "busy": "Others hold the rows or the file locked.",
    "crowded": "The server has no connection left.",
}
_NOT_OURS = {
    "password": "The server refuses user and password.",
    "no_database": "The server has no database of this name.",
    "denied": "The account lacks a right.",
    "closed": "The account may not use the database of this name.",
    "read_only": "The server takes no writes.",
    "full": "The server's disk is full.",
    "no_table": "The table is not there: another database, or an empty one.",
    "no_column": "The table lacks a column: another release made it.",
    "no_alias": "DATABASES has no such alias.",
    "other": "The server answered with another error.",
}

#: What can end a command, as ``code`` of the document ``migration_shim.error/1``.
ERRORS: dict[str, Code] = {
    **{f"xqueue_database_{name}": Code(meaning, _XQUEUE_AWAY) for name, meaning in _AWAY.items()},
    **{f"xqueue_database_{name}": Code(meaning, _XQUEUE_NOT_OURS) for name, meaning in _NOT_OURS.items()},
    **{f"lms_database_{name}": Code(meaning, _LMS_AWAY) for name, meaning in _AWAY.items()},
    **{
        f"lms_database_{name}": Code(meaning, _LMS_NOT_OURS)
        for name, meaning in _NOT_OURS.items()
        if name not in ("no_table", "no_column", "no_alias")
    },
    "tables_not_ours": Code("The app's tables are missing, or of another release.", "Tables of another release"),
    "target_gone": Code("The tables of edx-submissions are missing.", "The target is gone"),
    "broker_down": Code("Celery's broker takes no work.", "Celery's broker is down"),
    "workers_failed": Code("Celery's workers could not do a range.", "Celery's workers failed"),
    "cache_down": Code("The cache does not answer.", "The cache is down"),
    "disk_full": Code("A file could not be written: no room.", "A file cannot be written"),
    "file_unusable": Code("A file could not be read or written.", "A file cannot be written"),
    "run_locked": Code("Another run of the same kind and scope is at work.", "Another run holds the lock"),
    "interrupted": Code("Broken off by Ctrl-C.", "A run stopped before the end"),
    "legacy_unreadable": Code("XQueue's table cannot be read.", _XQUEUE_NOT_OURS),
    "legacy_not_writable": Code("XQueue's rows may not be changed through the alias.", _XQUEUE_NOT_OURS),
    "settings_unusable": Code("MIGRATION_SHIM holds values that must not be.", _CHECKS),
    "checks_complain": Code("The app's system checks complain.", _CHECKS),
    "refused": Code("The app refuses; the message says why and what to do.", _REFUSED),
    "usage": Code("The command line is wrong.", _REFUSED),
    "unexpected": Code("A fault of this app.", "An unexpected error"),
}

#: The lines that the app logs, each with ``migration_shim.CODE:`` in front.
_CAMPAIGN = "What a campaign does, in this order"

LOG_LINES: dict[str, Code] = {
    "out_of_bounds": Code("The watch found a course out of its bounds, and says what it did.", _BREACH),
    "receiver_failed": Code(
        "A receiver of the signal course_out_of_bounds raised an error; the others were called.",
        LOG,
        "Mend the receiver: whoever it should have told has not been told.",
    ),
    "files_not_handed_out": Code(
        "The storage did not give the files of a submission; the row is offered again when its lease runs out.",
        "Missing files",
    ),
    "files_maybe_orphaned": Code(
        "Files were stored, and whether their rows were cannot be told.",
        LOG,
        "Nothing: xqueue_watch --purge removes files without a row a day later.",
    ),
    "orphans_not_deleted": Code(
        "Files without a row could not be deleted.",
        LOG,
        "Check what the process may do in edx-submissions' storage; the next xqueue_watch --purge tries again.",
    ),
    "result_not_stored": Code(
        "edx-submissions refused a grader's result. The row is handed out again, and fails at the fifth time.",
        "Failed submissions",
    ),
    "submission_unreadable": Code("A row's own columns cannot be read; it has failed.", "Failed submissions"),
    "learner_not_told": Code(
        "A submission failed, and the platform's receiver raised an error when it was told.", "A learner waits"
    ),
    "redelivery_raised": Code(
        "The platform's receiver raised an error when a grade was delivered again; it counts as a try.", "Undelivered"
    ),
    "undeliverable": Code("Three deliveries of a grade had no effect; no more are made.", "Undelivered"),
    "target_failed": Code(
        "The target did not store a submission; its learner was told to try again.", "The target is down"
    ),
    "follow_up_failed": Code(
        "A submission is stored, and what follows (a copy, a note) failed; the outbox makes it up.", "Copies are paused"
    ),
    "login_not_limited": Code(
        "The cache does not answer, so guesses of passwords are not counted.", "The cache is down"
    ),
    "sender_unusable": Code("A submission was refused: the platform's own sender gives no queue_key.", "Past the shim"),
    "login_refused": Code(
        "A grader's login at the seam was refused.",
        LOG,
        "One line: a wrong password in xqueue_servers.json. Many, from nobody you know: somebody guesses.",
    ),
    "legacy_url_is_door": Code(
        "The submit door got a submission that the shim itself had sent: it would go round for ever.",
        LOG,
        'Set MIGRATION_SHIM["LEGACY_URL"] to XQueue itself. Until then every submission is refused.',
    ),
    "points_resolver_failed": Code(
        "The function of the setting POINTS_RESOLVER raised an error.",
        LOG,
        "Mend the function; run the backfill again for the rows that it left.",
    ),
    "counters_differ": Code("Counters differed from the ledger, and were set right.", "Counters differ"),
    "callback_host_unnamed": Code(
        "Submissions come with callbacks to a host that no setting names.", "Several LMSs on one XQueue"
    ),
    "phase_not_remembered": Code(
        "The cache does not take a course's phase: if the database goes away too, nobody knows it.", "The cache is down"
    ),
    "twin_not_written": Code(
        "The second grading of a shadow was not begun, so the graders' noise is measured on fewer pairs.",
        LOG,
        "Nothing for one. For many: the reason stands at the end of the line.",
    ),
    "rows_unlinked": Code(
        "Rows of XQueue stay without a pair: their files' names cannot be read.",
        LOG,
        "Check the setting LEGACY_STORAGE, then run xqueue_reconcile --all --relink.",
    ),
    "door_not_installed": Code(
        "The Python door was not put into the platform: submissions pass the shim by.", "Past the shim"
    ),
    "column_not_converted": Code(
        "A migration left a column as it is, because the table is too large to copy by day.",
        LOG,
        "Run the statement at the end of the line in a quiet hour.",
    ),
    "range_sent_again": Code(
        "No worker moved a range of ids, so it is sent again; after five times the run gives up.",
        "Celery's workers failed",
    ),
    "step_failed": Code(
        "A step of one course failed, and the others went on.",
        "An unexpected error",
        "The line ends with the class of the error and the place in our code. The document names it too.",
    ),
    "run_waits": Code("A run waits: a pause file, replication lag or load.", "Control a long run"),
    "run_goes_on": Code("A run goes on after it waited.", "Control a long run"),
    "xqueue_unreachable": Code("XQueue's HTTP service refuses connections.", "XQueue is down"),
    "xqueue_unread": Code("XQueue's HTTP service did not answer in time, or broke off.", "XQueue is down"),
    "shadow_failed": Code("A shadow was not written; it is owed.", "Copies are paused"),
    "nudge_not_sent": Code(
        "Celery's broker was not reached: copies wait for the next xqueue_watch.", "Celery's broker is down"
    ),
    "supersession_given_up": Code(
        "A learner's older attempt may be graded too: XQueue could not be asked for too long.",
        LOG,
        "Nothing: the learner's next attempt, or a handoff, finds the rows that are still there.",
    ),
    "breaker_not_kept": Code("The cache does not take a breaker's state.", "The cache is down"),
    "copies_resumed": Code("Copies that were paused are written again.", "Copies are paused"),
    "copies_paused": Code("Copies failed in a row, and are paused for a while.", "Copies are paused"),
    "supersession_failed": Code(
        "Older attempts of a learner were not retired; it is tried again.", "Copies are paused"
    ),
    "copy_failed": Code("A copy was not written; it is tried again.", "Copies are paused"),
    "reverse_failed": Code("XQueue did not take a reverse shadow.", "An unknown queue"),
    "phase_unreadable": Code(
        "The database or the flags could not be read for a submission; the phase that was remembered is taken.",
        "The LMS's database does not answer",
    ),
    "refused_without_phase": Code(
        "A submission was refused: its course is on the target, and its phase cannot be read.",
        "The LMS's database does not answer",
    ),
    "schema_behind": Code("Submissions cannot be moved: tables of another release.", "Tables of another release"),
    "permit_does_not_hold": Code(
        "The flags ask for a step, and its permit was given for other evidence.",
        "Drift: the flags say one thing, the course does another",
    ),
    "phase_changed": Code("A course has entered another phase; the line says which and by whom.", "The log of steps"),
    "override_signed": Code(
        "A person has signed for passing a gate that is not open, or has proposed it; the line says past what, and who "
        "ran it where.",
        _OVERRIDE,
    ),
    "campaign_told": Code(
        "A campaign has done or changed something; the line says what, and with which course.", _CAMPAIGN
    ),
    "campaign_stopped": Code(
        "A campaign has parked or stopped a course, or was paused by what concerns all; the line says why.",
        "When a campaign stops",
    ),
    "campaign_receiver_failed": Code(
        "A receiver of the signal campaign_told raised an error; the campaign went on.",
        LOG,
        "Mend the receiver: whoever it should have told has not been told.",
    ),
    "campaign_mail_failed": Code(
        "E-mails of a round were not sent, some or all; the campaigns went on.",
        LOG,
        "Look at Django's e-mail settings. xqueue_campaign status says what the mail would have said.",
    ),
}

#: The bounds of ``xqueue_watch``.
BOUNDS: dict[str, Code] = {
    "fence_leak": Code("A copy reached a learner, or could.", "Fence leak"),
    "double_authority": Code("A submission is alive on both systems for real.", "Double authority"),
    "undelivered": Code("Learners wait for a grade that nobody brings.", "Undelivered"),
    "wrong_side": Code("Submissions reached legacy while the target was authoritative.", "Wrong side"),
    "lost": Code("Submissions or scores vanished before their time.", "Lost submissions"),
    "overdue": Code("Results are missing on one side, long after they came on the other.", "Stuck submissions"),
    "copies_overdue": Code("Copies wait for a result.", "Stuck submissions"),
    "divergence": Code("The two systems differ more often than the threshold allows.", "A divergence"),
    "stuck_queue": Code("A queue has rows, and no result comes from it.", "A queue does not move"),
    "handed_out_in_vain": Code("Rows are handed out again and again without a result.", "Handed out in vain"),
    "failed": Code("Learners' own rows have failed for good on the target.", "Failed submissions"),
    "unknown_queue": Code("XQueue refuses reverse shadows: it does not know their queue.", "An unknown queue"),
}

#: What ``xqueue_status`` lists under "look at", and the dashboard.
ATTENTION: dict[str, Code] = {
    **{
        name: BOUNDS[name]
        for name in (
            *("fence_leak", "double_authority", "undelivered", "wrong_side"),
            *("handed_out_in_vain", "failed", "unknown_queue"),
        )
    },
    "counters_differ": Code("Counters differed from the ledger, and were set right.", "Counters differ"),
    "past_the_shim": Code("The platform's own flag sends submissions past the shim.", "Past the shim"),
    "drift": Code(
        "The flags ask for a phase that nothing permits.", "Drift: the flags say one thing, the course does another"
    ),
    "held": Code("A handoff was broken off: no grader has these rows.", "Held rows"),
    "returning": Code("A return was broken off: no grader has these rows.", "Held rows"),
    "no_watcher": Code("Rows wait in a queue that nobody polls.", "A queue does not move"),
    "stuck_leases": Code(
        "Rows were pulled and not answered; the next poll offers them again.", "A queue does not move"
    ),
    "unknown_lms": Code("Open rows name a host that no setting names.", "Several LMSs on one XQueue"),
    "copies_owed": Code("Copies are owed.", "Copies are paused"),
    "passed_through": Code("Submissions passed to legacy by rule.", "Graders that cannot run twice"),
    "new_queue": Code("A queue has its first submissions.", "An unknown queue"),
    "override_proposed": Code("An override waits for its second person.", "Two persons"),
    "override": Code("A course is where it is by an override of the gate.", _OVERRIDE),
}

#: Why the gate is closed, in one word, and the two words for a course that needs nothing.
CAUSES: dict[str, Code] = {
    "leak": BOUNDS["fence_leak"],
    "double_authority": BOUNDS["double_authority"],
    "lost": BOUNDS["lost"],
    "undelivered": BOUNDS["undelivered"],
    "wrong_side": BOUNDS["wrong_side"],
    "differs": Code("The two systems gave different results.", "A divergence"),
    "overdue": Code("Results are missing on one side.", "Stuck submissions"),
    "blocked": Code("Preflight found a blocker.", _CLOSED),
    "slow": Code("The target takes longer than its bound.", _CLOSED),
    "stale": Code("The evidence is too old, or there is none.", "Stale evidence"),
    "needs_pairs": Code("More graded pairs are needed.", "Collect evidence"),
    "ready": Code("The gate is open.", "A course from shadow to live"),
    "moved": Code("There is no further step.", "See where everything stands"),
}

#: The app's system checks, each as ``migration_shim.ID``.
CHECKS: dict[str, Code] = {
    "E001": Code("MIGRATION_SHIM has an unknown key or a wrong value.", _CHECKS),
    "E002": Code("DATABASES has no alias xqueue.", _CHECKS),
    "E003": Code("The app's database router is not the first.", _CHECKS),
    "E004": Code("ATOMIC_REQUESTS is on for the alias xqueue.", _CHECKS),
    "E005": Code("The alias xqueue has no timeouts.", _CHECKS),
    "E010": Code("The Python door cannot be put into this platform.", _CHECKS),
    "E011": Code("HTTP_DOOR_SECONDS is above the LMS's own read timeout.", _CHECKS),
    "E012": Code("The sink's URL is longer than XQueue compares.", _CHECKS),
    "E013": Code("HOLD_SECONDS is too short: a quick grade would be lost.", _CHECKS),
    "E014": Code("HANDOFF_SETTLE_SECONDS is too short.", _CHECKS),
    "W006": Code("The app's tables are missing, or of another release.", "Tables of another release"),
    "I020": Code("A package is installed in another version than the platform pins.", _CHECKS),
    "I021": Code("The platform's sender gives no queue_key.", "Past the shim"),
}

#: Findings of a preflight that have a section of their own; what they mean, and the others, is in the index.
FINDINGS: dict[str, str] = {
    "callback_host_unknown": "Several LMSs on one XQueue",
    "callback_hosts_several": "Several LMSs on one XQueue",
    "platform_flag": "Past the shim",
    "sender_unusable": "Past the shim",
    "xqueue_unreachable": "XQueue is down",
    "legacy_unreadable": _XQUEUE_NOT_OURS,
    "grant_update": _XQUEUE_NOT_OURS,
    "grant_return": _XQUEUE_NOT_OURS,
    "grant_excess": _XQUEUE_NOT_OURS,
    "migrations_missing": "Tables of another release",
    "broker_unreachable": "Celery's broker is down",
    "broker_no_timeout": "Celery's broker is down",
    "cache_failed": "The cache is down",
    "cache_no_timeout": "The cache is down",
    "site": _CHECKS,
    "unwatched": "A queue does not move",
    "queue_unknown": "An unknown queue",
    "side_effects_undeclared": "Graders that cannot run twice",
}

KINDS: dict[str, dict[str, Code]] = {
    "error": ERRORS,
    "log": LOG_LINES,
    "bound": BOUNDS,
    "attention": ATTENTION,
    "cause": CAUSES,
    "check": CHECKS,
}


def page(kind: str, code: str) -> str:
    """
    Return the page of the runbook that a code opens, with its anchor.

    Args:
        kind: a key of ``KINDS``, or ``finding``.
        code: the code itself.
    """
    heading = FINDINGS.get(code, FINDING) if kind == "finding" else KINDS[kind][code].heading
    return link(heading)


def page_of(said: str) -> str:
    """Return the page for what a step of many said; empty unless it begins with the code of a known cause."""
    code = said.partition(": ")[0]
    return page("error", code) if code in ERRORS else ""


def index() -> str:
    """Return the page that lists every code."""
    return PAGES[LOG]


def link(heading: str) -> str:
    """Return page and anchor of a heading of the runbook."""
    return f"{PAGES[heading]}#{anchor(heading)}"


def anchor(heading: str) -> str:
    """Return the anchor that Markdown readers make of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def headings() -> set[str]:
    """Return every heading that a code opens."""
    named = {code.heading for codes in KINDS.values() for code in codes.values()}
    return named | set(FINDINGS.values()) | {FINDING}
