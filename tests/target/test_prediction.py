"""What edx-submissions would store, asked of its own code, against what its put_result does store."""

import ast
import inspect
import json
import logging
import textwrap
import timeit
from importlib.metadata import version

import pytest
from django.utils.version import get_version_tuple
from hypothesis import example, given, settings
from hypothesis import strategies as st
from submissions.models import ExternalGraderDetail, Score, ScoreSummary
from submissions.views import xqueue

from migration_shim.core.data import ReplyKind
from migration_shim.core.errors import PredictionUnavailable
from migration_shim.core.scoring import read_reply
from migration_shim.target import prediction
from migration_shim.target.prediction import check, plain_function, points_for, predicted_points, run, scales
from tests.builders.watchers import real, shim, watcher  # noqa: F401

BIG = 2**63


def reply(score):
    """A reply whose score is this JSON text."""
    return f'{{"correct": true, "score": {score}, "msg": "m"}}'


def test_the_installed_version_can_be_asked():
    check()


#: Score as JSON text -> points of one and of ten, as observed on a running 4.0.2.
SCALED = {
    "0": (0, 0),
    "1": (1, 10),
    "1.0": (1, 10),
    "0.5": (0, 5),
    "0.25": (0, 2),
    "0.51": (1, 5),
    "7": (7, 70),
    "true": (1, 10),
    "false": (0, 0),
    "-0.02": (0, 0),
    '"1"': (None, None),
}
#: The same on 3.12.2, 4.0.0 and 4.0.1: the score as it comes, and only where it is a whole number.
UNSCALED = {
    "0": (0, 0),
    "1": (1, 1),
    "1.0": (1, 1),
    "0.5": (None, None),
    "0.25": (None, None),
    "0.51": (None, None),
    "7": (7, 7),
    "true": (None, None),
    "false": (None, None),
    "-0.02": (None, None),
    '"1"': (1, 1),
}
#: What no version stores.
NOTHING = ("-1", "null", "[1]", "NaN", "1e400", "1e300", "1" + "0" * 5000)
INSTALLED = SCALED if get_version_tuple(version("edx-submissions")) >= (4, 0, 2) else UNSCALED


@pytest.mark.parametrize(("score", "stored"), INSTALLED.items())
def test_the_table_of_the_installed_version(score, stored):
    assert (predicted_points(reply(score), 1), predicted_points(reply(score), 10)) == stored


@pytest.mark.parametrize("score", NOTHING)
def test_what_no_version_stores(score):
    assert predicted_points(reply(score), 1) is predicted_points(reply(score), 10) is None


def test_whether_the_installed_version_scales():
    assert scales() is (INSTALLED is SCALED)


@pytest.mark.parametrize("text", ["", "<html>", "[1]", '"1"', "1", "null", "{}", '{"msg": "m"}', "[" * 100_000])
def test_what_is_no_reply_stores_nothing(text):
    assert predicted_points(text, 1) is None


SCORES = (
    st.floats(-1.5, 11)
    | st.floats()
    | st.integers(-3, 12)
    | st.integers(-BIG, BIG)
    | st.booleans()
    | st.none()
    | st.sampled_from(["1", "0.5", [], [1], {}])
    | st.builds(lambda whole, parts: whole / parts, st.integers(0, 40), st.integers(1, 40))
)
POINTS = st.integers(0, 20) | st.sampled_from([100, 1000])


