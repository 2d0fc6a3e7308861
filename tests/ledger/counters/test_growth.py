"""
No verdict, screen, round or incremental run reads rows in proportion to the ledger: MariaDB's own count of what it has
read, at two sizes of a course whose submissions differ in nothing but the learner.

What is open grows with it here: of a hundred one waits on both sides, one is overdue and two differ. Of that screens
read no more than what counts the rows in flight, and a reconcile what it needs to look at each of them again.
"""

from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.db import connection, connections
from django.db.models import Count, Max
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail, Score, StudentItem, Submission

from migration_shim import api, toggles
from migration_shim.ledger import recount
from migration_shim.models import Divergence, LedgerEntry, LegacySubmission
from migration_shim.target import reader
from tests.builders import changes, rows
from tests.builders.rows import COURSE, fresh  # noqa: F401
from tests.ledger.counters.oracle import assert_counters_equal_counts

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "xqueue"]),
    pytest.mark.skipif(connection.vendor != "mysql", reason="SQLite does not count the rows that it reads"),
]
PAIRS = 98
#: Rows more that a larger course may cost: the server's samples of an index are not the same twice.
SLACK = 150
#: Rows read for each submission more that is open. The two systems' own tables have no counters: what is in flight is
#: counted there, with the course of each copy, which only its StudentItem knows. What is open may change without a
#: trace in the ledger, so each run looks at it on both sides, and again at what time makes of it.
SCREEN, LOOK = 6, 20
OPEN = {
    "gate": 0,
    "status": SCREEN,
    "status of the site": SCREEN,
    "dashboard": SCREEN,
    "incremental reconcile": LOOK,
    "watch": LOOK,
    "watch over all": LOOK,
}
#: The tables of a submission, each with the columns that hold ids of others.
COPIED = {
    LegacySubmission: (),
    StudentItem: (),
    Submission: ("student_item_id",),
    ExternalGraderDetail: ("submission_id",),
    Score: ("student_item_id", "submission_id"),
    LedgerEntry: ("legacy_id", "target_submission_id"),
    Divergence: ("entry_id",),
}
#: What another learner's submission has of its own, as SQL of what this one has ({0}) and of how far ids move ({1}):
#: all by which the two sides know the learner and each other, or else an open one would differ; and its callback, or
#: else thousands would be siblings.
HASHED = "LEFT(SHA2(CONCAT({0}, {1}), 256), %d)"
LEARNER = HASHED % 32
NAMED = "REGEXP_SUBSTR({0}, '[0-9a-f]{{32}}')"
TEXT = f"REPLACE({{0}}, {NAMED}, {LEARNER.replace('{0}', NAMED)})"
CALLBACK = "REGEXP_REPLACE({0}, '/xqueue/[0-9]+/', CONCAT('/xqueue/9', %s + {1}, '/'))"
OWN = {
    (LegacySubmission, "lms_callback_url"): f"LEFT({CALLBACK % 'id'}, 128)",
    (LegacySubmission, "xqueue_header"): CALLBACK % "id",
    (LegacySubmission, "xqueue_body"): TEXT,
    (StudentItem, "student_id"): f"CONCAT('shadow:', {LEARNER.replace('{0}', 'SUBSTR({0}, 8)')})",
    (Submission, "uuid"): "REPLACE(UUID(), '-', '')",
    (ExternalGraderDetail, "queue_key"): HASHED % 64,
    (LedgerEntry, "identity"): HASHED % 64,
    (LedgerEntry, "group"): HASHED % 64,
    (LedgerEntry, "input_key"): HASHED % 64,
    (LedgerEntry, "learner"): LEARNER,
    (LedgerEntry, "student_info"): TEXT,
    (LedgerEntry, "raw_header"): CALLBACK % "legacy_id",
}


def double():
    """Twice as many submissions as there are, for other learners."""
    offset = max(model.objects.aggregate(last=Max("pk"))["last"] or 0 for model in COPIED)
    for model, ids in COPIED.items():
        here = connections["xqueue" if model is LegacySubmission else "default"]
        quote = here.ops.quote_name
        columns, values = [], []
        for field in model._meta.concrete_fields:
            column = quote(field.column)
            columns.append(column)
            if field.primary_key or field.attname in ids:
                values.append(f"{column} + {offset}")
            else:
                values.append(OWN.get((model, field.attname), "{0}").format(column, offset))
        table = quote(model._meta.db_table)
        with here.cursor() as cursor:
            cursor.execute(f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)} FROM {table}")


def grow(number):
    """As many submissions as that at least, a grader at work, and tables whose statistics are of now."""
    while LedgerEntry.objects.count() < number:
        double()
    answered = ExternalGraderDetail.objects.filter(status="retired").latest("pk")
    ExternalGraderDetail.objects.filter(pk=answered.pk).update(status_time=now())
    recount.mend(COURSE)
    for model in COPIED:
        with connections["xqueue" if model is LegacySubmission else "default"].cursor() as cursor:
            cursor.execute(f"ANALYZE TABLE {model._meta.db_table}")
            cursor.fetchall()


