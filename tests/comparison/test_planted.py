"""
Every kind of difference, in one pair each of a crowd of clean ones: found, as what it is, and nothing else is.

The crowd takes the short path, and what was planted has to leave it. What it is then says the plant, and of what SQL
alone can judge the oracle too.
"""

import json
import random
from datetime import timedelta

import pytest
from django.db.models import F, OuterRef, Subquery
from django.db.models.functions import Left, Mod
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail, Score, Submission

from migration_shim.comparison import scan
from migration_shim.core.data import DivergenceClass, Leg, PairStatus
from migration_shim.models import LedgerEntry, LegacySubmission
from sandbox.lms import capa
from tests.builders import changes, rows
from tests.builders.changes import detail_of
from tests.builders.rows import QUEUE, RIGHT, WRONG, fresh  # noqa: F401
from tests.comparison import oracle
from tests.comparison.test_equal_pairs import HOUR, PLANTS, READ, detail, entry, scores

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
PROBLEMS = 10
#: One learner in so many has two attempts at one input.
AGAIN = 10
#: How long a submission waits for a grader of either side, and how long each of them takes. The replies are so young
#: that a side without one is in time for the whole test, by the setting and by what is usual.
WAITS, LEGACY_TAKES, TARGET_TAKES = timedelta(hours=2, minutes=30), timedelta(seconds=15), timedelta(seconds=20)


def queued(learner, age):
    """A legacy row as CAPA makes it and XQueue stores it."""
    arrived, problem = now() - age, f"{learner % PROBLEMS:032x}"
    time = arrived.strftime("%Y%m%d%H%M%S")
    answer_id = f"{capa.html_id(rows.usage_key(problem))}_2_1"
    header = rows.header(learner, problem, capa.make_key(learner, time, rows.anonymous_id(learner), answer_id))
    url = json.loads(header)["lms_callback_url"]
    return LegacySubmission(
        requester_id="10.20.0.11",
        lms_callback_url=url[:128],
        queue_name=QUEUE,
        xqueue_header=header,
        xqueue_body=rows.body(learner, f"x = {learner}\n# naïve\n", time, seed=learner % 100),
        s3_keys="{}",
        s3_urls="{}",
        arrival_time=arrived,
        grader_reply="",
        grader_id="",
        pullkey="",
    )


def crowd(number):
    """
    So many pairs at least, equal in everything, as CAPA, XQueue, the router and the seam leave them.

    The legacy rows of right answers whose learner has no other attempt: what is planted there is seen in no other pair.
    """
    single, made, learner = [], [], 1000
    while len(made) < number:
        ages = (6 * HOUR, 3 * HOUR) if learner % AGAIN == 0 else (3 * HOUR,)
        attempts = [queued(learner, age) for age in ages]
        made += attempts
        single += attempts if len(attempts) == 1 else []
        learner += 1
    LegacySubmission.objects.bulk_create(made, batch_size=500)
    rows.backfill()
    LegacySubmission.objects.update(**rows.graded() | {"pull_time": F("arrival_time") + WAITS})
    LegacySubmission.objects.update(return_time=F("pull_time") + LEGACY_TAKES)
    began = F("arrived_at") + WAITS
    LedgerEntry.objects.update(origin="router", leases=1, lease_key=Left("identity", 32), leased_at=began)
    own = LedgerEntry.objects.filter(target_submission_id=OuterRef("submission_id"))
    ExternalGraderDetail.objects.update(
        status="retired",
        status_time=F("created_at") + WAITS + TARGET_TAKES,
        pullkey=Subquery(own.values("lease_key")[:1]),
        grader_reply=RIGHT,
    )
    thirds = LedgerEntry.objects.annotate(third=Mod("legacy_id", 3)).filter(third=0)
    wrong = dict(thirds.values_list("target_submission_id", "legacy_id"))
    LegacySubmission.objects.filter(pk__in=wrong.values()).update(grader_reply=WRONG)
    ExternalGraderDetail.objects.filter(submission_id__in=wrong).update(grader_reply=WRONG)
    Score.objects.bulk_create(
        Score(submission_id=pk, student_item_id=item, points_earned=pk not in wrong, points_possible=1)
        for pk, item in Submission.objects.values_list("pk", "student_item_id")
    )
    of_one = {row.xqueue_header for row in single}
    return [row for row in LegacySubmission.objects.filter(grader_reply=RIGHT) if row.xqueue_header in of_one]


# What can differ, by its class: what leaves it so


def no_copy(row):
    Submission.objects.filter(pk=detail_of(row).submission_id).delete()


def vanished(row):
    LegacySubmission.objects.filter(pk=row.pk).delete()


def refused_and_stored(row):
    no_copy(row)
    entry(legacy_leg=Leg.FAILED, target_leg=Leg.NONE, target_submission_id=None, legacy_id=None)(row)


def without_a_grade(**columns):
    """The target's row with these columns, and nothing that a grader had said of it."""

    def plant(row):
        scores(row).delete()
        detail(grader_reply=None, **columns)(row)

    return plant


def out_of(possible, score, stored):
    """Graded with a score, out of so many points, of which the target has stored so many."""

    def plant(row):
        changes.both_graded(row, json.dumps({"correct": True, "score": score, "msg": "<p>m</p>"}), ago=HOUR)
        entry(points_possible=possible)(row)
        detail(points_possible=possible)(row)
        scores(row).update(points_possible=possible, points_earned=stored)

    return plant


