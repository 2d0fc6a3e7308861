"""What the learners do, one after the other."""

from collections import Counter

import pytest

from sandbox.demo.stage import Problem
from sandbox.serve import learners


def problem(number, course="first"):
    return Problem(
        course_id=course, usage_key=f"{course}-{number}", queue="q", grader_payload='{"grader": "py1/square/grade.py"}'
    )


@pytest.fixture
def made(monkeypatch):
    """Learners whose submissions are written down instead of sent; each is queued unless the test says otherwise."""
    monkeypatch.setattr(learners.stage, "make_learners", lambda first, number: list(range(first, first + number)))
    sent = []

    def submit(self, one, response, upload=None):
        sent.append((self.user_id, one, response, upload))
        return "refused" if len(sent) in refused else "queued"

    monkeypatch.setattr(learners.Learner, "submit", submit)
    refused = set()
    everybody = learners.Learners(None, [problem(number) for number in range(6)], [problem(1, "other")])
    everybody.sent, everybody.refused = sent, refused
    return everybody


def test_there_are_new_answers_second_tries_uploads_and_other_courses(made):
    for _ in range(110):
        assert made.act() is False
    assert made.told == {"queued": 110}
    assert made.kinds == {"new": 81, "again": 21, "upload": 8}
    assert sum(upload is not None for *_, upload in made.sent) == 8
    # With a file CAPA sends no answer.
    assert all(response == "" for _, _, response, upload in made.sent if upload is not None)
    courses = Counter(one.course_id for _, one, _, _ in made.sent)
    assert courses["first"] > 5 * courses["other"] > 0


def test_every_problem_of_the_first_course_gets_its_share(made):
    for _ in range(110):
        made.act()
    shares = Counter(one.usage_key for _, one, _, _ in made.sent if one.course_id == "first")
    assert len(shares) == 6
    assert min(shares.values()) * 2 > max(shares.values())


def test_a_second_try_is_of_a_problem_that_the_learner_has_submitted_before(made):
    for _ in range(60):
        made.act()
    seen = Counter((user, one.usage_key) for user, one, _, _ in made.sent)
    assert Counter(seen.values()) == {1: 60 - 2 * 11, 2: 11}
    # Not right after the first: an LMS makes a learner wait for some seconds.
    order = [(user, one.usage_key) for user, one, _, _ in made.sent]
    assert all(len(order[begin : begin + 8]) == len(set(order[begin : begin + 8])) for begin in range(52))


def test_what_the_lms_refuses_is_counted_and_not_tried_again(made):
    made.refused.add(1)
    for _ in range(60):
        made.act()
    assert made.told == {"queued": 59, "refused": 1}
    assert [user for user, *_ in made.sent].count(made.sent[0][0]) == 1
    assert [user for user, *_ in made.sent].count(made.sent[1][0]) == 2
