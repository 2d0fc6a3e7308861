"""The short path stores what the rules would store, and passes nothing that they would not call equal."""

import json
from datetime import timedelta

import pytest
from django.core.files.base import ContentFile
from django.db import connection, connections
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail, Score, StudentItem, Submission

from migration_shim.comparison import candidates, equal_pairs, pair_rows, pairs, scan
from migration_shim.comparison.score_styles import ScoreStyles
from migration_shim.conf import load
from migration_shim.core import plain_pair
from migration_shim.core.classification import MARK
from migration_shim.core.hosts import Hosts
from migration_shim.legacy import fingerprints as legacy_changing
from migration_shim.models import LedgerEntry, LegacySubmission
from tests.builders import changes, rows
from tests.builders.changes import detail_of
from tests.builders.rows import RIGHT, WRONG, fresh  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
HOUR = timedelta(hours=1)


def pair(user=7, legacy=RIGHT, target=None, age=timedelta(hours=3), **columns):
    """A pair that both systems have graded, through the router."""
    row = rows.legacy_row(user, age=age, **columns)
    rows.backfill()
    changes.both_graded(row, legacy, target, ago=HOUR)
    LedgerEntry.objects.filter(legacy_id=row.pk).update(origin="router")
    return row


def left(*made):
    """Those of these pairs that the short path leaves to the rules, after it has stored the others."""
    ids = list(LedgerEntry.objects.filter(legacy_id__in=[row.pk for row in made]).values_list("pk", flat=True))
    job = pairs.ComparisonContext(settings=load(), styles=ScoreStyles({}, {}), register=[])
    return equal_pairs.store(ids, job, candidates.Rules.of("basis", {}))


def test_an_equal_pair_takes_the_short_path():
    row = pair()
    assert left(row) == []
    entry = changes.entry_of(row)
    assert (entry.result, entry.graded_pair, entry.legacy_correct, entry.target_score) == ("equal", True, True, 1.0)


@pytest.mark.parametrize("text_first", [True, False])
def test_either_order_of_the_bodys_keys_takes_it(text_first):
    row = rows.legacy_row(age=timedelta(hours=3))
    body = json.loads(row.xqueue_body)
    order = ("grader_payload", "student_info", "student_response")
    order = order if text_first else ("student_response", "grader_payload", "student_info")
    rows.change([row], xqueue_body=json.dumps({key: body[key] for key in order}))
    rows.backfill()
    changes.both_graded(row, ago=HOUR)
    assert left(row) == []


# What leaves it: by the name of the condition that sees it, and what is done to a clean pair


def entry(**columns):
    return lambda row: LedgerEntry.objects.filter(legacy_id=row.pk).update(**columns)


def detail(**columns):
    return lambda row: ExternalGraderDetail.objects.filter(pk=detail_of(row).pk).update(**columns)


def scores(row):
    return Score.objects.filter(submission_id=detail_of(row).submission_id)


def legacy(**columns):
    return lambda row: rows.change([row], **columns)


def item(**columns):
    return lambda row: StudentItem.objects.filter(submission=detail_of(row).submission_id).update(**columns)


def twin(row):
    own = detail_of(row)
    submission = Submission.objects.create(
        student_item=own.submission.student_item, attempt_number=9, answer="x", submitted_at=now()
    )
    ExternalGraderDetail.objects.create(submission=submission, queue_name=own.queue_name, queue_key=own.queue_key)


def file_on_target(row):
    detail_of(row).files.create(original_filename="a.txt", file=ContentFile(b"a", name="a"))


def place(row):
    """Whose a row is and of which problem, as ``rows.legacy_row`` takes them."""
    *_, user, block, _ = json.loads(row.xqueue_header)["lms_callback_url"].split("/")
    return {"user": int(user), "problem": block.rpartition("@")[2]}


def later_attempt_first(row):
    """The learner's next attempt, which came after the reply to this one, is handed out before it."""
    newer = pair(**place(row), answer="x = 2", age=timedelta(minutes=50))
    assert changes.entry_of(newer).input_key == changes.entry_of(row).input_key
    LedgerEntry.objects.filter(legacy_id=newer.pk).update(leased_at=now() - 2 * HOUR)


def short_learner(row):
    LedgerEntry.objects.filter(legacy_id=row.pk).update(learner="ada")
    item(student_id="shadow:ada")(row)


def never_returned(row):
    """Acknowledged without a return: that was an operator's word. Without a time of its own no other check sees it."""
    legacy(return_time=None)(row)
    entry(origin="backfill")(row)


def again_later(row):
    changes.again(row, arrival_time=now() - timedelta(minutes=10), retired=True)


def attempt_before_the_reply(row):
    rows.legacy_row(**place(row), answer="x = 3", age=timedelta(hours=2))


