"""``xqueue_backfill --mode shadow`` over captured rows: one class a row, one end however it is run or broken off."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from contextlib import contextmanager
from datetime import datetime, timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import DataError, connection, connections
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail, StudentItem, Submission, SubmissionFile

from migration_shim.core.data import ExitCode, Leg, Origin, Phase, RowClass
from migration_shim.core.errors import RunLocked
from migration_shim.models import Checkpoint, LedgerEntry, LegacySubmission, Run
from migration_shim.runs import records as runs
from sandbox import capture
from sandbox.databases import PROJECT_ROOT
from sandbox.lms import capa
from tests.backfill import batches
from tests.builders import rows
from tests.builders.many_rows import forget
from tests.builders.rows import fresh  # noqa: F401

BOTH = ["default", "xqueue"]
in_process = pytest.mark.django_db(databases=BOTH)
shared = pytest.mark.django_db(databases=BOTH, transaction=True)  # for tests with other processes

WALK = ("xqueue_backfill", "--mode", "shadow", "--all", "--execute")
UNRETIRED = 118
FEW = 40  # unretired rows of the two odd queues


# An oracle of its own: what a row is, from its columns, by the rules of XQueue and CAPA.


def address(row):
    """(course, user, usage key, dispatch) of a captured row's callback, or None if it leads to no problem."""
    try:
        url = json.loads(row["xqueue_header"])["lms_callback_url"]
    except (ValueError, TypeError, KeyError):
        return None
    found = re.fullmatch(r"https?://[^/]+(?:/[^/]+)*?/courses/(.+)/xqueue/(\d+)/(.+)/(\w+)", url or "")
    return found.groups() if found else None


def student_info(row):
    try:
        return json.loads(json.loads(row["xqueue_body"])["student_info"])
    except (ValueError, TypeError, KeyError):
        return None


def attempt(row):
    """What an attempt is an attempt at: (address, answer id). None where the key fits no input."""
    where, info = address(row), student_info(row)
    key = json.loads(row["xqueue_header"])["lms_key"]
    problem = capa.html_id(capa.unquote_slashes(where[2].replace("%40", "@").replace("%2B", "+")))
    for response in range(2, 30):
        for number in (1, 2, 3):
            answer_id = f"{problem}_{response}_{number}"
            if capa.make_key(where[1], info["submission_time"], info["anonymous_student_id"], answer_id) == key:
                return where, answer_id
    return None


def oracle(captured, history):
    """The class of every row that a run over everything reads, by id."""
    families = {}
    for row in captured:
        families.setdefault(row["lms_callback_url"].lower(), []).append(row)
    return {
        row["id"]: expected_class(row, families[row["lms_callback_url"].lower()])
        for row in captured
        if history or not row["retired"]
    }


def expected_class(row, family):
    where, info = address(row), student_info(row)
    if where is None or info is None:
        return RowClass.MALFORMED
    if where[3] != "score_update":
        return RowClass.DRAIN
    twins = [other for other in family if same_submission(other, row)]
    if max(twins, key=lambda other: (not other["retired"], other["id"])) is not row:
        return RowClass.DUPLICATE
    newer = [other for other in family if other["id"] > row["id"]]
    again = [other for other in newer if address(other) and student_info(other) and attempt(other) == attempt(row)]
    again = again if attempt(row) else []
    if row["retired"]:
        if row["lms_ack"] and any(other["arrival_time"] < row["return_time"] for other in again):
            return RowClass.SUPERSEDED
        if not row["lms_ack"]:
            if row["num_failures"] > 3:
                return RowClass.GIVEN_UP
            return RowClass.SUPERSEDED if again else RowClass.COLLIDED if newer else RowClass.GIVEN_UP
    if len(json.dumps(json.loads(row["xqueue_body"])["student_response"])) > 100 * 1024:
        return RowClass.DRAIN
    return RowClass.FINAL if row["retired"] else RowClass.IMPORTED


def same_submission(one, other):
    return all(one[name] == other[name] for name in ("xqueue_header", "xqueue_body", "s3_keys"))


