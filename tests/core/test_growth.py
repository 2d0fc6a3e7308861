"""
What foreign text costs: eight times the text, eight times the work, at every place that reads any.

Times are the best of several tries of this process's own CPU, and the bound is generous: quadratic work is 64 times as
much, and grows until no grader, learner or author may be let near it.
"""

import contextlib
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from migration_shim.core import json_text, payload, scoring, wire
from migration_shim.core.errors import Malformed
from migration_shim.core.identity import recover_input
from migration_shim.core.row_checks import _of_payload
from migration_shim.legacy import downloads
from migration_shim.legacy.client import parse_reply
from migration_shim.logfilter import _FENCED
from migration_shim.reports import escape
from tests.builders import rows

SMALL, LARGE = 20_000, 160_000


def reply(message):
    """A grader's reply with this message."""
    return json.dumps({"correct": True, "score": 1, "msg": message})


def quietly(read):
    """The same, whatever it thinks of the text."""

    def call(text):
        with contextlib.suppress(Malformed, ValueError, TypeError):
            read(text)

    return call


def body(text, **fields):
    """A body with an answer of this text."""
    return json.dumps(json.loads(rows.body(7, text, "20260101000000")) | fields)


TEXTS = {
    "blanks": lambda n: " " * n,
    "a declaration of blanks": lambda n: "<?xml" + " " * n,
    "a declaration of blanks and its end": lambda n: "<?xml" + " " * n + ">",
    "a declaration of names": lambda n: "<?xml" + " encoding" * (n // 9),
    "a declaration of equations": lambda n: "<?xml" + " encoding = " * (n // 12),
    "a declaration of quotes": lambda n: "<?xml" + ' encoding="' * (n // 11),
    "a declaration without an end": lambda n: "<?xml encoding" + " " * n,
    "control characters": lambda n: "\0" * n,
    "tags": lambda n: "<a>" * (n // 3),
    "entities": lambda n: "&lt;" * (n // 4),
    "formulas": lambda n: "; " * (n // 2),
    "one long formula": lambda n: ";" + " " * n,
    "backticks": lambda n: "`" * n,
    "slashes": lambda n: ";_" * (n // 2),
    "brackets": lambda n: "[" * n,
    "backslashes": lambda n: "\\" * n,
    "digits": lambda n: "1" * n,
    "fenced": lambda n: "shadow:" * (n // 7),
}
READERS = {
    "read_reply": lambda text: scoring.read_reply(reply(text)),
    "read_reply, raw": scoring.read_reply,
    "slow_for_capa": scoring.slow_for_capa,
    "parse_header": wire.parse_header,
    "parse_header, queue": lambda text: wire.parse_header(
        json.dumps({"lms_callback_url": "u", "lms_key": "k", "queue_name": text})
    ),
    "parse_callback": wire.parse_callback,
    "parse_callback, path": lambda text: wire.parse_callback(f"https://lms/courses/{text}"),
    "unquote_slashes": wire.unquote_slashes,
    "is_sink": wire.is_sink,
    "parse_body": lambda text: wire.parse_body(body(text)),
    "parse_body, extra keys": lambda text: wire.parse_body(body("", **{text: text})),
    "grader_name": wire.grader_name,
    "payload hazards": lambda text: list(_of_payload(text)),
    "parity": lambda text: payload.parity(body(text), {text: "a"}, body(text + "b"), {}),
    "json": json_text.loads,
    "XQueue's answer": parse_reply,
    "the learner's input": lambda text: recover_input(
        wire.Callback(course_id="c", item_id="i", item_type="p", user_id="7", dispatch="d", html_id="h"),
        text,
        text,
        text,
    ),
    "a spreadsheet's cell": escape.csv_cell,
    "a code span": escape.code_span,
    "a URL": downloads._PRINTABLE.fullmatch,
    "the log": _FENCED.search,
}


def seconds(call, text, tries=3):
    """The best of some tries, in CPU seconds of this thread."""
    best = float("inf")
    for _ in range(tries):
        began = time.thread_time()
        call(text)
        best = min(best, time.thread_time() - began)
    return best


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_work_grows_with_the_text_and_no_faster(reader, text):
    call = quietly(reader)
    large = seconds(call, text(LARGE))
    # Less than 50 ms for 160,000 characters is cheap, however it has grown up to there.
    assert large < 0.05 or large < 24 * seconds(call, text(SMALL))


@pytest.mark.parametrize(
    "path",
    [
        "/courses/" * 110,
        "/courses/" * 50 + "/xqueue/1/" * 50,
        "/courses/a" + "/xqueue/1/A" * 90,
        "/courses/" * 55 + "/xqueue/1/" + "A" * 470,
        "/courses/course-v1:" + "a+" * 450 + "/xqueue/1/b/score_update",
        "/courses/a/b/c/xqueue/1/" + "i4x:" + ";_" * 450 + "/score_update",
        "/courses/course-v1:a+b+c/xqueue/1/block-v1:" + "a+" * 200 + "type@" + "@" * 200 + "/score_update",
    ],
)
def test_no_callback_that_a_header_holds_takes_long(path):
    """The expression and the platform's keys may go back and forth in one; a header's 1,024 characters bound it."""
    header = json.dumps({"lms_callback_url": "http://l" + path[:940], "lms_key": "k", "queue_name": "q"})
    assert len(header) <= wire.HEADER_LIMIT
    assert seconds(quietly(lambda text: wire.parse_callback(wire.parse_header(text).callback_url)), header) < 0.05


def test_such_a_bound_tells_quadratic_work():
    """The expression that reads a declaration's encoding in lxml, which stood here before."""
    import re

    old = re.compile(r"^(<\?xml[^>]+)\s+encoding\s*=\s*[\"'][^\"']*[\"'](\s*\?>|)").match
    few, many = (seconds(old, "<?xml" + " " * n, tries=1) for n in (2_000, 16_000))
    assert many > 0.05 and many > 24 * few


def _lxml_refuses(message):
    try:
        etree.fromstring(message)
    except ValueError as error:  # XMLSyntaxError is a SyntaxError
        return "encoding declaration" in str(error)
    except etree.XMLSyntaxError:
        return False
    return False


PIECES = st.lists(
    st.sampled_from(
        ["<?xml", " ", "\n", "encoding", "=", '"', "'", "utf-8", "?>", ">", "<a/>", "version", "e", "\u00a0"]
    ),
    max_size=14,
).map("".join)


@given(PIECES)
def test_a_declared_encoding_is_told_as_lxml_tells_it(text):
    for message in (text, "<?xml" + text, '<?xml  encoding="' + text, "<?xml version='1.0' " + text):
        assert scoring.declares_encoding(message) == _lxml_refuses(message), message


@pytest.mark.parametrize(
    ("message", "slow"),
    [
        ("<?xml" + " " * 5000, True),
        ("<?xml" + " " * 5000 + ">", True),
        ("<?xml" + " " * 100, False),
        ('<?xml version="1.0"?><p>' + " " * 5000 + "</p>", False),
        (" <?xml" + " " * 5000, False),
        ("m" * 5000, False),
    ],
)
def test_a_message_over_which_capa_would_sit_is_told(message, slow):
    assert scoring.slow_for_capa(message) is slow
