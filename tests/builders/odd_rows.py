"""Courses with ordinary learners, among whom odd rows arrive; and everything that an operator can run over them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from django.db import DataError, OperationalError, connections, transaction
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail

from migration_shim import api, toggles
from migration_shim.backfill.request import Mode
from migration_shim.core.data import Document, Phase
from migration_shim.models import LedgerEntry, LegacySubmission
from migration_shim.reports import terminal
from migration_shim.reports.formats import RENDERERS
from sandbox.databases import LEGACY_MEDIA
from sandbox.lms import capa
from tests.builders import rows
from tests.builders.hostile_text import course_of, fits, item_of
from tests.schemas import validate

COURSE, QUEUE = rows.COURSE, rows.QUEUE
OTHER_NUMBER = "ALG2"
OTHER = f"course-v1:ExU+{OTHER_NUMBER}+2026"
PROBLEM, FILE, KEY, REASON = "ab" * 16, "main.py", "k" * 32, "because"
#: The odd one among the fields of a row, and what its neighbours have there.
ORDINARY = {
    "course": OTHER_NUMBER,
    "item": PROBLEM,
    "queue": QUEUE,
    "learner": rows.anonymous_id(20),
    "file": FILE,
    "key": KEY,
    "reason": REASON,
}
#: What XQueue's table may be in.
CHARSETS = ("utf8mb4", "utf8mb3") if connections["xqueue"].vendor == "mysql" else ("utf8mb4",)
#: Courses and learners with ordinary names, by the number of the learner.
NEIGHBOURS = {11: COURSE, 12: COURSE, 13: OTHER, 14: COURSE, 15: OTHER}


class Undo(Exception):
    """Raised to take everything back."""


@contextlib.contextmanager
def undone() -> Iterator[None]:
    """Whatever happens inside has not happened, in either database."""
    with contextlib.suppress(Undo), transaction.atomic(), transaction.atomic(using="xqueue"):
        yield
        raise Undo


def row_of(user: int, course: str = COURSE, item: str = "", queue: str = QUEUE, learner: str = "", **odd: str) -> bool:
    """Let XQueue store one row, as CAPA sends it, if it can; ``odd`` are a file's name and the lms_key."""
    item, learner = item or rows.usage_key(PROBLEM, course), learner or rows.anonymous_id(user)
    age = timedelta(hours=2, minutes=-user)
    try:
        answer_id = f"{capa.html_id(item)}_2_1"
        callback = capa.callback_url("https://courses.example.edu", course, user, item)
        request = capa.make_request(
            answer_id=answer_id,
            response=f"x = {user}\n",
            grader_payload=rows.PAYLOAD,
            callback=callback,
            queue_name=queue,
            user_id=user,
            anonymous_id=learner,
            seed=1,
            now=now() - age,
        )
    except UnicodeEncodeError:  # CAPA cannot make a key or a URL of it
        return False
    header = json.loads(request.header)
    if "key" in odd:
        header["lms_key"] = odd["key"]
    row = LegacySubmission(
        requester_id="10.20.0.11",
        lms_callback_url=callback[:128],
        queue_name=queue,
        xqueue_header=json.dumps(header),
        xqueue_body=request.body,
        s3_keys=json.dumps({odd["file"]: f"{user:032x}"} if "file" in odd else {}),
        s3_urls="{}",
        arrival_time=now() - age,
    )
    if not fits(row):
        return False
    try:
        with transaction.atomic(using="xqueue"):
            row.save(force_insert=True)
    except (DataError, OperationalError, UnicodeEncodeError):  # the column cannot hold it
        return False
    if "file" in odd:
        # One folder for all queues: the name of a queue may be none of a folder.
        (LEGACY_MEDIA / QUEUE).mkdir(parents=True, exist_ok=True)
        (LEGACY_MEDIA / QUEUE / f"{user:032x}").write_bytes(b"print()")
    return True


def arrive(odd: Mapping[str, str]) -> list[str]:
    """Ordinary rows and, between them, one for each odd field; the courses that there are now."""
    for user in (11, 12, 13):
        assert row_of(user, NEIGHBOURS[user], **({"file": FILE} if user == 12 else {}))
    courses = [COURSE, OTHER]
    if odd:
        course, item = course_of(odd["course"]), item_of(odd["item"], COURSE)
        if course and course not in courses and row_of(21, course):
            courses.append(course)
        if item:
            row_of(22, item=item)
        for user, field in enumerate(("queue", "learner", "file", "key"), 23):
            row_of(user, **{field: odd[field]})
    for user in (14, 15):
        assert row_of(user, NEIGHBOURS[user])
    return courses


