"""
Every phase, times what the authoritative side can do, times what the copy can do.

For each cell: the reply that CAPA gets, the rows on both systems, the ledger, and the learner's queue state. Expected
values are written down here by hand, from what the design promises, and counted in plain SQL.
"""

import json
from contextlib import ExitStack, nullcontext
from unittest import mock

import pytest
from django.core.files.storage import FileSystemStorage
from django.db import OperationalError, connections
from submissions.errors import SubmissionInternalError

from migration_shim import dual_write
from migration_shim.db import bulk_insert
from sandbox.lms import capa
from tests.builders.attempts import attempt, bad_xqueue, hang, nothing_listens, put_course_in
from tests.builders.outbox import drain
from tests.builders.rows import backfill

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "xqueue"])

LEGACY_PHASES, TARGET_PHASES = ("legacy", "shadow"), ("live", "complete")


def count(alias, table, where="1 = 1"):
    with connections[alias].cursor() as cursor:
        cursor.execute(f"SELECT COUNT(*) FROM {table} WHERE {where}")
        return cursor.fetchone()[0]


def rows():
    """(legacy rows, target rows under real identities, fenced target rows, orphans of any kind on the target)."""
    joined = (
        "submissions_externalgraderdetail d JOIN submissions_submission s ON s.id = d.submission_id "
        "JOIN submissions_studentitem i ON i.id = s.student_item_id"
    )
    orphans = count(
        "default",
        "submissions_submission s LEFT JOIN submissions_externalgraderdetail d ON d.submission_id = s.id",
        "d.id IS NULL",
    ) + count("default", "submissions_submissionfile", "external_grader_id IS NULL")
    real = count("default", joined, "i.student_id NOT LIKE 'shadow:%'")
    fenced = count("default", joined, "i.student_id LIKE 'shadow:%' AND i.item_id LIKE 'shadow:%'")
    return count("xqueue", "queue_submission"), real, fenced, orphans


def refused(handler):
    handler.reply(200, json.dumps({"return_code": 1, "content": "Queue 'exu-py1' not found"}))


# What goes wrong on legacy: how, and what today's LMS tells the learner.
LEGACY_FAILURES = {
    "refused": (refused, "Queue 'exu-py1' not found"),
    "times out": (hang, "failed to read from the server"),
    "rubbish": (lambda handler: handler.reply(200, "<html>"), "unexpected reply from server"),
    "half a reply": (lambda handler: handler.reply(200, "{}"), "unexpected reply from server"),
    "500": (lambda handler: handler.reply(500, "no"), "unexpected HTTP status code [500]"),
}


def raising(error):
    def fail(*args, **kwargs):
        raise error

    return fail


# What goes wrong with a copy; each is a patch, or None.
COPIES = {
    "ok": nullcontext,
    "refused by edx-submissions": lambda: mock.patch(
        "migration_shim.target.writer.create_external_grader_detail", raising(SubmissionInternalError("no"))
    ),
    "raises": lambda: mock.patch.object(dual_write.writer, "insert", raising(RuntimeError("bug"))),
    "database gone": lambda: mock.patch.object(bulk_insert, "insert_one", raising(OperationalError(2006, "gone away"))),
    "file storage fails": lambda: mock.patch.object(FileSystemStorage, "save", raising(OSError(28, "disk full"))),
}


@pytest.mark.parametrize("copy", COPIES)
@pytest.mark.parametrize("phase", LEGACY_PHASES)
def test_legacy_accepts(phase, copy, legacy):
    """The learner is queued whatever becomes of the copy, and what became of it is known or found."""
    put_course_in(phase)
    one = attempt(files=[("main.py", b"print(1)\n")])

    with COPIES[copy]():
        error, message = one.send()

    assert (error, message) == (0, "1")
    state = capa.entry_after_sending(one.request, error, message)
    assert state["queuestate"]["key"] == one.request.key
    written = phase == "shadow" and copy == "ok"
    assert rows() == (1, 0, int(written), 0)
    entry = one.entry()
    if phase == "legacy" or copy == "database gone":
        assert entry is None
    else:
        assert entry.legacy_leg == "stored"
        expected = {"ok": "stored", "raises": "missing"}.get(copy, "failed")
        assert entry.target_leg == expected
        assert (entry.phase, entry.authority, entry.origin) == ("shadow", "legacy", "router")
    # The next backfill finds what is missing, whatever it was, and nothing twice.
    if phase == "shadow":
        assert backfill().content["written"] == int(not written)
        assert rows() == (1, 0, 1, 0)
        assert backfill().content["written"] == 0


