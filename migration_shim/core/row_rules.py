"""The rules of preflight about rows, problems and queues: what the target would do differently, and what to do."""

from __future__ import annotations

from .findings import BLOCKER, NOTE, WARNING, Rule, by_code
from .wire import NAME_LIMIT

_SEAM = "Let graders poll the watcher seam, never edx-submissions' own endpoint."
RULES = by_code(
    # What a grader is handed.
    Rule(
        code="payload_extra_keys",
        severity=NOTE,
        effect='The grader gets only "grader"; the payload\'s other keys are lost.',
        advice=_SEAM,
        seam=True,
    ),
    Rule(
        code="payload_missing",
        severity=NOTE,
        effect="There is no payload; the grader gets an empty grader name. The platform's own send path loses such a "
        "submission.",
        advice=_SEAM,
        seam=True,
    ),
    Rule(
        code="payload_not_json",
        severity=NOTE,
        effect="The payload is not JSON; the grader gets an empty grader name instead of it. The platform's own send "
        "path loses such a submission.",
        advice=_SEAM,
        seam=True,
    ),
    Rule(
        code="payload_not_an_object",
        severity=NOTE,
        effect="The payload is JSON, but no object; the grader gets an empty grader name instead of it.",
        advice=_SEAM,
        seam=True,
    ),
    Rule(
        code="payload_no_grader",
        severity=NOTE,
        effect='The payload names no "grader"; the grader gets an empty name.',
        advice=_SEAM,
        seam=True,
    ),
    Rule(
        code="grader_name_too_long",
        severity=BLOCKER,
        effect=f"The grader's name is over {NAME_LIMIT} characters; the target refuses the submission.",
        advice="Shorten the path in the course.",
    ),
    Rule(
        code="random_seed",
        severity=NOTE,
        effect="The grader gets seed 1 whatever the problem's seed is.",
        advice=_SEAM,
        seam=True,
    ),
    Rule(
        code="submission_time_format",
        severity=NOTE,
        effect="The grader gets the submission time as epoch seconds instead of YYYYMMDDHHMMSS.",
        advice=_SEAM,
        seam=True,
    ),
    Rule(
        code="body_extra_keys",
        severity=NOTE,
        effect="Extra keys of the body are lost.",
        advice=_SEAM,
        seam=True,
    ),
    Rule(
        code="matlab",
        severity=NOTE,
        effect="Matlab's token and requestor are extra keys of the body, and are lost.",
        advice=_SEAM,
        seam=True,
    ),
    Rule(
        code="matlab_plot",
        severity=WARNING,
        effect="The callback is of another dispatch (Matlab's plots). The target would deliver the reply as a grade; "
        "such submissions stay on legacy in every phase.",
        advice="Keep XQueue and its graders running for them.",
    ),
    # What the target can hold.
    Rule(
        code="answer_over_limit",
        severity=BLOCKER,
        effect="The answer, as escaped JSON, is longer than the target's limit; it refuses the submission.",
        advice="Leave the problem on legacy, or limit its answers.",
    ),
    Rule(
        code="answer_null",
        severity=BLOCKER,
        effect="The answer is null; the target refuses the submission.",
        advice="Leave the problem on legacy.",
    ),
    Rule(
        code="identity_unfit",
        severity=BLOCKER,
        effect="A column of the target cannot hold the learner, the problem or the queue, or not with the fence of a "
        "shadow.",
        advice="Leave the problem on legacy, or shorten the queue's name.",
    ),
    Rule(
        code="names_alike",
        severity=BLOCKER,
        effect="The target's database takes two problems (or two courses) for one, whose keys differ in case only or "
        "the like; the submissions of a learner to the second one are refused.",
        advice="Give one of the two another key (a copy of the problem has one), or leave the course on legacy.",
    ),
    Rule(
        code="unreadable",
        severity=WARNING,
        effect="The row cannot be read as a submission; it can have no copy.",
        advice="Let legacy drain it.",
    ),
    # What a grader answers.
    Rule(
        code="score_rounded",
        severity=NOTE,
        effect="The target stores whole points, so its Score is not the grader's. The learner's grade is; LTI, "
        "analytics and the submissions API show the whole points.",
        advice="Nothing, or give the problem more points. Reconcile counts it as a known difference.",
    ),
    Rule(
        code="score_scaled",
        severity=WARNING,
        effect="The target multiplies the score by the problem's points, or does not, against what the grader means: "
        "its Score is wrong. The learner's grade is not.",
        advice="Let the grader answer with a share of 1; or, where nobody reads the Scores, "
        "xqueue_known --add scale --reason TEXT",
    ),
    Rule(
        code="score_out_of_range",
        severity=WARNING,
        effect="The score is above the problem's maximum as far as it is known; the target stores a Score above it.",
        advice="Let the grader keep to the maximum, or tell the shim the problem's points (POINTS_RESOLVER); or, where "
        "nobody reads the Scores, xqueue_known --add out_of_range --reason TEXT",
    ),
    Rule(
        code="score_refused",
        severity=BLOCKER,
        effect="The target refuses a score that legacy has delivered: after five tries the submission fails, and its "
        "learner has no grade.",
        advice="Let the grader answer with a score that the installed edx-submissions takes, or install another one.",
    ),
    Rule(
        code="reply_refused",
        severity=WARNING,
        effect="The platform cannot use the reply, and the target does not store it: it is graded up to five times, "
        "and then the learner is told that it could not be graded. Legacy passes such a reply on.",
        advice='Mend the grader: a reply is an object with "correct", "score" and "msg".',
    ),
    Rule(
        code="reply_invalid",
        severity=NOTE,
        effect="The platform calls the reply invalid and wipes the learner's result, on legacy and on the target "
        "alike; the target stores a Score of it all the same.",
        advice='Mend the grader: a reply is an object with "correct", "score" and "msg".',
    ),
    Rule(
        code="scores_unpredictable",
        severity=BLOCKER,
        effect="It cannot be told what the installed edx-submissions would store for a reply: no reply was judged.",
        advice="Install a version of edx-submissions that this app was tested with.",
    ),
    Rule(
        code="points_unknown",
        severity=NOTE,
        effect="The problem's maximum is not known, and 1 is assumed; a Score written from it is wrong if it is more.",
        advice='Name a function that knows it in MIGRATION_SHIM["POINTS_RESOLVER"], or run this in the LMS.',
    ),
    Rule(
        code="lti_points_unknown",
        severity=BLOCKER,
        effect="The problem's maximum is not known, 1 is assumed, and the course is used over LTI: the LMS would send "
        "the Score, out of 1, to the other platform.",
        advice='Name a function that knows the maximum in MIGRATION_SHIM["POINTS_RESOLVER"].',
    ),
    Rule(
        code="grading_over_lease",
        severity=WARNING,
        effect="Grading took longer than the lease: the target hands the submission to a second grader meanwhile, and "
        "refuses the first one's reply.",
        advice='Raise MIGRATION_SHIM["LEASE_SECONDS"] above the longest grading.',
    ),
    # What legacy does to other rows, and the target does not.
    Rule(
        code="multi_input",
        severity=NOTE,
        effect="The problem has several inputs with an external grader. Legacy retires all but the last one sent; the "
        "target grades each.",
        advice="Nothing. Expect more gradings than on legacy.",
    ),
    Rule(
        code="input_unknown",
        severity=NOTE,
        effect="The input of the problem cannot be told from the row's key, so the attempt replaces no other one on "
        "the target, and all of them are graded.",
        advice="Nothing. No submission is lost by it.",
    ),
    Rule(
        code="callback_collision",
        severity=WARNING,
        effect=f"Two callbacks are equal in the {NAME_LIMIT} characters that XQueue compares: it retires the one "
        "submission for the other. The target does not.",
        advice="Nothing, but read what collided says.",
    ),
    Rule(
        code="collided",
        severity=WARNING,
        effect="XQueue has retired the row for a submission to another input or problem: nobody grades it, and its "
        "learner still waits.",
        advice="Ask these learners to submit again. (xqueue_backfill --collided gives a row a shadow, and no grade.)",
    ),
    # Files, queues, graders.
    Rule(
        code="files_no_storage",
        severity=BLOCKER,
        effect="Rows have files, and nothing says where XQueue keeps them: they can have no copy.",
        advice='Set MIGRATION_SHIM["LEGACY_STORAGE"] or ["LEGACY_FILE_HOSTS"].',
    ),
    Rule(
        code="file_unreachable",
        severity=WARNING,
        effect="Files of rows cannot be had: such a row can have no copy, and stays on legacy.",
        advice='Check MIGRATION_SHIM["LEGACY_STORAGE"] or ["LEGACY_FILE_HOSTS"], and how long XQueue keeps its files.',
    ),
    Rule(
        code="push_queue",
        severity=BLOCKER,
        effect="XQueue pushes the queue's submissions to a URL, and the target cannot push: nobody would grade them. "
        "Seen by the setting PUSH_QUEUES or by rows with a push time; the URL stands in XQUEUES only.",
        advice="Give the queue a grader that polls, set its URL in XQUEUES to null, and take it out of PUSH_QUEUES.",
    ),
    Rule(
        code="queue_never_pulled",
        severity=WARNING,
        effect="No row of the queue was ever pulled or pushed, as far as legacy remembers: nothing shows a grader, or "
        "how XQueue would reach it.",
        advice='Look into XQUEUES: null is a queue to poll, a URL is one to name in MIGRATION_SHIM["PUSH_QUEUES"].',
    ),
    Rule(
        code="queue_unknown",
        severity=BLOCKER,
        effect="XQueue does not know the queue (get_queuelen), or cannot be asked.",
        advice="Check XQUEUES and the submitting account.",
    ),
    Rule(
        code="queue_reserved",
        severity=BLOCKER,
        effect="The queue's name ends like those of copies or of held rows: the target refuses its submissions, and "
        "learners are told so in live.",
        advice="Rename the queue in the course and in XQUEUES, or change the suffix in MIGRATION_SHIM before anything "
        "is copied.",
    ),
    Rule(
        code="reverse_queue_unknown",
        severity=BLOCKER,
        effect="XQueue does not know the queue of the reverse shadows; in live they would all be refused.",
        advice="Add the queue to XQUEUES with the value null, and let a grader poll it.",
    ),
    Rule(
        code="reverse_queue_not_polled",
        severity=BLOCKER,
        effect="No grader has lately pulled from the queue of the reverse shadows; in live they would pile up.",
        advice="Let a grader poll it, run xqueue_preflight --probe, and once it had time xqueue_preflight again.",
    ),
    Rule(
        code="side_effects_undeclared",
        severity=NOTE,
        effect="Nothing says whether the queue's graders may grade a submission twice. A shadow lets them.",
        advice='Name the queue in MIGRATION_SHIM["SIDE_EFFECT_FREE_QUEUES"] or ["SIDE_EFFECT_QUEUES"]; until then '
        "compare with xqueue_reconcile --grading echo.",
    ),
    # What legacy remembers.
    Rule(
        code="deleted_unretired",
        severity=BLOCKER,
        effect="Rows were deleted on legacy before they had an outcome, as the ledger knows: their learners wait for "
        "ever. XQueue's delete_old_submissions deletes such rows too.",
        advice="Stop delete_old_submissions until the course is complete, and look after the rows in the ledger.",
    ),
    Rule(
        code="retention",
        severity=NOTE,
        effect="Legacy's older rows are gone. XQueue's delete_old_submissions deletes unretired rows too.",
        advice="Stop delete_old_submissions until the course is complete.",
    ),
    Rule(
        code="history_short",
        severity=NOTE,
        effect="The graded rows that legacy still has are too few for the gate, which needs new submissions besides.",
        advice="Import them with xqueue_backfill --mode shadow --history, and plan for time in shadow.",
    ),
)
