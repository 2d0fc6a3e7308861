"""What has changed since an earlier run: which divergences came, which went, and since when each has been there."""

import json
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils.timezone import now

from migration_shim.core.data import ExitCode
from migration_shim.core.errors import ShimError
from migration_shim.ledger import aggregates
from migration_shim.models import Divergence, LedgerEntry, Run
from migration_shim.reports import since
from tests.builders import rows
from tests.builders.rows import COURSE, RIGHT, WRONG, fresh  # noqa: F401
from tests.commands import manage
from tests.schemas import validate

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])


def diverging(user):
    """A submission on which the graders do not agree; its ledger entry."""
    row = rows.legacy_row(user)
    rows.backfill()
    rows.change([row], **rows.graded(RIGHT))
    rows.grade_target(WRONG)
    return LedgerEntry.objects.get(legacy_id=row.pk)


def agree(entry):
    """Let legacy have given what the target gave."""
    from migration_shim.models import LegacySubmission

    rows.change(LegacySubmission.objects.filter(pk=entry.legacy_id), grader_reply=WRONG)


def run(*words):
    """A full reconcile; its run record and document."""
    lines = []
    document = rows.reconcile(full=True)[0]
    del lines
    return Run.objects.filter(kind="reconcile").latest("id"), document.content["courses"][0]


def test_what_came_and_what_went():
    old, stays = diverging(1), diverging(2)
    first, _ = run()
    came = diverging(3)
    agree(old)
    _, course = run()
    found = since.changes(first, course)
    for entry in (stays, came):
        assert Divergence.objects.filter(entry=entry).exists()
    classes = {item["class"]: (item["then"], item["new"], item["gone"], item["now"]) for item in found["classes"]}
    assert classes == {"correctness": (2, 1, 1, 2), "score": (2, 1, 1, 2)}
    assert (found["new"], found["gone"]) == (2, 2)
    assert {(item["entry"], item["class"]) for item in found["listed_new"]} == {
        (came.pk, "correctness"),
        (came.pk, "score"),
    }
    assert {(item["entry"], item["is_now"]) for item in found["listed_gone"]} == {(old.pk, "equal")}
    assert found["counts"]["equal"] == {"then": 0, "now": 1}
    assert found["verdict"]["then"] is None  # nobody had asked the gate


def test_a_divergence_keeps_the_time_at_which_it_was_found_first():
    entry = diverging(1)
    run()
    long_ago = now() - timedelta(days=3)
    Divergence.objects.filter(entry=entry).update(found_at=long_ago)
    # The entry changes, and is compared and stored anew: another score, and still a divergence.
    from migration_shim.models import LegacySubmission

    other = json.dumps({"correct": True, "score": 0.5, "msg": "<p>ok</p>"})
    rows.change(LegacySubmission.objects.filter(pk=entry.legacy_id), grader_reply=other)
    run()
    kept = dict(Divergence.objects.filter(entry=entry).values_list("klass", "found_at"))
    assert kept == {"correctness": long_ago, "score": long_ago}
    assert Divergence.objects.get(entry=entry, klass="score").what == "legacy 0.5, target 0"


@pytest.mark.by_hand
def test_a_signed_one_is_gone_as_cured():
    entry = diverging(1)
    first, course = run()
    Divergence.objects.filter(entry=entry, klass="score").update(cured_at=now())
    found = since.changes(first, course | {"classes": course["classes"] | {"score": 0}})
    assert found["listed_gone"] == [{"entry": entry.pk, "class": "score", "is_now": "cured"}]


def test_an_older_run_keeps_no_list_and_that_is_said():
    diverging(1)
    first, course = run()
    del first.document["on_record"]
    found = since.changes(first, course)
    assert found["listed_gone"] is None
    assert (found["new"], found["gone"]) == (0, 0)


def test_more_than_are_listed_are_counted(monkeypatch):
    for user in range(1, 4):
        diverging(user)
    monkeypatch.setattr(aggregates, "LISTED", 2)
    first, _ = run()
    kept = first.document["on_record"]["score"]
    assert (kept["number"], len(kept["entries"])) == (3, 2)
    for entry in LedgerEntry.objects.all():
        agree(entry)
    _, course = run()
    found = since.changes(first, course)
    assert found["gone"] == 6
    assert len(found["listed_gone"]) == 4


def test_a_clean_course_costs_no_statement_for_the_list(django_assert_num_queries):
    with django_assert_num_queries(0):
        assert aggregates.on_record(COURSE, {"score": 0}) == {}


def test_the_command_says_it_in_every_format(tmp_path):
    diverging(1)
    run()
    came = diverging(2)
    paths = [tmp_path / f"report{ending}" for ending in (".json", ".html", ".md", ".txt")]
    words = [word for path in paths for word in ("--report", str(path))]
    call_command("xqueue_reconcile", "--course", COURSE, "--since", "last", *words)
    document = validate(json.loads(paths[0].read_text()))
    [found] = document["since"]
    assert (found["course"], found["new"], found["gone"]) == (COURSE, 2, 0)
    assert found["verdict"]["now"] == document["report"]["gates"][COURSE]["verdict"]
    for path in paths[1:]:
        text = path.read_text().lower()
        assert f"since run {found['run']}" in text
        assert f"ledger entry {came.pk}, score" in text


def test_a_run_that_is_none_is_refused_before_anything_is_compared():
    diverging(1)
    with pytest.raises(CommandError, match="no complete reconcile"):
        call_command("xqueue_reconcile", "--course", COURSE, "--since", "12345")
    assert not Run.objects.filter(kind="reconcile").exists()
    other = Run.objects.create(kind="reconcile", scope="course-v1:Other+One+1", complete=True, finished_at=now())
    with pytest.raises(ShimError, match="no complete reconcile"):
        since.base_of(COURSE, str(other.pk))


@pytest.mark.parametrize("word", ["yesterday", "-1", "1.5", "9" * 19, ""])
def test_what_is_no_run_is_a_usage_error(word):
    with pytest.raises(CommandError) as error:
        call_command("xqueue_reconcile", "--course", COURSE, f"--since={word}")
    assert error.value.returncode == ExitCode.USAGE


def test_a_run_is_of_one_course():
    words = ("--course", COURSE, "--course", "course-v1:Other+One+1", "--since", "7")
    assert manage("xqueue_reconcile", *words).returncode == ExitCode.USAGE


def test_the_first_run_of_a_course_has_nothing_to_compare_with():
    diverging(1)
    call_command("xqueue_reconcile", "--course", COURSE, "--since", "last")
    assert Run.objects.filter(kind="reconcile", complete=True).count() == 1
