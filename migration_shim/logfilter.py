"""A logging filter: the LMS's score receiver logs each fenced result as an invalid key, as it should."""

from __future__ import annotations

import logging
import re

from .core.identity import FENCE

#: A fenced usage key or course. A record with only the learner's half is a leak, and has to be seen.
_FENCED = re.compile(re.escape(FENCE) + r"(block-v1:|ccx-block-v1:|i4x://|course-v1:|ccx-v1:|[\w.~-]+/[\w.~-]+/)")


class FencedResults(logging.Filter):
    """
    Drop the LMS's records about fenced identities.

    The receiver (``grades/signals/handlers.py``, ``handle_external_grader_score``) logs an error for a course or an
    item that does not parse and returns; for a shadow that is the fence at work. Put the filter on the handler of the
    logger ``lms.djangoapps.grades``; everything else passes.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is to be logged."""
        if not record.name.startswith(("lms.djangoapps.grades", "sandbox.lms")):
            return True
        error = record.exc_info[1] if record.exc_info else None
        return _FENCED.search(f"{record.getMessage()} {error or ''}") is None
