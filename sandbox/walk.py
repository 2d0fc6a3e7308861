"""
Walk the runbook's first course on a running ``serve``, as somebody who can read and type and knows nothing else.

The commands are those of the page, in its order, typed into a shell as they stand there. What to do next is decided by
exit codes and by the words that the page names: a block of commands is run again until each of them has ended well.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sandbox import runbook
from sandbox.waiting import Patience

PAGE, HEADING = "first-hour.md", "Walk the first course"
PATIENCE = 240.0  # seconds in which the same reasons stand in the way
PAUSE = 10.0  # seconds before a block is run again
#: Exit codes that no waiting changes: an error, and what a shell says of a command that it cannot run.
HOPELESS = frozenset({1, 126, 127})
_BLOCK = re.compile(r"^ *```bash\n(.*?)^ *```", re.M | re.S)
_ALSO = re.compile(r"# exit code (\d+) is all right here")
_UNTIL = re.compile(r"# until it says (\S.*?)\s*$")
#: Lines of a screen that say why it may not go on.
_REASON = re.compile(r"^\s*(?:because|needed|BLOCKER)\b.*", re.M)


class Stuck(RuntimeError):
    """The walk cannot go on; the message holds the command and its screen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One command of the page."""

    words: str
    well: frozenset[int]
    """Exit codes with which it has ended well."""
    until: str
    """What its screen has to say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """What a command left on the screen."""

    line: Line
    exit_code: int
    output: str

    def well(self) -> bool:
        """Whether the page lets one go on."""
        return self.exit_code in self.line.well and self.line.until in self.output

    def reasons(self) -> str:
        """Why not, in the screen's own words."""
        said = [found.strip() for found in _REASON.findall(self.output)]
        return "; ".join(said) or f"exit code {self.exit_code}"


def blocks() -> list[list[Line]]:
    """The page's blocks of commands, in its order."""
    (text,) = runbook.texts(HEADING)
    found = [[_line(words) for words in block.splitlines() if words.strip()] for block in _BLOCK.findall(text)]
    return [block for block in found if block]


def _line(text: str) -> Line:
    also, until = _ALSO.search(text), _UNTIL.search(text)
    return Line(
        words=text.partition("  #")[0].strip(),
        well=frozenset({0, int(also[1])} if also else {0}),
        until=until[1] if until else "",
    )


@dataclass(slots=True)
class Walk:
    """One walk. ``environment`` is the file that ``serve`` tells a shell to read."""

    environment: Path
    say: Callable[[str], None]
    pause: float = PAUSE
    patience: float = PATIENCE
    screens: list[Screen] = field(default_factory=list)

    def go(self) -> float:
        """Walk from the page's first command to its last; how many seconds it took. Raises Stuck or NoProgress."""
        began = time.monotonic()
        for block in blocks():
            patience = Patience(f"'{block[-1].words}' to end well", self.patience)
            while (hindered := self._block(block)) is not None:
                patience.see(hindered.reasons())
                self.say(f"  … not yet: {hindered.reasons()[:300]}")
                time.sleep(self.pause)
        return time.monotonic() - began

    def _block(self, block: list[Line]) -> Screen | None:
        """Run a block up to the first command that did not end well, and give its screen."""
        for line in block:
            screen = self._type(line)
            if screen.exit_code in HOPELESS - line.well:
                raise Stuck(f"'{line.words}' ended with {screen.exit_code}:\n{screen.output[-3000:]}")
            if not screen.well():
                return screen
        return None

    def _type(self, line: Line) -> Screen:
        self.say(f"$ {line.words}")
        shell = ["sh", "-c", f". {shlex.quote(str(self.environment))}; {line.words}"]
        done = subprocess.run(
            shell, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        screen = Screen(line=line, exit_code=done.returncode, output=done.stdout)
        self.screens.append(screen)
        first = next((text for text in done.stdout.splitlines() if text.strip()), "")
        self.say(f"  {first}" + (f"  (exit code {done.returncode})" if done.returncode else ""))
        return screen
