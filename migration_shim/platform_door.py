"""
Installing the Python door in a running LMS: the platform's ``XQueueInterface`` hands each submission to the router.

Opt-in (``MIGRATION_SHIM["PYTHON_DOOR"]``). The platform has no seam for it: its ``XQueueService`` makes an
``XQueueInterface`` for each block and calls ``send_to_queue`` on it. So that one method is replaced, and only where the
class looks as it did when this was written (xblocks-contrib 0.13 to 1.0, and ``xmodule`` before); else nothing is
touched, and the check ``migration_shim.E010`` says so.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import logging
from typing import Any

from .dual_write import QueueInterface

log = logging.getLogger(__name__)

#: Where the platform keeps the class, newest first.
MODULES = ("xblocks_contrib.problem.capa.xqueue_interface", "xmodule.capa.xqueue_interface")
_PARAMETERS = ["self", "header", "body", "files_to_upload"]
_MARK = "migration_shim_original"


def platform_classes() -> list[type]:
    """The platform's interface classes that can be imported here."""
    found = []
    for name in MODULES:
        try:
            found.append(importlib.import_module(name).XQueueInterface)
        except (ImportError, AttributeError):
            continue
    return found


def problems() -> list[str]:
    """Why the door cannot be installed; empty when it can."""
    classes = platform_classes()
    if not classes:
        return [f"None of {', '.join(MODULES)} has an XQueueInterface: this is no LMS that the Python door knows."]
    found = []
    for cls in classes:
        name = f"{cls.__module__}.XQueueInterface"
        if list(inspect.signature(_original(cls)).parameters) != _PARAMETERS:
            found.append(f"{name}.send_to_queue does not take {', '.join(_PARAMETERS[1:])}.")
        elif not _flag_is_visible(cls):
            found.append(f"{name} reads the platform's own flag where the router cannot see it; use the HTTP door.")
    return found


def _flag_is_visible(cls: type) -> bool:
    """
    Whether an interface can be asked if its course was released to the platform's own path.

    One generation of the platform knows that path and reads its flag inside the method that is replaced here.
    """
    knows_path = hasattr(importlib.import_module(cls.__module__), "XQueueInterfaceSubmission")
    return not knows_path or "use_submission_service" in inspect.signature(cls.__init__).parameters


def _original(cls: type) -> Any:
    return getattr(cls.send_to_queue, _MARK, cls.send_to_queue)


def install() -> bool:
    """Replace ``send_to_queue`` on every class found, once. False, and nothing touched, where one looks unexpected."""
    if found := problems():
        log.error("migration_shim: the Python door is not installed: %s", " ".join(found))
        return False
    for cls in platform_classes():
        if not hasattr(cls.send_to_queue, _MARK):
            cls.send_to_queue = _routed(cls.send_to_queue)
    return True


def uninstall() -> None:
    """Give every class its own method back."""
    for cls in platform_classes():
        cls.send_to_queue = _original(cls)


def _routed(original: Any) -> Any:
    @functools.wraps(original)
    def send_to_queue(self: Any, header: str, body: str, files_to_upload: Any = None) -> tuple[Any, Any]:
        if getattr(self, "use_submission_service", False):
            # The operator has released the course to the platform's own path: the router is no part of it.
            return original(self, header, body, files_to_upload)
        # Releases before the platform's own submission service made the interface without a block.
        return QueueInterface(getattr(self, "block", None)).send_to_queue(header, body, files_to_upload)

    setattr(send_to_queue, _MARK, original)
    return send_to_queue
