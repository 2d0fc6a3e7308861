"""
XQueue over HTTP, as the LMS speaks it. Source: ``capa/xqueue_interface.py``, whose error texts a learner may see.
"""

from __future__ import annotations

import functools
import logging
import os
import time
from collections.abc import Sequence
from typing import Any, Protocol

import requests
from django.core import signing
from django.views.decorators.debug import sensitive_variables

from ..conf import LegacyAccess, legacy_access
from ..core import json_text

log = logging.getLogger(__name__)

LOGIN_REQUIRED = "login_required"
#: Errors that say nothing about the submission: XQueue was not reached, or does not know our account.
_UNANSWERED = (
    "cannot connect to server",
    "failed to read from the server",
    "unexpected reply from server",
    "Insufficient login info",
    "Incorrect login credentials",
    LOGIN_REQUIRED,
)
#: How XQueue begins its answer about a queue that it does not know (``submission_queue/ext_interface.py``).
UNKNOWN_QUEUE = "Valid queue names are"
#: A header by which our own HTTP door knows a submission that the router sent: it must never come back to it.
SENT_BY_SHIM = "X-Migration-Shim"
_SIGNER = "migration_shim.sent"


def sent_by_shim(correlation: str) -> str:
    """
    Return the value of the shim's header: the name by which a submission is followed through logs, signed against
    forgery.
    """
    return signing.Signer(salt=_SIGNER).sign(correlation)


def is_sent_by_shim(value: str | None) -> bool:
    """Tell whether a header's value was made by this LMS's router."""
    try:
        return value is not None and bool(signing.Signer(salt=_SIGNER).unsign(value))
    except signing.BadSignature:
        return False


class UploadedFile(Protocol):
    """A learner's file as CAPA hands it over (``FileObjForWebobFiles``)."""

    @property
    def name(self) -> str | None:
        """The file's name."""

    def read(self, size: int = -1) -> bytes:
        """Read the contents."""

    def seek(self, offset: int) -> Any:
        """Go back to ``offset`` for another try."""


@functools.lru_cache(maxsize=4)
def _session(pid: int, access: LegacyAccess) -> requests.Session:
    """
    Return one pooled session per process. The process id keeps a forked worker from using its parent's connections.
    """
    session = requests.Session()
    session.auth = access.basic_auth
    session.headers[SENT_BY_SHIM] = sent_by_shim("1")
    return session


class LegacyClient:
    """XQueue's HTTP API for one account. Every call returns ``(return code, content)``; none raises."""

    def __init__(self, access: LegacyAccess | None = None) -> None:
        self.access = access or legacy_access()
        self.session = _session(os.getpid(), self.access)

    @sensitive_variables()
    def submit(
        self,
        header: str,
        body: str,
        files: Sequence[UploadedFile] | None = None,
        *,
        deadline: float | None = None,
        correlation: str = "1",
    ) -> tuple[int, Any]:
        """
        Submit once. Where XQueue asks for a login, log in and submit once more, with the files rewound.

        ``deadline`` is on the clock of ``time.monotonic``; no request waits longer than what is left of it.
        ``correlation`` names the submission in a header, for whoever follows it through logs and traces.

        Returns:
            (0, text) when XQueue accepted, else (1, the text that the LMS shows or logs today).
        """
        data = {"xqueue_header": header, "xqueue_body": body}
        headers = {SENT_BY_SHIM: sent_by_shim(correlation)}
        return self._logged_in("/xqueue/submit/", deadline, data=data, files=files, headers=headers)

    def queue_length(self, queue_name: str) -> tuple[int, Any]:
        """Return (0, length) of a queue that XQueue knows, else (1, text), also where XQueue cannot be asked."""
        return self._logged_in("/xqueue/get_queuelen/", None, params={"queue_name": queue_name})

    def refusal(self, queue_name: str) -> str:
        """
        Return why XQueue cannot be relied on for a queue: it must accept a login and tell the length now. Empty if it
        did.
        """
        error, content = self._log_in(None)
        if not error:
            error, content = self.queue_length(queue_name)
        return str(content) or "no reason given" if error else ""

    @sensitive_variables()
    def _log_in(self, deadline: float | None) -> tuple[int, Any]:
        account = {"username": self.access.username, "password": self.access.password}
        return self._call("/xqueue/login/", deadline, None, data=account)

    @sensitive_variables()
    def _logged_in(
        self, path: str, deadline: float | None, files: Sequence[UploadedFile] | None = None, **kwargs: Any
    ) -> tuple[int, Any]:
        error, content = self._call(path, deadline, files, **kwargs)
        if error and content == LOGIN_REQUIRED:
            error, content = self._log_in(deadline)
            if error:
                return error, content
            for file in files or []:
                file.seek(0)
            error, content = self._call(path, deadline, files, **kwargs)
        return error, content

    @sensitive_variables()
    def _call(
        self, path: str, deadline: float | None, files: Sequence[UploadedFile] | None, **kwargs: Any
    ) -> tuple[int, Any]:
        timeout = self.access.timeout
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                return 1, "failed to read from the server"
            timeout = (min(timeout[0], left), min(timeout[1], left))
        method = "POST" if "data" in kwargs else "GET"
        # Read here: requests looks for ``read`` on the class, and CAPA's file objects hand it on by __getattr__.
        parts = {file.name or "": (file.name, file.read()) for file in files} if files else None
        try:
            response = self.session.request(method, self.access.url + path, files=parts, timeout=timeout, **kwargs)
        except requests.exceptions.ConnectionError as error:
            log.error("migration_shim.xqueue_unreachable: XQueue cannot be reached: %s", type(error).__name__)
            return 1, "cannot connect to server"
        except requests.exceptions.RequestException as error:
            log.error("migration_shim.xqueue_unread: reading from XQueue failed: %s", type(error).__name__)
            return 1, "failed to read from the server"
        if response.status_code != 200:
            return 1, f"unexpected HTTP status code [{response.status_code}]"
        return parse_reply(response.text)


def answered(message: object) -> bool:
    """
    Tell whether an error of ``submit`` is XQueue's own answer about this submission: it works, but refuses this one.

    XQueue answers a form that is too large with a bare 400.
    """
    text = str(message)
    return is_about_size(text) or not (text in _UNANSWERED or text.startswith("unexpected HTTP status code"))


def is_about_size(message: object) -> bool:
    """Tell whether an error of ``submit`` concerns only this submission, and says nothing of others of its queue."""
    return str(message) in ("unexpected HTTP status code [400]", "unexpected HTTP status code [413]")


def parse_reply(text: str) -> tuple[int, Any]:
    """Parse XQueue's ``{"return_code": 0|1, "content": ...}``. Anything else gives an error of its own."""
    try:
        reply = json_text.loads(text)
        return reply["return_code"], reply["content"]
    except (ValueError, TypeError, KeyError):
        return 1, "unexpected reply from server"