@pytest.mark.parametrize("copy", ["ok", "raises", "database gone"])
@pytest.mark.parametrize("failure", LEGACY_FAILURES)
@pytest.mark.parametrize("phase", LEGACY_PHASES)
def test_legacy_fails(phase, failure, copy, shim):
    """The learner gets exactly today's text, and no copy is written."""
    answer, text = LEGACY_FAILURES[failure]
    put_course_in(phase)
    one = attempt()

    with bad_xqueue(answer) as server, COPIES[copy]():
        shim(LEGACY_URL=server.url, LEGACY_READ_TIMEOUT=0.3)
        reply = one.send()

    assert reply == (1, text)
    assert capa.entry_after_sending(one.request, *reply)["queuestate"] is None
    refusal_is_noted(one, phase, ledger=copy != "database gone")


def refusal_is_noted(one, phase, *, ledger=True):
    """In shadow the ledger says that legacy refused it, in legacy nothing does; there is no copy in either."""
    entry = one.entry()
    assert rows() == (0, 0, 0, 0)
    if phase == "shadow" and ledger:
        assert (entry.legacy_leg, entry.legacy_reason, entry.target_leg) == ("failed", "refused", "none")
    else:
        assert entry is None


@pytest.mark.parametrize("phase", LEGACY_PHASES)
def test_legacy_is_unreachable(phase, shim):
    put_course_in(phase)
    one = attempt()
    with nothing_listens() as url:
        shim(LEGACY_URL=url)
        assert one.send() == (1, "cannot connect to server")
    refusal_is_noted(one, phase)


def test_what_was_refused_and_then_stored_gets_its_shadow(legacy):
    put_course_in("shadow")
    one = attempt()
    with mock.patch("migration_shim.dual_write._to_legacy", return_value=(1, "unexpected HTTP status code [500]")):
        assert one.send()[0] == 1
    assert one.entry().legacy_leg == "failed"
    assert one.send()[0] == 0
    entry = one.entry()
    assert (entry.legacy_leg, entry.legacy_reason, entry.target_leg) == ("stored", "", "stored")
    assert rows() == (1, 0, 1, 0)


# What XQueue can do with a reverse shadow.
REVERSE = {**LEGACY_FAILURES, "ok": (None, ""), "unreachable": (None, "cannot connect to server")}


@pytest.mark.parametrize("reverse", REVERSE)
@pytest.mark.parametrize("phase", TARGET_PHASES)
def test_target_accepts(phase, reverse, shim, xqueue_server):
    """The learner is queued on the target whatever XQueue makes of the reverse shadow, which is fenced."""
    put_course_in(phase)
    one = attempt(files=[("main.py", b"print(1)\n")])
    answer, text = REVERSE[reverse]

    with ExitStack() as stack:
        url = xqueue_server.url
        if reverse == "unreachable":
            url = stack.enter_context(nothing_listens())
        elif answer is not None:
            url = stack.enter_context(bad_xqueue(answer)).url
        shim(LEGACY_URL=url, LEGACY_READ_TIMEOUT=0.3)
        reply = one.send()
        assert rows() == (0, 1, 0, 0)  # never inside the submit call
        drain()
        entry = one.entry()

    assert reply == (0, "")
    stored = phase == "live" and reverse == "ok"
    assert rows() == (int(stored), 1, 0, 0)
    assert (entry.target_leg, entry.phase, entry.authority) == ("stored", phase, "target")
    if phase == "complete":
        assert entry.legacy_leg == "none"
    else:
        assert entry.legacy_leg == ("stored" if stored else "failed")
        assert entry.legacy_reason == ("" if stored else f"refused: {text}"[:64])
    if stored:
        with connections["xqueue"].cursor() as cursor:
            cursor.execute("SELECT xqueue_header, queue_name, lms_callback_url FROM queue_submission")
            header, queue, callback = cursor.fetchone()
        assert queue == "exu-py1.reverse"
        assert callback == f"https://courses.example.edu/migration_shim/sink/{entry.sink_token}/"
        assert one.request.key not in header and one.learner not in header


TARGET_FAILURES = {
    "lock wait": (OperationalError(1205, "Lock wait timeout exceeded"), dual_write.TARGET_UNAVAILABLE),
    "database gone": (OperationalError(2006, "gone away"), dual_write.TARGET_UNAVAILABLE),
    "refused by edx-submissions": (SubmissionInternalError("no"), dual_write.TARGET_UNAVAILABLE),
}


@pytest.mark.parametrize("failure", TARGET_FAILURES)
@pytest.mark.parametrize("phase", TARGET_PHASES)
def test_target_fails(phase, failure, legacy):
    """The learner is told, nothing is left behind on either system, no stored file either."""
    put_course_in(phase)
    one = attempt(files=[("main.py", b"print(1)\n")])
    error, text = TARGET_FAILURES[failure]
    saved = []
    save = FileSystemStorage.save

    def watched(self, name, content, *args, **kwargs):
        saved.append((self, save(self, name, content, *args, **kwargs)))
        return saved[-1][1]

    patch = mock.patch("migration_shim.target.writer.create_external_grader_detail", raising(error))
    with patch, mock.patch.object(FileSystemStorage, "save", watched):
        reply = one.send()

    assert reply == (1, text)
    assert rows() == (0, 0, 0, 0)
    assert one.entry() is None
    assert saved and not any(storage.exists(name) for storage, name in saved)
    # And the same submission, sent again, is a new one.
    assert one.send() == (0, "")
    assert rows()[1] == 1


