"""Without a broker there is no Celery worker: a thread of the stand-in does what the ledger owes instead."""

import logging
import threading
import time

from django.conf import settings
from django.db import connections

log = logging.getLogger(__name__)

PAUSE = 0.25  # seconds
#: Set to 1 by ``sandbox/servers.py`` for the processes of the LMS stand-in.
VARIABLE = "SANDBOX_LMS_WORKER"


def start() -> None:
    """Start the thread, unless workers are told over a broker."""
    if settings.CELERY_TASK_ALWAYS_EAGER:
        threading.Thread(target=_work, name="outbox", daemon=True).start()


def _work() -> None:
    # Late: it needs Django set up.
    from migration_shim import conf
    from migration_shim.copies import outbox

    while True:
        time.sleep(PAUSE)
        try:
            outbox.drain(conf.load())
        except Exception as error:  # a database that is away for a moment must not end it
            log.warning("the outbox was not looked at: %s", type(error).__name__)
            connections.close_all()
