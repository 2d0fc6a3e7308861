"""File names as XQueue would keep them, held to the real path: our client, requests, urllib3, Django's parser."""

import json
import warnings

import pytest
import requests
from django.test import RequestFactory
from hypothesis import example, given, settings
from hypothesis import strategies as st

from migration_shim.conf import LegacyAccess
from migration_shim.core.file_names import kept, kept_files
from migration_shim.legacy.client import LegacyClient

ACCESS = LegacyAccess(url="http://xqueue.test", username="lms", password="pw", basic_auth=None, timeout=(1, 1))
#: What a name may hold that somebody on the way takes for something else, and plain letters between.
ODD = [*"\"'%;=,&*?:|<>()[]{}/\\. \t\n\r\x0b\x0c\x00\x1c\x7f\x85\xa0\u2028"]
LETTERS = ["%22", "%0A", "&quot;", "&#47;", "..", "é", "ü", "日本", "\U0001f40d", "\u202e", "\ufeff", "a", "B", "py"]
PIECES = st.sampled_from([*ODD, *LETTERS])
NAMES = st.lists(PIECES, max_size=8).map("".join) | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


class XQueueInProcess(requests.adapters.BaseAdapter):
    """What the client posts, parsed as XQueue's Django does; the answer is what its ``_store_files`` would go over."""

    def send(self, request, **kwargs):
        arrived = RequestFactory().generic(
            "POST", "/xqueue/submit/", request.body, content_type=request.headers["Content-Type"]
        )
        files = {name: arrived.FILES[name].read().decode() for name in arrived.FILES}
        response = requests.Response()
        response.status_code = 200
        response._content = json.dumps({"return_code": 0, "content": files}).encode()
        return response

    def close(self):
        pass


class File:
    """A learner's file, as CAPA hands it over."""

    def __init__(self, name, content):
        self.name, self.content = name, content

    def read(self, size=-1):
        return self.content

    def seek(self, offset):
        pass


def arrived(names):
    """What XQueue has of files with these names, the number of each as its content."""
    client = LegacyClient(ACCESS)
    client.session = requests.Session()
    client.session.mount("http://", XQueueInProcess())
    files = [File(name, str(number).encode()) for number, name in enumerate(names)]
    error, content = client.submit("{}", "{}", files)
    assert error == 0
    return content


def expected(names):
    return {name: str(number) for name, number in kept_files((name, n) for n, name in enumerate(names)).items()}


@settings(max_examples=300, deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=4))
@example(["main.py", "main.py"])
@example(["a.py", "a.py ", "a.py"])
@example(['my "final" code.py'])
@example(["line\nbreak.py", "line%0Abreak.py"])
@example(["a\\"])
@example(["a\\\\\\\\b", 'a\\";x', "\\"])
@example(["", " ", ".", "..", "/", "x/", "&#47;"])
def test_what_arrives_is_what_is_predicted(names):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert expected(names) == arrived(names)


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("main.py", "main.py"),
        ("  two  blanks .py ", "two  blanks .py"),
        ('my "final" code.py', "my %22final%22 code.py"),
        ("line\nbreak\r.py", "line%0Abreak%0D.py"),
        ("über 日本.py", "über 日本.py"),
        ("%41;x=y.py", "%41;x=y.py"),
        ("folder/main.py", "folder/main.py"),
        ("..", None),
        ("folder/", None),
    ],
)
def test_names_by_hand(name, there):
    assert kept(name) == there
    assert arrived([name]) == ({there: "0"} if there is not None else {})


def test_a_name_that_an_lms_lets_through_is_kept_by_the_next_one_too():
    """Through the HTTP door a file is sent twice, and a reverse shadow is sent by the name that the target has."""
    for name in ("main.py", " a b ", 'my "final" code.py', "line\nbreak.py", "über.py", "%22;.py"):
        assert kept(kept(name)) == kept(name)
