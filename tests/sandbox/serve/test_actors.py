"""Somebody who does one thing again and again, whatever happens."""

import threading

import requests

from sandbox.serve.actors import Actor


def test_it_goes_on_after_an_answer_that_did_not_come_and_after_a_mistake(caplog):
    acts, done = iter([requests.ConnectionError(), KeyError("x"), True, requests.ReadTimeout()]), threading.Event()

    def act():
        found = next(acts, None)
        if isinstance(found, Exception):
            raise found
        if found is None:
            done.set()
        return bool(found)

    actor = Actor("somebody", act, 0)
    assert done.wait(60)
    actor.end()
    actor.join()
    assert actor.unanswered == {"ConnectionError": 1, "ReadTimeout": 1}
    assert [record.getMessage() for record in caplog.records] == ["somebody failed, and goes on"]
