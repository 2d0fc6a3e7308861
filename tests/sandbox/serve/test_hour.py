"""What a serve leaves to another terminal, and what it says of itself."""

import os
import socket
import subprocess
from collections import Counter
from types import SimpleNamespace

import pytest

from sandbox.demo.stage import Stage
from sandbox.serve import hour


@pytest.fixture
def written(tmp_path, monkeypatch):
    """The file for a shell, in a folder with a blank in its name."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    monkeypatch.setattr(hour, "SANDBOX_DIR", folder)
    monkeypatch.setattr(hour, "ENVIRONMENT_FILE", folder / "serve.env")
    monkeypatch.delenv("SANDBOX_FLAGS", raising=False)
    monkeypatch.setenv("MIGRATION_SHIM_TARGET_DB", "mysql://u:p$x@host/lms")
    running = Stage(xqueue_url="", lms_address="", environment={"SANDBOX_HOSTS": "a=b,c=d"}, xqueue=None)
    hour._write_environment(running, "https://localhost:1/")
    return folder / "serve.env"


def shell(written, script):
    env = {"PATH": os.environ["PATH"], "SANDBOX_FLAGS": "own", "MIGRATION_SHIM_TARGET_DB": "sqlite:///other"}
    done = subprocess.run(["sh", "-c", f". '{written}'; {script}"], env=env, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_another_terminal_asks_the_same_databases_and_flags(written):
    """A flag or a database of the terminal's own would make its commands speak of another platform."""
    assert shell(written, 'echo "$MIGRATION_SHIM_TARGET_DB"') == "mysql://u:p$x@host/lms"
    assert shell(written, 'echo "${SANDBOX_FLAGS-unset} $SANDBOX_HOSTS"') == "unset a=b,c=d"


def test_another_terminal_types_commands_as_the_runbook_writes_them(written):
    assert shell(written, "manage.py walk --help").startswith("usage: manage.py walk")


def test_a_port_that_is_taken_is_not_waited_for():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        taken = listener.getsockname()[1]
        assert hour._port(taken, free_ports=False) != taken
    assert hour._port(taken, free_ports=False) == taken


def test_news_end_with_what_went_wrong():
    learners = SimpleNamespace(kinds=Counter(new=3, again=1, upload=2), told=Counter({"queued": 6, "You must wait": 2}))
    graders = SimpleNamespace(graded=lambda: 5, refused=lambda: 1, actors=[SimpleNamespace(unanswered=Counter(E=4))])
    assert hour._news(learners, graders, SimpleNamespace(unanswered=Counter(E=1))) == (
        "submissions queued: 6 (second tries: 1, uploads: 2); results: 5; told by the LMS: You must wait (2); "
        "came too late, as the learner had submitted again: 1; requests without an answer: E (5)"
    )
