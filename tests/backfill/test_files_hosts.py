"""Files fetched by the URLs in legacy's rows: from listed hosts only, nothing but the row's own object, and bounded."""

import http.server
import itertools
import json
import threading
import time

import pytest

from migration_shim.conf import ShimSettings, problems
from migration_shim.core.errors import FileUnavailable
from migration_shim.legacy import downloads
from migration_shim.legacy import files as legacy_files
from migration_shim.legacy import rows as legacy_rows
from migration_shim.legacy.downloads import Downloads
from tests.builders import rows
from tests.builders.rows import fresh  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
KEY = "0123456789abcdef0123456789abcdef"
PLACE = f"{rows.QUEUE}/{KEY}"
DATA = b"\x00\xff print()\r\n"
LIMIT = 64


class Host(http.server.ThreadingHTTPServer):
    """A web server that does what the first part of a path says, and keeps what it was asked for."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answers)
        self.name = f"127.0.0.1:{self.server_port}"
        self.asked, self.document, self.elsewhere = [], b"", ""

    def handle_error(self, request, client_address):
        """Say nothing: clients that have seen enough hang up."""


class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.server.asked.append(self.path)
        getattr(self, self.path.split("/")[1])()
        self.close_connection = True

    def head(self, status=200, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def whole(self):
        self.head(Content_Length=len(DATA))
        self.wfile.write(DATA)

    def external(self):
        self.head(Content_Length=len(self.server.document))
        self.wfile.write(self.server.document)

    def chunked(self):
        self.head(Transfer_Encoding="chunked")
        self.wfile.write(b"5\r\n" + DATA[:5] + b"\r\n" + b"%x\r\n" % len(DATA[5:]) + DATA[5:] + b"\r\n0\r\n\r\n")

    def gone(self):
        self.head(404, Content_Length=0)

    def refused(self):
        self.head(403, Content_Length=0)

    def partial(self):
        self.head(206, Content_Length=len(DATA))
        self.wfile.write(DATA)

    def redirect(self):
        self.head(302, Location=f"http://{self.server.elsewhere}/whole/{PLACE}", Content_Length=0)

    def announced(self):
        self.head(Content_Length=LIMIT + 1)
        self.wfile.write(b"x" * (LIMIT + 1))

    def endless(self):
        self.head(Transfer_Encoding="chunked")
        for _ in itertools.repeat(None, 10_000_000):
            self.wfile.write(b"10\r\n" + b"x" * 16 + b"\r\n")

    def short(self):
        self.head(Content_Length=len(DATA) + 5)
        self.wfile.write(DATA)

    def cut(self):
        self.head(Transfer_Encoding="chunked")
        self.wfile.write(b"20\r\n" + DATA)

    def unbounded(self):
        self.head()
        self.wfile.write(DATA)

    def gzip(self):
        self.head(Content_Length=len(DATA), Content_Encoding="gzip")
        self.wfile.write(DATA)

    def garbage(self):
        self.wfile.write(b"SSH-2.0-OpenSSH\r\n")

    def stalled(self):
        self.head(Content_Length=len(DATA))
        time.sleep(2)

    def drip(self):
        self.head(Content_Length=60)
        for _ in range(60):
            self.wfile.write(b"x")
            time.sleep(0.1)


@pytest.fixture
def host():
    yield from _serve()


@pytest.fixture
def other():
    """A host that is not listed."""
    yield from _serve()


def _serve():
    server = Host()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def fetch(host, url, key=KEY, **columns):
    """The contents of a row's one file, as fetched by its URL."""
    urls = {"a.py": url} if isinstance(url, str) else url
    pk = rows.legacy_row(files={"a.py": key}, s3_urls=json.dumps(urls), **columns).pk
    row, source = legacy_rows.by_id([pk])[pk], Downloads([host.name], timeout=0.5)
    found = legacy_files.contents(row, legacy_files.file_keys(row, source), source, LIMIT)
    return {name: content.read() for name, content in found.items()}


@pytest.mark.parametrize("answer", ["whole", "chunked"])
def test_a_file_of_a_listed_host_is_fetched_byte_for_byte(host, answer):
    assert fetch(host, f"http://{host.name}/{answer}/{PLACE}") == {"a.py": DATA}


