"""The entrance of ``xqueue_backfill``: it starts the run of the request's mode."""

from __future__ import annotations

from collections.abc import Callable

from ..core.data import Document
from ..core.documents.backfill import BackfillDocument
from ..runs import workers
from ..runs.control import Progress, nothing
from . import run as shadow_run
from .give_back import run as give_back_run
from .handoff import run as handoff_run
from .request import Mode, Request


def start(request: Request, progress: Progress, tell: Callable[[str], None] = nothing) -> Document[BackfillDocument]:
    """
    Run the mode that the request names: shadow, handoff or return. Without ``execute`` only say what would be done.

    Args:
        request: the mode, the scope and the options.
        progress: called with (rows done, rows to do).
        tell: called with a short text while the run waits, and with an empty one when it goes on.

    Raises:
        ConfigurationError: the settings are not usable, or the request asks for workers and there is no Celery.
        ShimError: as the ``run`` of the mode says.
    """
    if request.mode is Mode.HANDOFF:
        return handoff_run.run(request, progress, tell)
    if request.mode is Mode.RETURN:
        return give_back_run.run(request, progress, tell)
    send = None if request.workers is None else workers.sender("backfill")
    return shadow_run.run(request, progress, tell, send=send)
