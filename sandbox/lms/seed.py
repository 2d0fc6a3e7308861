"""Make the learners whose submissions a captured legacy table holds, in the state their LMS was in at the snapshot."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.db import transaction
from opaque_keys import InvalidKeyError
from opaque_keys.edx.keys import CourseKey

from sandbox.lms import capa
from sandbox.lms.courseware.models import StudentModule
from sandbox.lms.models import AnonymousUserId

CALLBACK_PATH = re.compile(r"^/courses/(?P<course>.+)/xqueue/(?P<user>\d+)/(?P<usage>.+)/score_update$")
ANONYMOUS_ID = re.compile("[0-9a-f]{32}")
TIME = re.compile("[0-9]{14}")
RESPONSE_IDS = range(2, 101)
INPUT_IDS = range(1, 4)
BATCH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """One captured row, as far as the LMS took part in it."""

    course_id: str
    user_id: int
    usage_key: str
    key: str
    anonymous_id: str
    time: str
    answer_id: str
    arrived: datetime
    delivered: datetime | None
    reply: str


@dataclass(slots=True, kw_only=True)
class SeedCounts:
    """What one seeding read and made; rows = seeded + the sum of skipped."""

    rows: int = 0
    seeded: int = 0
    users: int = 0
    states: int = 0
    default_input: int = 0
    """Rows whose input could not be recovered from their lms_key: they went to the first input."""
    unapplied: int = 0
    """Acknowledged answers that CAPA cannot apply (score null or text under a waiting key)."""
    skipped: Counter[str] = field(default_factory=Counter)


def seed_learners(rows: Iterable[Mapping[str, Any] | Any], *, password: str | None = None) -> SeedCounts:
    """
    Create the learners, anonymous ids and problem states behind captured rows of queue_submission.

    `rows` are dictionaries or objects with the table's columns. Every row is played in the order of its times:
    submitted at its arrival (its input waits with the row's lms_key), and answered at its return when XQueue has an
    acknowledgement, through the same rules as a live callback. So a superseded attempt is replaced by the newer one,
    and a learner whose row was retired for another problem still waits. User ids are those of the callback URLs.
    Passwords are unusable unless `password` gives one for all. What is there already is left as it is.
    """
    counts = SeedCounts()
    submitted = []
    for row in rows:
        counts.rows += 1
        found, reason = _read(row if isinstance(row, Mapping) else vars(row), counts)
        if found is None:
            counts.skipped[reason] += 1
        else:
            submitted.append(found)
    counts.seeded = len(submitted)
    with transaction.atomic():
        _make_users(submitted, password, counts)
        _make_states(submitted, counts)
    return counts


def answer_ids(usage_key: str) -> Iterator[str]:
    """Yield the answer ids that a problem's inputs can have, the most likely first; raises InvalidKeyError."""
    problem = capa.html_id(usage_key)
    for response in RESPONSE_IDS:
        for position in INPUT_IDS:
            yield f"{problem}_{response}_{position}"


def _read(row: Mapping[str, Any], counts: SeedCounts) -> tuple[Submitted | None, str]:
    """Return what a row says of a learner, or None and why it says nothing."""
    try:
        header = json.loads(row["xqueue_header"])
        key, callback = header["lms_key"], header["lms_callback_url"]
    except (ValueError, TypeError, KeyError):
        return None, "header cannot be read"
    match = CALLBACK_PATH.match(unquote(urlsplit(callback).path)) if isinstance(callback, str) else None
    if match is None:
        return None, "callback is not one of this LMS"
    course_id, user_id, usage_key = match["course"], int(match["user"]), capa.unquote_slashes(match["usage"])
    try:
        CourseKey.from_string(course_id)
        candidates = list(answer_ids(usage_key))
    except InvalidKeyError:
        return None, "course or problem does not parse"
    arrived = _moment(row["arrival_time"])
    anonymous_id, time = _student_info(row["xqueue_body"])
    answer_id = next((one for one in candidates if capa.make_key(user_id, time, anonymous_id, one) == key), None)
    if answer_id is None:
        counts.default_input += 1
    return (
        Submitted(
            course_id=course_id,
            user_id=user_id,
            usage_key=usage_key,
            key=key,
            anonymous_id=anonymous_id,
            time=time or arrived.strftime(capa.DATE_FORMAT),
            answer_id=answer_id or candidates[0],
            arrived=arrived,
            delivered=_moment(row["return_time"]) if row["lms_ack"] else None,
            reply=row["grader_reply"],
        ),
        "",
    )


def _student_info(body: str) -> tuple[str, str]:
    """Return anonymous id and submission time of a body; empty texts where it does not say, as in malformed rows."""
    try:
        info = json.loads(json.loads(body)["student_info"])
        anonymous_id, time = info["anonymous_student_id"], info["submission_time"]
    except (ValueError, TypeError, KeyError):
        return "", ""
    if not (ANONYMOUS_ID.fullmatch(str(anonymous_id)) and TIME.fullmatch(str(time))):
        return "", ""
    return anonymous_id, time


def _moment(value: str | datetime) -> datetime:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def _make_users(submitted: list[Submitted], password: str | None, counts: SeedCounts) -> None:
    users = get_user_model()
    ids = {one.user_id for one in submitted}
    there = set(users.objects.filter(pk__in=ids).values_list("pk", flat=True))
    # One hash for all: hashing thousands of times would make a demo wait.
    shared = make_password(password)
    new = [users(pk=user_id, username=f"learner{user_id}", password=shared) for user_id in sorted(ids - there)]
    users.objects.bulk_create(new, batch_size=BATCH)
    counts.users = len(new)
    anonymous = {one.anonymous_id: one.user_id for one in submitted if one.anonymous_id}
    known = set(
        AnonymousUserId.objects.filter(anonymous_user_id__in=anonymous).values_list("anonymous_user_id", flat=True)
    )
    AnonymousUserId.objects.bulk_create(
        [
            AnonymousUserId(user_id=user_id, anonymous_user_id=anonymous_id)
            for anonymous_id, user_id in anonymous.items()
            if anonymous_id not in known
        ],
        batch_size=BATCH,
    )


def _make_states(submitted: list[Submitted], counts: SeedCounts) -> None:
    known = StudentModule.objects.values_list("student_id", "module_state_key")
    there = {(user_id, str(usage_key)) for user_id, usage_key in known}
    problems: dict[tuple[int, str, str], list[Submitted]] = defaultdict(list)
    for one in submitted:
        problems[one.user_id, one.course_id, one.usage_key].append(one)
    new = []
    for (user_id, course_id, usage_key), attempts in problems.items():
        if (user_id, usage_key) in there:
            continue
        there.add((user_id, usage_key))
        correct_map = _play(attempts, counts)
        state = StudentModule(student_id=user_id, course_id=course_id, module_state_key=usage_key)
        state.store(correct_map, attempts=len(attempts))
        state.grade, state.max_grade = capa.points(correct_map), len(correct_map)
        new.append(state)
    StudentModule.objects.bulk_create(new, batch_size=BATCH)
    counts.states = len(new)


def _play(attempts: list[Submitted], counts: SeedCounts) -> dict[str, dict]:
    """
    Return the correct map after these attempts and their answers, in the order in which they happened.

    An acknowledged answer that CAPA would raise on changed nothing, whatever acknowledged it; it is counted.
    """
    steps = [(one.arrived, False, one) for one in attempts]
    steps += [(one.delivered, True, one) for one in attempts if one.delivered is not None]
    correct_map: dict[str, dict] = {}
    for _, answered, one in sorted(steps, key=lambda step: step[:2]):
        if answered:
            try:
                correct_map = capa.update_score(correct_map, one.key, one.reply).correct_map
            except TypeError:
                counts.unapplied += 1
        else:
            state = {"key": one.key, "time": one.time}
            correct_map = correct_map | {one.answer_id: capa.entry(correctness="incomplete", queuestate=state)}
    return correct_map