def no_json(row):
    """Somebody has written the same to both databases."""
    body = json.loads(row.xqueue_body)
    payload, info = (json.dumps(body[key]) for key in ("grader_payload", "student_info"))
    text = f'{{"grader_payload": {payload}, "student_info": {info}, "student_response": x = 1}}'
    rows.change([row], xqueue_body=text)
    with connection.cursor() as cursor:
        table = Submission._meta.db_table
        cursor.execute(f"UPDATE {table} SET raw_answer = 'x = 1' WHERE id = %s", [detail_of(row).submission_id])


PLANTS = {
    "on_both": [entry(target_leg="failed"), entry(legacy_leg="missing")],
    "legacys": [entry(authority="target")],
    "not_moved": [entry(move="returned")],
    "not_superseded": [entry(superseded_at=now())],
    "not_on_both_for_real": [entry(double_authority=True)],
    "to_be_compared": [entry(history=True)],
    "not_refused": [entry(legacy_reason="refused")],
    "nothing_on_record": [entry(divergences="lost", result="diverged")],
    "no_key_of_its_own": [entry(extra_body='{"more": 1}')],
    "graded": [detail(status="failed")],
    "no_twin": [twin],
    "no_files": [file_on_target],
    "in_order": [later_attempt_first],
    "acknowledged": [legacy(lms_ack=False), legacy(retired=False), never_returned],
    "not_handed_off": [legacy(grader_id=f"{MARK}5", pullkey="")],
    "no_legacy_files": [legacy(s3_keys='{"a.txt": "k"}')],
    "alone": [again_later, attempt_before_the_reply],
    "fenced": [short_learner],
    "same_learner": [item(student_id="shadow:" + rows.anonymous_id(9))],
    "same_problem": [item(item_id="shadow:" + rows.usage_key("another"))],
    "same_header": [legacy(xqueue_header=rows.header(7, "another", "f" * 32))],
    "from_the_seam": [detail(pullkey="upstreams")],
    "same_body": [
        entry(student_info="{}"),
        entry(grader_payload=None),
        lambda row: Submission.objects.filter(pk=detail_of(row).submission_id).update(answer="x = 9"),
        no_json,
    ],
}
CONDITIONS = [
    (module, name) for module in (pair_rows.OF_ENTRY, legacy_changing.PLAIN, plain_pair.CHECKS) for name in module
]
#: Seen by what the short path reads of the replies, the header, the points and the times.
READ = {
    "another grade": lambda row: changes.target_graded(row, WRONG, ago=HOUR),
    "another score": lambda row: changes.target_graded(row, changes.HALF, ago=HOUR),
    "no reply": lambda row: changes.target_graded(row, changes.INVALID, ago=HOUR),
    "invalid on both": lambda row: changes.both_graded(row, changes.INVALID, ago=HOUR),
    "an empty message": lambda row: changes.both_graded(row, '{"correct": true, "score": 1, "msg": ""}', ago=HOUR),
    "a bell in it": lambda row: changes.both_graded(row, '{"correct": true, "score": 1, "msg": "\\u0007"}', ago=HOUR),
    "a declaration": lambda row: changes.both_graded(
        row, json.dumps({"correct": True, "score": 1, "msg": "<?xml encoding='utf-8'?><p/>"}), ago=HOUR
    ),
    "a score of nothing": lambda row: changes.both_graded(
        row, '{"correct": true, "score": null, "msg": "m"}', ago=HOUR
    ),
    "not a number": lambda row: changes.both_graded(row, '{"correct": true, "score": NaN, "msg": "m"}', ago=HOUR),
    "below nothing": lambda row: changes.both_graded(row, '{"correct": true, "score": -1, "msg": "m"}', ago=HOUR),
    "other points": lambda row: scores(row).update(points_earned=0),
    "no points": lambda row: scores(row).delete(),
    "rounded": lambda row: changes.both_graded(row, changes.HALF, ago=HOUR),
    "late": detail(status_time=now() + 9 * HOUR),
    "the real queue": lambda row: detail(queue_name=changes.entry_of(row).queue_name)(row),
    "another course's queue": detail(queue_name="the-queue-of-another-course"),
    "the learner's key": lambda row: detail(queue_key=json.loads(row.xqueue_header)["lms_key"])(row),
}

EVERY = [*(plant for plants in PLANTS.values() for plant in plants), *READ.values()]


def in_both_ways(monkeypatch):
    """What a full reconcile stores with the short paths, and what without."""
    found = []
    for short in (True, False):
        for path in () if short else (scan.equal_pairs, scan.replaced_pairs):
            monkeypatch.setattr(path, "store", lambda ids, job, rules: list(ids))
        LedgerEntry.objects.update(seen="")
        rows.reconcile(full=True)
        found.append(changes.stored())
    return found


def planted(plant):
    row = pair()
    plant(row)
    return row


def test_every_condition_has_a_plant():
    assert [name for _, name in CONDITIONS if name not in PLANTS] == []
    assert sorted(PLANTS) == sorted({name for _, name in CONDITIONS})


@pytest.mark.parametrize("plant", EVERY)
def test_what_is_not_plainly_equal_is_left_to_the_rules(plant):
    row = planted(plant)
    before = changes.stored()
    assert len(left(row)) == 1
    assert changes.stored() == before