@pytest.fixture
def course(monkeypatch):
    """A course in shadow with some pairs of each kind, most of them over for long; a permit, a register, a twin."""
    monkeypatch.setattr(reader, "_LATE_IDS", 10)
    rows.in_phase("shadow", since=now() - timedelta(days=9))
    toggles.force_flags(COURSE, True, False)
    made = rows.graded_pairs(PAIRS)
    for row, reply in zip(made, (changes.WRONG, changes.HALF), strict=False):
        changes.target_graded(row, reply)
    long_ago = now() - timedelta(days=2)
    LegacySubmission.objects.update(arrival_time=long_ago, pull_time=long_ago, return_time=long_ago)
    ExternalGraderDetail.objects.update(created_at=long_ago, status_time=long_ago)
    LedgerEntry.objects.update(arrived_at=long_ago, created_at=long_ago)
    still_open()
    rows.preflighted()
    rows.reconcile(full=True)
    over = LedgerEntry.objects.exclude(result__in=("waiting", "overdue"))
    over.update(settled_at=long_ago, learner_settled_at=long_ago)
    rows.reconcile()
    results = LedgerEntry.objects.values_list("result").annotate(number=Count("id"))
    assert dict(results.order_by()) == {"equal": PAIRS - 2, "diverged": 2, "waiting": 1, "overdue": 1}
    cache.clear()


def still_open():
    """A submission that waits on both sides, and one that legacy alone has graded, long ago."""
    rows.legacy_row(501)
    overdue = rows.legacy_row(502, age=timedelta(days=2))
    rows.backfill()
    changes.legacy_graded(overdue, ago=timedelta(days=1))
    LedgerEntry.objects.update(origin="router")


def read():
    """How many rows the servers have read, for whom ever: a round of the watch has connections of its own."""
    total = 0
    servers = {(here.settings_dict["HOST"], here.settings_dict["PORT"]): here for here in connections.all()}
    for here in servers.values():
        with here.cursor() as cursor:
            cursor.execute("SHOW GLOBAL STATUS LIKE 'Handler_read%%'")
            total += sum(int(number) for _, number in cursor.fetchall())
    return total


def page():
    """The dashboard's page of the course."""
    admin, _ = get_user_model().objects.get_or_create(username="root", is_superuser=True, is_staff=True)
    client = Client(**rows.HOST)
    client.force_login(admin)
    reply = client.get(reverse("admin:migration_shim_course"), {"course": COURSE})
    assert reply.status_code == 200


WORK = {
    "gate": lambda: api.gate(COURSE),
    "status": lambda: api.status([COURSE]),
    "status of the site": lambda: api.status(api.known_courses()),
    "dashboard": page,
    "incremental reconcile": lambda: api.reconcile([COURSE], rows.ignore, None),
    "watch": lambda: api.watch([COURSE]),
    "watch over all": api.watch,
}


def costs():
    """Rows read by each, the second time: what the first one writes once is not what it costs."""
    found = {}
    for name, work in WORK.items():
        work()
        before = read()
        work()
        found[name] = read() - before
    return found


def dearest(name):
    """The statements of a piece of work that read most, for the failure's message."""
    found = []

    def counting(execute, sql, params, many, context):
        before = read()
        try:
            return execute(sql, params, many, context)
        finally:
            found.append((read() - before, sql[:1500]))

    inside = []

    def once(execute, sql, params, many, context):
        if inside:
            return execute(sql, params, many, context)
        inside.append(True)
        try:
            return counting(execute, sql, params, many, context)
        finally:
            inside.clear()

    with connections["default"].execute_wrapper(once), connections["xqueue"].execute_wrapper(once):
        WORK[name]()
    return sorted(found, reverse=True)[:3]


def grows(few, many):
    grow(few)
    one, few_open = costs(), still_unsettled()
    grow(many)
    other, more = costs(), still_unsettled() - few_open
    assert_counters_equal_counts()
    assert all(LedgerEntry.objects.filter(result=result).count() * 100 >= many for result in ("waiting", "overdue"))
    assert all(number > 10 for number in one.values()), one  # it is counted at all
    bounds = {name: one[name] + SLACK + more * OPEN[name] for name in WORK}
    return {name: (one[name], other[name], dearest(name)) for name in WORK if other[name] > bounds[name]}


def still_unsettled():
    return LedgerEntry.objects.filter(settled_at=None).count()


def test_nothing_grows_with_the_ledger(course):
    assert grows(2_000, 20_000) == {}


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_nothing_grows_with_a_large_ledger(course):
    assert grows(20_000, 200_000) == {}
