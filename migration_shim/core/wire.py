"""
The texts that travel between the LMS, XQueue and a grader: header, body and callback URL, parsed into frozen values.

The formats are CAPA's (``capa/responsetypes.py``, ``capa/xqueue_interface.py``). Everything here is hostile input: a
parse returns a whole value or raises ``Malformed`` with a short code, and a code never repeats the text it is about.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from opaque_keys import InvalidKeyError
from opaque_keys.edx.keys import CourseKey, UsageKey
from opaque_keys.edx.locator import BlockUsageLocator, LibraryUsageLocator

from . import json_text
from .errors import Malformed
from .supersession import time_in

#: XQueue's column ``xqueue_header`` holds this many characters, so no longer header can have been accepted.
HEADER_LIMIT = 1024
#: Columns of StudentItem and of the ledger.
ID_LIMIT = 255
#: Columns of ExternalGraderDetail and of XQueue.
NAME_LIMIT = 128


_CALLBACK = re.compile(r"/courses/(?P<course>.+?)/xqueue/(?P<user>[0-9]{1,19})/(?P<item>.+)/(?P<dispatch>[a-z_]{1,64})")
#: A URL that can be read in one way only, with its path. ``urlsplit`` need not be called for it.
_PLAIN_URL = re.compile(r"https?://[A-Za-z0-9.:-]+(/[A-Za-z0-9.:/@+_%~;,=!$&'()*-]*)")
_SINK = re.compile(r"/sink/[0-9a-f]{32}/\Z")
_BODY_KEYS = frozenset({"grader_payload", "student_info", "student_response"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """
    The three keys of ``xqueue_header`` that XQueue requires. ``extra`` is true where there are more.

    Here and below, the representation leaves out what would let somebody post a grade and what a learner wrote, because
    error reporters print the variables of a traceback.
    """

    callback_url: str = field(repr=False)
    lms_key: str = field(repr=False)
    queue_name: str
    extra: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """The course, problem and learner that a callback URL names. Keys are in their canonical text form."""

    course_id: str
    item_id: str
    item_type: str
    user_id: str = field(repr=False)
    dispatch: str
    #: The prefix of this problem's input ids, which CAPA puts before ``_<response>_<input>``.
    html_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """
    A parsed ``xqueue_body``. ``grader_payload`` and ``student_info`` are raw texts, as CAPA sends them, or None for
    null.
    """

    grader_payload: str | None = field(repr=False)
    student_info: str = field(repr=False)
    anonymous_student_id: str = field(repr=False)
    submission_time: str
    random_seed: object
    student_response: object = field(repr=False)
    extra: dict[str, object] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """The raw header and body of one submission, with everything that was parsed out of them."""

    raw_header: str = field(repr=False)
    raw_body: str = field(repr=False)
    header: Header
    callback: Callback
    body: Body


def _json(text: str, name: str) -> Any:
    try:
        return json_text.loads(text)
    except json_text.Unreadable as error:
        raise Malformed(f"{name}_{error.reason}") from error
    except (TypeError, ValueError) as error:
        raise Malformed(f"{name}_not_json") from error


def _storable(*texts: str | None) -> bool:
    """Tell whether databases can hold the texts: JSON can escape half of a surrogate pair, UTF-8 cannot hold one."""
    try:
        for text in texts:
            if text is not None and not text.isascii():  # Python knows this without reading the text
                text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def parse_header(text: str) -> Header:
    """
    Parse ``xqueue_header``, as strictly as XQueue does (``submission_queue/lms_interface.py``), with a bound on its
    size.

    Raises:
        Malformed: it cannot be read.
    """
    url, key, queue, extra = _header(text)
    return Header(callback_url=url, lms_key=key, queue_name=queue, extra=extra)


def url_of_header(header: str) -> str:
    """
    Return the full callback URL of an ``xqueue_header``.

    Raises:
        Malformed: as ``parse_header`` does.
    """
    return _header(header)[0]


def _header(text: str) -> tuple[str, str, str, bool]:
    if not isinstance(text, str) or len(text) > HEADER_LIMIT:
        raise Malformed("header_too_long")
    return _keys_of(text)


@functools.lru_cache(maxsize=1024)  # of a page of rows it is first asked whose they are, and then what they are
def _keys_of(text: str) -> tuple[str, str, str, bool]:
    value = _json(text, "header")
    if not isinstance(value, dict):
        raise Malformed("header_not_object")
    try:
        url, key, queue = value["lms_callback_url"], value["lms_key"], value["queue_name"]
    except KeyError as error:
        raise Malformed("header_incomplete") from error
    if not isinstance(url, str) or not isinstance(key, str) or not isinstance(queue, str):
        raise Malformed("header_not_text")
    if not _storable(text, url, key, queue):
        raise Malformed("header_half_surrogate")
    return url, key, queue, len(value) > 3


def unquote_slashes(text: str) -> str:
    """Undo the LMS's ``quote_slashes``: ``;_`` stands for ``/`` and ``;;`` for ``;``."""
    return re.sub(r";[;_]", lambda match: "/" if match.group() == ";_" else ";", text)


