"""XQueue's client: what it sends of CAPA's files, and how it stays under its deadline."""

import io
import time
from email.parser import BytesParser

import pytest

from migration_shim.conf import LegacyAccess
from migration_shim.legacy.client import SENT_BY_SHIM, LegacyClient, sent_by_shim
from tests.builders.attempts import bad_xqueue, hang


class FileOfCapa:
    """As CAPA's FileObjForWebobFiles: ``read`` and ``seek`` are found on the instance only."""

    def __init__(self, name, content):
        self.name, self.file = name, io.BytesIO(content)

    def __getattr__(self, name):
        return getattr(self.file, name)


def client(url):
    access = LegacyAccess(url=url, username="lms", password="pw", basic_auth=None, timeout=(3.05, 10.0))
    return LegacyClient(access)


def test_capas_files_arrive_and_are_sent_again_after_a_login():
    seen = []

    def answer(handler):
        # BadXQueue has read the body; it is on the handler by then.
        seen.append((handler.headers, handler.body))
        asked = '{"return_code": 1, "content": "login_required"}'
        handler.reply(200, asked if len(seen) == 1 else '{"return_code": 0, "content": "3"}')

    with bad_xqueue(answer) as server:
        files = [FileOfCapa("main.py", b"print(1)\n")]
        assert client(server.url).submit("{}", "{}", files, correlation="abc") == (0, "3")

    assert len(seen) == 2
    for headers, body in seen:
        assert headers[SENT_BY_SHIM] == sent_by_shim("abc")
        head = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode()
        parts = {
            part.get_param("name", header="content-disposition"): part.get_payload(decode=True)
            for part in BytesParser().parsebytes(head + body).get_payload()
        }
        assert parts == {"xqueue_header": b"{}", "xqueue_body": b"{}", "main.py": b"print(1)\n"}


@pytest.mark.parametrize("left", [-1.0, 0.3])
def test_no_request_waits_longer_than_what_is_left_of_the_deadline(left):
    started = time.monotonic()
    with bad_xqueue(lambda handler: hang(handler, 2.0)) as server:
        reply = client(server.url).submit("{}", "{}", deadline=started + left)
        took = time.monotonic() - started
        assert server.submits == int(left > 0)
    assert reply == (1, "failed to read from the server")
    assert took < 1.5
