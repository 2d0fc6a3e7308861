"""The sandbox's network: real host names, loopback only, cookies as behind a TLS-terminating proxy."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from sandbox.network import free_port, parse_hosts, proxied_session


@pytest.fixture
def backend():
    """A plain HTTP server that sets a Secure cookie of the parent domain and tells what it was sent."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            received.append((self.path, dict(self.headers)))
            self.send_response(302 if self.path == "/go" else 200)
            if self.path == "/go":
                self.send_header("Location", "/there?a=b%20c")
            self.send_header("Set-Cookie", "sessionid=abc; Domain=.example.edu; Secure; HttpOnly; Path=/")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            """Keep the test output clean."""

    received = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    server.received = received
    server.address = f"127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    server.server_close()


def test_the_backend_sees_what_a_proxy_sends(backend):
    answer = proxied_session({"courses.example.edu": backend.address}).get("https://courses.example.edu/a?b=c%2Bd")
    ((path, headers),) = backend.received
    assert path == "/a?b=c%2Bd"
    assert (headers["Host"], headers["X-Forwarded-Proto"]) == ("courses.example.edu", "https")
    assert answer.url == "https://courses.example.edu/a?b=c%2Bd"


def test_a_secure_cookie_of_the_parent_domain_comes_back(backend):
    session = proxied_session({"courses.example.edu": backend.address, "files.example.edu": backend.address})
    session.get("https://courses.example.edu/")
    session.get("https://courses.example.edu/")
    session.get("https://files.example.edu/")
    assert [headers.get("Cookie") for _, headers in backend.received] == [None, "sessionid=abc", "sessionid=abc"]


def test_a_secure_cookie_is_lost_on_the_way_round_the_proxy(backend):
    session = proxied_session({})
    session.get(f"http://{backend.address}/")
    session.get(f"http://{backend.address}/")
    assert [headers.get("Cookie") for _, headers in backend.received] == [None, None]


def test_a_redirect_stays_on_the_public_host(backend):
    answer = proxied_session({"courses.example.edu": backend.address}).get("https://courses.example.edu/go")
    assert answer.url == "https://courses.example.edu/there?a=b%20c"
    assert [headers["Host"] for _, headers in backend.received] == ["courses.example.edu"] * 2


def test_plain_http_is_forwarded_as_such(backend):
    proxied_session({"courses.example.edu": backend.address}).get("http://courses.example.edu/")
    assert backend.received[0][1]["X-Forwarded-Proto"] == "http"


@pytest.mark.parametrize(
    "url", ["https://other.example.edu/", "http://203.0.113.9/", "https://courses.example.edu.evil/"]
)
def test_a_host_outside_the_sandbox_is_never_reached(backend, url):
    with pytest.raises(requests.ConnectionError, match="not part of the sandbox"):
        proxied_session({"courses.example.edu": backend.address}).get(url)


def test_a_url_without_a_scheme_is_the_callers_error():
    with pytest.raises(requests.exceptions.MissingSchema):
        proxied_session({}).get("courses.example.edu/x")


def test_the_machines_proxy_has_no_say(backend, monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    session = proxied_session({"courses.example.edu": backend.address})
    assert session.get("https://courses.example.edu/").status_code == 200
    assert session.get(f"http://{backend.address}/").status_code == 200


def test_hosts_come_from_the_environment(backend, monkeypatch):
    monkeypatch.setenv("SANDBOX_HOSTS", f"courses.example.edu={backend.address}, files.example.edu=127.0.0.1:1")
    assert proxied_session().get("https://courses.example.edu/").status_code == 200


def test_hosts_are_read_strictly():
    assert parse_hosts("a=127.0.0.1:1,b=127.0.0.1:2") == {"a": "127.0.0.1:1", "b": "127.0.0.1:2"}
    assert parse_hosts("") == {}
    with pytest.raises(ValueError, match="'b' is not"):
        parse_hosts("a=127.0.0.1:1,b")


def test_a_free_port_can_be_listened_on():
    server = ThreadingHTTPServer(("127.0.0.1", free_port()), BaseHTTPRequestHandler)
    server.server_close()