@pytest.mark.parametrize("phase", TARGET_PHASES)
def test_the_storage_of_the_target_fails(phase, legacy):
    put_course_in(phase)
    one = attempt(files=[("main.py", b"print(1)\n")])
    with mock.patch.object(FileSystemStorage, "save", raising(OSError(28, "disk full"))):
        assert one.send() == (1, dual_write.TARGET_UNAVAILABLE)
    assert rows() == (0, 0, 0, 0)
    assert one.entry() is None


UNFIT = {
    "answer over the limit": ({"answer": "é" * 20_000}, "larger than 102400"),
    "queue name too long": ({"queue": "q" * 129}, "queue name is longer than 128"),
    "queue name empty": ({"queue": ""}, "no queue name"),
    "grader name too long": ({"payload": json.dumps({"grader": "g" * 129})}, "grader's name is longer than 128"),
    "answer null": ({"answer": None}, "no answer"),
}


@pytest.mark.parametrize("case", UNFIT)
@pytest.mark.parametrize("phase", TARGET_PHASES)
def test_what_the_target_cannot_hold_is_refused_with_words(phase, case, legacy):
    """Never queued for ever: edx-submissions' own path drops some of these and answers (None, "")."""
    fields, text = UNFIT[case]
    put_course_in(phase)
    one = attempt(**fields)
    error, message = one.send()
    assert error == 1
    assert text in message
    assert rows() == (0, 0, 0, 0)
    assert one.entry() is None


HOSTILE = {
    "no course": {"lms_callback_url": "https://courses.example.edu/xqueue/1/x/score_update"},
    "no header object": [],
    "another host's hook": {"lms_callback_url": "https://hooks.example.edu/grades"},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_cannot_be_read_goes_to_legacy_as_it_is(case, legacy):
    put_course_in("live")
    one = attempt()
    changed = HOSTILE[case]
    header = json.dumps({**json.loads(one.request.header), **changed} if isinstance(changed, dict) else changed)
    error, message = dual_write.QueueInterface().send_to_queue(header, one.request.body)
    expected = (1, "Queue request has invalid format") if changed == [] else (0, "1")
    assert (error, message) == expected
    assert rows()[1:] == (0, 0, 0)


@pytest.mark.parametrize("phase", ["shadow", *TARGET_PHASES])
def test_a_graders_name_that_no_database_can_hold_keeps_nothing_from_the_target(phase, legacy):
    """Graders get the payload as it was sent; JSON may escape half of a surrogate pair there."""
    put_course_in(phase)
    one = attempt(payload='{"grader": "\\ud800"}')
    assert one.send()[0] == 0
    drain()
    assert one.entry().target_leg == "stored"
    assert json.loads(one.entry().grader_payload) == {"grader": "\ud800"}


def test_nothing_is_written_while_the_kill_switch_is_on(legacy):
    from waffle.testutils import override_switch

    for phase, expected in (("shadow", (1, 0, 0, 0)), ("live", (1, 1, 0, 0))):
        put_course_in(phase)
        with override_switch("migration_shim.kill_switch", active=True):
            assert attempt().send()[0] == 0
        assert rows() == expected  # the authoritative side only


def test_sampling_is_by_learner_and_counts_no_copy_as_missing(legacy, shim):
    shim(SAMPLE_PERCENT={"*": 50})
    put_course_in("shadow")
    learners = [attempt() for _ in range(24)]
    for one in learners:
        assert one.send()[0] == 0
    sampled = {one.learner for one in learners if one.entry()}
    assert 2 < len(sampled) < 22
    again = [attempt(user=one.user, problem="b" * 32) for one in learners]
    for one in again:
        one.send()
    assert {one.learner for one in again if one.entry()} == sampled
    # Neither backfill nor a look at the table takes the others for missing.
    assert backfill().content["written"] == 0
    assert backfill(unsampled=True).content["written"] == 2 * (24 - len(sampled))


def test_a_deferred_copy_is_written_by_a_worker_out_of_legacys_row(legacy, shim):
    shim(COPIES="deferred")
    put_course_in("shadow")
    one = attempt(files=[("main.py", b"print(1)\n")])
    assert one.send() == (0, "1")
    assert one.entry().target_leg == "missing"
    assert drain()["shadow_done"] == 1
    entry = one.entry()
    assert entry.target_leg == "stored" and entry.legacy_id is not None
    assert (entry.copy_due, entry.supersession_due) == (None, None)
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT original_filename FROM submissions_submissionfile")
        assert list(cursor.fetchall()) == [("main.py",)]
