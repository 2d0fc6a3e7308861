"""The proxy that ends TLS: what the LMS is told, and what a browser gets back."""

import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from sandbox.network import free_port
from sandbox.serve import front


@pytest.fixture
def backend():
    """A plain HTTP server that tells what it was sent, and sets the cookies of an LMS."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            received.append((self.command, self.path, dict(self.headers), body))
            self.send_response(302 if self.path == "/go" else 200)
            if self.path == "/go":
                self.send_header("Location", "/there")
            self.send_header("Set-Cookie", "sessionid=abc; Domain=.example.edu; Secure; HttpOnly; Path=/")
            self.send_header("Set-Cookie", "csrftoken=def; Secure; Path=/")
            self.end_headers()
            self.wfile.write(b"content")

        do_POST = do_GET

        def log_message(self, *args):
            """Keep the test output clean."""

    received = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.received = received
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def browser(backend, tmp_path, monkeypatch):
    """A session that trusts the front's certificate; and the front's address."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    monkeypatch.setattr(front, "SANDBOX_DIR", tmp_path)
    with front.running(free_port(), f"127.0.0.1:{backend.server_address[1]}") as url, requests.Session() as session:
        session.trust_env = False
        session.verify = str(tmp_path / "tls" / "cert.pem")
        yield session, url


def test_the_lms_hears_that_the_browser_came_over_tls_and_by_which_name(browser, backend):
    session, url = browser
    session.post(f"{url}/there?a=b", data={"x": "y"}, headers={"Referer": f"{url}/"})
    ((method, path, headers, body),) = backend.received
    assert (method, path, body) == ("POST", "/there?a=b", b"x=y")
    assert headers["X-Forwarded-Proto"] == "https"
    assert f"https://{headers['Host']}" == url


def test_what_a_browser_says_of_itself_does_not_pass_for_the_proxys_word(browser, backend):
    session, url = browser
    session.get(url, headers={"x-forwarded-proto": "http", "X-Real-Ip": "203.0.113.7"})
    headers = backend.received[0][2]
    assert (headers["X-Forwarded-Proto"], headers["X-Real-IP"]) == ("https", "127.0.0.1")


def test_a_browser_keeps_the_secure_cookies_and_sends_them_back(browser, backend):
    session, url = browser
    answer = session.get(f"{url}/there")
    assert answer.text == "content"
    assert answer.raw.headers.getlist("Set-Cookie") == [
        "sessionid=abc; Secure; HttpOnly; Path=/",
        "csrftoken=def; Secure; Path=/",
    ]
    session.get(f"{url}/there")
    assert backend.received[1][2]["Cookie"] == "sessionid=abc; csrftoken=def"


def test_redirects_are_the_browsers(browser, backend):
    session, url = browser
    answer = session.get(f"{url}/go", allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/there")


def test_an_lms_that_is_away_is_said_to_be(browser, backend):
    session, url = browser
    backend.shutdown()
    backend.server_close()
    answer = session.get(url)
    assert answer.status_code == 502
    assert "The LMS stand-in does not answer" in answer.text


def test_without_openssl_there_is_no_dashboard_and_a_reason(monkeypatch):
    monkeypatch.setattr(front.shutil, "which", lambda name: None)
    with pytest.raises(front.NoCertificate, match="openssl is not installed"):
        front.certificate()
