"""The filter for the LMS's own records about fenced results."""

import logging
import logging.config

import pytest

from tests import rows

ITEM, LEARNER = rows.usage_key("a"), rows.anonymous_id(7)


@pytest.fixture
def logged():
    """What gets through to a handler that has the filter, configured as the runbook says."""
    found = []

    class Handler(logging.Handler):
        def emit(self, record):
            found.append(record.getMessage())

    logger = logging.getLogger("lms.djangoapps.grades")
    handler = Handler()
    configurator = logging.config.DictConfigurator({"version": 1})
    handler.addFilter(configurator.configure_filter({"()": "migration_shim.logfilter.FencedResults"}))
    logger.addHandler(handler)
    logging.getLogger("submissions").addHandler(handler)
    yield found
    logger.removeHandler(handler)
    logging.getLogger("submissions").removeHandler(handler)


@pytest.mark.parametrize("course", [rows.COURSE, "ExU/PY1/2013"])
def test_the_record_of_a_fenced_result_is_dropped(logged, course):
    """In the words of grades/signals/handlers.py; a child of the logger has them."""
    log = logging.getLogger("lms.djangoapps.grades.signals.handlers")
    log.error("Invalid course_id received from external grader: %s", f"shadow:{course}")
    log.error("Invalid usage key received from external grader: %s", f"shadow:{ITEM}")
    assert logged == []


def test_everything_else_passes(logged):
    log = logging.getLogger("lms.djangoapps.grades.signals.handlers")
    log.error("Invalid usage key received from external grader: %s", "no key at all")
    log.error("Invalid course_id received from external grader: %s", "no course")
    log.error("Error processing external grade for user_id=%s, module_id=%s", LEARNER, ITEM)
    logging.getLogger("submissions.views.xqueue").error("about shadow:%s", LEARNER)
    assert len(logged) == 4