def parse_callback(url: str) -> Callback:
    """
    Parse the course, problem and learner out of a full callback URL.

    New and old keys, url-encoded keys, and hosts with a path before ``/courses/`` are understood. A URL without a
    scheme is refused, because XQueue cannot deliver to it.

    Raises:
        Malformed: the URL names no learner's problem.
    """
    path = plain[1] if (plain := _PLAIN_URL.fullmatch(url)) is not None else _path(url)
    match = _CALLBACK.search(path)
    if match is None or match.end() != len(path):
        raise Malformed("callback_no_course")
    course_id, item_id, item_type, html_id = _problem(match["course"], match["item"])
    return Callback(
        course_id=course_id,
        item_id=item_id,
        item_type=item_type,
        user_id=match["user"],
        dispatch=match["dispatch"],
        html_id=html_id,
    )


def _path(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError as error:  # an unfinished IPv6 host, for one
        raise Malformed("callback_not_a_url") from error
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise Malformed("callback_no_scheme")
    return parts.path


@functools.lru_cache(maxsize=1024)  # opaque keys take longer than all the rest, and learners share their problems
def _problem(quoted_course: str, quoted_item: str) -> tuple[str, str, str, str]:
    """Return course, usage key, block type and html id of a problem, as a callback's path names it."""
    try:
        course = CourseKey.from_string(unquote(quoted_course))
    except InvalidKeyError as error:
        raise Malformed("callback_bad_course") from error
    try:
        item = UsageKey.from_string(unquote_slashes(unquote(quoted_item)))
    except InvalidKeyError as error:
        raise Malformed("callback_bad_item") from error
    # Keys of asides and of library blocks parse as usage keys too, but no problem of a course has one.
    if not isinstance(item, BlockUsageLocator) or isinstance(item, LibraryUsageLocator):
        raise Malformed("callback_bad_item")
    if item.course_key.run is not None and item.course_key != course:
        raise Malformed("callback_item_of_other_course")
    if len(str(course)) > ID_LIMIT or len(str(item)) > ID_LIMIT:
        raise Malformed("callback_too_long")
    # Old keys have no run. The LMS maps them into the course before it makes the ids of the inputs.
    html_id = item.map_into_course(course).html_id()
    return str(course), str(item), item.block_type, html_id


def parse_body(text: str) -> Body:
    """
    Parse ``xqueue_body``. A missing ``grader_payload`` reads as null; a missing answer or learner is refused.

    Raises:
        Malformed: it cannot be read.
    """
    value = _json(text, "body")
    if not isinstance(value, dict):
        raise Malformed("body_not_object")
    raw_info = value.get("student_info")
    info = _json(raw_info, "student_info") if isinstance(raw_info, str) else None
    if not isinstance(raw_info, str) or not isinstance(info, dict):
        raise Malformed("no_student_info")
    learner = info.get("anonymous_student_id")
    if not isinstance(learner, str) or not learner or len(learner) > NAME_LIMIT:
        raise Malformed("no_anonymous_id")
    if "student_response" not in value:
        raise Malformed("no_answer")
    payload = value.get("grader_payload")
    if payload is not None and not isinstance(payload, str):
        raise Malformed("payload_not_text")
    if not _storable(payload, raw_info, learner):
        raise Malformed("body_half_surrogate")
    return Body(
        grader_payload=payload,
        student_info=raw_info,
        anonymous_student_id=learner,
        submission_time=time_in(info),
        random_seed=info.get("random_seed"),
        student_response=value["student_response"],
        extra={key: item for key, item in value.items() if key not in _BODY_KEYS},
    )


def parse_envelope(header: str, body: str) -> Envelope:
    """
    Parse the header, callback and body of one submission.

    Raises:
        Malformed: one of them cannot be read; it is raised for the first such part.
    """
    parsed_header = parse_header(header)
    return Envelope(
        raw_header=header,
        raw_body=body,
        header=parsed_header,
        callback=parse_callback(parsed_header.callback_url),
        body=parse_body(body),
    )


def is_folder(name: str) -> bool:
    """Tell whether a queue's name can name a folder below a storage's root, on any file system."""
    return not (set(name) & set("/\\\0") or name.startswith(".")) and 0 < len(name.encode("utf-8", "replace")) <= 255


def is_sink(url: str) -> bool:
    """Tell whether a callback URL is this app's own sink, which marks the row as a copy."""
    return _SINK.search(url) is not None


@functools.lru_cache(maxsize=64)  # one payload a problem
def grader_name(payload: str | None) -> str:
    """
    Return the ``grader`` of a payload, as the platform's own send path reads it; empty where there is none.

    Source: ``xmodule/capa/xqueue_submission.py``, which takes ``grader_payload["grader"]`` or ``""``. A payload that is
    not a JSON object makes that code lose the submission; here it reads as no name, and preflight reports it. A name
    with half of a surrogate pair reads as no name too, because no database can hold it; graders get the payload as it
    was sent.
    """
    try:
        value = json_text.loads(payload or "")
    except ValueError:
        return ""
    name = value.get("grader") if isinstance(value, dict) else None
    return name if isinstance(name, str) and _storable(name) else ""
