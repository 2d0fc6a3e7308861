"""What an LMS does with a grader's reply, whichever way it came: CAPA, the published grade, and who hears of it."""

import hashlib
import json
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction

from sandbox.lms import capa
from sandbox.lms.courseware.models import StudentModule
from sandbox.lms.models import AnonymousUserId, LearnerEffect

Kind = LearnerEffect.Kind
Source = LearnerEffect.Source


def global_anonymous_id(user: Any) -> str:
    """Return the learner's global anonymous id, made on first use (anonymous_id_for_user(user, None))."""
    found = AnonymousUserId.objects.filter(user=user, course_id="").first()
    if found is None:
        digest = hashlib.md5(f"{settings.SECRET_KEY}{user.pk}".encode()).hexdigest()
        found, _ = AnonymousUserId.objects.get_or_create(anonymous_user_id=digest, defaults={"user": user})
    return found.anonymous_user_id


def record(user: Any, course_id: str, usage_key: str, kind: str, source: str, **detail: Any) -> None:
    """Write down one effect on a learner."""
    LearnerEffect.objects.create(
        user=user, course_id=course_id, usage_key=usage_key, kind=kind, source=source, detail=json.dumps(detail)
    )


def locked_state(user: Any, course_id: str, usage_key: str) -> StudentModule:
    """Return the learner's state of the problem, made on first use, locked until the transaction ends."""
    state = StudentModule.find(user.pk, usage_key, lock=True)
    if state is not None:
        return state
    try:
        with transaction.atomic():
            return StudentModule.objects.create(student=user, course_id=course_id, module_state_key=usage_key)
    except IntegrityError:
        # Another request made it between the two statements.
        state = StudentModule.find(user.pk, usage_key, lock=True)
        if state is None:
            raise
        return state


@transaction.atomic
def deliver(user: Any, course_id: str, usage_key: str, queuekey: str | None, reply: str, source: str) -> None:
    """
    Give a grader's reply to CAPA and publish the grade (capa_block.update_score, dispatch score_update).

    The grade is published in every case, also when the key is wrong and nothing changed. Raises what CAPA raises
    (TypeError) with nothing changed.
    """
    state = locked_state(user, course_id, usage_key)
    # A learner without a state still has the problem's inputs: CAPA builds them from the problem.
    correct_map = state.correct_map or {f"{capa.html_id(usage_key)}_2_1": capa.entry()}
    update = capa.update_score(correct_map, queuekey, reply)
    state.store(update.correct_map)
    if update.wiped:
        record(user, course_id, usage_key, Kind.REPLY_WIPED, source, answer_ids=list(update.wiped))
    publish(state, user, source, matched=bool(update.matched))
    state.save()


def publish(state: StudentModule, user: Any, source: str, *, matched: bool | None) -> None:
    """
    Publish the grade that the correct map holds: the grade the learner sees, LTI, and completion on a submission.

    `matched` says whether a reply's queuekey matched, None when there was no reply. Does not save the state.
    """
    state.grade, state.max_grade = capa.points(state.correct_map), max(len(state.correct_map), 1)
    grade = {"earned": state.grade, "possible": state.max_grade}
    record(user, str(state.course_id), state.usage_key, Kind.GRADE_PUBLISHED, source, **grade, matched=matched)
    # A grader's answer completes nothing: the handler skips events that carry grader_response.
    if source == Source.SUBMIT:
        record(user, str(state.course_id), state.usage_key, Kind.COMPLETION, source)
    record(user, str(state.course_id), state.usage_key, Kind.LTI, source, **grade)
