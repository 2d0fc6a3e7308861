"""
XQueue's database when something is wrong with it: a server that falls silent, freezes or refuses, and locks of others.

The first three are played by a proxy in front of the real server, through which whoever is to notice is led.
"""

import contextlib
import enum
import select
import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import quote

from django.db import connections, transaction

from migration_shim.conf import LEGACY_ALIAS

#: XQueue's put_result locks its row until it has delivered; a dump locks the table.
OWN_DELIVERY = "SELECT id FROM queue_submission FOR UPDATE"
DUMP = "LOCK TABLES queue_submission READ LOCAL"
TICK = 0.02  # seconds


class State(enum.StrEnum):
    """What becomes of what clients send. A frozen server has lost nothing once it goes on; a silent one has."""

    PASSES = "passes"
    SILENT = "silent"
    FROZEN = "frozen"
    REFUSES = "refuses"


class Proxy:
    """Hands on, byte by byte, between its clients and the server of the alias ``xqueue``, as its state lets it."""

    def __init__(self) -> None:
        settings = connections[LEGACY_ALIAS].settings_dict
        self._unix = settings["OPTIONS"].get("unix_socket")
        self._server = settings["HOST"] or "localhost", int(settings["PORT"] or 3306)
        self.state, self.port = State.PASSES, 0
        self._listen()
        account = quote(settings["USER"]) + (f":{quote(settings['PASSWORD'])}" if settings["PASSWORD"] else "")
        self.url = f"mysql://{account}@127.0.0.1:{self.port}/{settings['NAME']}"

    @contextlib.contextmanager
    def being(self, state: State) -> Iterator[None]:
        """So for a while; then it passes again, and connections end that a silence has robbed of something."""
        self.state = state
        if state is State.REFUSES:
            self.close()
        try:
            yield
        finally:
            self.state = State.PASSES
            if state is State.REFUSES:
                self._listen()

    def close(self) -> None:
        """Refuse whoever comes, and end all connections."""
        self.state = State.REFUSES
        self._listener.shutdown(socket.SHUT_RDWR)  # else a thread goes on waiting in accept()
        self._listener.close()

    def _listen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                threading.Thread(target=self._serve, args=(listener.accept()[0],), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(ConnectionError):  # one of them has gone
            self._wait_while(State.FROZEN)
            with self._connected() as server:
                self._hand_on({client: server, server: client})

    def _connected(self) -> socket.socket:
        if not self._unix:
            return socket.create_connection(self._server)
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._unix)
        return server

    def _hand_on(self, other: dict[socket.socket, socket.socket]) -> None:
        robbed = False
        while self.state is not State.REFUSES and not (robbed and self.state is State.PASSES):
            ready = select.select(list(other), [], [], TICK)[0]
            self._wait_while(State.FROZEN)
            for source in ready:
                data = source.recv(65536)
                if self.state is State.SILENT:
                    robbed = True
                elif data:
                    other[source].sendall(data)
                if not data:
                    self._wait_while(State.SILENT)  # nobody hears of an end either
                    return

    def _wait_while(self, state: State) -> None:
        while self.state is state:
            time.sleep(TICK)


@contextlib.contextmanager
def held(alias: str, sql: str, *params: object) -> Iterator[None]:
    """Another session that holds what this statement locks."""
    ready, over = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
                cursor.execute(sql, params)
                cursor.fetchall()
                ready.set()
                over.wait(600)
                if sql.startswith("LOCK TABLES"):
                    cursor.execute("UNLOCK TABLES")
        finally:
            connections[alias].close()

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert ready.wait(10)
        yield
    finally:
        over.set()
        thread.join()
