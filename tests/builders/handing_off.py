"""The world around a handoff: learners who wait for a key, XQueue with its unlocked read, graders of both sides."""

import json
from collections import Counter
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from submissions.models import ExternalGraderDetail, StudentItem, Submission, SubmissionFile

from migration_shim import conf
from migration_shim.backfill.handoff import finish as handoff_finish
from migration_shim.backfill.handoff import run as handoff
from migration_shim.backfill.request import Mode, Request
from migration_shim.core.data import Document
from migration_shim.legacy import rows as legacy_rows
from migration_shim.models import LedgerEntry, LegacySubmission, Run
from migration_shim.target import leases, results
from sandbox.lms import capa, grading
from sandbox.lms.courseware.models import StudentModule
from sandbox.lms.models import AnonymousUserId, LearnerEffect
from tests.builders import rows
from tests.builders.xqueue import XQueue

QUEUE = rows.QUEUE
HELD = f"{QUEUE}.held"


def run(*, execute: bool = True, progress: Any = rows.ignore, **options: Any) -> Document:
    """Run a handoff of everything, unless ``options`` say otherwise."""
    return handoff.run(Request(mode=Mode.HANDOFF, execute=execute, **options), progress)


def xqueue(delay: timedelta = timedelta(minutes=1)) -> XQueue:
    """XQueue, which posts to the LMS's callback of whoever waits."""
    return XQueue({QUEUE}, delay, post)


def post(header: str, reply: str) -> int:
    """The LMS's callback view, without HTTP: user and block come from the URL, the key from the header."""
    values = json.loads(header)
    parts = values["lms_callback_url"].split("/")
    user, usage_key = get_user_model()(pk=int(parts[-3])), parts[-2]
    grading.deliver(user, rows.COURSE, usage_key, values["lms_key"], reply, LearnerEffect.Source.CALLBACK)
    return 200


def submitted(user: int = 7, problem: str = "a" * 32, **columns: Any) -> LegacySubmission:
    """A row of ``queue_submission`` whose learner waits for it."""
    row = rows.legacy_row(user, problem=problem, **columns)
    key, usage_key = json.loads(row.xqueue_header)["lms_key"], rows.usage_key(problem)
    learner, _ = get_user_model().objects.get_or_create(pk=user, defaults={"username": f"learner{user}"})
    AnonymousUserId.objects.get_or_create(anonymous_user_id=rows.anonymous_id(user), defaults={"user": learner})
    answer_id = f"{capa.html_id(usage_key)}_{columns.get('response', 2)}_1"
    state, _ = StudentModule.objects.get_or_create(student=learner, course_id=rows.COURSE, module_state_key=usage_key)
    state.store(state.correct_map | {answer_id: capa.entry(queuestate={"key": key, "time": "20261122120000"})})
    state.save()
    return row


def deliveries() -> Counter[tuple[int, bool]]:
    """How often each learner was given a result: (user, whether CAPA had waited for its key)."""
    effects = LearnerEffect.objects.filter(kind=LearnerEffect.Kind.GRADE_PUBLISHED)
    found = ((user, json.loads(detail)["matched"]) for user, detail in effects.values_list("user_id", "detail"))
    return Counter((user, matched) for user, matched in found if matched is not None)


def systems() -> dict[int, set[str]]:
    """Which systems have given each learner a result, that CAPA waited for or not: callback is legacy's, event ours."""
    effects = LearnerEffect.objects.filter(kind=LearnerEffect.Kind.GRADE_PUBLISHED)
    found: dict[int, set[str]] = {}
    for user, source, detail in effects.values_list("user_id", "source", "detail"):
        if json.loads(detail)["matched"] is not None:
            found.setdefault(user, set()).add(source)
    return found


def grade_on_target(settings: conf.ShimSettings | None = None) -> int:
    """The target's graders take the next row of the real queue, if there is one; how many results were stored."""
    lease, _ = leases.lease_next(QUEUE, settings or conf.load())
    if lease is None:
        return 0
    result = results.Result(submission_id=lease.detail.submission_id, key=lease.detail.pullkey, reply=rows.RIGHT)
    return int(results.store(result, settings or conf.load()) is results.ResultStatus.STORED)


def step() -> list[str]:
    """Take everything on its way one step further, as if its time had come; what was done."""
    later = legacy_rows.clock() + timedelta(days=1)
    found = list(handoff_finish.on_the_way().order_by("id"))
    return [handoff_finish.finish(entry, conf.load(), later).value for entry in found]


def end_state() -> list[tuple]:
    """Every submission's end: its entry, its target row and file, and legacy's row, without numbers and times."""
    found = []
    for entry in LedgerEntry.objects.order_by("identity"):
        detail = ExternalGraderDetail.objects.filter(submission_id=entry.target_submission_id).first()
        row = LegacySubmission.objects.get(pk=entry.legacy_id)
        shadow = ExternalGraderDetail.objects.filter(submission_id=entry.shadow_submission_id).first()
        files = [(file.original_filename, file.file.read()) for file in detail.files.all()] if detail else []
        key = json.loads(entry.raw_header)["lms_key"]
        real = (detail.queue_name, detail.queue_key == key, detail.status, detail.submission.answer) if detail else None
        found.append(
            (
                (entry.identity, entry.move, entry.authority, entry.double_authority, entry.target_leg),
                real,
                files,
                (row.retired, row.pullkey, row.grader_id == f"migration_shim:{entry.pk}"),
                (shadow.queue_name, shadow.status) if shadow else None,
            )
        )
    return found


def leftovers() -> dict[str, int]:
    """What must never be left: held rows, target rows that no entry knows, submissions without a row for graders."""
    known = {
        submission_id
        for ids in LedgerEntry.objects.values_list("target_submission_id", "shadow_submission_id")
        for submission_id in ids
    }
    return {
        "held": ExternalGraderDetail.objects.filter(queue_name=HELD).count(),
        "unknown": ExternalGraderDetail.objects.exclude(submission_id__in=known - {None}).count(),
        "bare": Submission.objects.filter(external_grader_detail=None).count(),
    }


def forget() -> None:
    """Take away everything that a handoff or a backfill has written, and legacy's rows."""
    for model in (SubmissionFile, ExternalGraderDetail, Submission, StudentItem, LedgerEntry, Run, LegacySubmission):
        model._base_manager.all().delete()
