"""When a long run stops or waits: signals, its caller's reasons, a pause file, and the load of the two systems."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from ..conf import ShimSettings, load
from .throttle import Throttle

log = logging.getLogger(__name__)

#: The control that was entered last in each thread.
_innermost = threading.local()

#: Called with (rows done, rows there are).
Progress = Callable[[int, int], None]

STEP_SECONDS = 0.25
#: A sign of life is shown at most this often; ``runs.records.HEARTBEAT_LIMIT`` is far above it.
BEAT_SECONDS = 5.0
#: Shells and wrappers may deliver one Ctrl-C twice. Only a signal after this time counts as a second one.
TWICE_SECONDS = 1.0


class Stopped(Exception):
    """The run has to stop before its next batch; the message is the reason."""


def waits_for() -> str:
    """Return why this thread's run does no batch at the moment; empty if it is at work, or there is no run."""
    control = getattr(_innermost, "control", None)
    return control.waiting if control is not None else ""


def nothing(*args: object) -> None:
    """Do nothing."""


class Control:
    """
    The controls of a run, asked before every batch.

    As a context manager it handles SIGINT and SIGTERM, so that the run ends between two batches. A second signal breaks
    the run off at once, and the open batch is rolled back.

    Args:
        stop: returns why the run has to stop before its next batch, or an empty text; it also drops what the process
            has cached. ``toggles.stop_reason``, or for a way back ``toggles.kill_switch_ignored``. It has no default:
            each caller decides whether the kill switch ends its run.
        settings: the settings to use; those in force by default.
        beat: shows a sign of life; called every few seconds, also while the run waits. A run inside a run shows the
            outer one's too.
        tell: called with the reason while the run waits, and with an empty text when it goes on.
    """

    def __init__(
        self,
        stop: Callable[[], str],
        *,
        settings: ShimSettings | None = None,
        beat: Callable[[], None] = nothing,
        tell: Callable[[str], None] = nothing,
    ) -> None:
        self._stop = stop
        self.signal = ""
        #: Seconds waited so far, by kind of reason.
        self.waited: Counter[str] = Counter()
        #: Why the run waits at the moment; empty while it works.
        self.waiting = ""
        self._throttle = Throttle(settings or load())
        self._beat, self.tell = beat, tell
        self._beaten = self._signalled = time.monotonic()
        self._former: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {}
        self._around: Control | None = None

    def __enter__(self) -> Self:
        self._around, _innermost.control = getattr(_innermost, "control", None), self
        if threading.current_thread() is threading.main_thread():  # Python lets no other thread take signals
            for number in (signal.SIGINT, signal.SIGTERM):
                self._former[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        _innermost.control = self._around
        for number, former in self._former.items():
            # None: one that was not installed from Python, which Python cannot put back.
            signal.signal(number, signal.SIG_DFL if former is None else former)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        moment = time.monotonic()
        if self.signal and moment - self._signalled > TWICE_SECONDS:
            raise KeyboardInterrupt
        if not self.signal:
            self.signal, self._signalled = signal.Signals(number).name, moment
        around = getattr(self._former.get(number), "__self__", None)
        if isinstance(around, Control):  # a run inside a run: the signal is meant for both
            around._remember(number, frame)

    def stop_reason(self) -> str:
        """
        Return why the run has to stop before its next batch: a signal, or its caller's reason. Empty when it may go on.
        """
        return self.signal or self._stop()

    def beat(self) -> None:
        """Show a sign of life, unless the last one is fresh. For phases that have no batches."""
        if time.monotonic() - self._beaten >= BEAT_SECONDS:
            self._beat()
            self._beaten = time.monotonic()
        if self._around is not None:
            self._around.beat()

    def check(self) -> None:
        """
        Show a sign of life, and stop the run if it has to stop.

        Raises:
            Stopped: with the reason.
        """
        self.beat()
        if reason := self.stop_reason():
            raise Stopped(reason)

    def turn(self) -> None:
        """
        Wait until the next batch may begin. While something speaks against more load, the run waits and says why.

        Raises:
            Stopped: with the reason; also while the run waits.
        """
        self.check()
        waiting, began = "", time.monotonic()
        while reason := self._throttle.reason():
            if reason.kind != waiting:
                log.warning("migration_shim.run_waits: waiting: %s", reason.text)
                waiting = reason.kind
            self.waiting = reason.text
            self.tell(reason.text)
            self.sleep(STEP_SECONDS, kind=reason.kind)
        self.waiting = ""
        if waiting:
            self.tell("")
            log.warning("migration_shim.run_goes_on: going on after %.0f s", time.monotonic() - began)

    def sleep(self, seconds: float, *, kind: str = "") -> None:
        """
        Sleep for ``seconds``, showing signs of life and stopping when asked to. ``kind`` adds the time to that wait's
        total.

        Raises:
            Stopped: with the reason.
        """
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            began = time.monotonic()
            time.sleep(min(left, STEP_SECONDS))
            if kind:
                self.waited[kind] += time.monotonic() - began  # type: ignore[assignment]  # typeshed counts whole ones
            self.check()
