"""
Legacy files over HTTP, for where XQueue's storage cannot be read: only from the hosts that a setting names.

A legacy row is no licence to fetch any URL: its URL must name a listed host, and the very object that the row's key
names. No redirect is followed, no proxy, cookie or account of this machine is used, and time and size are bounded.
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Iterable
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from types import TracebackType
from typing import Self
from urllib.parse import SplitResult, unquote, urlsplit

from requests.certs import where  # type: ignore[attr-defined]  # documented, and not in the stubs

_PRINTABLE = re.compile(r"[!-\[\]-~]+")  # no blank, no control character, no backslash
_PORTS = {"http": 80, "https": 443}
#: How long one file may take, however steadily it drips.
SECONDS = 60.0


class Downloads:
    """Files by their URLs, with the part of a Django storage's interface that reading needs."""

    def __init__(self, hosts: Iterable[str], timeout: float) -> None:
        self.hosts = frozenset(host.lower() for host in hosts)
        self.timeout = timeout

    def allows(self, url: str, name: str) -> bool:
        """Tell whether a URL is that of the object ``<queue>/<key>`` at one of the hosts."""
        try:
            parts = _parts(url)
            port = parts.port
        except ValueError:
            return False
        host = parts.hostname if port in (None, _PORTS[parts.scheme]) else f"{parts.hostname}:{port}"
        return host in self.hosts and unquote(parts.path).endswith(f"/{name}")

    def open(self, url: str) -> Download:
        """
        Start reading a URL that ``allows`` has passed.

        Raises:
            FileNotFoundError: the host says that there is no such file.
            OSError: the file cannot be fetched.
        """
        return Download(_parts(url), self.timeout)


def _parts(url: str) -> SplitResult:
    """Split a URL. Raises ValueError for all that two readers could read in two ways."""
    if not _PRINTABLE.fullmatch(url):
        raise ValueError("a character that no URL has")
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname or "@" in parts.netloc:
        raise ValueError("not a plain http URL")
    return parts


class Download:
    """One HTTP answer being read. ``size`` is what the host announced, in bytes; 0 where it sends chunks."""

    def __init__(self, parts: SplitResult, timeout: float) -> None:
        self._until = time.monotonic() + SECONDS
        self._connection = _connection(parts, timeout)
        try:
            self._response = self._get(parts)
        except BaseException:
            self._connection.close()
            raise
        self.size = self._response.length or 0

    def _get(self, parts: SplitResult) -> HTTPResponse:
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        try:
            self._connection.request("GET", target, headers={"Accept-Encoding": "identity", "Connection": "close"})
            response = self._connection.getresponse()
        except HTTPException as error:
            raise ConnectionError("no usable answer") from error
        if response.status in (404, 410):
            raise FileNotFoundError("no such file")
        # Anything else, a redirect included, is not the file. Without a length a broken answer looks like a whole one.
        encoded = response.getheader("Content-Encoding", "identity") != "identity"
        if response.status != 200 or encoded or (response.length is None and not response.chunked):
            raise ConnectionError("not the file as it is")
        return response

    def read(self, limit: int) -> bytes:
        """
        Read up to ``limit`` bytes.

        Raises:
            OSError: the transfer broke off or took too long.
        """
        data = bytearray()
        wanted = limit if self._response.chunked else min(limit, self.size)
        while len(data) < wanted:
            if time.monotonic() > self._until:
                raise TimeoutError("too slow")
            try:
                piece = self._response.read1(wanted - len(data))
            except HTTPException as error:
                raise ConnectionError("broken off") from error
            if not piece:
                break
            data += piece
        if not self._response.chunked and len(data) < wanted:
            raise ConnectionError("broken off")
        return bytes(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._response.close()
        self._connection.close()


def _connection(parts: SplitResult, timeout: float) -> HTTPConnection:
    if parts.scheme == "http":
        return HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    context = ssl.create_default_context(cafile=where())  # the authorities that requests trusts
    return HTTPSConnection(parts.hostname or "", parts.port, timeout=timeout, context=context)
