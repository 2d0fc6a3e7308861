"""
The tokens and the URL of the sink, where XQueue posts the grades that nobody is to get.

Those of reverse shadows, which their entry has on record, and those of a queue's probes, which are known by themselves.
"""

from __future__ import annotations

import hmac
import re

from django.conf import settings as django_settings

from ..conf import ShimSettings

_TOKEN = re.compile("[0-9a-f]{32}")
_HALF = 16  # characters of a probe's token; the whole is as long as that of a reverse shadow


def token(learner: str, item_id: str, input_key: str) -> str:
    """An unguessable token, one for a learner, problem and input: legacy supersedes as for the real submissions."""
    text = "\n".join((learner, item_id, input_key)).encode("utf-8", "surrogatepass")
    return hmac.new(b"migration_shim.sink" + django_settings.SECRET_KEY.encode(), text, "sha256").hexdigest()[:32]


def url(of: str, settings: ShimSettings) -> str:
    """The whole callback URL for a token."""
    root = settings.sink_root or getattr(django_settings, "LMS_ROOT_URL", "") + "/migration_shim"
    return f"{root}/sink/{of}/"


def is_token(text: str) -> bool:
    """Whether it can be a token at all: a database may take blanks for the empty one of others, and "A" for "a"."""
    return _TOKEN.fullmatch(text) is not None


def probe_token(queue: str) -> str:
    """
    The token for the probes of a queue: unguessable, and told apart by the sink without a look at any table.

    One a queue, so that XQueue retires the older probe that nobody has pulled.
    """
    name = _keyed("queue", queue)
    return name + _keyed("check", name)


def is_probe(of: str) -> bool:
    """Whether a token was made by ``probe_token``."""
    name, check = of[:_HALF], of[_HALF:]
    return hmac.compare_digest(_keyed("check", name).encode(), check.encode("utf-8", "surrogatepass"))


def _keyed(purpose: str, text: str) -> str:
    key = f"migration_shim.probe.{purpose}{django_settings.SECRET_KEY}".encode()
    return hmac.new(key, text.encode("utf-8", "surrogatepass"), "sha256").hexdigest()[:_HALF]
