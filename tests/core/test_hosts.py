"""Which host a callback names, whose it is, and which course a header names."""

import json

import pytest

from migration_shim.core.data import Whose
from migration_shim.core.hosts import Hosts, course_of_header, host_of, host_of_header, named_host, whose, whose_header

SINK = "https://lms.internal:8000/migration_shim/sink/0123456789abcdef0123456789abcdef/"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://courses.example.edu/courses/x", "courses.example.edu"),
        ("http://COURSES.Example.edu./x", "courses.example.edu"),
        ("https://courses.example.edu:443/x", "courses.example.edu"),
        ("http://courses.example.edu:80", "courses.example.edu"),
        ("http://lms:8000/courses/x", "lms:8000"),
        ("https://bücher.example/x", "xn--bcher-kva.example"),
        ("https://XN--BCHER-KVA.example/x", "xn--bcher-kva.example"),
        ("https://user:secret@courses.example.edu/x", "courses.example.edu"),
        ("http://[::1]:8000/x", "[::1]:8000"),
        (f"http://{'a' * 70}.example/x", f"{'a' * 70}.example"),
        ("http://a..b/x", "a..b"),
        ("", ""),
        ("/courses/x", ""),
        ("courses.example.edu/x", ""),
        ("ftp://courses.example.edu/x", ""),
        ("http://[::1/x", ""),
        ("http://lms:port/x", ""),
        ("https://", ""),
    ],
)
def test_the_host_of_a_url(url, host):
    assert host_of(url) == host


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("lms:8000", "lms:8000"),
        ("Courses.Example.edu:443", "courses.example.edu"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("https://courses.example.edu", ""),
        ("courses.example.edu/path", ""),
        ("a b", ""),
        ("", ""),
    ],
)
def test_a_host_as_a_setting_names_it(text, host):
    assert named_host(text) == host


@pytest.mark.parametrize(
    ("host", "hosts", "expected"),
    [
        ("a", Hosts(named=frozenset("a")), Whose.OURS),
        ("b", Hosts(named=frozenset("a")), Whose.UNKNOWN),
        ("b", Hosts(named=frozenset("a"), foreign=frozenset("b")), Whose.FOREIGN),
        ("b", Hosts(named=frozenset("a"), door=frozenset("b")), Whose.OURS),
        ("b", Hosts(named=frozenset("a"), foreign=frozenset("b"), door=frozenset("b")), Whose.FOREIGN),
        ("a", Hosts(named=frozenset("a"), foreign=frozenset("a")), Whose.OURS),
        ("a", Hosts(door=frozenset("b")), Whose.UNKNOWN),
        # No host of ours is known at all.
        ("a", Hosts(), Whose.OURS),
        ("a", Hosts(foreign=frozenset("b")), Whose.OURS),
        ("b", Hosts(foreign=frozenset("b")), Whose.FOREIGN),
        # Nothing there names another LMS.
        ("", Hosts(named=frozenset("a")), Whose.OURS),
    ],
)
def test_whose_a_host_is(host, hosts, expected):
    assert whose(host, hosts) is expected


HOOK = "https://hooks.example.edu/grades?course=x"


@pytest.mark.parametrize(
    ("url", "hosts", "expected"),
    [
        ("https://b/courses/course-v1:a+b+c/xqueue/7", Hosts(named=frozenset("a")), Whose.UNKNOWN),
        # No LMS has sent these: they are malformed.
        (HOOK, Hosts(named=frozenset("a")), Whose.OURS),
        ("https://b/courses/no-course/xqueue/7", Hosts(named=frozenset("a")), Whose.OURS),
        (HOOK, Hosts(named=frozenset("a"), foreign=frozenset({"hooks.example.edu"})), Whose.FOREIGN),
        (SINK, Hosts(named=frozenset("a"), foreign=frozenset({"lms.internal:8000"})), Whose.OURS),
    ],
)
def test_whose_a_header_is(url, hosts, expected):
    assert whose_header(header(url), hosts) is expected


def test_a_host_that_only_the_door_has_seen_wants_a_name():
    hosts = Hosts(named=frozenset("a"), foreign=frozenset("b"), door=frozenset("abc"))
    assert hosts.unnamed == {"c"}


def header(url):
    return json.dumps({"lms_callback_url": url, "lms_key": "k", "queue_name": "q"})


def test_the_host_of_a_header():
    assert host_of_header(header("https://h/courses/x")) == "h"
    assert host_of_header(header(SINK)) == ""
    assert host_of_header("{") == ""


@pytest.mark.parametrize(
    ("text", "course"),
    [
        ("course-v1:ExU+PY1+2026/xqueue/7/block-v1:ExU+PY1+2026+type@problem+block@a/score_update", "+"),
        ("course-v1:ExU%2BPY1%2B2026/xqueue/7/block-v1:ExU+PY1+2026+type@problem+block@a/score_update", "+"),
        ("course-v1:ExU+PY1+2026/xqueue/7/no-block/score_update", "+"),
        ("course-v1:ExU+PY1+2026", "+"),
        ("course-v1:ExU+PY1+20260/xqueue/7", "course-v1:ExU+PY1+20260"),
        ("course-v1:exu+PY1+2026/xqueue/7", "course-v1:exu+PY1+2026"),
        ("course-v1:%C3%89xU+PY1+2026/xqueue/7/x/score_update", "course-v1:ÉxU+PY1+2026"),
        ("ExU/PY1/2026/xqueue/7/i4x:;_;_ExU;_PY1;_problem;_a/score_update", "ExU/PY1/2026"),
        ("no course/xqueue/7", ""),
        ("", ""),
    ],
)
def test_the_course_of_a_header(text, course):
    expected = "course-v1:ExU+PY1+2026" if course == "+" else course
    assert course_of_header(header(f"https://h/courses/{text}")) == expected


def test_a_header_that_is_cut_still_names_its_course():
    whole = header("https://h/courses/course-v1:%C3%89xU+PY1+2026/xqueue/7/x/score_update")
    assert course_of_header(whole[:90]) == "course-v1:ÉxU+PY1+2026"
    assert course_of_header("not a header") == ""
