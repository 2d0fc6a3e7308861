"""XQueue's races, which the handoff has to survive: they must be there, or its tests prove nothing."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.builders.xqueue_server import Client

pytestmark = pytest.mark.django_db(transaction=True, databases=["xqueue"])

STALL = 2.0  # seconds between the unlocked read and the save


@pytest.fixture(scope="module")
def stalling_xqueue(start_xqueue):
    return start_xqueue(SANDBOX_PULL_STALL_SECONDS=str(STALL))


def test_a_pull_brings_back_a_row_that_another_session_retired_meanwhile(stalling_xqueue, rows):
    client = Client(stalling_xqueue.url)
    client.submit()
    row_id = rows.one()["id"]
    with ThreadPoolExecutor() as pool:
        pull = pool.submit(client.pull)
        time.sleep(STALL / 2)
        assert not pull.done(), "the pull did not stall: this test proves nothing"
        assert rows.change(row_id, retired=True, grader_id="somebody else") == 1
        assert rows.one()["retired"] == 1
        handed_out = pull.result()
    row = rows.one()
    assert (row["retired"], row["grader_id"]) == (0, "127.0.0.1")
    assert handed_out["xqueue_body"] == "{}"


def test_two_graders_get_one_row_and_the_first_is_refused(stalling_xqueue, rows, lms):
    clients = [Client(stalling_xqueue.url) for _ in range(2)]
    clients[0].submit()
    with ThreadPoolExecutor() as pool:
        first, second = pool.map(Client.pull, clients)
    assert first["xqueue_header"] != second["xqueue_header"]
    answers = sorted(client.put(pull["xqueue_header"]) for client, pull in zip(clients, (first, second), strict=True))
    assert answers == [(0, ""), (1, "Incorrect key for submission")]


def test_a_retired_row_with_a_pullkey_takes_a_reply(client_of_xqueue, rows, lms):
    client_of_xqueue.submit()
    header = client_of_xqueue.pull()["xqueue_header"]
    rows.change(rows.one()["id"], retired=True)
    assert client_of_xqueue.put(header) == (0, "")
    assert (len(lms.posts), rows.one()["lms_ack"]) == (1, 1)


def test_a_retired_row_without_a_pullkey_does_not(client_of_xqueue, rows, lms):
    client_of_xqueue.submit()
    header = client_of_xqueue.pull()["xqueue_header"]
    rows.change(rows.one()["id"], retired=True, pullkey="")
    assert client_of_xqueue.put(header) == (1, "Incorrect key for submission")
    assert lms.posts == []


def test_put_result_holds_its_row_until_the_lms_has_answered(client_of_xqueue, rows, lms):
    """Another session's write to that row waits, and finds what put_result left."""
    client_of_xqueue.submit()
    header = client_of_xqueue.pull()["xqueue_header"]
    row_id = rows.one()["id"]
    lms.delay = 1.5
    with ThreadPoolExecutor() as pool:
        put = pool.submit(client_of_xqueue.put, header)
        deadline = time.monotonic() + 5
        while not lms.posts and time.monotonic() < deadline:
            time.sleep(0.02)
        started = time.monotonic()
        assert rows.change(row_id, num_failures=2) == 1
        waited = time.monotonic() - started
        assert put.result() == (0, "")
    assert waited > 0.5
    row = rows.one()
    assert (row["num_failures"], row["retired"]) == (2, 1)
