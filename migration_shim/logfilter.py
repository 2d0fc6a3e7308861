"""A logging filter for the records of grading results: it drops those of fenced ones, and strips secrets from all."""

from __future__ import annotations

import logging
import re
import threading

from .core.identity import FENCE
from .lms import loggers

#: A fenced usage key or course. A record with only the learner's half is a leak, and has to be seen.
_FENCED = re.compile(re.escape(FENCE) + r"(block-v1:|ccx-block-v1:|i4x://|course-v1:|ccx-v1:|[\w.~-]+/[\w.~-]+/)")
_RECEIVERS = (loggers.GRADES, "sandbox.lms")
#: How the receiver logs the whole event, reply and key included; what it logs next names learner and problem.
_EVENT = "Received external grader score event"
#: How it then logs a score, and nothing that says whose.
_SCORE = "External grader score:"
_UPSTREAM, _UPSTREAM_API = "submissions.views.xqueue", "submissions.api"
#: How edx-submissions logs what a database did not take, the answer included.
_NOT_CREATED = "An error occurred while creating submission"
#: By thread: whether the receiver's last record was about a fenced identity.
_last = threading.local()


class FencedResults(logging.Filter):
    """
    Drop the LMS's records about fenced identities, and keep keys, replies and answers of all results out of its log.

    The receiver (``grades/signals/handlers.py``, ``handle_external_grader_score``) logs an error for a course or an
    item that does not parse, and returns; for a shadow that is the fence at work. Before that it logs the event, whom
    and what it is for, and the score. Anybody who has the key of a result can post a grade until the learner has one.
    Put the filter on the handlers that write these records; it passes everything else.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether to log the record; edx-submissions' records lose the key or the answer that they hold."""
        if record.name == _UPSTREAM and isinstance(record.args, dict) and "queue_key" in record.args:
            record.args = record.args | {"queue_key": "***"}
        if record.name == _UPSTREAM_API and str(record.msg).startswith(_NOT_CREATED):
            record.msg, record.args = _NOT_CREATED, ()
        if not record.name.startswith(_RECEIVERS):
            return True
        try:
            message = record.getMessage()
        except Exception:  # arguments that do not fit: the handler says so, where a filter would raise into the LMS
            return True
        if message.startswith(_SCORE):
            return not getattr(_last, "fenced", False)
        error = record.exc_info[1] if record.exc_info else None
        _last.fenced = _FENCED.search(f"{message} {error or ''}") is not None
        return not (_last.fenced or message.startswith(_EVENT))