def test_the_oracle_knows_the_counts_of_the_captured_rows():
    """By hand, from the data's README and its columns: the oracle must not be as wrong as what it judges."""
    classes = Counter(oracle(rows.captured(), history=False).values())
    assert classes.total() == UNRETIRED
    assert Counter(oracle(rows.captured(), history=True).values()).total() == 391
    assert classes[RowClass.IMPORTED] >= 74 + 30


# What is there


def whole():
    """The end state: everything that a backfill writes, without the numbers and times that differ from run to run."""
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT l.identity, l.history, l.legacy_id, l.legacy_leg, l.target_leg, l.origin, d.queue_name,"
            " d.queue_key, d.grader_file_name, d.points_possible, d.status, d.created_at,"
            " i.student_id, i.item_id, i.course_id, s.raw_answer, s.attempt_number"
            " FROM migration_shim_ledgerentry l"
            " LEFT JOIN submissions_submission s ON s.id = l.target_submission_id"
            " LEFT JOIN submissions_externalgraderdetail d ON d.submission_id = s.id"
            " LEFT JOIN submissions_studentitem i ON i.id = s.student_item_id ORDER BY l.identity"
        )
        entries = [tuple(map(str, row)) for row in cursor.fetchall()]
    files = sorted(
        (file.external_grader.queue_key, file.original_filename, file.file.read())
        for file in SubmissionFile.objects.select_related("external_grader")
    )
    return entries, files


def orphans():
    """Rows of the target that lack what belongs to them."""
    return {
        "items": StudentItem.objects.filter(submission=None).count(),
        "submissions": Submission.objects.filter(external_grader_detail=None).count(),
        "details": ExternalGraderDetail.objects.exclude(
            submission_id__in=LedgerEntry.objects.values("target_submission_id")
        ).count(),
        "entries": LedgerEntry.objects.filter(target_leg=Leg.STORED)
        .exclude(target_submission_id__in=ExternalGraderDetail.objects.values("submission_id"))
        .count(),
        "files": SubmissionFile.objects.filter(external_grader=None).count(),
    }


def table_counts():
    """The number of rows of every table of both databases."""
    counts = {}
    for alias in BOTH:
        with connections[alias].cursor() as cursor:
            for table in connections[alias].introspection.table_names(cursor):
                cursor.execute(f"SELECT COUNT(*) FROM {table}")
                counts[alias, table] = cursor.fetchone()[0]
    return counts


def load_few():
    """The captured rows of two queues: every stage of a row, files, and all that is malformed."""
    capture.load_capture(rows.DATA)
    LegacySubmission.objects.exclude(queue_name__in=["exu-alg2", "exu-misc"]).delete()


def undisturbed(**options):
    """The end state of one run that nothing disturbs; afterwards it is taken away again."""
    rows.backfill(**options)
    state = whole()
    assert sum(orphans().values()) == 0
    forget()
    return state


@contextmanager
def after_insert(model, action):
    """Call ``action(number)`` after each INSERT into the model's table, inside the transaction that it is in."""
    table, seen = f"INTO {connections['default'].ops.quote_name(model._meta.db_table)} ", []

    def look(execute, sql, params, many, context):
        result = execute(sql, params, many, context)
        if "INSERT" in sql and table in sql:
            seen.append(None)
            action(len(seen))
        return result

    with connections["default"].execute_wrapper(look):
        yield seen


# Plan, execute, again


@in_process
@pytest.mark.parametrize("history", [False, True])
def test_a_plan_writes_nothing(history):
    load_few()
    before = table_counts()
    document = rows.backfill(execute=False, history=history)
    assert table_counts() == before
    assert document.content["executed"] is False
    assert document.content["written"] == 0
    assert document.content["classes"] == rows.backfill(history=history).content["classes"]


def alike_graded(expected):
    """Graded rows of one learner in two of the captured courses, which differ in case only: MariaDB takes one."""
    found = {}
    for row in rows.captured():
        if expected.get(row["id"]) is RowClass.FINAL:
            url, info = json.loads(row["xqueue_header"])["lms_callback_url"], json.loads(row["xqueue_body"])
            learner = json.loads(info["student_info"])["anonymous_student_id"]
            found.setdefault((url.lower(), learner), {})[url] = row["id"]
    return {row_id for group in found.values() if len(group) > 1 for row_id in group.values()}