def graded_as(reply):
    return lambda row: changes.both_graded(row, RIGHT, reply, ago=HOUR)


NOT_ACKNOWLEDGED, _, NEVER_RETURNED = PLANTS["acknowledged"]
INFO, PAYLOAD, ANSWER, NO_JSON = PLANTS["same_body"]
#: Some are of several classes: what makes one also makes another.
DIFFERENCES = {
    DivergenceClass.PRESENCE: [no_copy],
    DivergenceClass.STORED_AFTER_REFUSAL: [refused_and_stored],
    DivergenceClass.STATE: [
        without_a_grade(status="retired", pullkey=""),
        *PLANTS["graded"],
        *(NOT_ACKNOWLEDGED, NEVER_RETURNED, PLANTS["alone"][0]),
    ],
    DivergenceClass.CORRECTNESS: [graded_as(WRONG), READ["no reply"]],
    DivergenceClass.SCORE: [graded_as(changes.HALF)],
    DivergenceClass.SCALE: [out_of(10, 7, 70)],
    DivergenceClass.OUT_OF_RANGE: [out_of(10, 12, 120)],
    DivergenceClass.STORED_POINTS: [out_of(10, 0.5, 6), READ["other points"]],
    DivergenceClass.PAYLOAD: [
        *(INFO, PAYLOAD, ANSWER, NO_JSON),
        *PLANTS["from_the_seam"],
        *PLANTS["no_key_of_its_own"],
    ],
    DivergenceClass.FILES: PLANTS["no_files"],
    DivergenceClass.IDENTITY: [*PLANTS["same_learner"], *PLANTS["same_problem"], INFO, *PLANTS["same_header"]],
    DivergenceClass.ORDER: PLANTS["in_order"],
    DivergenceClass.DUPLICATE: PLANTS["no_twin"],
    DivergenceClass.STUCK: [without_a_grade(status="pulled", status_time=now() - 9 * HOUR)],
    DivergenceClass.LATENCY: [READ["late"]],
    DivergenceClass.LOST: [vanished, *(READ[name] for name in ("no points", "a score of nothing", "not a number"))],
    DivergenceClass.DOUBLE_AUTHORITY: [*PLANTS["not_on_both_for_real"], *PLANTS["legacys"]],
    DivergenceClass.FENCE_LEAK: [
        *PLANTS["fenced"],
        *(READ[name] for name in ("the real queue", "another course's queue", "the learner's key")),
    ],
}
#: Of no pair: the one has an entry of its own, for legacy's row alone, and the other is asked of the learner's state.
OF_NO_PAIR = {DivergenceClass.WRONG_SIDE, DivergenceClass.UNDELIVERED}
#: All that is planted, each once.
EVERY = list(
    dict.fromkeys(plant for plants in (*DIFFERENCES.values(), *PLANTS.values(), READ.values()) for plant in plants)
)


def test_every_class_is_planted():
    assert set(DIFFERENCES) == set(DivergenceClass) - OF_NO_PAIR


@pytest.fixture
def passed(monkeypatch):
    """The ids that the short path of equal pairs has taken for equal."""
    found, store = set(), scan.equal_pairs.store

    def watched(ids, job, rules):
        back = store(ids, job, rules)
        found.update(set(ids) - set(back))
        return back

    monkeypatch.setattr(scan.equal_pairs, "store", watched)
    return found


def kept():
    """The classes of every entry, and its result."""
    entries = LedgerEntry.objects.values_list("pk", "divergences", "result")
    return {pk: (set(filter(None, classes.split(","))), result) for pk, classes, result in entries}


@pytest.mark.parametrize("number", [500, pytest.param(10_000, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
def test_all_that_is_planted_in_a_crowd_is_found_and_nothing_else(number, passed, monkeypatch):
    places = random.Random(number).sample(crowd(number), len(EVERY))
    everyone, planted = set(LedgerEntry.objects.values_list("pk", flat=True)), {}
    assert len(everyone) >= number
    for row, plant in zip(places, EVERY, strict=True):
        planted[changes.entry_of(row).pk] = plant
        plant(row)
    rows.reconcile(full=True)
    assert everyone - passed == set(planted)
    found, said = kept(), oracle.classes()
    assert {pk for pk in everyone if found[pk] != (set(), PairStatus.EQUAL)} <= set(planted)
    assert {pk for pk in said if said[pk]} <= set(planted)
    for pk, plant in planted.items():
        named = {klass.value for klass, plants in DIFFERENCES.items() if plant in plants}
        classes, result = found[pk]
        assert classes == named | said.get(pk, set()), plant
        assert (result == PairStatus.DIVERGED) is bool(classes)
    stored = changes.stored()
    rows.reconcile(full=True)
    assert changes.stored() == stored
    # And all of them judged by the rules alone.
    for path in (scan.equal_pairs, scan.replaced_pairs):
        monkeypatch.setattr(path, "store", lambda ids, job, rules: list(ids))
    LedgerEntry.objects.update(seen="")
    rows.reconcile(full=True)
    assert changes.stored() == stored
