"""The plan is what is done: row by row, over all captured rows and over odd ones, for all four ways of moving rows."""

import contextlib
import json
import os
from datetime import timedelta

import pytest
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail, Submission, SubmissionFile, get_storage

from migration_shim import toggles
from migration_shim.backfill.counts import RowCounts
from migration_shim.backfill.give_back import run as give_back
from migration_shim.backfill.handoff import run as handoff
from migration_shim.backfill.request import Mode, Request
from migration_shim.core import classification
from migration_shim.core.errors import Malformed
from migration_shim.core.wire import parse_callback, parse_header
from migration_shim.models import CoursePhase, LedgerEntry, LegacySubmission
from sandbox import capture
from tests.builders import handing_off as world
from tests.builders import rows
from tests.builders.in_flight import live, use_storage
from tests.builders.rows import fresh  # noqa: F401
from tests.db.test_foreign_text import in_charset

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)
#: The captured rows; a site can hold the plan against a capture of its own.
CAPTURE = os.environ.get("MIGRATION_SHIM_TEST_CAPTURE", rows.DATA)
KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def site(settings, tmp_path):
    """A site on which a handoff takes no minutes; its XQueue has one file in every folder that can be one."""
    use_storage(settings, tmp_path / "xqueue")
    change = {"HANDOFF_SETTLE_SECONDS": 0.02, "PROCESSING_DELAY_SECONDS": 0.04, "HOLD_SECONDS": 0, "VERIFY_ROWS": 500}
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | change
    return tmp_path / "xqueue"


def odd_rows(folder, **columns):
    """Rows of which each is at the edge of what a column, a fence or a file system can hold."""
    names = {
        "plain": {},
        "key empty": {"key": ""},
        "key of 128": {"key": "k" * 128},
        "key over 128": {"key": "k" * 129},
        "queue of 120": {"queue": "q" * 120},
        "queue of 125": {"queue": "q" * 125},
        "queue of 128": {"queue": "q" * 128},
        "queue empty": {"queue": ""},
        "queue with a blank": {"queue": "exu-py1 "},
        "queue with a NUL": {"queue": "exu\x00py1", "files": {"a.py": KEY}},
        "queue below another": {"queue": "exu/py1", "files": {"a.py": KEY}},
        "queue of emoji": {"queue": "\U0001f525" * 63, "files": {"a.py": KEY}},
        "queue of emoji, no files": {"queue": "\U0001f525" * 63},
        "id of two letters": {"learner": "ab"},
        "id of 25 letters": {"learner": "a" * 25},
        "id of 26 letters": {"learner": "a" * 26},
        "id of 128 letters": {"learner": "a" * 128},
        "id with a blank": {"learner": "a" * 31 + " "},
        "file": {"files": {"a.py": KEY}},
        "file name of 255": {"files": {"a" * 255: KEY}},
        "file name over 255": {"files": {"a" * 256: KEY}},
        "file missing": {"files": {"a.py": "f" * 32}},
        "file key of another kind": {"files": {"a.py": "../../etc/passwd"}},
        "file names unreadable": {"s3_keys": "[]"},
        "answer null": {"answer": None},
        "answer over the limit": {"answer": "x" * 102_399},
        "answer at the limit": {"answer": "x" * 102_398},
        "grader's name over 128": {"payload": json.dumps({"grader": "g" * 129})},
        "payload null": {"payload": None},
        "no JSON": {"xqueue_body": "{"},
    }
    made = {}
    for number, (name, odd) in enumerate(names.items()):
        made[name] = odd_row(1000 + number, folder, **(odd | columns))
    return made


def odd_row(user, folder, *, key=None, learner=None, queue=rows.QUEUE, files=None, **columns):
    row = rows.legacy_row(user, problem=f"{user:032x}", queue=queue, files=files, **columns)
    if key is not None:
        header = json.loads(row.xqueue_header) | {"lms_key": key}
        rows.change([row], xqueue_header=json.dumps(header))
    if learner is not None:
        rows.change([row], xqueue_body=row.xqueue_body.replace(rows.anonymous_id(user), learner))
    if files and "\x00" not in queue and len(queue.encode()) < 256:
        path = folder / queue / KEY
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x = 1\n")
    return row.pk


@pytest.fixture
def classed(monkeypatch):
    """The class and reason of every row of the runs made since it was emptied, by legacy id or entry."""
    found = {}
    add, document, tried = RowCounts.add, handoff._Run._document, give_back._Return._try

    def adding(self, page, written):
        page = list(page)
        found.update({item.parsed.row.id: tuple_of(item.decision) for item in page})
        return add(self, page, written)

    def documenting(self, *args):
        found.update({row_id: tuple_of(decision) for row_id, (decision, _) in self.rows.items()})
        return document(self, *args)

    def trying(self, work, what, *args):
        decision = tried(self, work, what, *args)
        found[getattr(what, "submission_id", what)] = tuple_of(decision)
        return decision

    monkeypatch.setattr(RowCounts, "add", adding)
    monkeypatch.setattr(handoff._Run, "_document", documenting)
    monkeypatch.setattr(give_back._Return, "_try", trying)
    return found


def tuple_of(decision):
    return decision.row_class.value, decision.reason


def planned_and_done(classed, run):
    """What a plan says of each row, and what the run does with it."""
    run(execute=False)
    planned = dict(classed)
    classed.clear()
    run(execute=True)
    return planned, dict(classed)


def everywhere_live():
    """Every course that a legacy row names is live."""
    for text in set(LegacySubmission.objects.values_list("xqueue_header", flat=True)):
        try:
            course = parse_callback(parse_header(text).callback_url).course_id
        except Malformed:
            continue
        if not CoursePhase.objects.filter(course_id=course).exists():
            rows.in_phase("live", course)
            toggles.force_flags(course, True, True)


