"""
The proxy in front of the LMS: it ends TLS on loopback, so that a browser takes the platform's Secure cookies.

As ``proxy_cookie_domain`` of nginx it takes the institution's domain out of cookies: a browser at ``localhost`` would
refuse them. Nothing of the LMS's settings is changed for it.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from sandbox.databases import SANDBOX_DIR

HOST = "localhost"
DAYS = 30
TIMEOUT = 60  # seconds for one answer of the LMS
_HOP_BY_HOP = frozenset(
    ["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "content-length"]
)
#: What the proxy says of the browser, whatever the browser says of itself.
_OURS = frozenset({"x-forwarded-proto", "x-forwarded-for", "x-real-ip"})
_DOMAIN = re.compile(r";\s*domain=[^;]*", re.I)


class NoCertificate(RuntimeError):
    """A certificate cannot be made; the message says why."""


class Front(ThreadingHTTPServer):
    """Passes requests on to the LMS at ``backend`` (host and port)."""

    daemon_threads = True

    def __init__(self, port: int, backend: str, context: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.backend, self.context = backend, context

    def get_request(self) -> tuple[ssl.SSLSocket, Any]:
        """Take a connection; the handshake is for its own thread, where nobody else waits for it."""
        connection, address = super().get_request()
        return self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that does not trust the certificate, or goes away, is no error of the sandbox."""


class Handler(BaseHTTPRequestHandler):
    """One connection of a browser."""

    server: Front
    protocol_version = "HTTP/1.1"
    timeout = TIMEOUT

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        sent = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP | _OURS}
        sent |= {"X-Forwarded-Proto": "https", "X-Real-IP": self.client_address[0], "Connection": "close"}
        backend = HTTPConnection(self.server.backend, timeout=TIMEOUT)
        try:
            backend.request(self.command, self.path, body=body or None, headers=sent)
            answer = backend.getresponse()
            content = answer.read()
        except (OSError, HTTPException) as error:
            self.send_error(502, f"The LMS stand-in does not answer ({type(error).__name__})")
            return
        finally:
            backend.close()
        self.send_response(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, _DOMAIN.sub("", value) if name.lower() == "set-cookie" else value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = _pass_on

    def log_message(self, *args: Any) -> None:
        """The LMS has a log of its own."""


@contextlib.contextmanager
def running(port: int, backend: str) -> Iterator[str]:
    """Serve the LMS at ``https://localhost:port``; gives that address. Raises NoCertificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate())
    server = Front(port, backend, context)
    thread = threading.Thread(target=server.serve_forever, name="front", daemon=True)
    thread.start()
    try:
        yield f"https://{HOST}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def certificate() -> tuple[Path, Path]:
    """Return certificate and key for ``localhost``, made anew for every run: no browser needs to keep trusting it."""
    openssl = shutil.which("openssl")
    if openssl is None:
        raise NoCertificate("openssl is not installed, and a browser needs TLS to keep the LMS's Secure cookies")
    folder = SANDBOX_DIR / "tls"
    folder.mkdir(parents=True, exist_ok=True)
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", str(DAYS), "-subj", f"/CN={HOST}"]
    command += ["-addext", f"subjectAltName=DNS:{HOST},IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoCertificate(f"openssl made no certificate: {done.stderr.strip()[-300:]}")
    key.chmod(0o600)
    return cert, key
