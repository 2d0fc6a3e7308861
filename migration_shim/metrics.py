"""Counters and timings for the platform's monitoring, and for Prometheus where its client is installed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from edx_django_utils.monitoring import increment, set_custom_attribute

try:
    from prometheus_client import Counter, Histogram
except ImportError:  # not every installation has it
    Counter = Histogram = None

#: What the processes of the LMS count by themselves: name, labels, and what it says.
PROCESS = (
    ("migration_shim_events", ("event",), "Events, by name; with _total behind its own name."),
    ("migration_shim_leg_seconds", ("leg",), "Seconds of one leg of one submission, as a histogram."),
)
#: Each event with what it says; a star stands for a reason or for one of the words in brackets.
EVENTS = {
    "passed_through": "A submission went to legacy unread: it could not be parsed, or the phase could not be read.",
    "phase_look_up_failed": "Reading a course's phase failed; it is tried once more, then the cache is asked.",
    "refused_without_phase": "The phase could not be read and the target may be authoritative; the learner was told.",
    "settings_not_usable": "A door went on without a setting that is not usable; the check names it.",
    "copy_not_configured": "No copy was started: a setting that copies need is not usable.",
    "points_resolver_missing": "POINTS_RESOLVER cannot be imported; the points of a problem were assumed.",
    "kill_switch_unreadable": "No copy was started: the kill switch could not be read.",
    "cache_failed": "The LMS's cache raised, or was silent, when it was told of a new override; the override counts.",
    "legacy_not_configured": "Nothing says where XQueue is; the learner was told that it cannot be reached.",
    "repeated": "The same submission was sent again.",
    "target_refused_*": "The target is authoritative and cannot hold a submission; the learner was told why.",
    "target_failed": "The target is authoritative and did not store a submission; the learner was told.",
    "follow_up_failed": "What follows the authoritative write failed; the submission is stored.",
    "permit_does_not_hold": "A flip by hand was not obeyed: its permit was given for other evidence.",
    "step_not_recorded_yet": "A flip by hand was obeyed, and is recorded by a later request.",
    "copy_stopped_by_kill_switch": "No copy was started.",
    "copy_not_sampled": "A learner is outside the sample.",
    "shadow_left_no_time": "The deadline left no time for a copy; a backfill writes it.",
    "worker_stopped_by_kill_switch": "A worker left a copy alone.",
    "schema_behind": "No phase could be read, because the app's tables are those of an older release.",
    "sender_unusable": "A submission was refused, because the platform's sender cannot call edx-submissions.",
    "sender_passed_by": "The router stored what the platform's sender could not hand to edx-submissions.",
    "copy_failed": "A worker could not write a copy; it is tried again.",
    "shadow_failed": "A shadow could not be written.",
    "shadow_*": "A worker looked at a shadow (imported, present, or the class of the row).",
    "reverse_stored": "A reverse shadow was written.",
    "reverse_failed": "A reverse shadow could not be written.",
    "shadow_paused_by_breaker": "The breaker is open, and a shadow was not written in the submit.",
    "nudge_not_sent": "The broker did not take the nudge; the next one, or the watch, finds what is owed.",
    "superseded_on_target": "An older attempt was superseded on the target.",
    "superseded_on_legacy": "An older attempt was superseded on legacy.",
    "superseded_held": "An older attempt was superseded while a handoff held it.",
    "supersession_input_unknown": "The input could not be recovered, so nothing was superseded.",
    "supersession_undone": "The learner's state waits for an attempt that was superseded; it is in its queue again.",
    "delivered_again": "A stored result was delivered once more, and the learner has it.",
    "delivery_not_awaited": "A result was to be delivered once more, and its learner waits for it no more.",
    "delivery_without_effect": "A result was delivered once more, and the learner waits still.",
    "undeliverable": "Three deliveries of a stored result had no effect.",
    "learners_states_unreadable": "Learners' states could not be read together, and were asked for one by one.",
    "supersession_failed": "Superseding failed for one submission; it is tried again.",
    "supersession_failed_on_legacy": "Superseding failed on legacy.",
    "supersession_on_legacy_given_up": "Older attempts were not looked for on legacy; its database was away for a day.",
    "supersession_on_legacy_paused": "The breaker of legacy's rows is open.",
    "supersession_on_legacy_refused": "The ledger is another LMS's (a cloned database), and retires nothing on legacy.",
    "callback_host_unnamed": "Submissions come through the door with callbacks to a host that no setting names.",
    "callback_host_not_noted": "A host that the door has seen could not be noted; a later submission tries again.",
    "handed_out_without_residue": "The watcher seam handed out a row that is not the shim's, with upstream's payload.",
    "seam_refused_other_site": "A browser sent a login or a result for a page of another site, and was refused.",
    "seam_refused_queue": "A grader's account asked for a queue that is not its own, or that no grader polls.",
    "hand_out_unreadable": "A submission cannot be read back to be handed out; it has failed.",
    "hand_out_failed": "The storage gave no URL of a file; the submission is offered again after its lease.",
    "put_result_*": "A grader posted a result (stored, repeated, counted, unknown, wrong_key, busy).",
    "result_not_stored": "A result could not be stored; the row is offered again, or has failed.",
    "invalid_reply_not_delivered": "An invalid reply to an attempt that its learner had left behind was dropped.",
    "submission_failed": "A submission, or a shadow, has failed for good.",
    "learner_not_told": "The platform did not take the message that a submission has failed.",
    "watcher_login_not_recorded": "A login at edx-submissions' own endpoint could not be noted.",
    "login_limited": "A grader's login was refused unseen: too many of the account and address were wrong.",
    "login_not_limited": "The cache did not answer, and guesses at graders' passwords were not limited.",
    "door_refused_*": "The HTTP door refused a submission.",
    "door_refused_loop": "The HTTP door was reached through itself.",
    "door_not_configured": "The HTTP door's settings are not usable.",
    "sink_probe": "A probe's reply came to the sink.",
    "sink_unknown_token": "A reply came to the sink for no copy of ours.",
    "sink_not_recorded": "Whether a reply to the sink is for a copy of ours could not be looked up.",
    "twin_written": "A shadow was written a second time, to be graded twice.",
    "twin_not_written": "A second shadow could not be written.",
    "watch_breach": "xqueue_watch found a course beyond its bounds.",
    "watch_stepped_back": "xqueue_watch stepped a course back to legacy.",
    "counters_differ": "Counters of a course did not say what its entries say; a recount set them right.",
}
#: What is timed.
LEGS = {
    "legacy_leg": "Posting a submission to XQueue.",
    "target_leg": "Writing a learner's own row on the target.",
    "shadow_leg": "Writing a shadow.",
    "reverse_leg": "Writing a reverse shadow.",
    "publish": "Handing a nudge to the broker.",
}

_EVENTS = Counter(PROCESS[0][0], "Events of the router", PROCESS[0][1]) if Counter else None
_SECONDS = Histogram(PROCESS[1][0], "Seconds of one leg of one submission", PROCESS[1][1]) if Histogram else None


def count(event: str, error: Exception | None = None) -> None:
    """Count an event of ``EVENTS``; of an error only the type's name is passed on."""
    increment(f"migration_shim.{event}")
    if error is not None:
        set_custom_attribute("migration_shim.error", type(error).__name__)
    if _EVENTS is not None:
        _EVENTS.labels(event).inc()


def attribute(name: str, value: str) -> None:
    """Attach a value to the current transaction of the platform's monitoring."""
    set_custom_attribute(f"migration_shim.{name}", value)


@contextmanager
def timed(leg: str) -> Iterator[None]:
    """Measure how long the block takes, in seconds, as one of ``LEGS``."""
    started = time.monotonic()
    try:
        yield
    finally:
        seconds = time.monotonic() - started
        set_custom_attribute(f"migration_shim.{leg}_seconds", round(seconds, 4))
        if _SECONDS is not None:
            _SECONDS.labels(leg).observe(seconds)