RUNS = {
    "shadow": lambda execute: rows.backfill(execute=execute),
    "history": lambda execute: rows.backfill(execute=execute, history=True, collided=True),
    "handoff": lambda execute: world.run(execute=execute),
}


def take_back(execute):
    return give_back.run(Request(mode=Mode.RETURN, execute=execute), rows.ignore)


@pytest.mark.parametrize("mode", RUNS)
def test_over_all_captured_rows(mode, classed):
    capture.load_capture(CAPTURE)
    if mode == "handoff":
        everywhere_live()
    planned, done = planned_and_done(classed, RUNS[mode])
    assert done == planned
    assert {"imported", "drain", "malformed"} <= {row_class for row_class, _ in done.values()}


def test_a_return_of_all_captured_rows(classed):
    """Some find the row that they were taken from, and the others have none."""
    capture.load_capture(CAPTURE)
    everywhere_live()
    world.run()
    for course in CoursePhase.objects.values_list("course_id", flat=True):
        rows.in_phase("legacy", course)
        toggles.force_flags(course, False, False)
    ids = LegacySubmission.objects.order_by("id").values_list("id", flat=True)
    LegacySubmission.objects.filter(id__in=list(ids)[::2]).delete()
    classed.clear()
    planned, done = planned_and_done(classed, take_back)
    assert done == planned
    assert {("imported", "revived"), ("imported", "inserted")} <= set(done.values())


@pytest.mark.parametrize("mode", RUNS)
def test_over_odd_rows(mode, classed, site):
    made = odd_rows(site, **(rows.graded() if mode == "history" else {}))
    if mode == "handoff":
        everywhere_live()
    planned, done = planned_and_done(classed, RUNS[mode])
    assert {name: done.get(pk) for name, pk in made.items()} == {name: planned.get(pk) for name, pk in made.items()}
    written = ("final", "") if mode == "history" else ("imported", "")
    assert done[made["plain"]] == done[made["file"]] == written
    unfit = {name for name, pk in made.items() if done[pk][0] == "drain"}
    assert {"key empty", "key over 128", "queue of 125", "file name over 255", "queue with a NUL"} <= unfit
    # The learner's own row needs no fence, and its files lie in the folder of the queue's own name.
    assert ({"id of two letters", "queue of emoji"} & unfit == set()) is (mode == "handoff")
    assert not any(reason.startswith("target_refused") for _, reason in done.values()), done


def returning(site):
    """Submissions of the target whose way back is at the edge of what legacy can hold; the rest of their names."""
    made = {
        "plain": live(1),
        "file": live(2, uploads={"a.py": b"x"}),
        "file gone": live(3, uploads={"b.py": b"x"}),
        "queue below another": live(4, queue="exu/py1", uploads={"a.py": b"x"}),
        "queue of emoji": live(5, queue="\U0001f525" * 20),
        "queue over what a folder's name may be": live(6, queue="\U0001f525" * 63, uploads={"a.py": b"x"}),
        "row gone": live(7),
        "leased": live(8),
        "no residue": live(9),
    }
    gone = SubmissionFile.objects.get(original_filename="b.py")
    get_storage().delete(gone.file.name)
    Submission.objects.filter(pk=made["row gone"].target_submission_id).delete()
    leased = ExternalGraderDetail.objects.filter(submission_id=made["leased"].target_submission_id)
    leased.update(status="pulled", status_time=now() + timedelta(seconds=5))
    LedgerEntry.objects.filter(pk=made["no residue"].pk).update(raw_header="")
    return {name: entry.target_submission_id for name, entry in made.items()}


@pytest.mark.parametrize("older", [False, True])
def test_a_return_of_odd_rows(classed, site, older):
    made = returning(site)
    with in_charset("utf8mb3") if older else contextlib.nullcontext():  # which has no emoji
        planned, done = planned_and_done(classed, take_back)
    assert done == planned
    assert done[made["plain"]] == done[made["file"]] == ("imported", "inserted")
    assert not any(reason.startswith("refused_") for _, reason in done.values()), done
    assert done[made["queue of emoji"]] == (("drain", "legacy_queue_name_unfit") if older else ("imported", "inserted"))


def resolve(course_id, item_id):
    """A site's own function, which does not know every problem."""
    return {"0" * 31 + "1": 3}[item_id[-32:]]


@pytest.mark.parametrize("mode", ["shadow", "handoff"])
def test_a_resolver_that_raises_for_a_problem_keeps_no_other_rows_back(mode, classed, settings):
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"POINTS_RESOLVER": f"{__name__}.resolve"}
    known, unknown = (rows.legacy_row(user, problem=f"{user:032x}").pk for user in (1, 2))
    everywhere_live()
    planned, done = planned_and_done(classed, RUNS[mode])
    assert done == planned == {known: ("imported", ""), unknown: ("drain", "points_resolver_failed")}


@pytest.mark.parametrize("mode", RUNS)
def test_a_row_that_nobody_has_thought_of_keeps_no_other_rows_back(mode, classed, monkeypatch):
    """Shown as a malformed one, with the type of the error."""
    strange, plain = rows.legacy_row(1).pk, rows.legacy_row(2).pk
    everywhere_live()
    digests = classification.digests

    def failing(header, body, names):
        if rows.anonymous_id(1) in body:
            raise RecursionError(body)
        return digests(header, body, names)

    monkeypatch.setattr(classification, "digests", failing)
    planned, done = planned_and_done(classed, RUNS[mode])
    assert done == planned == {strange: ("malformed", "unexpected_RecursionError"), plain: ("imported", "")}
