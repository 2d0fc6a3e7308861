"""The views of an LMS that external grading passes through: a submission, its state, and XQueue's callback."""

import json
import logging
import traceback
from datetime import UTC, datetime

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST
from opaque_keys import InvalidKeyError
from opaque_keys.edx.keys import CourseKey, UsageKey

from sandbox.lms import capa, grading
from sandbox.lms.blocks import Block, SubmittedFile, make_block
from sandbox.lms.courseware.models import StudentModule
from sandbox.lms.doors import queue_interface

log = logging.getLogger(__name__)

GENERIC_ERROR = "We're sorry, there was an error with processing your request. Please try reloading your page."
WAIT = "You must wait at least {seconds:g} seconds between submissions."


@require_GET
def index(request: HttpRequest) -> HttpResponse:
    """Say what this is."""
    return HttpResponse("LMS stand-in\n", content_type="text/plain")


# An exception of a submission must not undo what was already written: the platform's handle_xblock_callback is
# non-atomic, and that is why a half-made target submission stays behind there.
@transaction.non_atomic_requests
@login_required
@require_POST
def submit(request: HttpRequest, course_id: str, usage_key: str) -> JsonResponse:
    """
    Submit a problem, as the problem block's handle_ajax("problem_check") does.

    Fields: answer_id and student_response (repeated together for several inputs; answer_id may be left out for the
    first input), grader_payload (missing: the empty text; payload_null=1: JSON null), queue_name, seed, max_score,
    files. Answers 200 in every case, `success` says what the learner is told.
    """
    usage_key = capa.unquote_slashes(usage_key)
    try:
        block = make_block(course_id, usage_key, request.user.pk, int(request.POST.get("max_score", 1)))
    except InvalidKeyError as error:
        raise Http404 from error
    state = StudentModule.find(request.user.pk, usage_key)
    correct_map = state.correct_map if state else {}
    newest = capa.newest_queue_time(correct_map)
    pause = settings.XQUEUE_WAITTIME_BETWEEN_REQUESTS
    if newest is not None and (datetime.now(UTC) - newest).total_seconds() < pause:
        return JsonResponse({"success": WAIT.format(seconds=pause)})
    try:
        sent = _send_all(request, course_id, usage_key, block)
    except Exception as error:
        # Every exception, as block_render does. Its text may hold the answer, so only type and places are logged.
        places = "".join(traceback.format_tb(error.__traceback__))
        log.error("submission of %s failed: %s\n%s", usage_key, type(error).__name__, places)
        return JsonResponse({"success": GENERIC_ERROR})
    # Only now is the queue state saved: a reply faster than this finds no queuekey and is lost, as on the platform.
    with transaction.atomic():
        state = grading.locked_state(request.user, course_id, usage_key)
        # The time is noted after the call too, in whole seconds (capa_block: set_last_submission_time).
        state.store(correct_map | sent, attempts=state.attempts + 1, submitted_at=datetime.now(UTC))
        grading.publish(state, request.user, grading.Source.SUBMIT, matched=None)
        state.save()
    queued = any(entry["queuestate"] for entry in sent.values())
    messages = [entry["msg"] for entry in sent.values()]
    return JsonResponse(
        {"success": "queued" if queued else "refused", "attempts": state.attempts, "messages": messages}
    )


def _send_all(request: HttpRequest, course_id: str, usage_key: str, block: Block) -> dict[str, dict]:
    """Send each input to the queue (CodeResponse.get_score) and return the new entries of the correct map."""
    interface = queue_interface(block)
    first = f"{capa.html_id(usage_key)}_2_1"
    callback = capa.callback_url(
        settings.XQUEUE_INTERFACE["callback_url"] or settings.LMS_ROOT_URL, course_id, request.user.pk, usage_key
    )
    files = [SubmittedFile(upload) for upload in request.FILES.getlist("files")]
    responses = [""] if files else request.POST.getlist("student_response")
    payload = None if "payload_null" in request.POST else request.POST.get("grader_payload", "")
    entries = {}
    for answer_id, response in zip(request.POST.getlist("answer_id") or [first], responses, strict=True):
        queued = capa.make_request(
            answer_id=answer_id,
            response=response,
            grader_payload=payload,
            callback=callback,
            queue_name=request.POST["queue_name"],
            user_id=request.user.pk,
            anonymous_id=grading.global_anonymous_id(request.user),
            seed=int(request.POST.get("seed", 1)),
        )
        arguments = {"header": queued.header, "body": queued.body} | ({"files_to_upload": files} if files else {})
        error, msg = interface.send_to_queue(**arguments)
        entries[answer_id] = capa.entry_after_sending(queued, error, msg)
    return entries


@login_required
@require_GET
def state(request: HttpRequest, course_id: str, usage_key: str) -> JsonResponse:
    """Answer what the learner may see of a problem: correctness, points, messages; never a queuekey."""
    found = StudentModule.find(request.user.pk, capa.unquote_slashes(usage_key))
    if found is None:
        return JsonResponse({"attempts": 0, "earned": None, "possible": None, "inputs": {}})
    inputs = {
        answer_id: {name: entry.get(name) for name in ("correctness", "npoints", "msg")}
        | {"queued": bool(entry.get("queuestate"))}
        for answer_id, entry in found.correct_map.items()
    }
    return JsonResponse(
        {"attempts": found.attempts, "earned": found.grade, "possible": found.max_grade, "inputs": inputs}
    )


@csrf_exempt
def xqueue_callback(request: HttpRequest, course_id: str, userid: str, mod_id: str, dispatch: str) -> HttpResponse:
    """
    Take XQueue's callback (edx-platform: courseware/block_render.py::xqueue_callback).

    200 and an empty body when applied, but also for a wrong key, an invalid reply that wiped the learner's result, or
    an unknown dispatch. 404 when a field, the header's object or its lms_key is missing. Everything else raises: 500.
    No login: the lms_key in the header is all that protects it. User and problem come from the URL only.
    """
    for field in ("xqueue_header", "xqueue_body"):
        if field not in request.POST:
            raise Http404
    header = json.loads(request.POST["xqueue_header"])
    if not isinstance(header, dict) or "lms_key" not in header:
        raise Http404
    CourseKey.from_string(course_id)
    user = get_user_model().objects.get(pk=int(userid))
    usage_key = capa.unquote_slashes(mod_id)
    UsageKey.from_string(usage_key)
    # Only score_update can change a grade; ungraded_response fills a plot that this stand-in does not draw.
    if dispatch == "score_update":
        reply = request.POST["xqueue_body"]
        grading.deliver(user, course_id, usage_key, header["lms_key"], reply, grading.Source.CALLBACK)
    return HttpResponse("")
