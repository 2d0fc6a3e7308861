"""The filter for the LMS's own records about fenced results."""

import logging
import logging.config
import threading

import pytest

from migration_shim.logfilter import FencedResults
from tests.builders import rows

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


RECORDS = "lms.djangoapps.grades.signals.handlers"
KEY = "b53a365916476c19528e82c8d60251a3"


def result(item, score=1):
    """What the receiver logs of a result before it looks at the item, in its words and order."""
    log = logging.getLogger(RECORDS)
    event = f"ExternalGraderScoreData(score_msg='the reply', module_id='{item}', queue_key='{KEY}')"
    log.info(f"Received external grader score event: <signal>, None, {event}, {{}}")
    log.info("External grader event score payload received: user_id=%s, module_id=%s", LEARNER, item)
    log.info(f"External grader score: {score}")


@pytest.fixture
def chatty():
    """The level of production."""
    loggers = [logging.getLogger(name) for name in ("lms.djangoapps.grades", "submissions")]
    for logger in loggers:
        logger.setLevel(logging.INFO)
    yield
    for logger in loggers:
        logger.setLevel(logging.NOTSET)


def test_a_fenced_result_leaves_no_line(logged, chatty):
    """The score comes in a record of its own, that says of nobody whose it is."""
    result(f"shadow:{ITEM}")
    logging.getLogger(RECORDS).error("Invalid usage key received from external grader: %s", f"shadow:{ITEM}")
    assert logged == []


def test_the_score_of_a_real_result_stays_after_a_fenced_one(logged, chatty):
    result(f"shadow:{ITEM}", 0)
    result(ITEM, 1)
    assert [line.partition(":")[0] for line in logged] == [
        "External grader event score payload received",
        "External grader score",
    ]
    assert logged[1].endswith(" 1")


def test_threads_do_not_hide_each_others_scores(logged, chatty):
    result(f"shadow:{ITEM}", 0)
    thread = threading.Thread(target=lambda: logging.getLogger(RECORDS).info("External grader score: 1"))
    thread.start()
    thread.join()
    assert logged == ["External grader score: 1"]


def test_two_handlers_with_the_filter_agree(logged, chatty):
    other = logging.Handler()
    other.addFilter(FencedResults())
    logging.getLogger("lms.djangoapps.grades").addHandler(other)
    try:
        result(f"shadow:{ITEM}")
    finally:
        logging.getLogger("lms.djangoapps.grades").removeHandler(other)
    assert logged == []


def test_neither_key_nor_reply_of_a_real_result_is_logged(logged, chatty):
    result(ITEM)
    context = {"submission_id": 5, "queue_key": KEY}
    logging.getLogger("submissions.views.xqueue").info(
        "External grader score event emitted for submission %(submission_id)s (queue_key=%(queue_key)s)", context
    )
    assert logged[-1] == "External grader score event emitted for submission 5 (queue_key=***)"
    assert context["queue_key"] == KEY  # it is edx-submissions' own, and goes on being used
    assert KEY not in str(logged)
    assert "the reply" not in str(logged)


def test_an_answer_that_the_database_did_not_take_is_not_logged(logged):
    """In the words of submissions/api.py, which puts the serializer's data into its message."""
    answer = {"student_item": 5, "answer": "a learner's code 100%s", "attempt_number": 1}
    log = logging.getLogger("submissions.api")
    log.error(f"An error occurred while creating submission {answer} for student item: {{'course_id': 'c'}}")
    assert logged == ["An error occurred while creating submission"]


def test_everything_else_passes(logged):
    log = logging.getLogger("lms.djangoapps.grades.signals.handlers")
    log.error("Invalid usage key received from external grader: %s", "no key at all")
    log.error("Invalid course_id received from external grader: %s", "no course")
    log.error("Error processing external grade for user_id=%s, module_id=%s", LEARNER, ITEM)
    logging.getLogger("submissions.views.xqueue").error("about shadow:%s", LEARNER)
    assert len(logged) == 4


def test_a_record_that_cannot_be_put_together_raises_into_nobody():
    record = logging.LogRecord("lms.djangoapps.grades.x", logging.ERROR, "x.py", 1, "%s and %s", ("one",), None)
    assert FencedResults().filter(record)
