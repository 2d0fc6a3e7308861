"""The one entrance of ``xqueue_backfill``: the run that a request asks for."""

from __future__ import annotations

from collections.abc import Callable

from ..core.data import Document
from ..runs import workers
from ..runs.control import Progress, nothing
from . import run as shadow_run
from .give_back import run as give_back_run
from .handoff import run as handoff_run
from .request import Mode, Request


def start(request: Request, progress: Progress, tell: Callable[[str], None] = nothing) -> Document:
    """
    Import legacy rows as shadows, or move what is in flight between the systems; or say what would be done.

    Args:
        request: the mode, the scope and the options.
        progress: called with (rows done, rows there are).
        tell: called with a short text while the run waits, and with an empty one when it goes on.

    Raises:
        ConfigurationError: the settings are not usable, or the request asks for workers and there is no Celery.
        ShimError: what the ``run`` of the mode raises besides.
    """
    if request.mode is Mode.HANDOFF:
        return handoff_run.run(request, progress, tell)
    if request.mode is Mode.RETURN:
        return give_back_run.run(request, progress, tell)
    send = None if request.workers is None else workers.sender("backfill")
    return shadow_run.run(request, progress, tell, send=send)
