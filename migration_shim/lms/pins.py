"""
The versions that the platform pins against those installed, and the platform's own sender against edx-submissions.

pip replaces a pinned version silently where an app asks for another one, and the LMS then runs on a combination that
was never tested. The pins are read from edx-platform's ``requirements/edx/base.txt``, which exists wherever the
platform runs from a checkout, as in Tutor's images.
"""

from __future__ import annotations

import importlib.metadata
import re
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

#: The platform's file, from its root (``REPO_ROOT`` of ``lms/envs/common.py``).
BASE = Path("requirements") / "edx" / "base.txt"
#: What this app asks for, as requirements/base.in and celery.in name it.
OURS = (
    *("celery", "django", "django-config-models", "django-waffle", "djangorestframework", "edx-django-utils"),
    *("edx-opaque-keys", "edx-submissions", "edx-toggles", "msgspec", "openedx-events", "requests", "tqdm", "tzdata"),
)
#: The platform's own sender, before CAPA moved to xblocks-contrib, which knows the ``queue_key``.
SENDER = Path("xmodule") / "capa" / "xqueue_submission.py"
_PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;#]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Pin:
    """A distribution that is installed in another version than the platform pins."""

    name: str
    pinned: str
    installed: str

    def __str__(self) -> str:
        return f"{self.name} {self.installed} (the platform pins {self.pinned})"


def pinned_versions() -> dict[str, str]:
    """Return the versions that the platform pins, by name; empty outside an LMS, or in one without its requirements."""
    return {_normal(name): version for name, version in _PIN.findall(_read(BASE))}


def replaced_pins() -> list[Pin]:
    """Return those of this app's requirements that are installed in another version than the platform pins."""
    pins, found = pinned_versions(), []
    for name in OURS:
        installed = _installed(name)
        if name in pins and installed not in (None, pins[name]):
            found.append(Pin(name, pins[name], installed))
    return found


def sender_without_queue_key() -> str:
    """
    Return the file of the platform's own sender if that hands edx-submissions no ``queue_key``; empty where it does.

    V2 takes the key as an argument, V1b out of the header; a V1, of the releases up to Ulmo, does not know the name.
    The file is read and not imported: a check must not load half the platform into every command, nor fail where that
    fails.
    """
    text = _read(SENDER)
    return str(SENDER) if text and "queue_key" not in text else ""


def _read(path: Path) -> str:
    """Return a file of the platform's checkout; empty where there is none."""
    root = getattr(settings, "REPO_ROOT", None)
    if not root:
        return ""
    try:
        return (Path(root) / path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
