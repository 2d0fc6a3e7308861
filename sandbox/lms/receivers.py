"""The LMS's receivers of edx-submissions' two signals, in the LMS's own order of checks.

Sources: edx-platform lms/djangoapps/grades/signals/handlers.py, grades/score_render.py, completion/handlers.py,
lms/djangoapps/lti_provider/signals.py. Both run inside put_result's transaction: what they raise decides what
edx-submissions does next, so nothing is caught here that an LMS does not catch.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.contrib.auth import get_user_model
from django.dispatch import receiver
from opaque_keys import InvalidKeyError
from opaque_keys.edx.keys import CourseKey, UsageKey
from openedx_events.learning.data import ExternalGraderScoreData
from openedx_events.learning.signals import EXTERNAL_GRADER_SCORE_SUBMITTED
from submissions.models import score_set

from sandbox.lms.grading import Kind, Source, deliver, record
from sandbox.lms.models import AnonymousUserId
from sandbox.lms.modulestore import modulestore

log = logging.getLogger(__name__)


#: Deliveries that are to be lost without a word, one item each.
_to_swallow: list[None] = []
_UID = "sandbox_lms.handle_external_grader_score"


def connect_score_receiver() -> None:
    """Let the platform hear of results. Releases up to autumn 2025 do not; see SANDBOX_SCORE_RECEIVER."""
    EXTERNAL_GRADER_SCORE_SUBMITTED.connect(handle_external_grader_score, dispatch_uid=_UID)


@contextmanager
def without_score_receiver() -> Iterator[None]:
    """Be a platform that has none: every score is stored, every row retires, and every learner stays queued."""
    EXTERNAL_GRADER_SCORE_SUBMITTED.disconnect(dispatch_uid=_UID)
    try:
        yield
    finally:
        connect_score_receiver()


@contextmanager
def swallowing(deliveries: int = 1) -> Iterator[None]:
    """Lose so many deliveries without a word: the receiver returns, and the learner's state is as it was."""
    _to_swallow.extend([None] * deliveries)
    try:
        yield
    finally:
        _to_swallow.clear()


def user_by_anonymous_id(anonymous_id: str) -> Any | None:
    """Return the user of an anonymous id, whatever course it is for, or None."""
    return get_user_model().objects.filter(anonymoususerid__anonymous_user_id=anonymous_id).first()


@receiver(score_set, dispatch_uid="sandbox_lms.submissions_score_set_handler")
def submissions_score_set_handler(sender: Any, **score: Any) -> None:
    """
    Turn a Score into the weighted score signal and what listens to it: tracking, regrade, completion, LTI.

    Raises InvalidKeyError for identities that do not parse, after the tracking event has gone out: completion and LTI
    parse them. edx-submissions then has the row graded again, with another tracking event, until it gives up.
    """
    user = user_by_anonymous_id(score["anonymous_user_id"])
    if user is None:
        return
    if score["points_possible"] == 0:
        return
    course_id, usage_key = score["course_id"], score["item_id"]
    grade = {"earned": score["points_earned"], "possible": score["points_possible"]}
    record(user, course_id, usage_key, Kind.SCORE_SET, Source.SCORE, **grade)
    CourseKey.from_string(course_id)
    UsageKey.from_string(usage_key)
    record(user, course_id, usage_key, Kind.COMPLETION, Source.SCORE)
    record(user, course_id, usage_key, Kind.LTI, Source.SCORE, **grade)


def handle_external_grader_score(sender: Any, score: ExternalGraderScoreData, **kwargs: Any) -> None:
    """
    Give the grader's reply to CAPA. Raises KeyError without a score, and whatever loading or CAPA raises.

    The order matters: identities that do not parse return before the learner is looked up, which is the half of the
    fence that keeps put_result from answering 500. The course is loaded before the usage key is parsed, and what the
    modulestore raises is caught by nobody. The first three records are the platform's own words.
    """
    log.info("Received external grader score event: %s, %s, %s", sender, score, kwargs)
    log.info(
        "External grader event score payload received: user_id=%s, module_id=%s, submission_id=%s, course_id=%s",
        score.user_id,
        score.module_id,
        score.submission_id,
        score.course_id,
    )
    log.info("External grader score: %s", json.loads(score.score_msg)["score"])
    if _to_swallow:
        _to_swallow.pop()
        return
    try:
        modulestore().get_course(CourseKey.from_string(score.course_id), depth=0)
    except InvalidKeyError:
        log.error("external grader score: invalid course key %s", score.course_id)
        return
    try:
        UsageKey.from_string(score.module_id)
    except InvalidKeyError:
        log.error("external grader score: invalid usage key %s", score.module_id)
        return
    try:
        user = AnonymousUserId.objects.select_related("user").get(anonymous_user_id=score.user_id).user
        deliver(user, score.course_id, score.module_id, score.queue_key, score.score_msg, Source.EVENT)
    except Exception as error:
        # Every exception, as in the LMS: logged and raised again. Its text may hold the reply, so only its type.
        log.error("external grader score of submission %s failed: %s", score.submission_id, type(error).__name__)
        raise
