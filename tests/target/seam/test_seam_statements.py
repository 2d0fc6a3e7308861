"""What a grader's requests ask of the LMS's database, beside Django's own look-ups of session, user and group."""

import re
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser, Group
from django.db import connection, router, transaction
from django.test.utils import CaptureQueriesContext
from django.utils.functional import SimpleLazyObject
from submissions.models import ExternalGraderDetail
from submissions.permissions import IsXQueueUser
from submissions.views.xqueue import XQueueViewSet

from migration_shim import conf
from migration_shim.models import LedgerEntry
from migration_shim.target import permission, polling, results
from tests.builders import rows
from tests.builders.rows import fresh  # noqa: F401
from tests.builders.watchers import COMMITTED, Watcher, account, real, shadow

pytestmark = COMMITTED

OF_THE_LMS = re.compile(r"FROM \W(django_session|auth_user|auth_group)\W")


def asked(call):
    """The statements of a request, and what it gives."""
    with CaptureQueriesContext(connection) as captured:
        given = call()
    return [query["sql"][:160] for query in captured if not OF_THE_LMS.search(query["sql"])], given


@pytest.fixture
def of_lms(watcher):
    """Django's own look-ups are the first three of each request."""
    with CaptureQueriesContext(connection) as captured:
        watcher.pull()
    assert sum(bool(OF_THE_LMS.search(query["sql"])) for query in captured) == 3


@pytest.mark.usefixtures("of_lms")
def test_an_empty_poll_is_one_statement(watcher):
    found, nothing = asked(watcher.pull)
    assert nothing is None
    assert len(found) == 1, found


@pytest.mark.usefixtures("of_lms")
@pytest.mark.parametrize("make", [real, shadow])
def test_a_hand_out_is_nine_statements(watcher, make):
    """Whether one waits; a transaction of four; the entry's residue; answer and files; that it was answered in time."""
    make()
    queue = ExternalGraderDetail.objects.get().queue_name
    found, document = asked(lambda: watcher.pull(queue))
    assert document is not None
    assert len(found) == 9, found
    entry = LedgerEntry.objects.get()
    assert (entry.leases, entry.lease_sent) == (1, True) and entry.lease_key


@pytest.mark.usefixtures("of_lms")
def test_a_poll_after_a_hand_out_without_a_result_is_two_more(watcher):
    real()
    watcher.pull()
    found, nothing = asked(watcher.pull)
    assert nothing is None
    assert len(found) == 3, found
    assert LedgerEntry.objects.get().lease_taken


def test_a_result_is_two_statements_more_than_upstreams(watcher):
    """The row, looked at under its lock before upstream does; and the exact points."""
    counts = []
    for prefix in ("/migration_shim/xqueue", "/xqueue"):
        real()
        grader = Watcher(prefix=prefix)
        header = grader.pull()["xqueue_header"]
        found, answer = asked(lambda grader=grader, header=header: grader.put(header, rows.RIGHT))
        assert answer == (0, "")
        counts.append(len(found))
    assert counts[0] - counts[1] == 2, counts


@pytest.mark.parametrize("queue_name", ["exu-py1", "50%_off\\", "it's", "Ä ", "q" * 44, "1"])
def test_what_is_made_once_is_what_the_orm_would_make_for_each_poll(queue_name, monkeypatch):
    settings, session = conf.usable()[0], "the session"
    monkeypatch.setattr(polling, "now", lambda: datetime(2026, 11, 22, 12, 0, 0, 5, tzinfo=UTC))
    queries = polling.leased_to(session), polling.waiting(queue_name, settings)
    asked = [query.query.exists().sql_with_params() for query in queries]
    seen = []

    def see(execute, sql, params, many, context):
        if sql.startswith("SELECT EXISTS"):  # and not how a new connection begins
            seen.append((sql, params))
        return execute(sql, params, many, context)

    for _ in range(2):
        with connection.execute_wrapper(see):
            assert polling.leased_and_waiting(queue_name, settings, session) == (False, False)
    wanted = "SELECT " + ", ".join(f"EXISTS({sql})" for sql, _ in asked)
    assert seen == [(wanted, [value for _, values in asked for value in values])] * 2


@pytest.mark.parametrize("queue_name", ["exu-py1", "50%_off\\", "it's", "Ä ", "1"])
@pytest.mark.parametrize("status", ["pending", "pulled"])
def test_the_next_row_is_asked_for_as_the_orm_would(queue_name, status):
    before = datetime(2026, 11, 22, 12, 0, 0, 5, tzinfo=UTC)
    seen = []

    def see(execute, sql, params, many, context):
        if sql.startswith("SELECT"):
            seen.append((sql, tuple(params)))
        return execute(sql, params, many, context)

    with transaction.atomic():
        skips = connection.features.has_select_for_update_skip_locked
        query = polling.offered_next(queue_name, status, before)
        query = query.select_for_update(skip_locked=True)[:1] if skips else query[:8]
        wanted = query.query.sql_with_params()
        with connection.execute_wrapper(see):
            for _ in range(2):
                assert polling.next_rows(queue_name, status, before) == []
    assert seen == [wanted] * 2


