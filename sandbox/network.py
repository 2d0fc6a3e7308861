"""The network of the sandbox: everything stays on loopback, under the host names of a real platform."""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})


class LoopbackProxy(HTTPAdapter):
    """Plays the reverse proxy in front of a platform, which ends TLS and passes requests on as plain HTTP.

    A request for a host of ``hosts`` goes to that host's loopback address with the original ``Host`` and with
    ``X-Forwarded-Proto``, as nginx sends it. The caller, its cookie jar included, goes on seeing the original URL, so
    Secure and domain cookies behave as they do on a platform. Loopback addresses are reached directly. Any other host
    is a ``requests.ConnectionError``: captured callbacks name hosts that the sandbox must never reach.
    """

    def __init__(self, hosts: dict[str, str]) -> None:
        super().__init__()
        self.hosts = hosts

    def send(self, request, **kwargs) -> requests.Response:  # signature of HTTPAdapter.send
        url = urlsplit(request.url)
        if url.hostname in LOOPBACK_NAMES:
            return super().send(request, **kwargs)
        address = self.hosts.get(url.hostname)
        if address is None:
            raise requests.ConnectionError(f"host {url.hostname} is not part of the sandbox", request=request)
        passed_on = request.copy()
        passed_on.url = url._replace(scheme="http", netloc=address).geturl()
        passed_on.headers["Host"] = url.netloc.rpartition("@")[2]
        passed_on.headers["X-Forwarded-Proto"] = url.scheme
        response = super().send(passed_on, **kwargs)
        response.url, response.request = request.url, request
        return response


def parse_hosts(text: str) -> dict[str, str]:
    """Read ``host=address:port,host=address:port``; raise ValueError for an entry of another form."""
    hosts = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        host, equals, address = entry.partition("=")
        if not (host and equals and address):
            raise ValueError(f"SANDBOX_HOSTS: {entry!r} is not host=address:port")
        hosts[host] = address
    return hosts


def proxied_session(hosts: dict[str, str] | None = None) -> requests.Session:
    """Return a session that reaches the hosts of the sandbox (default: those of the variable ``SANDBOX_HOSTS``)."""
    session = requests.Session()
    session.trust_env = False  # a proxy or a .netrc of the machine has no say in here
    adapter = LoopbackProxy(parse_hosts(os.environ.get("SANDBOX_HOSTS", "")) if hosts is None else hosts)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