@pytest.mark.by_hand  # without the condition an entry is counted as what it is not
@pytest.mark.parametrize(
    ("module", "name", "plant"),
    [
        pytest.param(module, name, plant, id=f"{name}-{number}")
        for module, name in CONDITIONS
        for number, plant in enumerate(PLANTS[name])
    ],
)
def test_each_condition_alone_holds_back_what_it_is_for(module, name, plant, monkeypatch):
    """Without it the pair would be called equal: none is there for nothing, and none stands in for another."""
    row = planted(plant)
    monkeypatch.delitem(module, name)
    assert left(row) == []


@pytest.mark.parametrize("plant", EVERY)
def test_the_rules_say_the_same_of_all_of_them_with_the_short_path_and_without(plant, monkeypatch):
    made = [pair(user=5), planted(plant)]
    assert changes.entry_of(made[0])
    with_it, without = in_both_ways(monkeypatch)
    assert with_it == without


def test_another_lmss_row_is_left_to_the_rules(monkeypatch):
    row = pair()
    monkeypatch.setattr(equal_pairs.hosts, "known", lambda: Hosts(named=frozenset({"another.example.org"})))
    assert len(left(row)) == 1


def nested(row):
    """The body's keys in another order, and an answer that nests deeper than the rules read."""
    deep = "x"
    for _ in range(60):
        deep = [deep]
    body = json.loads(row.xqueue_body) | {"student_response": deep}
    order = ("student_info", "grader_payload", "student_response")
    rows.change([row], xqueue_body=json.dumps({key: body[key] for key in order}))
    Submission.objects.filter(pk=detail_of(row).submission_id).update(answer=deep)


def written_later(row):
    """The router's copy was owed: a worker wrote it an hour after legacy had the submission, and with its time."""
    entry(copied_at=row.arrival_time + HOUR)(row)


@pytest.mark.parametrize("plant", [nested, written_later])
def test_the_rules_store_the_same_of_what_is_equal_at_a_glance(plant, monkeypatch):
    planted(plant)
    with_it, without = in_both_ways(monkeypatch)
    assert with_it == without


CROWD = 150


def crowd_on_legacy(row):
    """One truncated callback covers them all."""
    columns = LegacySubmission.objects.filter(pk=row.pk).values()[0] | {"id": None}
    LegacySubmission.objects.bulk_create(
        LegacySubmission(**columns | {"xqueue_header": rows.header(9, "b", f"{number:032x}"), "arrival_time": now()})
        for number in range(CROWD)
    )


def crowd_on_the_target(row):
    """A learner with as many attempts at one problem, of which this one is a late one."""
    own = detail_of(row).submission
    Submission.objects.filter(pk=own.pk).update(attempt_number=CROWD + 2)
    Submission.objects.bulk_create(
        Submission(student_item=own.student_item, attempt_number=number, answer="x", submitted_at=now())
        for number in range(2, CROWD + 2)
    )
    for submission in Submission.objects.exclude(pk=own.pk):
        ExternalGraderDetail.objects.create(submission=submission, queue_name="q", queue_key=f"{submission.pk}")


def crowd_of_attempts(row):
    own = LedgerEntry.objects.filter(legacy_id=row.pk).values()[0] | {"id": None, "legacy_id": None}
    LedgerEntry.objects.bulk_create(
        LedgerEntry(**own | {"identity": f"{number:064}", "target_submission_id": None}) for number in range(CROWD)
    )


@pytest.mark.parametrize("crowd", [crowd_on_legacy, crowd_on_the_target, crowd_of_attempts])
def test_a_crowd_is_left_to_the_rules_which_read_it_once(crowd):
    assert len(left(planted(crowd))) == 1


@pytest.mark.skipif(connection.vendor != "mysql", reason="SQLite does not count what it reads")
@pytest.mark.parametrize("side", ["xqueue", "default"])
def test_a_crowd_is_never_held_against_itself(side):
    row = planted(crowd_on_legacy if side == "xqueue" else crowd_on_the_target)
    crowd_of_attempts(row)
    submissions = list(Submission.objects.values_list("pk", flat=True))
    for entry_, submission_id in zip(LedgerEntry.objects.all(), submissions, strict=False):
        LedgerEntry.objects.filter(pk=entry_.pk).update(target_submission_id=submission_id, legacy_id=row.pk)
    ids = list(LedgerEntry.objects.values_list("pk", flat=True))

    def reads(cursor):
        cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%%'", [])
        return sum(int(number) for _, number in cursor.fetchall())

    with connections[side].cursor() as cursor:
        before = reads(cursor)
        if side == "xqueue":
            legacy_changing.plain_rows(LegacySubmission.objects.values_list("pk", flat=True), now())
        else:
            candidates.fingerprints_now(ids, candidates.Rules.of("basis", {}))
        assert reads(cursor) - before < 125 * CROWD
