"""
Whose a submission is, whether two submissions are the same, and the fence around shadows. Each rule lives here only.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii

from .errors import Unfit
from .wire import ID_LIMIT, NAME_LIMIT, Callback, Envelope, Header

FENCE = "shadow:"
_TWIN = f"{FENCE}twin:"
#: What the ledger calls a learner whose account is retired; a keyed hash follows.
RETIRED = "retired:"
#: The dispatch of a graded submission's callback; the other one, ``ungraded_response``, fills a plot.
GRADED_DISPATCH = "score_update"
#: The LMS's AnonymousUserId.anonymous_user_id is a varchar(32): nothing longer is ever found there.
ANONYMOUS_ID_LENGTH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Digests:
    """
    Two digests of one submission, as SHA-256 in hexadecimal.

    ``group`` stands for (full callback URL, lms_key, queue name), ``identity`` for the group plus the body and the file
    names. Two rows with equal identities are one submission that was sent twice. Two identities in one group are two
    submissions: lms_key has a resolution of one second.
    """

    group: str
    identity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """The place of a submission on the target: its StudentItem, and its queue with the key."""

    student_id: str = field(repr=False)
    course_id: str
    item_id: str
    item_type: str
    queue_name: str
    queue_key: str = field(repr=False)


def _joined(parts: Iterable[str]) -> bytes:
    # JSON with ASCII escapes: unambiguous between the parts, and it takes lone surrogates and NULs as they come. These
    # are the bytes of ``json.dumps(parts)`` without its brackets.
    return ", ".join(map(encode_basestring_ascii, parts)).encode("ascii")


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256(b"[%b]" % _joined(parts)).hexdigest()


def digests(header: Header, raw_body: str, file_names: Iterable[str]) -> Digests:
    """Return the two digests of a submission."""
    # Both begin with the same three parts, which are hashed once.
    group = hashlib.sha256(b"[" + _joined((header.callback_url, header.lms_key, header.queue_name)))
    identity = group.copy()
    group.update(b"]")
    identity.update(b", %b]" % _joined((raw_body, *sorted(file_names))))
    return Digests(group=group.hexdigest(), identity=identity.hexdigest())


def real_placement(envelope: Envelope) -> Placement:
    """
    Return the placement of a learner's real submission, as the platform's own send path writes it.

    The learner's id is CAPA's, unchanged. If it were translated to the course's anonymous id, its Score would override
    the grade.

    Raises:
        Unfit: a column of the target cannot hold one of the values.
    """
    return _placement(*_real(envelope))


def _real(envelope: Envelope) -> tuple[str, str, str, str, str, str]:
    """Return the values of a real placement, in the order of ``_COLUMNS``."""
    callback, header = envelope.callback, envelope.header
    learner, key = envelope.body.anonymous_student_id, header.lms_key
    return learner, callback.course_id, callback.item_id, callback.item_type, header.queue_name, key


def shadow_placement(envelope: Envelope, identity: str, queue_suffix: str) -> Placement:
    """
    Return the fenced placement of a shadow.

    Each half of the fence stops one of the LMS's receivers. The prefix makes ``student_id`` longer than the 32
    characters of an AnonymousUserId, so it belongs to no user and the receiver of ``score_set`` returns. It makes
    ``item_id`` no usage key, so the receiver of the score event returns instead of raising. ``course_id`` is prefixed
    too: that receiver parses it first, and would otherwise load the course inside ``put_result``'s transaction. A
    shadow has a queue of its own, and its key is not the learner's.

    Raises:
        Unfit: a column of the target cannot hold one of the values; an identity is never cut.
    """
    real = _real(envelope)
    _check(real)
    student_id, course_id, item_id, item_type, queue_name, _ = real
    if len(FENCE + student_id) <= ANONYMOUS_ID_LENGTH:
        raise Unfit("student_id_too_short", "The learner's anonymous id is too short to be fenced.")
    key = FENCE + identity[:64]
    return _placement(FENCE + student_id, FENCE + course_id, FENCE + item_id, item_type, queue_name + queue_suffix, key)


def twin_placement(shadow: Placement) -> Placement:
    """
    Return the placement of a shadow's twin, which is graded a second time.

    It is fenced like the shadow, and has a StudentItem and a key of its own.

    Raises:
        Unfit: the shadow does not carry the whole fence, or a column cannot hold one of the twin's values.
    """
    if not (is_fenced(shadow.student_id, shadow.item_id) and shadow.queue_key.startswith(FENCE)):
        raise Unfit("not_fenced", "Only a fenced copy may be graded twice.")
    item_id, key = (_TWIN + text.removeprefix(FENCE) for text in (shadow.item_id, shadow.queue_key))
    return _placement(shadow.student_id, shadow.course_id, item_id, shadow.item_type, shadow.queue_name, key)


def held_placement(envelope: Envelope, queue_suffix: str) -> Placement:
    """
    Return the placement of a held submission: the learner's own identity, on a queue that no grader polls.

    Raises:
        Unfit: a column of the target cannot hold one of the values.
    """
    real = _real(envelope)
    _check(real)
    student_id, course_id, item_id, item_type, queue_name, key = real
    return _placement(student_id, course_id, item_id, item_type, queue_name + queue_suffix, key)


#: The columns with their limits, and whether submissions.api strips blanks, which would turn the value into another
#: learner's or problem's.
_COLUMNS = (
    ("student_id", ID_LIMIT, True),
    ("course_id", ID_LIMIT, True),
    ("item_id", ID_LIMIT, True),
    ("item_type", 100, True),
    ("queue_name", NAME_LIMIT, False),
    ("queue_key", NAME_LIMIT, False),
)


def _placement(
    student_id: str, course_id: str, item_id: str, item_type: str, queue_name: str, queue_key: str
) -> Placement:
    """Return a placement of these values, which ``_check`` has passed. They come in the order of ``_COLUMNS``."""
    _check((student_id, course_id, item_id, item_type, queue_name, queue_key))
    return Placement(
        student_id=student_id,
        course_id=course_id,
        item_id=item_id,
        item_type=item_type,
        queue_name=queue_name,
        queue_key=queue_key,
    )


def _check(values: tuple[str, ...]) -> None:
    """
    Refuse values that the target's columns cannot hold. An import asks of each row twice, so all is asked at once.

    Raises:
        Unfit: saying what is wrong with the first such value.
    """
    for value, (name, limit, is_trimmed) in zip(values, _COLUMNS, strict=True):
        if not value or len(value) > limit or (is_trimmed and value != value.strip()):
            said = name.replace("_", " ")
            if not value:
                raise Unfit(f"{name}_empty", f"The submission has no {said}.")
            if len(value) > limit:
                raise Unfit(f"{name}_too_long", f"The {said} is longer than {limit} characters.")
            raise Unfit(f"{name}_padded", f"The {said} has blanks at its ends.")
    if "\0" in values[0]:  # submissions.api refuses it; a bulk write would not
        raise Unfit("student_id_has_nul", "The learner's anonymous id has a character that cannot be stored.")


def has_suffix(queue_name: str, suffixes: Iterable[str]) -> bool:
    """
    Tell whether a queue's name ends in one of the suffixes by which copies and held rows are kept apart.

    Case and trailing blanks are ignored, because the target's database may ignore them when it compares names.
    """
    return _has_suffix(queue_name, tuple(suffixes))


@functools.lru_cache(maxsize=256)  # every row is asked, and few queues are named
def _has_suffix(queue_name: str, suffixes: tuple[str, ...]) -> bool:
    return queue_name.strip().casefold().endswith(tuple(suffix.strip().casefold() for suffix in suffixes))


def in_sample(learner: str, percent: float) -> bool:
    """
    Tell whether a learner's submissions are copied, at ``percent`` (0 to 100) of all learners.

    A hash of the learner's id decides, so a learner is always in the sample or never.
    """
    if percent >= 100:
        return True
    number = int.from_bytes(hashlib.sha256(learner.encode("utf-8", "surrogatepass")).digest()[:8], "big")
    return number < percent / 100 * 2**64


def reverse_header(sink_url: str, identity: str, queue_name: str) -> str:
    """
    Return the header of a reverse shadow: the sink's callback, a queue of its own, and no learner's key.

    Raises:
        Unfit: XQueue could not hold the whole callback or the whole queue name; neither is ever cut.
    """
    if len(sink_url) > NAME_LIMIT:
        raise Unfit("sink_url_too_long", f"The sink's URL is longer than {NAME_LIMIT} characters.")
    if len(queue_name) > NAME_LIMIT:
        raise Unfit("queue_name_too_long", f"The queue name is longer than {NAME_LIMIT} characters.")
    return json.dumps({"lms_callback_url": sink_url, "lms_key": FENCE + identity[:64], "queue_name": queue_name})


def is_fenced(student_id: str, item_id: str) -> bool:
    """
    Tell whether an identity on the target carries both halves of the fence.

    A fenced course is not asked for: it only saves the LMS from loading the course.
    """
    return student_id.startswith(FENCE) and len(student_id) > ANONYMOUS_ID_LENGTH and item_id.startswith(FENCE)


def is_half_fenced(student_id: str, course_id: str, item_id: str) -> bool:
    """Tell whether an identity on the target carries some part of the fence without both halves."""
    halves = student_id.startswith(FENCE), item_id.startswith(FENCE)
    return (any(halves) or course_id.startswith(FENCE)) and not all(halves)


def input_key(envelope: Envelope) -> str:
    """
    Return a digest of (course, problem, learner, input). A newer attempt supersedes older ones with the same key.

    The key is empty where the input cannot be told. Such a submission supersedes nothing, because the answer to another
    input of the same problem must never be lost.
    """
    body, callback = envelope.body, envelope.callback
    if callback.dispatch != GRADED_DISPATCH:
        return ""  # a plot of Matlab's carries the key of the graded input, and replaces no attempt at it
    found = recover_input(callback, body.submission_time, body.anonymous_student_id, envelope.header.lms_key)
    if found is None:
        return ""
    return _digest([callback.course_id, callback.item_id, callback.user_id, body.anonymous_student_id, found])


def recover_input(callback: Callback, submission_time: str, anonymous_student_id: str, lms_key: str) -> str | None:
    """
    Return the input of the problem that a submission belongs to, or None where it cannot be told.

    The callback URL names the problem only, so the key is computed for every candidate input until one fits. The key is
    ``md5(LMS user id + submission time + anonymous id + input id)`` (CAPA, ``make_hashkey`` in
    ``capa/xqueue_interface.py`` as ``CodeResponse`` calls it).
    """
    seed = f"{callback.user_id}{submission_time}{anonymous_student_id}{callback.html_id}"
    try:
        prefix = hashlib.md5(seed.encode("latin-1"), usedforsecurity=False)
    except UnicodeEncodeError:  # CAPA encodes in the same way, so it cannot have made a key of this text
        return None
    for response in range(2, 101):
        for number in range(1, 4):
            candidate = prefix.copy()
            candidate.update(f"_{response}_{number}".encode("ascii"))
            if candidate.hexdigest() == lms_key:
                return f"{callback.html_id}_{response}_{number}"
    return None
