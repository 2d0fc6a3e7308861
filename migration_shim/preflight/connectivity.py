"""
Findings about connections: XQueue, the address that the LMS submits to, and the watcher seam, with their accounts.

All are tried from this process. It leaves nothing behind but a login at each system.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

import requests
from django.conf import settings as django_settings

from ..conf import LegacyAccess, ShimSettings, legacy_access
from ..core import json_text
from ..core.errors import ConfigurationError
from ..core.findings import Finding, found
from ..core.site_rules import SITE_RULES as RULES
from ..db import timeouts
from ..legacy.client import UNKNOWN_QUEUE, LegacyClient, parse_reply
from ..status.graders import seam_url

#: Seconds to connect, and between two parts of an answer.
TIMEOUT = (3.05, 5.0)
#: No redirects: the LMS's client and the watchers take any status but 200 for an error, or log in again.
_OPTIONS: dict[str, Any] = {"timeout": TIMEOUT, "allow_redirects": False, "stream": True}
#: Bytes of an answer that are read, and characters of it that are shown: the answer may be anything.
_READ, _SHOWN = 65536, 200
#: A queue that does not exist. Only a service that has accepted the login says so.
_QUEUE = "migration_shim.preflight"
_POLL = f"get_queuelen/?queue_name={_QUEUE}"
#: The answer of ``submit``, XQueue's and our door's, to a logged-in GET.
_LET_IN = "Queue requests should use HTTP POST"

#: Return code and content, as XQueue's replies have them.
Answer = tuple[Any, Any]


def findings(settings: ShimSettings) -> Iterator[Finding]:
    """Yield a finding for each address that does not answer, refuses the account, or is another service."""
    # With the Python door, the platform's address of XQueue is not used.
    yield from _by_cause(list(_xqueue()), [] if settings.python_door else list(_door()))
    yield from _seam(settings)


def _by_cause(xqueue: list[Finding], door: list[Finding]) -> list[Finding]:
    """Return the findings of both; one, where the LMS submits to XQueue's own address and nothing answers there."""
    codes = [item.rule.code for item in (*xqueue, *door)]
    if codes != ["xqueue_unreachable", "door_unreachable"] or legacy_access().url != _platform_url():
        return [*xqueue, *door]
    return [dataclasses.replace(xqueue[0], about=f"{xqueue[0].about}; learners cannot submit: the LMS posts there too")]


def _platform_url() -> str:
    return str((getattr(django_settings, "XQUEUE_INTERFACE", None) or {}).get("url") or "").rstrip("/")


def _xqueue() -> Iterator[Finding]:
    try:
        access = dataclasses.replace(legacy_access(), timeout=TIMEOUT)
    except ConfigurationError as unusable:
        yield found(RULES["xqueue_unreachable"], about=str(unusable))
        return
    if _health(access) is not None:
        yield found(RULES["legacy_is_door"])
        return
    error, content = _answer(lambda: LegacyClient(access).queue_length(_QUEUE))
    if error and not str(content).startswith(UNKNOWN_QUEUE):
        yield found(RULES["xqueue_unreachable"], about=_shown(content, access))


def _door() -> Iterator[Finding]:
    """Yield the findings about where the LMS submits. Source: edx-platform, ``capa/xqueue_interface.py``."""
    platform = getattr(django_settings, "XQUEUE_INTERFACE", None) or {}
    if not (url := _platform_url()):
        yield found(RULES["no_door"], about='XQUEUE_INTERFACE["url"] is not set')
        return
    account, basic = platform.get("django_auth") or {}, platform.get("basic_auth")
    access = LegacyAccess(
        url=url,
        username=account.get("username") or "",
        password=account.get("password") or "",
        basic_auth=(str(basic[0]), str(basic[1])) if basic else None,
        timeout=TIMEOUT,
    )
    door = _health(access)
    if door is None:
        error, content = _answer(lambda: _get(_session(access), f"{access.url}/xqueue/status/"))
        if error:
            yield found(RULES["door_unreachable"], about=_shown(content, access))
        else:
            yield found(RULES["no_door"], about="XQueue itself answers there")
    elif door != "open":
        yield found(RULES["door_closed"])
    else:
        _, content = _answer(lambda: _polled(access, "submit/"))
        if content != _LET_IN:
            yield found(RULES["door_refuses"], about=_shown(content, access))


def _seam(settings: ShimSettings) -> Iterator[Finding]:
    url, graders = seam_url(), settings.preflight_graders
    if _health(LegacyAccess(url=url, username="", password="", basic_auth=None, timeout=TIMEOUT)) is None:
        yield found(RULES["seam_unreachable"], about=f"{url}/healthz")
        return
    if not graders:
        yield found(RULES["seam_untried"])
    for name, password in graders.items():
        access = LegacyAccess(url=url, username=name, password=password, basic_auth=None, timeout=TIMEOUT)
        took: list[float] = []
        error, content = _answer(functools.partial(_polled, access, _POLL, took))
        if error and content != f"Queue '{_QUEUE}' not found":  # the answer to an account that GRADER_QUEUES limits
            yield found(RULES["seam_refuses"], about=f"{name}: {_shown(content, access)}")
        elif took and took[0] > settings.hand_out_seconds:
            yield found(RULES["seam_slow"], about=f"{name}: {took[0]:.1f} s, of {settings.hand_out_seconds:g}")


def _health(access: LegacyAccess) -> str | None:
    """Return the state of the submit door, "open" or "closed"; None where no process of this app answers."""
    error, content = _answer(lambda: (0, _text(_session(access).get(f"{access.url}/healthz", **_OPTIONS))))
    try:
        said = None if error else json_text.loads(content)
    except ValueError:
        return None
    return str(said["submit_door"]) if isinstance(said, dict) and "submit_door" in said else None


def _polled(access: LegacyAccess, action: str, took: list[float] | None = None) -> Answer:
    """Log in as a watcher and the LMS do, send one request and return the answer; ``took`` gets its seconds."""
    session, url = _session(access), f"{access.url}/xqueue"
    form = {"username": access.username, "password": access.password}
    error, content = _reply(session.post(f"{url}/login/", data=form, headers={"Referer": f"{url}/login/"}, **_OPTIONS))
    if error:
        return error, content
    began = time.monotonic()
    answer = _get(session, f"{url}/{action}")
    if took is not None:
        took.append(time.monotonic() - began)
    return answer


def _session(access: LegacyAccess) -> requests.Session:
    session = requests.Session()
    session.auth = access.basic_auth
    return session


def _get(session: requests.Session, url: str) -> Answer:
    return _reply(session.get(url, **_OPTIONS))


def _reply(response: requests.Response) -> Answer:
    if response.status_code != 200:
        response.close()
        return 1, f"HTTP status {response.status_code}"
    return parse_reply(_text(response))


def _text(response: requests.Response) -> str:
    read = b""
    with response:
        for part in response.iter_content(8192):
            read += part
            if len(read) > _READ:
                break
    return read.decode("utf-8", "replace")


def _answer(ask: Callable[[], Answer]) -> Answer:
    """Return code and content of the answer; 1 and the kind of failure where none came in time."""
    try:
        return timeouts.call(ask)
    except (requests.RequestException, TimeoutError) as error:
        return 1, f"no answer ({type(error).__name__})"


def _shown(content: Any, access: LegacyAccess) -> str:
    """Return the text of an answer, cut, and without the password if the service sent it back."""
    said = str(content)
    return "an answer with the password in it" if access.password and access.password in said else said[:_SHOWN]