def test_a_signed_url_is_asked_for_as_it_is(host):
    fetch(host, f"http://{host.name}/whole/{PLACE}?X-Amz-Expires=31536000&X-Amz-Signature=ab%2Fcd")
    assert host.asked == [f"/whole/{PLACE}?X-Amz-Expires=31536000&X-Amz-Signature=ab%2Fcd"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    {
        "gone": "file_missing",
        "refused": "file_unreadable",
        "partial": "file_unreadable",
        "redirect": "file_unreadable",
        "announced": "file_over_limit",
        "endless": "file_over_limit",
        "short": "file_unreadable",
        "cut": "file_unreadable",
        "unbounded": "file_unreadable",
        "gzip": "file_unreadable",
        "garbage": "file_unreadable",
        "stalled": "file_unreadable",
        "drip": "file_unreadable",
    }.items(),
)
def test_whatever_a_host_answers_is_the_whole_file_or_a_reason(host, other, answer, reason, monkeypatch):
    monkeypatch.setattr(downloads, "SECONDS", 1.0)
    host.elsewhere = other.name
    started = time.monotonic()
    with pytest.raises(FileUnavailable) as caught:
        fetch(host, f"http://{host.name}/{answer}/{PLACE}")
    assert (caught.value.reason, caught.value.name) == (reason, KEY)
    assert time.monotonic() - started < 1.8
    assert len(host.asked) == 1 and other.asked == []


