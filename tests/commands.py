"""
Management commands in processes of their own, each forked off one that has imported Django and the apps.

To start Python and import all that takes two seconds, and a run starts some fifty commands. A command meets here what
it would meet alone: arguments, environment, standard input, output and error, and no connection of anybody else's.
"""

import atexit
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from sandbox.databases import PROJECT_ROOT

MANAGE = str(PROJECT_ROOT / "sandbox" / "manage.py")
#: Changes with every test, and no command reads it.
OF_PYTEST = "PYTEST_CURRENT_TEST"

PARENT = """
import json, os, random, runpy, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sandbox.lms.settings")
import django
django.setup()
from django.db import connections

def command(words, folder):
    random.seed()
    for number, name in enumerate(("/dev/null", folder + "/1", folder + "/2")):
        os.dup2(os.open(name, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT), number)
    sys.argv = words
    try:
        runpy.run_path(words[0], run_name="__main__")
        return 0
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1

assert not [one for one in connections.all() if one.connection], "a connection must not be in two processes"
for line in sys.stdin:
    child = os.fork()
    if not child:
        code = command(**json.loads(line))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

#: The one parent, and the environment that it was started with.
_parent: tuple[subprocess.Popen[str], dict[str, str]] | None = None


def manage(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``sandbox/manage.py`` with these words in a process of its own, as an operator would."""
    wanted = {name: value for name, value in (os.environ | environment).items() if name != OF_PYTEST}
    with tempfile.TemporaryDirectory() as folder:
        parent = _parent_in(wanted)
        try:
            print(json.dumps({"words": [MANAGE, *words], "folder": folder}), file=parent.stdin, flush=True)
            code = int(parent.stdout.readline())
        except BaseException:  # a test that has timed out: what comes now is nobody's answer
            parent.kill()
            parent.wait()
            raise
        out, err = (Path(folder, str(number)).read_text(encoding="utf-8") for number in (1, 2))
    return subprocess.CompletedProcess([MANAGE, *words], code, out, err)


def _parent_in(environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """The parent of commands with this environment; settings are read from it once, so another one has another."""
    global _parent
    if _parent is not None and (_parent[1] != environment or _parent[0].poll() is not None):
        close()
    if _parent is None:
        process = subprocess.Popen(
            [sys.executable, "-c", PARENT],
            cwd=PROJECT_ROOT,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        _parent = process, dict(environment)
    return _parent[0]


def close() -> None:
    """End the parent."""
    global _parent
    if _parent is not None:
        _parent[0].communicate()
        _parent = None


atexit.register(close)
