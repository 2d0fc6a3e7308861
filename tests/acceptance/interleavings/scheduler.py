"""
Playing one schedule: two operations in two threads, each with connections of its own, one of which goes on at a time.

Before each of its steps a player stands still until it is told to go on, so that the same schedule is the same run on
every machine. Django shows each statement to ``execute_wrappers``; the ends of transactions it shows to nobody, so the
connections' ``_commit`` and ``_rollback`` are wrapped, too. Savepoints are no steps: nobody else can see one.

A player that waits for a row lock of the one that stands still cannot go on, and its turn is over: what a database
makes people wait for is part of every schedule. A player that dies leaves what a killed process leaves: its
connections are cut off by the server, which rolls back, and nothing that the code would do on its way out is done.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from django.db import OperationalError, connections

from tests.acceptance.interleavings.schedules import NAMES, Schedule

ALIASES = ("default", "xqueue")
#: The first look whether a player waits for a lock comes after so many seconds; each pause to the next one is twice as
#: long, up to the longest: a look costs the server more than a step, and on a busy machine every step is looked at.
GLANCE, LONGEST = 0.004, 0.064
#: How long a waiter may take to notice that its lock is free. It is asked for only where a transaction has ended.
WAKE = 0.02
#: Longer than any statement: after it the test has failed.
PATIENCE = 20
#: More steps than any operation has. One that waits in a loop, for what the other is to do, would never end.
ENDLESS = 3000
_OPEN = ("SAVEPOINT", "RELEASE SAVEPOINT", "ROLLBACK TO SAVEPOINT")
_here = threading.local()


class Killed(BaseException):
    """The process of this player has died; nobody catches it."""


class Stuck(AssertionError):
    """A player neither stands still, nor ends, nor waits for a lock."""


@dataclass(slots=True)
class Played:
    """What became of one operation: its result or what it raised, whether it died, and the steps it has done."""

    result: Any = None
    error: BaseException | None = None
    died: bool = False
    steps: list[str] = field(default_factory=list)


class Player:
    """One operation in a thread of its own, which does nothing between two steps without being told to."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.work: Callable[[], Any] | None = None
        self.played = Played()
        self.ended = self.waits = self.dead = False
        self._free = 0  # while above zero, nothing is a step
        self._go, self._still = threading.Semaphore(0), threading.Semaphore(0)
        #: The server's numbers of its connections, by alias.
        self.sessions: dict[str, int] = {}
        self._thread = threading.Thread(target=self._live, name=f"player {name}", daemon=True)
        self._thread.start()

    # What the driver does.

    def begin(self, work: Callable[[], Any]) -> None:
        """Take an operation; it is not begun before the first turn."""
        self.work, self.played = work, Played()
        self.ended = self.waits = False

    def go(self) -> None:
        """Do one step."""
        self._go.release()

    def stands_still(self, seconds: float) -> bool:
        """Whether it has done its step, or ended, within so many seconds."""
        if not self._still.acquire(blocking=seconds > 0, timeout=seconds or None):
            return False
        self.waits = False
        return True

    def leave(self) -> None:
        """End the thread."""
        self.work = None
        self._go.release()
        self._thread.join(PATIENCE)

    # What its thread does.

    def _live(self) -> None:
        _here.player = self
        for alias in ALIASES:
            self._watch(connections[alias])
        try:
            while not self.dead:
                self._go.acquire()
                if self.work is None:
                    return
                self._play(self.work)
                self.ended = True
                self._still.release()
        finally:
            for alias in ALIASES:
                connections[alias].close()

    def _play(self, work: Callable[[], Any]) -> None:
        try:
            self.played.result = work()
        except BaseException as error:
            self.played.error = error
        self.played.died = self.dead

    def _watch(self, connection: Any) -> None:
        original_connect = connection.connect

        def connect() -> None:
            self._check()
            with self.unseen():
                original_connect()
            self.sessions[connection.alias] = connection.connection.thread_id()

        connection.connect = connect
        connection.ensure_connection()
        connection.mysql_server_data  # noqa: B018  (Django asks once, with a statement)
        connection.execute_wrappers.append(self._statement)
        for end in ("commit", "rollback"):
            original = getattr(connection, f"_{end}")
            setattr(connection, f"_{end}", lambda end=end, do=original: (self.step(end.upper()), do())[1])
        switch = connection._set_autocommit
        # MySQL commits when it is switched on again, which Django does on its way out of a transaction.
        connection._set_autocommit = lambda on: (self._check(), switch(on))[1]

    def _statement(self, execute: Callable, sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        if sql.startswith(_OPEN):
            self._check()
        else:
            connection = context["connection"]
            self.step(f"{connection.alias}{'' if connection.in_atomic_block else ' alone'}: {sql}")
        return execute(sql, params, many, context)

    @contextmanager
    def unseen(self) -> Iterator[None]:
        """Within it nothing is a step."""
        self._free += 1
        try:
            yield
        finally:
            self._free -= 1

    def _check(self) -> None:
        if self.dead:
            raise Killed

    def step(self, what: str) -> None:
        """Stand still before a step. Raises ``Killed`` where it is never done."""
        self._check()
        if self._free:
            return
        if len(self.played.steps) >= ENDLESS:
            raise Stuck(f"{self.name} goes round in circles: {self.played.steps[-10:]}")
        self._still.release()
        self._go.acquire()
        self._check()
        self.played.steps.append(what)


def step(what: str) -> None:
    """A step that is no statement, as a request over HTTP; outside of a player's thread it is none."""
    player = getattr(_here, "player", None)
    if player is not None:
        player.step(what)


@contextmanager
def elsewhere() -> Iterator[None]:
    """What another process does for this one: no steps, and it does not die with this one."""
    player = getattr(_here, "player", None)
    if player is None:
        yield
        return
    with player.unseen():
        yield


class Stage:
    """Two players, and the connection from which they are watched. The server must be nobody else's meanwhile."""

    def __init__(self) -> None:
        self.players = [Player(name) for name in NAMES]

    def close(self) -> None:
        """Send both players home."""
        for player in self.players:
            player.leave()

    def play(self, works: tuple[Callable[[], Any], Callable[[], Any]], schedule: Schedule) -> list[Played]:
        """
        Play one schedule to its end, and say what became of both.

        Raises:
            Stuck: it has no end. Both players were killed.
        """
        try:
            return self._play(works, schedule)
        except BaseException:
            for player in self.players:
                if not player.ended:
                    self._kill(player)
            raise
        finally:
            self.players = [player if not player.dead else Player(player.name) for player in self.players]

    def _play(self, works: tuple[Callable[[], Any], Callable[[], Any]], schedule: Schedule) -> list[Played]:
        for player, work in zip(self.players, works, strict=True):
            player.begin(work)
            self._advance(player)  # to its first step, which is not done
        for turn in schedule:
            player, done = self.players[turn.player], len(self.players[turn.player].played.steps)
            while self._can_go(player) and (turn.steps is None or len(player.played.steps) < done + turn.steps):
                self._advance(player)
            if turn.dies and not player.ended:
                self._kill(player)
        while not all(player.ended for player in self.players):
            able = next((player for player in self.players if self._can_go(player)), None)
            if able is not None:
                self._advance(able)
            elif not self._settle(PATIENCE):
                raise Stuck("each of the two waits for the other, and the database does not see it")
        return [player.played for player in self.players]

    def _can_go(self, player: Player) -> bool:
        return not player.ended and not player.waits

    def _advance(self, player: Player) -> None:
        """Let a player do one step, until it stands still before the next one, has ended, or waits for a lock."""
        player.go()
        deadline = time.monotonic() + PATIENCE
        seconds = GLANCE
        while not player.stands_still(seconds):
            waiting = [other for other in self.players if other.waits and not other.stands_still(0)]
            if _waiting() > len(waiting):
                player.waits = True
                return
            if time.monotonic() > deadline:
                raise Stuck(f"{player.name} does not come back from: {player.played.steps[-1:]}")
            seconds = min(2 * seconds, LONGEST)
        over = player.ended or player.played.steps[-1:] in (["COMMIT"], ["ROLLBACK"])
        self._settle(WAKE if over else 0)

    def _settle(self, seconds: float) -> bool:
        """Wait until a player whose lock has come free stands still; whether there was one."""
        for player in self.players:
            if player.waits:
                deadline = time.monotonic() + seconds
                while True:
                    if player.stands_still(0.001):
                        return True
                    if not _waiting():
                        if not player.stands_still(PATIENCE):
                            raise Stuck(f"{player.name} was let go and does not come back")
                        return True
                    if time.monotonic() >= deadline:
                        return False
        return False

    def _kill(self, player: Player) -> None:
        """Cut a player off, let its thread unwind without a word to a database, and wait for the server's rollback."""
        player.dead, sessions = True, list(player.sessions.values())
        with connections["default"].cursor() as cursor:
            for number in sessions:
                with suppress(
                    OperationalError
                ):  # cut off in its wait for a lock, it has closed the other one by itself
                    cursor.execute(f"KILL {number}")
        player.go()
        if not player.stands_still(PATIENCE):
            raise Stuck(f"{player.name} does not die")
        ids = ", ".join(map(str, sessions))
        deadline = time.monotonic() + PATIENCE
        while _asked(f"SELECT COUNT(*) FROM information_schema.processlist WHERE id IN ({ids})"):
            if time.monotonic() > deadline:
                raise Stuck(f"the server goes on with {player.name}, which has died")
        self._settle(WAKE)


def _waiting() -> int:
    """How many sessions of the server wait for a row lock now. (``innodb_trx`` is up to 0.1 s old.)"""
    return int(_asked("SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'", 1))


def _asked(sql: str, column: int = 0) -> Any:
    with connections["default"].cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[column]
