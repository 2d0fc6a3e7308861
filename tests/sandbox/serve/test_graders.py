"""How an operator points the graders: by a watcher's configuration in a file."""

import json

import pytest

from sandbox.grader import ServerEntry
from sandbox.serve import graders

XQUEUE, SEAM = "http://127.0.0.1:18040", "https://courses.example.edu/migration_shim"
CONFIG = {
    "xqueue_servers.json": {
        "legacy": {"SERVER": "http://127.0.0.1:1/", "AUTH": ["USER", "PASSWORD"]},
        "target-q": {"SERVER": SEAM, "AUTH": ["GRADER-OF-target-q", "PASSWORD"]},
    },
    "conf.d": {
        "q-legacy": {"NAME_OVERRIDE": "q", "SERVER_REF": "legacy"},
        "q-reverse": {"NAME_OVERRIDE": "q.reverse", "SERVER_REF": "legacy"},
        "q-target": {"NAME_OVERRIDE": "q", "SERVER_REF": "target-q"},
    },
}


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """Graders of which none polls, with what they say; and the accounts that were made."""
    monkeypatch.setattr(graders, "WATCHERS", tmp_path)
    monkeypatch.setattr(graders, "Actor", lambda name, act, pause: None)
    accounts = []
    monkeypatch.setattr(graders, "make_account", accounts.append)
    said = []
    entry = ServerEntry(url=XQUEUE, username="lms", password="pw", queues=("q",))
    made = graders.Graders(entry, said.append)
    made.said, made.accounts = said, accounts
    return made


def write(folder, content, name="py1.json"):
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def test_they_begin_with_the_queues_of_xqueue(bench):
    assert list(bench.benches) == [(XQUEUE, "q")]


def test_an_entry_of_the_configuration_is_polled_where_it_says_and_only_once(bench, tmp_path):
    write(tmp_path, {"courses": [{"watcher_config": CONFIG}]})
    bench.look()
    write(tmp_path, {"courses": [{"watcher_config": CONFIG}]}, "again.json")
    bench.look()
    assert list(bench.benches) == [(XQUEUE, "q"), (XQUEUE, "q.reverse"), (SEAM, "q")]
    assert set(bench.accounts) == {"GRADER-OF-target-q"}
    assert bench.said == [
        "graders: q.reverse at XQueue is polled from now on",
        "graders: q at the watcher seam, as GRADER-OF-target-q is polled from now on",
    ]
    accounts = {key: (made.client.server.username, made.client.server.password) for key, made in bench.benches.items()}
    assert accounts[XQUEUE, "q.reverse"] == ("lms", "pw")
    assert accounts[SEAM, "q"][0] == "GRADER-OF-target-q"


def test_a_configuration_without_queues_is_said_to_be_one(bench, tmp_path):
    write(tmp_path, {"courses": [{"watcher_config": {"xqueue_servers.json": {}, "conf.d": {}}}]})
    bench.look()
    bench.look()
    assert bench.said == ["graders: py1.json names no queue: the course has had no submission since it left legacy"]


@pytest.mark.parametrize("content", ["{", '{"courses": [{}]}', '{"courses": 7}', "[]", "null"])
def test_another_file_is_named_once_when_it_stays_what_it_is(bench, tmp_path, content):
    write(tmp_path, content)
    bench.look()
    assert bench.said == []  # it may be in the middle of being written
    bench.look()
    bench.look()
    (line,) = bench.said
    assert line.startswith("graders: py1.json is no answer of xqueue_status --watcher-config")
    assert list(bench.benches) == [(XQUEUE, "q")]


def test_what_is_written_in_two_goes_is_read_when_it_is_whole(bench, tmp_path):
    whole = json.dumps({"courses": [{"watcher_config": CONFIG}]})
    write(tmp_path, whole[:100])
    bench.look()
    write(tmp_path, whole)
    bench.look()
    assert (SEAM, "q") in bench.benches
    assert all("no answer" not in line for line in bench.said)
