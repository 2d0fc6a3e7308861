"""
The platform's ``XQueueInterface``, whose ``send_to_queue`` is replaced so that each submission is handed to a route.

The platform has no seam for it: its ``XQueueService`` makes an ``XQueueInterface`` for each block and calls
``send_to_queue`` on it. So that one method is replaced, and only where the class is of a known generation. Elsewhere
nothing is touched, and the check ``migration_shim.E010`` says so. The generations differ in how a course is treated
that was released to the platform's own path:

- before that path (``xmodule``): every submission goes to the route;
- V1 and V1b (``xmodule``): the flag is read inside the method, so the route has to ask it before; V1 hands
  edx-submissions no ``queue_key``;
- V2 (``xmodule``, then xblocks-contrib 0.13 to 1.0): the platform asks its flag and gives the interface the answer.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from .flags import SUBMISSION_FLAG, in_platform

log = logging.getLogger(__name__)

#: Where the platform keeps the class, newest first.
MODULES = ("xblocks_contrib.problem.capa.xqueue_interface", "xmodule.capa.xqueue_interface")
_PARAMETERS = ["self", "header", "body", "files_to_upload"]
_MARK = "migration_shim_original"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """
    One call of ``send_to_queue``, as a route receives it.

    ``block`` is None in releases before the platform's own submission service, whose interface knows none. ``released``
    is whether the platform's flag gives the course to the platform's own path; None where the method itself reads the
    flag, and the route has to ask it before. ``own`` makes the call as the platform would.
    """

    block: Any
    header: str
    body: str
    files_to_upload: Any
    released: bool | None
    hands_queue_key: bool
    own: Callable[[], tuple[Any, Any]]

    @property
    def course_id(self) -> str:
        """The course of the block. The block must not be None."""
        return str(self.block.scope_ids.usage_id.context_key)


Route = Callable[[Call], tuple[Any, Any]]


def platform_classes() -> list[type[Any]]:
    """Return the platform's interface classes that can be imported here."""
    found = []
    for name in MODULES:
        try:
            found.append(importlib.import_module(name).XQueueInterface)
        except (ImportError, AttributeError):
            continue
    return found


def problems() -> list[str]:
    """Return why the door cannot be installed; empty when it can."""
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


def uncallable(*, needs_queue_key: bool) -> list[str]:
    """
    Return the platform's senders whose every submission edx-submissions refuses, each as a sentence.

    Args:
        needs_queue_key: whether the installed edx-submissions accepts nothing without one.
    """
    return [
        f"{cls.__module__} hands edx-submissions no queue_key, and the installed one takes nothing without: with "
        f"{SUBMISSION_FLAG} on, no submission arrives"
        for cls in platform_classes()
        if needs_queue_key and not _hands_queue_key(cls)
    ]


def _module(cls: type[Any]) -> ModuleType:
    return importlib.import_module(cls.__module__)


def _reads_flag_inside(cls: type[Any]) -> bool:
    """Tell whether a class is V1 or V1b: it knows the platform's own path, and is not told whether to take it."""
    told = "use_submission_service" in inspect.signature(cls.__init__).parameters
    return hasattr(_module(cls), "XQueueInterfaceSubmission") and not told


def _flag_is_known(cls: type[Any]) -> bool:
    flag = getattr(_module(cls), "SEND_TO_SUBMISSION_COURSE_FLAG", None)
    return in_platform() and getattr(flag, "name", None) == SUBMISSION_FLAG


def _hands_queue_key(cls: type[Any]) -> bool:
    """Tell whether the platform's own path hands edx-submissions a ``queue_key``; True where there is no such path."""
    sender = getattr(_module(cls), "XQueueInterfaceSubmission", None)
    if sender is None:
        return True
    code = getattr(inspect.unwrap(sender.send_to_submission), "__code__", None)
    # V2 takes it as an argument, V1b out of the header; a V1 does not know the name.
    return code is not None and "queue_key" in code.co_varnames


def _original(cls: type[Any]) -> Any:
    return getattr(cls.send_to_queue, _MARK, cls.send_to_queue)


def install(route: Route) -> bool:
    """
    Hand every call of the known classes to a route, once. False, and nothing touched, where a class looks unexpected.

    Args:
        route: called instead of ``send_to_queue``; what it returns and raises is what CAPA gets.
    """
    if found := problems():
        log.error("migration_shim.door_not_installed: the Python door is not installed: %s", " ".join(found))
        return False
    for cls in platform_classes():
        if not hasattr(cls.send_to_queue, _MARK):
            cls.send_to_queue = _routed(cls, route)
    return True


def uninstall() -> None:
    """Give every class its own method back."""
    for cls in platform_classes():
        cls.send_to_queue = _original(cls)


def _routed(cls: type[Any], route: Route) -> Any:
    original, asked_before, hands_queue_key = cls.send_to_queue, _reads_flag_inside(cls), _hands_queue_key(cls)

    @functools.wraps(original)
    def send_to_queue(self: Any, header: str, body: str, files_to_upload: Any = None) -> tuple[Any, Any]:
        call = Call(
            # Releases before the platform's own submission service made the interface without a block.
            block=getattr(self, "block", None),
            header=header,
            body=body,
            files_to_upload=files_to_upload,
            released=None if asked_before else getattr(self, "use_submission_service", False),
            hands_queue_key=hands_queue_key,
            own=functools.partial(original, self, header, body, files_to_upload),
        )
        return route(call)

    setattr(send_to_queue, _MARK, original)
    return send_to_queue