def test_a_proxy_of_this_machine_is_not_asked(host, other, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://{other.name}")
    assert fetch(host, f"http://{host.name}/whole/{PLACE}") == {"a.py": DATA}
    assert other.asked == []


URLS = {
    "another port": f"http://127.0.0.1:1/{PLACE}",
    "no port": f"http://127.0.0.1/{PLACE}",
    "another name of it": "http://localhost:{port}/whole/" + PLACE,
    "another writing of it": "http://127.1:{port}/whole/" + PLACE,
    "a number": "http://2130706433:{port}/whole/" + PLACE,
    "IPv6": "http://[::ffff:127.0.0.1]:{port}/whole/" + PLACE,
    "a dot at the end": "http://127.0.0.1.:{port}/whole/" + PLACE,
    "metadata of a cloud": f"http://169.254.169.254/{PLACE}",
    "a user": "http://me@{host}/whole/" + PLACE,
    "the host as a user": "http://{host}@{other}/whole/" + PLACE,
    "the host as a password": "http://me:{host}@{other}/whole/" + PLACE,
    "a backslash": "http://{other}\\@{host}/whole/" + PLACE,
    "the host in the path": "http://{other}/{host}/whole/" + PLACE,
    "the host as the end of another": "http://not{host}/whole/" + PLACE,
    "a letter more": "https://{host}x/whole/" + PLACE,
    "a file": "file:///" + PLACE,
    "ftp": "ftp://{host}/whole/" + PLACE,
    "gopher": "gopher://{host}/whole/" + PLACE,
    "no scheme": "//{host}/whole/" + PLACE,
    "a path": "/media/" + PLACE,
    "nothing": "",
    "another object": "http://{host}/whole/" + rows.QUEUE + "/" + "f" * 32,
    "another queue": "http://{host}/whole/other/" + KEY,
    "the object as a query": "http://{host}/whole/secret?/" + PLACE,
    "the object as a fragment": "http://{host}/whole/secret#/" + PLACE,
    "a new line": "http://{host}/whole/ HTTP/1.1\r\nX: y\r\n\r\n/" + PLACE,
    "a blank": "http://{host}/whole/ /" + PLACE,
    "another alphabet": "http://{host}/whole/\u2024\u2024/" + PLACE,
    "no such port": "http://127.0.0.1:99999/" + PLACE,
    "a broken bracket": "http://[::1/" + PLACE,
}


@pytest.mark.parametrize("url", URLS.values(), ids=URLS.keys())
def test_a_url_that_is_not_the_rows_own_object_at_a_listed_host_is_not_asked_for(host, other, url):
    with pytest.raises(FileUnavailable) as caught:
        fetch(host, url.format(host=host.name, other=other.name, port=host.server_port))
    assert (caught.value.reason, caught.value.name) == ("file_url_not_allowed", KEY)
    assert host.asked == other.asked == []


def test_names_without_a_port_stand_for_the_ports_of_the_schemes():
    source = Downloads(["Files.example.edu"], timeout=1)
    for good in ("https://files.example.edu", "http://FILES.example.edu", "https://files.example.edu:443"):
        assert source.allows(f"{good}/xqueue/{PLACE}", PLACE)
    for bad in ("https://files.example.edu:80", "http://files.example.edu:443", "https://files.example.edu:8443"):
        assert not source.allows(f"{bad}/xqueue/{PLACE}", PLACE)
    assert source.allows(f"https://files.example.edu/{rows.QUEUE.replace('-', '%2D')}/{KEY}", PLACE)


def test_a_row_that_names_a_file_and_no_url_is_refused(host):
    with pytest.raises(FileUnavailable, match="file_url_not_allowed"):
        fetch(host, {"b.py": f"http://{host.name}/whole/{PLACE}"})
    assert host.asked == []


@pytest.mark.parametrize("urls", ["[", "[1]", '{"a.py": 1}', '{"\\ud800": "x"}', "[" * 1000])
def test_urls_that_cannot_be_read_are_refused(host, urls):
    pk = rows.legacy_row(files={"a.py": KEY}, s3_urls=urls).pk
    row, source = legacy_rows.by_id([pk])[pk], Downloads([host.name], timeout=1)
    with pytest.raises(FileUnavailable):
        legacy_files.contents(row, {"a.py": KEY}, source, LIMIT)
    assert host.asked == []


# --- external dictionaries ----------------------------------------------------------------------------------------

DOCUMENT = "f" * 32


def external(host, keys, urls, url=None):
    """A row whose dictionaries are in a document of the host; its source too."""
    host.document = json.dumps({"keys": keys, "files": urls}).encode()
    url = url or f"http://{host.name}/external/{rows.QUEUE}/{DOCUMENT}"
    columns = {"s3_urls": json.dumps({"URL_FOR_EXTERNAL_DICTS": url})}
    pk = rows.legacy_row(files={"KEY_FOR_EXTERNAL_DICTS": DOCUMENT}, **columns).pk
    return legacy_rows.by_id([pk])[pk], Downloads([host.name], timeout=0.5)


def test_the_external_document_is_fetched_and_then_what_it_names(host):
    row, source = external(host, {"a.py": KEY}, {"a.py": f"http://{host.name}/whole/{PLACE}"})
    keys = legacy_files.file_keys(row, source)
    assert keys == {"a.py": KEY}
    assert legacy_files.contents(row, keys, source, LIMIT)["a.py"].read() == DATA


def test_an_external_document_of_another_host_is_not_asked_for(host, other):
    row, source = external(host, {}, {}, url=f"http://{other.name}/external/{rows.QUEUE}/{DOCUMENT}")
    with pytest.raises(FileUnavailable) as caught:
        legacy_files.file_keys(row, source)
    assert (caught.value.reason, caught.value.name) == ("file_url_not_allowed", DOCUMENT)
    assert host.asked == other.asked == []


def test_an_external_document_leads_to_no_other_host(host, other):
    row, source = external(host, {"a.py": KEY}, {"a.py": f"http://{other.name}/whole/{PLACE}"})
    with pytest.raises(FileUnavailable, match="file_url_not_allowed"):
        legacy_files.contents(row, legacy_files.file_keys(row, source), source, LIMIT)
    assert other.asked == []


# --- the settings -------------------------------------------------------------------------------------------------


def test_without_storage_the_hosts_are_asked_and_with_neither_nobody():
    source = legacy_files.legacy_storage(ShimSettings(legacy_file_hosts=["files.example.edu"], legacy_read_timeout=3.0))
    assert isinstance(source, Downloads) and (source.hosts, source.timeout) == ({"files.example.edu"}, 3.0)
    assert legacy_files.legacy_storage(ShimSettings()) is None


@pytest.mark.parametrize(
    "hosts", [["*"], ["https://files.example.edu"], ["a/b"], ["me@a"], [""], [1], ["a:"], [".a"], "a.example.edu"]
)
def test_what_is_no_host_is_refused_by_name(hosts, settings):
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"LEGACY_FILE_HOSTS": hosts}
    assert [text for text in problems() if "LEGACY_FILE_HOSTS" in text]


def test_a_backfill_takes_its_files_from_a_listed_host_and_from_no_other(host, other, settings):
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"LEGACY_STORAGE": {}, "LEGACY_FILE_HOSTS": [host.name]}
    rows.legacy_row(1, files={"a.py": KEY}, s3_urls=json.dumps({"a.py": f"http://{host.name}/whole/{PLACE}"}))
    rows.legacy_row(2, files={"a.py": KEY}, s3_urls=json.dumps({"a.py": f"http://{other.name}/whole/{PLACE}"}))
    content = rows.backfill().content
    assert content["classes"]["imported"] == content["written"] == 1
    assert content["reasons"] == {"drain": {"file_url_not_allowed": 1}}
    assert other.asked == []
