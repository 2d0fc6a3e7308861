"""The queue-state rules of CAPA's CodeResponse: what it sends, and what it does with what comes back. No Django.

Sources: xblocks_contrib/problem/capa/{responsetypes,xqueue_interface,correctmap,capa_problem}.py. Only what an
external grade can touch is modelled; a correct map is a plain dictionary of answer id to entry.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from opaque_keys.edx.keys import UsageKey

DATE_FORMAT = "%Y%m%d%H%M%S"
INVALID_REPLY = "Invalid grader reply. Please contact the course staff."
UNDELIVERED = "Unable to deliver your submission to grader (Reason: {reason}). Please try again later."
REQUIRED_TAGS = ("correct", "score", "msg")
# What lxml refuses in the message of a reply; CAPA treats that as an invalid reply.
NOT_XML = re.compile("[\x01-\x08\x0b\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
# What Django's reverse() leaves unquoted in a path.
PATH_SAFE = "!$&'()*+,;=/~:@"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRequest:
    """What CAPA hands to send_to_queue for one input, and the queue state it will keep if that works."""

    answer_id: str
    header: str
    body: str
    key: str
    time: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """What one grader reply did to a correct map."""

    correct_map: dict[str, dict]
    matched: tuple[str, ...] = ()
    """Answer ids whose queuekey matched: their points are now the reply's."""
    wiped: tuple[str, ...] = ()
    """Answer ids that an invalid reply reset."""


def html_id(usage_key: str) -> str:
    """Return the problem id that begins each answer id; raises InvalidKeyError (old-style keys get dashes)."""
    return UsageKey.from_string(usage_key).html_id()


def unquote_slashes(usage_key: str) -> str:
    """Undo the platform's quoting of old-style usage keys: i4x:;_;_Org;_Course becomes i4x://Org/Course."""
    return re.sub(";[_;]", lambda found: "/" if found.group() == ";_" else ";", usage_key)


def make_key(user_id: int | str, time: str, anonymous_id: str, answer_id: str) -> str:
    """Return the lms_key, 32 hex digits: not random, so two submissions of an input in one second share it."""
    return hashlib.md5(f"{user_id}{time}{anonymous_id}{answer_id}".encode("latin-1")).hexdigest()


def callback_url(root: str, course_id: str, user_id: int, usage_key: str, dispatch: str = "score_update") -> str:
    """Return the callback URL: one for a problem and a learner, whatever the input."""
    path = f"/courses/{course_id}/xqueue/{user_id}/{usage_key}/{dispatch}"
    return root + quote(path, safe=PATH_SAFE)


def make_request(
    *,
    answer_id: str,
    response: str,
    grader_payload: str | None,
    callback: str,
    queue_name: str,
    user_id: int,
    anonymous_id: str,
    seed: int,
    now: datetime | None = None,
) -> QueueRequest:
    """Build header and body as CodeResponse.get_score does; `response` is empty for uploaded files."""
    time = (now or datetime.now(UTC)).strftime(DATE_FORMAT)
    key = make_key(user_id, time, anonymous_id, answer_id)
    info = {"anonymous_student_id": anonymous_id, "submission_time": time, "random_seed": seed}
    body = {"grader_payload": grader_payload, "student_info": json.dumps(info), "student_response": response}
    header = {"lms_callback_url": callback, "lms_key": key, "queue_name": queue_name}
    return QueueRequest(answer_id=answer_id, header=json.dumps(header), body=json.dumps(body), key=key, time=time)


def entry(**values: object) -> dict:
    """Return one entry of a correct map; what is not given is reset, as CorrectMap.set does."""
    return {"correctness": None, "npoints": None, "msg": "", "queuestate": None} | values


def entry_after_sending(request: QueueRequest, error: object, msg: str) -> dict:
    """Return the entry after send_to_queue answered (error, msg): queued when error is falsy, else told why."""
    if error:
        return entry(msg=UNDELIVERED.format(reason=msg))
    return entry(correctness="incomplete", msg=msg, queuestate={"key": request.key, "time": request.time})


def parse_reply(text: str) -> tuple[object, object, str] | None:
    """
    Return (correct, score, msg) of a grader's reply, None when CAPA calls it invalid.

    Raises TypeError for a message that is not text: lxml does. An empty message is invalid, since html5lib finds
    nothing in it. Markup so broken that html5lib finds nothing either ("<b") is the one case not modelled.
    """
    try:
        reply = json.loads(text)
    except (TypeError, ValueError):
        return None
    if not isinstance(reply, dict) or any(tag not in reply for tag in REQUIRED_TAGS):
        return None
    msg = reply["msg"]
    if not isinstance(msg, str):
        raise TypeError("the message of a grader reply must be text")
    if not msg or NOT_XML.search(msg):
        return None
    return reply["correct"], reply["score"], msg


def update_score(correct_map: dict[str, dict], queuekey: str | None, reply: str) -> Update:
    """
    Apply a grader's reply to every input of the problem (LoncapaProblem.update_score: each responder in turn).

    A valid reply sets the inputs whose queuekey matches: points as they are, never below 0, not scaled, not capped.
    An invalid reply resets ALL inputs, whatever the key and whatever they had: the key is not looked at.
    Raises TypeError where the key matches and the score cannot be compared with 0 (null, text); nothing is changed.
    """
    parsed = parse_reply(reply)
    if parsed is None:
        wiped = tuple(correct_map)
        return Update(correct_map={answer_id: entry(msg=INVALID_REPLY) for answer_id in wiped}, wiped=wiped)
    correct, score, msg = parsed
    updated = dict(correct_map)
    matched = []
    for answer_id, old in correct_map.items():
        state = old.get("queuestate")
        if state is not None and state["key"] == queuekey:
            correctness = "correct" if correct else "incorrect"
            updated[answer_id] = entry(
                npoints=max(score, 0), correctness=correctness, msg=msg.replace("&nbsp;", "&#160;")
            )
            matched.append(answer_id)
    return Update(correct_map=updated, matched=tuple(matched))


def points(correct_map: dict[str, dict]) -> float:
    """Return the earned points of a problem: npoints of each input, else 1 where it is correct (CorrectMap)."""
    return sum(_points_of(old) for old in correct_map.values())


def _points_of(old: dict) -> float:
    if old.get("npoints") is not None:
        return old["npoints"]
    return 1 if old.get("correctness") in ("correct", "partially-correct") else 0


def is_queued(correct_map: dict[str, dict]) -> bool:
    """Tell whether any input waits for a grader."""
    return any(old.get("queuestate") for old in correct_map.values())


def newest_queue_time(correct_map: dict[str, dict]) -> datetime | None:
    """Return when the newest waiting input was queued, UTC, to the second; None when none waits."""
    times = [old["queuestate"]["time"] for old in correct_map.values() if old.get("queuestate")]
    return datetime.strptime(max(times), DATE_FORMAT).replace(tzinfo=UTC) if times else None
