"""
Installing the Python door in a running LMS: the platform's ``XQueueInterface`` hands each submission to the router.

Opt-in (``MIGRATION_SHIM["PYTHON_DOOR"]``). The platform has no seam for it: its ``XQueueService`` makes an
``XQueueInterface`` for each block and calls ``send_to_queue`` on it. So that one method is replaced, and only where the
class is of a generation that is known; else nothing is touched, and the check ``migration_shim.E010`` says so. What a
course does that was released to the platform's own path differs:

- before that path (``xmodule``): there is none, every submission is the router's;
- V1 and V1b (``xmodule``): the flag is read inside the method, so it is asked here before; V1 hands edx-submissions no
  ``queue_key``;
- V2 (``xmodule``, then xblocks-contrib 0.13 to 1.0): the platform asks its flag and gives the interface the answer.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import logging
from types import ModuleType
from typing import Any

from .data import Authority
from .dual_write import QueueInterface
from .errors import SenderUnusable
from .lms.flags import SUBMISSION_FLAG, in_platform
from .metrics import count
from .phase_lookup import phase_in_force
from .target import installed
from .toggles import passes_the_shim

log = logging.getLogger(__name__)

#: Where the platform keeps the class, newest first.
MODULES = ("xblocks_contrib.problem.capa.xqueue_interface", "xmodule.capa.xqueue_interface")
_PARAMETERS = ["self", "header", "body", "files_to_upload"]
_MARK = "migration_shim_original"


def platform_classes() -> list[type[Any]]:
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
        elif _reads_flag_inside(cls) and not _flag_is_known(cls):
            found.append(f"{name} reads another flag than {SUBMISSION_FLAG} inside; use the HTTP door.")
    return found


def uncallable() -> list[str]:
    """The platform's senders that the installed edx-submissions refuses every submission of, each as a sentence."""
    return [
        f"{cls.__module__} hands edx-submissions no queue_key, and the installed one takes nothing without: with "
        f"{SUBMISSION_FLAG} on, no submission arrives"
        for cls in platform_classes()
        if not _can_be_called(cls)
    ]


def _module(cls: type[Any]) -> ModuleType:
    return importlib.import_module(cls.__module__)


def _reads_flag_inside(cls: type[Any]) -> bool:
    """V1 and V1b: the class knows the platform's own path, and is not told whether to take it."""
    told = "use_submission_service" in inspect.signature(cls.__init__).parameters
    return hasattr(_module(cls), "XQueueInterfaceSubmission") and not told


def _flag_is_known(cls: type[Any]) -> bool:
    flag = getattr(_module(cls), "SEND_TO_SUBMISSION_COURSE_FLAG", None)
    return in_platform() and getattr(flag, "name", None) == SUBMISSION_FLAG


def _can_be_called(cls: type[Any]) -> bool:
    """Whether the platform's own path can be taken: nowhere without a ``queue_key`` that edx-submissions insists on."""
    sender = getattr(_module(cls), "XQueueInterfaceSubmission", None)
    if sender is None or not installed.needs_queue_key():
        return True
    code = getattr(inspect.unwrap(sender.send_to_submission), "__code__", None)
    # V2 takes it as an argument, V1b out of the header; a V1 does not know the name.
    return code is not None and "queue_key" in code.co_varnames


def _original(cls: type[Any]) -> Any:
    return getattr(cls.send_to_queue, _MARK, cls.send_to_queue)


def install() -> bool:
    """Replace ``send_to_queue`` on every class found, once. False, and nothing touched, where one looks unexpected."""
    if found := problems():
        log.error("migration_shim: the Python door is not installed: %s", " ".join(found))
        return False
    for cls in platform_classes():
        if not hasattr(cls.send_to_queue, _MARK):
            cls.send_to_queue = _routed(cls)
    return True


def uninstall() -> None:
    """Give every class its own method back."""
    for cls in platform_classes():
        cls.send_to_queue = _original(cls)


def _routed(cls: type[Any]) -> Any:
    original, asks, can_be_called = cls.send_to_queue, _reads_flag_inside(cls), _can_be_called(cls)

    @functools.wraps(original)
    def send_to_queue(self: Any, header: str, body: str, files_to_upload: Any = None) -> tuple[Any, Any]:
        # Releases before the platform's own submission service made the interface without a block.
        block = getattr(self, "block", None)
        released = getattr(self, "use_submission_service", False)
        if asks and block is not None:
            released = passes_the_shim(_course_id(block))
        if released and (can_be_called or block is None):
            # The operator has released the course to the platform's own path: the router is no part of it.
            return original(self, header, body, files_to_upload)
        if released:
            _refuse_unless_targets(_course_id(block))
        return QueueInterface(block).send_to_queue(header, body, files_to_upload)

    setattr(send_to_queue, _MARK, original)
    return send_to_queue


def _course_id(block: Any) -> str:
    return str(block.scope_ids.usage_id.context_key)


def _refuse_unless_targets(course_id: str) -> None:
    """
    Of a course that was released, and whose sender cannot be called, the router stores what belongs on the target.

    Any other would send to XQueue what the operator wants on the target, where nobody may grade it.

    Raises:
        SenderUnusable: the course is another. CAPA keeps the learner's attempt, as with the platform's own error.
    """
    phase, _ = phase_in_force(course_id)
    if phase is None or phase.authority is not Authority.TARGET:
        count("sender_unusable")
        log.error("migration_shim: a submission of %s was refused: the platform's sender lacks queue_key", course_id)
        raise SenderUnusable
    count("sender_passed_by")
