"""
Pictures of the dashboard for the documentation: a headless Chromium logs in at a running ``serve`` and looks.

Chromium is told what to do by its own ``chromedriver``, over the W3C's WebDriver protocol: HTTP, for which ``requests``
is enough.
"""

from __future__ import annotations

import base64
import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import requests

from sandbox import waiting
from sandbox.network import free_port
from sandbox.serve.hour import OPERATOR

TIMEOUT = 60  # seconds for one answer
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the protocol's own name for a reference to an element
ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-color-profile=srgb")


class NoBrowser(RuntimeError):
    """There is no Chromium, or no chromedriver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One picture: its file, and what is to be seen."""

    name: str
    width: int
    height: int = 0
    """0: as high as the page."""
    dark: bool = False
    course: bool = False
    """The page of a course, not the overview."""


PICTURES = (
    Picture(name="dashboard-light-1280.png", width=1280, height=880),
    Picture(name="dashboard-dark-400.png", width=400, dark=True),
    Picture(name="course-light-1280.png", width=1280, course=True),
)


class Browser:
    """A session of the driver at this address."""

    def __init__(self, driver: str) -> None:
        """Open a browser window. It takes the certificate of ``serve``, which nobody has signed."""
        wanted = {"acceptInsecureCerts": True, "goog:chromeOptions": {"args": list(ARGUMENTS)}}
        self.url = f"{driver}/session"
        self.url += "/" + self._post("", capabilities={"alwaysMatch": wanted})["sessionId"]

    def _post(self, path: str, **content: Any) -> Any:
        answer = requests.post(f"{self.url}{path}", json=content, timeout=TIMEOUT)
        value = answer.json()["value"]
        if not answer.ok:
            raise RuntimeError(f"the browser says: {value['message'].splitlines()[0]}")
        return value

    def go(self, url: str) -> None:
        """Load a page."""
        self._post("/url", url=url)

    def _find(self, selector: str) -> str:
        return self._post("/element", using="css selector", value=selector)[ELEMENT]

    def write(self, selector: str, text: str) -> None:
        """Type into a field."""
        self._post(f"/element/{self._find(selector)}/value", text=text)

    def click(self, selector: str) -> None:
        """Click, and wait for the page that it leads to, as the protocol does."""
        self._post(f"/element/{self._find(selector)}/click")

    def text(self, selector: str = "#content") -> str:
        """What is to be read."""
        return self._post(
            "/execute/sync", script="return document.querySelector(arguments[0]).innerText", args=[selector]
        )

    def picture(self, url: str, picture: Picture) -> bytes:
        """Load a page and take its picture, as PNG."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if picture.dark else "light"}
        self._devtools("Emulation.setEmulatedMedia", features=[scheme])
        self._resize(picture.width, picture.height or 400)
        self.go(url)
        if not picture.height:
            self._resize(picture.width, self._devtools("Page.getLayoutMetrics")["cssContentSize"]["height"])
        return base64.b64decode(self._devtools("Page.captureScreenshot", format="png")["data"])

    def _resize(self, width: int, height: int) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._devtools("Emulation.setDeviceMetricsOverride", **size)

    def _devtools(self, command: str, **parameters: Any) -> Any:
        return self._post("/goog/cdp/execute", cmd=command, params=parameters)

    def close(self) -> None:
        """Close it."""
        requests.delete(self.url, timeout=TIMEOUT)


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Run a browser of its own. Raises NoBrowser."""
    program = shutil.which("chromedriver")
    if program is None:
        raise NoBrowser("there is no chromedriver: install Chromium and its driver (Debian: chromium, chromium-driver)")
    port = free_port()
    process = subprocess.Popen([program, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        waiting.until("chromedriver", lambda: _ready(url), bool, seconds=30)
        with contextlib.closing(Browser(url)) as opened:
            yield opened
    finally:
        process.terminate()
        process.wait()


def _ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/status", timeout=5).json()["value"]["ready"]
    except requests.RequestException:
        return False


def log_in(opened: Browser, dashboard: str) -> None:
    """Log in as the operator."""
    opened.go(dashboard)
    opened.write("#id_username", OPERATOR[0])
    opened.write("#id_password", OPERATOR[1])
    opened.click("input[type=submit]")


def take(dashboard: str, course: str, folder: Path) -> list[Path]:
    """Take all of them; the files. Raises NoBrowser."""
    taken = []
    with browser() as opened:
        log_in(opened, dashboard)
        for picture in PICTURES:
            url = f"{dashboard}course/?{urlencode({'course': course})}" if picture.course else dashboard
            path = folder / picture.name
            path.write_bytes(opened.picture(url, picture))
            taken.append(path)
    return taken