def seen(call):
    """What a call gives, and its statements as the database got them."""
    statements = []

    def see(execute, sql, params, many, context):
        if sql.startswith("SELECT"):
            statements.append((sql, tuple(params)))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(see):
        given = call()
    return given, statements


@pytest.mark.parametrize("group", ["xqueue", "another", None])
def test_who_may_pull_is_asked_as_upstream_asks(group):
    """Each request asks anew: whoever leaves the group pulls no more."""
    account("somebody", group)
    account("nobody", "others")
    user = get_user_model().objects.get(username="somebody")
    for ours in (user, SimpleLazyObject(lambda: user)):
        request = SimpleNamespace(user=ours)
        for _ in range(2):
            found = seen(lambda request=request: permission.IsGrader().has_permission(request, None))
            assert found == seen(lambda request=request: IsXQueueUser().has_permission(request, None))
            assert found[0] is (group == "xqueue")
        assert len(found[1]) == 1
    user.groups.clear()
    assert permission.IsGrader().has_permission(request, None) is False
    stranger = SimpleNamespace(user=AnonymousUser())
    assert seen(lambda: permission.IsGrader().has_permission(stranger, None)) == (False, [])


def test_a_site_that_has_its_groups_elsewhere_is_asked_there(monkeypatch):
    """Upstream asks through the site's routers; ours asks ``default``, and must not where these name another."""
    account("somebody", "xqueue")
    request = SimpleNamespace(user=get_user_model().objects.get(username="somebody"))
    elsewhere = SimpleNamespace(db_for_read=lambda model, **hints: "accounts" if model is Group else None)
    monkeypatch.setattr(router, "routers", [elsewhere, *router.routers])
    monkeypatch.setattr(IsXQueueUser, "has_permission", lambda self, request, view: "upstream's")
    assert seen(lambda: permission.IsGrader().has_permission(request, None)) == (True, [])
    monkeypatch.setattr(IsXQueueUser, "has_permission", lambda self, request, view: False)
    assert permission.IsGrader().has_permission(request, None) is False


def test_another_permission_of_upstreams_is_obeyed(watcher, monkeypatch):
    """A release of edx-submissions may ask for more than the group."""
    real()

    class Nobody(IsXQueueUser):
        def has_permission(self, request, view):
            return False

    monkeypatch.setattr(XQueueViewSet, "get_permissions", lambda view: [Nobody()])
    assert watcher.get("get_submission", queue_name=rows.QUEUE).status_code == 403


@pytest.mark.parametrize("files", [0, 2])
def test_answer_and_files_are_read_as_the_orm_would(files):
    real(files={f"{number}.py": b"x = 1" for number in range(files)})
    real()
    detail = ExternalGraderDetail.objects.earliest("id")
    found = ExternalGraderDetail.objects.filter(pk=detail.pk).order_by("files__id")
    wanted = found.values_list("submission__answer", "files__original_filename", "files__file")
    assert seen(lambda: polling.answer_and_files(detail.pk)) == seen(lambda: list(wanted))
    assert len(wanted) == max(files, 1)


def test_a_row_is_looked_at_for_its_result_as_the_orm_would(watcher):
    real()
    header = watcher.pull()["xqueue_header"]
    result = results.Result(submission_id=header["submission_id"], key=header["submission_key"], reply=rows.RIGHT)
    nowait = connection.features.has_select_for_update_nowait
    wanted = ExternalGraderDetail.objects.filter(submission_id=result.submission_id).order_by()
    with transaction.atomic():
        (row, known), statements = seen(lambda: results._look(result))
        (orm,), asked = seen(lambda: list(wanted.select_for_update(nowait=nowait)))
    assert (known, statements) == (None, asked)
    columns = [field.attname for field in ExternalGraderDetail._meta.concrete_fields]
    assert [getattr(row, name) for name in columns] == [getattr(orm, name) for name in columns]


def test_the_next_row_is_read_as_the_orm_would():
    real()
    queue_name = ExternalGraderDetail.objects.get().queue_name
    with transaction.atomic():
        read = polling.next_rows(queue_name, "pending", datetime(2036, 1, 1, tzinfo=UTC))
    columns = [field.attname for field in ExternalGraderDetail._meta.concrete_fields]
    assert [{name: getattr(row, name) for name in columns} for row in read] == list(
        ExternalGraderDetail.objects.values(*columns)
    )
    assert not read[0]._state.adding