@in_process
@pytest.mark.parametrize("history", [False, True])
def test_every_row_read_has_the_class_that_it_should_have(history):
    capture.load_capture(rows.DATA)
    expected = oracle(rows.captured(), history)
    content = rows.backfill(history=history).content
    alike = alike_graded(expected) if history and connection.vendor == "mysql" else set()
    assert content["reasons"].get("drain", {}).get("student_item_differs", 0) == len(alike) // 2
    classes = Counter(expected.values()) + Counter({RowClass.DRAIN: len(alike) // 2})
    classes[RowClass.FINAL] -= len(alike) // 2
    assert content["classes"] == {row_class.value: classes[row_class] for row_class in RowClass}
    assert sum(content["classes"].values()) == content["read"] == len(expected)
    copied = {row_id for row_id, row_class in expected.items() if row_class in (RowClass.IMPORTED, RowClass.FINAL)}
    written = set(LedgerEntry.objects.values_list("legacy_id", flat=True))
    assert written <= copied and copied - written <= alike
    assert content["written"] == len(written) == len(copied) - len(alike) // 2
    for name, reasons in content["reasons"].items():
        assert sum(reasons.values()) == content["classes"][name]


@in_process
@pytest.mark.parametrize("history", [False, True])
def test_a_second_run_writes_nothing(history):
    capture.load_capture(rows.DATA)
    first = rows.backfill(history=history).content
    before, counts = whole(), table_counts()
    second = rows.backfill(history=history).content
    assert second["written"] == 0
    assert second["classes"]["present"] == first["written"]
    assert whole() == before
    counts["default", "migration_shim_run"] += 1
    assert table_counts() == counts


@in_process
def test_rows_in_flight_arrive_as_they_are_and_in_their_order():
    load_few()
    rows.backfill(history=True)
    arrived = {row["id"]: datetime.fromisoformat(row["arrival_time"]) for row in rows.captured()}
    for entry in LedgerEntry.objects.all():
        detail = ExternalGraderDetail.objects.get(submission_id=entry.target_submission_id)
        row = LegacySubmission.objects.get(pk=entry.legacy_id)
        suffix = ".echo" if entry.history else ".shadow"
        assert detail.created_at == detail.status_time == entry.arrived_at == arrived[row.pk]
        assert (detail.queue_name, detail.status) == (row.queue_name + suffix, "pending")
        assert detail.submission.answer == json.loads(row.xqueue_body)["student_response"]
        assert entry.history == row.retired
        assert (entry.raw_header, entry.origin) == (row.xqueue_header, Origin.BACKFILL)
        assert entry.grader_payload == json.loads(row.xqueue_body).get("grader_payload")
    attempts = Submission.objects.order_by("student_item", "attempt_number").values_list(
        "student_item", "attempt_number", "external_grader_detail__created_at"
    )
    assert len({(item, number) for item, number, _ in attempts}) == len(attempts)
    assert [item[:2] for item in attempts] == [
        item[:2] for item in sorted(attempts, key=lambda attempt: (attempt[0], attempt[2]))
    ]


@in_process
def test_history_is_the_newest_of_every_problem():
    made = [rows.legacy_row(user, age=timedelta(hours=10 - user), **rows.graded()) for user in range(5)]
    other = rows.legacy_row(9, problem="b", **rows.graded())
    content = rows.backfill(history=True, per_problem=2, batch_size=2).content
    assert content["classes"] | {"final": 3, "out_of_scope": 3} == content["classes"]
    assert content["reasons"] == {"out_of_scope": {"beyond_per_problem": 3}}
    entries = LedgerEntry.objects.values_list("legacy_id", flat=True)
    assert set(entries) == {made[3].pk, made[4].pk, other.pk}


@in_process
def test_the_scope_is_a_course_or_a_queue():
    capture.load_capture(rows.DATA)
    content = rows.backfill(courses=frozenset([rows.COURSE])).content
    assert content["classes"]["imported"] == 74
    assert content["classes"]["out_of_scope"] == UNRETIRED - 74
    forget()
    content = rows.backfill(queues=frozenset(["exu-alg2"])).content
    assert content["reasons"]["out_of_scope"] == {"other_queue": UNRETIRED - 30}
    assert set(LedgerEntry.objects.values_list("queue_name", flat=True)) == {"exu-alg2"}


# However it is cut up


@in_process
@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_the_size_of_a_batch_makes_no_difference(batch_size):
    load_few()
    history = batch_size > 1
    expected = undisturbed(history=history)
    content = rows.backfill(history=history, batch_size=batch_size).content
    assert content["read"] == (120 if history else FEW)
    assert whole() == expected


@in_process
@pytest.mark.parametrize(("limit", "batch_size"), [(15, 200), (7, 3), (FEW, FEW)])
def test_runs_with_a_limit_add_up(limit, batch_size):
    load_few()
    expected = undisturbed()
    read, classes = 0, Counter()
    for _ in range(20):
        document = rows.backfill(limit=limit, batch_size=batch_size)
        assert document.content["read"] <= limit
        assert not document.exit_code & ExitCode.STOPPED
        read += document.content["read"]
        classes.update(document.content["classes"])
        if document.content["complete"]:
            break
    assert read == FEW
    assert classes["present"] == 0
    assert whole() == expected
    assert rows.backfill().content["classes"]["present"] == classes["imported"]


@in_process
def test_a_checkpoint_never_passes_rows_that_may_still_commit_before_others():
    """Ids are handed out before they are committed: the last minute is read again."""
    old = [rows.legacy_row(user) for user in range(3)]
    young = [rows.legacy_row(user, age=timedelta(seconds=20)) for user in range(3, 6)]
    content = rows.backfill(batch_size=1, limit=5).content
    assert content["checkpoint"] == old[-1].pk
    content = rows.backfill(batch_size=1).content
    assert (content["read"], content["written"], content["classes"]["present"]) == (len(young), 1, 2)


@in_process
def test_restart_forgets_how_far_a_run_came():
    load_few()
    rows.backfill(limit=15)
    assert rows.backfill(execute=False).content["read"] == FEW - 15
    assert rows.backfill(execute=False, restart=True).content["read"] == FEW
    assert rows.backfill(restart=True).content["read"] == FEW


# However it is broken off


class BrokenOff(Exception):
    """What a test raises in the middle of a run."""


@in_process
@pytest.mark.parametrize("model", [Submission, ExternalGraderDetail, LedgerEntry])
def test_an_error_in_a_later_page_leaves_no_trace_of_it(model):
    load_few()
    expected = undisturbed()

    def fail(number):
        if number == 3:
            raise BrokenOff

    with after_insert(model, fail) as inserts, pytest.raises(BrokenOff):
        rows.backfill(batch_size=5)
    assert len(inserts) == 3
    assert sum(orphans().values()) == 0
    assert 0 < LedgerEntry.objects.count() < len(expected[0])
    run = Run.objects.get()
    assert run.finished_at is not None
    assert not run.complete
    rows.backfill(batch_size=5)
    assert whole() == expected
    assert sum(orphans().values()) == 0


KILLED = """
import os, signal, sys
import django
django.setup()
from django.core.management import execute_from_command_line
from django.db import connection
left = [int(sys.argv[2])]
def kill(execute, sql, params, many, context):
    result = execute(sql, params, many, context)
    if "INSERT" in sql and sys.argv[1] in sql:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
    return result
with connection.execute_wrapper(kill):
    execute_from_command_line(["manage.py", *sys.argv[3:]])
"""


@shared
def test_a_killed_process_leaves_no_trace_of_its_page_and_can_be_run_again():
    load_few()
    expected = undisturbed()
    counts = [0]
    for table, number in (("submissions_submission", 2), ("migration_shim_ledgerentry", 3)):
        command = [sys.executable, "-c", KILLED, table, str(number), *WALK, "--batch-size", "5"]
        environment = os.environ | {"DJANGO_SETTINGS_MODULE": "sandbox.lms.settings", "PYTHONPATH": str(PROJECT_ROOT)}
        done = subprocess.run(command, env=environment, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
        counts.append(LedgerEntry.objects.count())
        assert sum(orphans().values()) == 0
        with pytest.raises(RunLocked):
            rows.backfill()  # nobody can tell a killed run from a slow one at once
        Run.objects.update(heartbeat_at=now() - timedelta(seconds=121))
    assert 0 < counts[1] < counts[2] < len(expected[0])
    assert rows.manage(*WALK).returncode == ExitCode.LEFT_BEHIND
    assert whole() == expected
    assert sum(orphans().values()) == 0


def flip_elsewhere(state):
    done = rows.manage("waffle_switch", "migration_shim.kill_switch", state, "--create")
    assert done.returncode == 0, done.stderr


@shared
@pytest.mark.parametrize("limit", [None, 100])
def test_the_kill_switch_stops_a_run_within_one_batch(limit):
    load_few()
    expected = undisturbed()

    def flip(done, total):
        if done == 20:
            flip_elsewhere("on")

    document = rows.backfill(batch_size=10, limit=limit, progress=flip)
    assert document.content["read"] == 20
    assert document.content["complete"] is False
    assert document.exit_code & ExitCode.STOPPED
    assert LedgerEntry.objects.count() < 20 + 1
    assert not Run.objects.get().complete
    ran = rows.manage(*WALK, "--format", "json")
    assert ran.returncode == ExitCode.STOPPED
    assert json.loads(ran.stdout)["read"] == 0
    flip_elsewhere("off")
    content = rows.backfill().content
    assert (content["read"], content["classes"]["present"]) == (FEW - 20, 0)
    assert whole() == expected


# One row's trouble is one row's


@in_process
def test_a_row_that_the_target_refuses_stays_behind_alone():
    five = [rows.legacy_row(user, payload='{"grader": "odd.py"}' if user == 2 else rows.PAYLOAD) for user in range(5)]

    def refuse(execute, sql, params, many, context):
        if (
            "INSERT" in sql
            and ExternalGraderDetail._meta.db_table in sql
            and "odd.py" in json.dumps(params, default=batches.said)
        ):
            raise DataError("no room")
        return execute(sql, params, many, context)

    with connections["default"].execute_wrapper(refuse):
        document = rows.backfill()
    assert document.content["classes"] | {"imported": 4, "drain": 1} == document.content["classes"]
    (reason,) = document.content["reasons"]["drain"]
    assert reason.startswith("target_refused")
    assert document.exit_code == ExitCode.LEFT_BEHIND
    stored = LedgerEntry.objects.filter(target_leg=Leg.STORED).values_list("legacy_id", flat=True)
    assert sorted(stored) == [row.pk for row in five if row is not five[2]]
    assert sum(orphans().values()) == 0
    assert Submission.objects.count() == 4
    assert rows.backfill().content["classes"] | {"imported": 1, "present": 4} == document.content["classes"] | {
        "imported": 1,
        "present": 4,
        "drain": 0,
    }


ODD = {
    "half a surrogate pair in the payload": {"payload": '{"grader": "\ud800"}'},
    "half a surrogate pair in the answer": {"answer": "\ud800"},
    "NUL in the answer": {"answer": "a\0b"},
    "an answer that is no text": {"answer": {"a": [1, None]}},
    "no answer": {"answer": None},
    "an empty queue": {"queue": ""},
    "a queue name without room for the suffix": {"queue": "q" * 125},
    "a grader's name without room": {"payload": json.dumps({"grader": "g" * 129})},
    "files that are no JSON": {"s3_keys": "{"},
    "files that are a list": {"s3_keys": "[1]"},
    "a body that nests too deep": {"xqueue_body": "[" * 100_000},
    "four bytes a letter": {"answer": "\U0001d4b3" * 8_000},
}


@in_process
@pytest.mark.parametrize("columns", ODD.values(), ids=ODD)
def test_no_row_stops_a_run(columns):
    first = rows.legacy_row(1)
    odd = rows.legacy_row(2, **columns)
    last = rows.legacy_row(3)
    content = rows.backfill().content
    assert sum(content["classes"].values()) == content["read"] == 3
    copied = set(LedgerEntry.objects.filter(target_leg=Leg.STORED).values_list("legacy_id", flat=True))
    assert copied - {odd.pk} == {first.pk, last.pk}
    assert sum(orphans().values()) == 0
    assert rows.reconcile()[0].content["complete"]


@in_process
@pytest.mark.parametrize("origin", [Origin.ROUTER, Origin.RECONCILE])
def test_a_row_without_its_copy_gets_it_under_the_entry_that_is_there(origin):
    row = rows.legacy_row()
    rows.backfill()
    LedgerEntry.objects.update(
        origin=origin, target_leg=Leg.MISSING, target_submission_id=None, legacy_id=None, phase=Phase.SHADOW
    )
    StudentItem.objects.all().delete()
    content = rows.backfill().content
    assert content["classes"]["imported"] == content["written"] == 1
    entry = LedgerEntry.objects.get()
    assert (entry.target_leg, entry.legacy_id, entry.origin) == (Leg.STORED, row.pk, origin)
    assert sum(orphans().values()) == 0


# One at a time


@in_process
def test_a_second_run_of_a_scope_is_refused_while_the_first_is_at_work():
    scope = "shadow open"
    run = Run.objects.create(kind="backfill", scope=scope)
    with pytest.raises(CommandError) as refused:
        call_command(*WALK)
    assert refused.value.returncode == ExitCode.LOCKED
    assert f"backfill run {run.pk} " in str(refused.value)
    rows.backfill(courses=frozenset([rows.COURSE]))  # another scope
    rows.backfill(execute=False)  # a plan
    Run.objects.filter(pk=run.pk).update(heartbeat_at=now() - timedelta(seconds=121))
    rows.backfill()  # the first has died


@shared
def test_a_second_process_is_refused_while_the_first_is_at_work():
    load_few()
    second = []

    def start_second(done, total):
        if not second:
            second.append(rows.manage(*WALK, "--format", "json"))

    rows.backfill(batch_size=15, progress=start_second)
    assert second[0].returncode == ExitCode.LOCKED
    assert json.loads(second[0].stdout)["code"] == "run_locked"
    assert "has been at work since" in second[0].stderr


@shared
@pytest.mark.parametrize("owed", [False, True])
def test_runs_of_scopes_that_overlap_make_one_copy_of_each_row(owed):
    """Locks are by scope; what two scopes share is kept apart by the identity, and by the entry where there is one."""
    for user in range(40):
        rows.legacy_row(user)
    rows.backfill()
    expected = whole()
    if owed:
        StudentItem.objects.all().delete()
        LedgerEntry.objects.update(target_leg=Leg.MISSING, target_submission_id=None)
        Checkpoint.objects.all().delete()
    else:
        forget()
    classes, errors, start = [], [], threading.Barrier(3)

    def walk(**options):
        try:
            start.wait(20)
            classes.append(rows.backfill(batch_size=3, **options).content["classes"])
        except Exception as error:
            errors.append(error)
        finally:
            connections.close_all()

    scopes = ({"courses": None}, {"queues": frozenset([rows.QUEUE])}, {"courses": frozenset([rows.COURSE])})
    threads = [threading.Thread(target=walk, kwargs=scope) for scope in scopes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sum(found["imported"] for found in classes) == len(expected[0])
    assert whole() == expected
    assert sum(orphans().values()) == 0


@in_process
def test_the_run_on_record_is_the_document():
    rows.legacy_row()
    document = rows.backfill()
    run = Run.objects.get()
    assert run.document == document.content
    assert run.complete
    assert (run.kind, run.scope) == ("backfill", document.content["scope"])
    assert run.versions == runs.versions()
    assert not {"legacy_password", "legacy_url", "legacy_username", "legacy_storage"} & set(run.settings)


@in_process
def test_nothing_is_written_on_legacy():
    load_few()
    statements = []

    def look(execute, sql, params, many, context):
        statements.append(sql)
        return execute(sql, params, many, context)

    with connections["xqueue"].execute_wrapper(look):
        rows.backfill()
        rows.reconcile()
    assert len(statements) > 3
    assert [sql for sql in statements if not sql.startswith(("SELECT ", "SHOW "))] == []
