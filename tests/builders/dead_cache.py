"""A cache whose server is not there, and one that takes connections and never answers."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

from django.db import connections

from sandbox.network import free_port

#: Seconds after which a caller is held: many times what all limits together allow.
HELD = 30


def dead_redis() -> dict[str, str]:
    """Settings of a Redis at an address where nothing listens, with a password that must not come out."""
    return {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": f"redis://:pw-of-the-cache@127.0.0.1:{free_port()}/0",
    }


@contextlib.contextmanager
def silent_socket() -> Iterator[str]:
    """The URL of a Redis that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


def without_timeout(url: str) -> dict[str, Any]:
    """Settings of a cache as most sites have it: its client waits for ever. From release 8 on redis-py has a limit."""
    return {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": url,
        "OPTIONS": {"socket_timeout": None, "socket_connect_timeout": None},
    }


def told(ask: Callable[[], Any]) -> Any:
    """What this caller is told, who must not be held."""
    heard = []

    def work() -> None:
        try:
            heard.append(ask())
        finally:
            connections.close_all()

    caller = threading.Thread(target=work, daemon=True)
    caller.start()
    caller.join(HELD)
    assert not caller.is_alive(), "the caller is held"
    return heard[0]
