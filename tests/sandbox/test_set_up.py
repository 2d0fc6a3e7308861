"""What a developer sees while pip works."""

import subprocess
import sys

from sandbox import set_up
from sandbox.databases import PROJECT_ROOT

TALKS = [sys.executable, "-c", "print('Collecting one'); print('Collecting two')"]
FAILS = [sys.executable, "-c", "print('No matching distribution'); raise SystemExit(3)"]


def test_in_a_pipe_there_is_a_line_when_it_begins_and_one_when_it_is_done(capsys):
    assert set_up.run("the sandbox", TALKS, terminal=False) == 0
    began, done = capsys.readouterr().err.splitlines()
    assert began == "set-up: the sandbox …"
    assert done.startswith("set-up: the sandbox, done in ")


def test_on_a_terminal_the_last_line_of_pip_stands_behind_the_seconds(capsys):
    slow = [sys.executable, "-c", "import time; print('Collecting one', flush=True); time.sleep(1.5)"]
    assert set_up.run("the sandbox", slow, terminal=True) == 0
    shown = capsys.readouterr().err
    assert "s  Collecting one" in shown
    assert all(len(line) < 80 for line in shown.replace("\r", "\n").splitlines())


def test_where_pip_fails_its_words_and_its_exit_code_are_there(capsys):
    assert set_up.run("the sandbox", FAILS, terminal=False) == 3
    shown = capsys.readouterr().err
    assert "No matching distribution\n" in shown
    assert "set-up: the sandbox failed after " in shown


def test_it_runs_before_anything_is_installed():
    """The environment's own Python, nothing of ours on its path: standard library only."""
    command = [sys.executable, "-I", "-S", str(PROJECT_ROOT / "sandbox" / "set_up.py"), "nothing", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "No module named pip" in done.stderr or done.returncode == 0
    assert done.stderr.startswith("set-up: nothing …\n")
