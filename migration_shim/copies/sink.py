"""
The tokens and the URL of the sink, where XQueue posts grades that no learner is to get.

A reverse shadow's token is on record on its ledger entry. A probe's token is checked by itself, without any table.
"""

from __future__ import annotations

import hmac
import re

from django.conf import settings as django_settings

from ..conf import ShimSettings

_TOKEN = re.compile("[0-9a-f]{32}")
_HALF = 16  # characters of a probe's token; the whole is as long as that of a reverse shadow


def token(learner: str, item_id: str, input_key: str) -> str:
    """
    Return an unguessable token for a learner, problem and input.

    There is one for each of these, so that legacy supersedes reverse shadows as it supersedes real submissions.
    """
    text = "\n".join((learner, item_id, input_key)).encode("utf-8", "surrogatepass")
    return hmac.new(b"migration_shim.sink" + django_settings.SECRET_KEY.encode(), text, "sha256").hexdigest()[:32]


def url(of: str, settings: ShimSettings) -> str:
    """Return the whole callback URL for a token."""
    root = settings.sink_root or getattr(django_settings, "LMS_ROOT_URL", "") + "/migration_shim"
    return f"{root}/sink/{of}/"


def is_token(text: str) -> bool:
    """
    Tell whether a text has the form of a token.

    Without this check a database might match a text of blanks with the empty tokens of other entries, or "A" with "a".
    """
    return _TOKEN.fullmatch(text) is not None


def probe_token(queue: str) -> str:
    """
    Return the token for the probes of a queue: unguessable, and recognised by the sink without a query.

    There is one for each queue, so that XQueue retires an older probe that no grader has pulled.
    """
    name = _keyed("queue", queue)
    return name + _keyed("check", name)


def is_probe(of: str) -> bool:
    """Tell whether a token was made by ``probe_token``."""
    name, check = of[:_HALF], of[_HALF:]
    return hmac.compare_digest(_keyed("check", name).encode(), check.encode("utf-8", "surrogatepass"))


def _keyed(purpose: str, text: str) -> str:
    key = f"migration_shim.probe.{purpose}{django_settings.SECRET_KEY}".encode()
    return hmac.new(key, text.encode("utf-8", "surrogatepass"), "sha256").hexdigest()[:_HALF]
