"""Whose a submission is, by the host of its callback: one XQueue can serve several LMSs with the same course ids."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from opaque_keys import InvalidKeyError
from opaque_keys.edx.keys import CourseKey

from .data import Whose
from .errors import Malformed
from .wire import is_sink, parse_callback, parse_header, url_of_header

#: What stands before path, query and fragment of a URL.
_ORIGIN = re.compile(r"https?://[^/?#]*", re.IGNORECASE)
_DEFAULT_PORTS = (None, 80, 443)
#: What comes behind the course: the learner's id.
_BEHIND = re.compile(r"/xqueue/(?=[0-9])")
_COURSE = re.compile(r"/courses/([^\"]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosts:
    """
    The known hosts, each in the form of ``host_of``.

    ``named`` are ours by the settings or a site's configuration, ``door`` are those that our own door has seen. A
    setting that calls a host foreign outranks the door.
    """

    named: frozenset[str] = frozenset()
    foreign: frozenset[str] = frozenset()
    door: frozenset[str] = frozenset()

    @property
    def unnamed(self) -> frozenset[str]:
        """The hosts whose submissions come through our door and that no setting names. An operator has to name them."""
        return self.door - self.named - self.foreign


def host_of(url: str) -> str:
    """
    Return the host that a URL names, in lower case and as IDNA, with its port unless that is 80 or 443.

    The scheme is ignored, because an LMS behind a proxy may write either. Empty where no host is named.
    """
    found = _ORIGIN.match(url)
    return _host_of(found[0]) if found else ""


@functools.lru_cache(maxsize=1024)  # every row is asked, and few hosts are named
def _host_of(origin: str) -> str:
    try:
        parts = urlsplit(origin)
        name, port = parts.hostname, parts.port
    except ValueError:  # an unfinished IPv6 host, an invalid port
        return ""
    if not name:
        return ""
    try:
        name = name.encode("idna").decode("ascii")
    except UnicodeError:  # a label that is empty or too long for DNS is still the name of a host
        name = name.lower()
    name = f"[{name}]" if ":" in name else name.removesuffix(".")
    return name if port in _DEFAULT_PORTS else f"{name}:{port}"


def named_host(text: str) -> str:
    """
    Return a host as a setting names it (``name`` or ``name:port``) in the form of ``host_of``; empty where it is no
    host.
    """
    is_bare = not re.search(r"[\s/\\@?#%]", text)
    return host_of(f"https://{text}") if is_bare else ""


def whose(host: str, hosts: Hosts) -> Whose:
    """
    Return whose the rows of a host are. While no host of ours is known, all are ours that nothing calls foreign.

    A callback without a host counts as ours: it is malformed, and reported as malformed.
    """
    if not host or host in hosts.named:
        return Whose.OURS
    if host in hosts.foreign:
        return Whose.FOREIGN
    known = hosts.named or hosts.door
    return Whose.UNKNOWN if known and host not in hosts.door else Whose.OURS


def whose_header(header: str, hosts: Hosts) -> Whose:
    """
    Return whose a row is, by its raw header.

    A callback to an unknown host that names no course belongs to no LMS: it is malformed, and reported as malformed.
    """
    found = whose(host_of_header(header), hosts)
    return Whose.OURS if found is Whose.UNKNOWN and not course_of_header(header) else found


def host_of_header(header: str) -> str:
    """
    Return the host of a row's callback, by its raw header; empty where none can be read.

    The column of the callback is no source for it, because XQueue cuts it at 128 characters. A sink's host counts as
    none: a sink is no LMS's callback, and its host is whatever name XQueue reaches this app by. Such rows are copies,
    made by this app here or elsewhere, and nothing takes a copy for a submission.
    """
    try:
        url = url_of_header(header)
    except Malformed:
        return ""
    return "" if is_sink(url) else host_of(url)


def course_of_header(header: str) -> str:
    """
    Return the course that a row names, in canonical form, by its raw header; empty where it names none.

    A row may still name its course when its callback or header cannot be read as a whole.
    """
    try:
        return parse_callback(parse_header(header).callback_url).course_id
    except Malformed:
        found = _COURSE.search(header)
        return course_of(found[1]) if found else ""


def course_of(text: str) -> str:
    """
    Return the course id at the beginning of ``text``, the part of a callback behind ``/courses/``; empty where none is.

    Django's ``reverse()`` percent-encodes letters that are not ASCII. So an id is never searched for in such a text: it
    is read out of the text, and compared.
    """
    segments = _BEHIND.split(unquote(text))[0].split("/")
    for candidate in (segments[0], "/".join(segments[:3])):  # the second one is an old id: org/course/run
        try:
            return str(CourseKey.from_string(candidate))
        except InvalidKeyError:
            continue
    return ""