# The transaction of the test is shared: each example brings a row of its own.
@pytest.mark.django_db(databases=["default", "xqueue"])
def test_the_real_put_result_stores_what_was_predicted(watcher):  # noqa: F811
    @settings(max_examples=60, deadline=None)
    @given(SCORES, POINTS)
    @example(0.5, 1)
    @example(2.5, 1)
    @example(0.7, 10)
    @example(True, 3)
    @example(1, 0)
    def agree(score, points):
        Score.objects.all().delete()
        sent = real(points=points)
        text = json.dumps({"correct": True, "score": score, "msg": "m"})
        predicted = predicted_points(text, points)
        assert watcher.grade(text) == (0, "")
        stored = list(Score.objects.filter(submission_id=sent.detail.submission_id).values_list("points_earned"))
        # The platform's receiver raises where CAPA does, and nothing stays of what was stored.
        kept = predicted is not None and read_reply(text).kind is not ReplyKind.RAISES
        assert stored == ([(predicted,)] if kept else [])
        if isinstance(score, bool | int | float):
            assert points_for(read_reply(text).sent, points) == predicted
        ExternalGraderDetail.objects.all().delete()

    agree()


@pytest.mark.django_db
def test_asking_writes_nothing_sends_nothing_and_logs_nothing(caplog, django_assert_num_queries):
    points_for.cache_clear()
    with caplog.at_level(logging.DEBUG), django_assert_num_queries(0):
        for score in ("1", "0.5", "-1", "null", '"1"', "NaN"):
            predicted_points(reply(score), 4)
    assert caplog.records == []
    assert not Score.objects.exists() and not ScoreSummary.objects.exists()


def test_the_installed_module_is_left_as_it_is():
    before = dict(vars(xqueue))
    points_for.cache_clear()
    assert predicted_points(reply("1"), 1) == 1
    assert vars(xqueue) == before


def test_one_true_and_a_float_are_asked_apart():
    """Versions tell them apart, and Python's equality does not."""
    points_for.cache_clear()
    for score in (1, 1.0, True):
        points_for(score, 1)
    assert points_for.cache_info().misses == 3


def test_a_score_seen_before_costs_next_to_nothing():
    points_for(0.5, 2)
    assert min(timeit.repeat(lambda: points_for(0.5, 2), number=1000, repeat=5)) / 1000 < 20e-6


# --- other versions ---------------------------------------------------------------------------------------------------


def changed(change):
    """The installed put_result with its source changed, and its names bound in a copy of its module."""
    source = textwrap.dedent(inspect.getsource(inspect.unwrap(xqueue.XQueueViewSet.put_result)))
    tree = ast.parse(source)
    tree.body[0].decorator_list = []
    names = dict(vars(xqueue), harmful=lambda: None)
    exec(compile(ast.fix_missing_locations(change(tree)), "<version>", "exec"), names)
    return names["put_result"]


class Unscaled(ast.NodeTransformer):
    """Version 4.0.1: the same, without the lines that scale, if there are any."""

    def visit_If(self, node):
        return None if "points_earned is not None" in ast.unparse(node.test) else self.generic_visit(node)


def test_another_version_has_another_answer():
    """4.0.1 as observed: whole scores as they come, 0.5 and true never, text that is a number."""
    old = plain_function(changed(Unscaled().visit))
    expected = {"1": 1, "1.0": 1, "7": 7, "0.5": None, "true": None, '"1"': 1, "-1": None}
    assert {score: run(old, reply(score), 10) for score in expected} == expected


def adding(line):
    def change(tree):
        tree.body[0].body[1:1] = ast.parse(line).body
        return tree

    return change


def test_a_put_result_that_might_write_is_not_run():
    with pytest.raises(PredictionUnavailable, match="harmful"):
        plain_function(changed(adding("harmful()")))


def test_a_put_result_that_asks_for_more_is_not_run():
    function = plain_function(changed(adding("self.record(request)")))
    with pytest.raises(PredictionUnavailable, match="record"):
        run(function, reply("1"), 1)


def test_a_put_result_with_state_of_its_own_is_not_run():
    secret = []

    def put_result(self, request):
        secret.append(request)

    with pytest.raises(PredictionUnavailable, match="no plain function"):
        plain_function(put_result)


def test_a_rule_that_makes_no_sense_is_noticed(monkeypatch):
    monkeypatch.setattr(prediction, "_installed", lambda: plain_function(changed(adding("return None"))))
    with pytest.raises(PredictionUnavailable, match="0, 1 and -1"):
        check()