def stand(phase: Phase, courses: list[str]) -> None:
    """Put the courses into a phase, flags and all."""
    for course in courses:
        rows.enter(phase, course)
    toggles.new_work_cycle()


def shown(document: Document) -> dict[str, Any]:
    """The content of a document that is as its schema says, and that can be written and read."""
    json.dumps(validate(document.content)).encode("utf-8")
    terminal.render(document.content).encode("utf-8")
    return document.content


def as_planned(mode: Mode) -> dict[str, Any]:
    """Plan a backfill, do it, and hold what was done against the plan."""

    def run(execute: bool) -> dict[str, Any]:
        content = shown(api.backfill(api.BackfillRequest(mode=mode, execute=execute), rows.ignore))
        assert content["complete"]
        assert sum(content["classes"].values()) == content["read"]
        return content

    plan, done = run(False), run(True)
    for what in ("read", "classes", "reasons"):
        assert done[what] == plan[what], f"{mode}: {what} of the plan and of what was done"
    return done


def compared(courses: list[str], ordinary: str = OTHER) -> list[Any]:
    """Compare, judge, watch, and make every report; what they say of a course that has ordinary names only."""
    found: list[Any] = []
    document = api.reconcile(courses, rows.ignore, found.append, full=True)
    content = shown(document)
    report = api.diff_report(content, lambda: iter(found))
    for render in RENDERERS.values():
        "".join(render(report)).encode("utf-8")
    said: list[Any] = []
    columns = ("complete", "of", "compared", "equal", "diverged", "waiting", "overdue", "classes")
    for one in content["courses"]:
        said += [one[name] for name in columns] if one["course"] == ordinary else []
    for course in courses:
        verdict = shown(api.gate(course))
        said += [verdict["verdict"], verdict["reasons"]] if course == ordinary else []
    for one in shown(api.status(courses))["courses"]:
        said += [one["in_flight"], one["held"], one["failed"]] if one["course"] == ordinary else []
    shown(api.status())
    watched = shown(api.watch(courses))
    said += [sorted((problem["step"], problem["said"]) for problem in watched["problems"])]
    return said


def neighbours() -> list[tuple]:
    """What has become of the ordinary rows, by learner: entry, target row, legacy row."""
    found = []
    for user in NEIGHBOURS:
        for entry in LedgerEntry.objects.filter(learner=rows.anonymous_id(user)).order_by("id"):
            columns = (
                "course_id",
                "legacy_leg",
                "target_leg",
                "target_reason",
                "move",
                "authority",
                "result",
                "divergences",
            )
            details = ExternalGraderDetail.objects.filter(submission_id=entry.target_submission_id)
            legacy = LegacySubmission.objects.filter(pk=entry.legacy_id)
            found.append(
                (
                    user,
                    *(getattr(entry, name) for name in columns),
                    list(details.values_list("queue_name", "status", "submission__student_item__item_id")),
                    list(legacy.values_list("queue_name", "retired", "pullkey")),
                )
            )
    return found


def grade_everything() -> None:
    """Both systems grade whatever they hold, alike."""
    rows.change(LegacySubmission.objects.filter(retired=False), **rows.graded())
    rows.grade_target()


def copied_and_compared(odd: Mapping[str, str]) -> list[Any]:
    """``shadow``: copies by backfill, grades on both sides, and every look at them."""
    courses = arrive(odd)
    stand(Phase.SHADOW, courses)
    as_planned(Mode.SHADOW)
    again = as_planned(Mode.SHADOW)
    assert (again["written"], again["classes"]["imported"]) == (0, 0)
    said = [compared(courses), neighbours()]
    grade_everything()
    return [*said, compared(courses), neighbours()]


def moved_and_brought_back(odd: Mapping[str, str]) -> list[Any]:
    """A handoff in ``live``, the step back with a reason, and a return."""
    courses = arrive(odd)
    stand(Phase.LIVE, courses)
    as_planned(Mode.HANDOFF)
    said = [compared(courses), neighbours()]
    step_back(odd.get("reason", REASON))
    stand(Phase.LEGACY, courses)
    as_planned(Mode.RETURN)
    return [*said, compared(courses), neighbours()]


def step_back(reason: str) -> None:
    """The way to legacy, which nothing that somebody types may block; the log stays whole."""
    for execute in (False, True):
        done = shown(api.cutover(COURSE, Phase.LEGACY, reason=reason, execute=execute, user="ada", login=None))
        assert done["executed"] is execute
    toggles.new_work_cycle()
    assert toggles.phase_of(COURSE).phase is Phase.LEGACY
    assert shown(api.audit([COURSE]))["broken"] == 0
