"""What is too deep, too long or no form at all: refused in words, or failed and counted, and never an error a poll."""

import json
import time

import pytest
from django.db import connection
from django.test import Client
from submissions.models import ExternalGraderDetail, Submission, get_storage

from migration_shim.copies import write as copies
from migration_shim.core.data import Leg
from migration_shim.core.errors import Malformed
from migration_shim.core.json_text import DEPTH_LIMIT
from migration_shim.ledger.entries import legacy_body
from migration_shim.models import LedgerEntry
from migration_shim.target import results, seam
from sandbox.lms.models import LearnerEffect
from tests.builders import rows
from tests.builders.rows import fresh  # noqa: F401
from tests.builders.watchers import PREFIX, account, parts, real

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])


def nested(depth):
    """JSON text of so many arrays, one in the other."""
    return "[" * depth + "]" * depth


@pytest.fixture
def counted(monkeypatch):
    """What the seam has counted."""
    found = []
    for module in (seam, results):
        monkeypatch.setattr(module, "count", lambda event, error=None: found.append(event))
    return found


# As rows were that the release before took: nothing that this one takes can be made so deep.


def deep_residue(sent):
    """Extra keys of the body, deeper than any stack."""
    LedgerEntry.objects.filter(pk=sent.entry.pk).update(extra_body='{"token": ' + nested(5000) + "}")


def deep_answer(sent):
    """An answer that edx-submissions' own field cannot read."""
    table, column = Submission._meta.db_table, Submission._meta.get_field("answer").column
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET {column} = %s WHERE id = %s", [nested(5000), sent.submission_id])


def residue_over_the_limit(sent):
    """Extra keys that one stack can read and another one cannot."""
    LedgerEntry.objects.filter(pk=sent.entry.pk).update(extra_body='{"token": ' + nested(DEPTH_LIMIT + 1) + "}")


def broken_residue(sent):
    """What no version has written."""
    LedgerEntry.objects.filter(pk=sent.entry.pk).update(extra_body='["token"]')


@pytest.mark.parametrize("spoil", [deep_residue, deep_answer, residue_over_the_limit, broken_residue])
def test_a_row_that_cannot_be_handed_out_has_failed_and_the_next_one_is_handed_out(watcher, counted, spoil):
    bad, good = real(age=3), real(age=2)
    spoil(bad)
    assert watcher.pull()["xqueue_header"]["submission_id"] == good.submission_id
    assert (bad.detail.status, bad.detail.num_failures) == ("failed", 1)
    assert counted == ["hand_out_unreadable", "submission_failed"]
    assert LearnerEffect.objects.filter(kind="grade_published").count() == 1  # its learner was told
    assert watcher.pull() is None


def test_a_whole_queue_of_such_rows_is_an_empty_one_in_the_end(watcher, counted):
    for _ in range(12):
        deep_residue(real(learner=False))
    while ExternalGraderDetail.objects.exclude(status="failed").exists():
        assert watcher.pull() is None
    assert counted.count("hand_out_unreadable") == 12


def test_a_storage_that_gives_no_url_costs_a_refusal_and_no_failure(watcher, counted, monkeypatch):
    sent, other = real(age=3, files={"a.py": b"1"}), real(age=2)

    def url(storage, name):
        raise OSError

    # Of the class: which instance the model has depends on who has changed the settings before.
    monkeypatch.setattr(type(get_storage()), "url", url)
    assert parts(watcher.get("get_submission", queue_name=rows.QUEUE)) == (1, "Error fetching submission")
    assert counted == ["hand_out_failed"]
    assert (sent.detail.status, sent.detail.num_failures) == ("pulled", 0)  # offered again when the lease has run out
    assert watcher.pull()["xqueue_header"]["submission_id"] == other.submission_id


def test_a_reverse_shadow_that_cannot_be_made_has_failed_with_a_reason():
    sent = real()
    LedgerEntry.objects.update(legacy_leg=Leg.MISSING, sink_token="0" * 32)
    deep_residue(sent)
    assert copies.write_reverse(sent.entry.identity) == "residue_too_deep"
    assert (sent.entry.legacy_leg, sent.entry.legacy_reason) == (Leg.FAILED, "residue_too_deep")
    LedgerEntry.objects.update(extra_body="")
    deep_answer(sent)
    assert copies.write_reverse(sent.entry.identity) == "answer_too_deep"


def test_a_body_is_made_or_refused():
    entry = real(extra={"token": ["t"]}).entry
    assert json.loads(legacy_body(entry, ["a"]))["token"] == ["t"]
    entry.extra_body = '{"token": ' + nested(DEPTH_LIMIT) + "}"
    with pytest.raises(Malformed, match="residue_too_deep"):
        legacy_body(entry, "a")


@pytest.mark.parametrize("reply", ['{"correct": true, "score": 1, "msg": "m", "a": ' + nested(DEPTH_LIMIT) + "}"])
def test_a_reply_that_is_too_deep_is_a_counted_failure(watcher, reply):
    sent = real()
    assert watcher.grade(reply) == (0, "")
    assert (sent.detail.status, sent.detail.num_failures) == ("retry", 1)


def test_a_message_over_which_the_platform_would_sit_is_a_counted_failure(watcher):
    """40 KB: 5 s in lxml, with the row locked. A grader may send 2.5 MB."""
    sent = real()
    header = watcher.pull()["xqueue_header"]
    began = time.thread_time()
    assert watcher.put(header, json.dumps({"correct": True, "score": 1, "msg": "<?xml" + " " * 2_000_000})) == (0, "")
    assert time.thread_time() - began < 2
    assert (sent.detail.status, sent.detail.num_failures) == ("retry", 1)


@pytest.mark.parametrize("text", ["[]", "1", "null", '"a"', "{}", "{", "", nested(DEPTH_LIMIT + 1), nested(100_000)])
@pytest.mark.parametrize("kind", ["application/json", "text/plain"])
def test_a_put_result_that_is_no_form_is_refused_in_words(text, kind):
    account()
    client = Client(raise_request_exception=False, **rows.HOST)
    client.post(f"{PREFIX}/login/", {"username": "grader", "password": "pw"})
    answer = client.post(f"{PREFIX}/put_result/", text, content_type=kind)
    assert parts(answer) == (1, "Incorrect reply format")


def test_a_put_result_in_json_is_taken_as_ever(watcher):
    sent = real()
    form = {"xqueue_header": json.dumps(watcher.pull()["xqueue_header"]), "xqueue_body": rows.RIGHT}
    answer = watcher.client.post(f"{PREFIX}/put_result/", json.dumps(form), content_type="application/json")
    assert parts(answer) == (0, "")
    assert sent.detail.status == "retired"


def test_a_legacy_row_that_is_too_deep_is_malformed_and_says_why():
    rows.legacy_row(1, extra={"token": json.loads(nested(DEPTH_LIMIT))})
    rows.legacy_row(2, extra={"token": json.loads(nested(DEPTH_LIMIT - 1))})
    content = rows.backfill().content
    assert (content["classes"]["malformed"], content["reasons"]["malformed"]) == (1, {"body_too_deep": 1})
    assert content["classes"]["imported"] == 1
