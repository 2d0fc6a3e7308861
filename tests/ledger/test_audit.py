"""The log of phase changes: every writer adds to the chain, the ORM refuses the rest, the command sees tampering."""

import io
import itertools
import json
from contextlib import contextmanager

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction

from migration_shim import api, toggles
from migration_shim.core import hash_chain
from migration_shim.core.data import ExitCode, Phase
from migration_shim.core.errors import LogIsAddedTo, ShimError
from migration_shim.models import CoursePhase, PhaseChange
from migration_shim.reports import terminal
from tests.builders import rows
from tests.builders.rows import COURSE, fresh  # noqa: F401
from tests.schemas import validate

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
OTHER = "course-v1:ExU+ALG2+26T1"
TABLE = PhaseChange._meta.db_table


def step(to, course=COURSE, reason="r"):
    return api.cutover(course, to, reason=reason, execute=True, user="ada", login=None)


def sql(statement, *values):
    """Do what somebody does who has the database and not the app."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


@pytest.fixture(name="log")
def three_steps():
    """A course with three entries, the second of them by flags, and another course with one."""
    step(Phase.SHADOW, reason="näher 🙂")
    toggles.force_flags(COURSE, False, False)
    toggles.phase_of(COURSE)
    step(Phase.SHADOW)
    step(Phase.SHADOW, OTHER)
    return list(PhaseChange.objects.filter(course_id=COURSE).order_by("id"))


def broken(*courses, **how):
    document = api.audit(list(courses), **how)
    validate(document.content)
    assert document.exit_code == (ExitCode.DIFFERENCES if document.content["broken"] else ExitCode.OK)
    assert ("BROKEN" in terminal.render(document.content)) == bool(document.content["broken"])
    return {course["course"]: course["broken"] for course in document.content["courses"] if course["broken"]}


def test_every_writer_adds_to_the_chain(log):
    assert [(row.position, row.changed_by, row.step_to) for row in log] == [
        (1, "ada", "shadow"),
        (2, "flag", "legacy"),
        (3, "ada", "shadow"),
    ]
    assert [row.previous for row in log] == [hash_chain.START, log[0].digest, log[1].digest]
    record = CoursePhase.objects.get(course_id=COURSE)
    assert (record.log_length, record.log_digest) == (3, log[2].digest)
    assert broken() == {}
    content = api.audit([COURSE]).content
    assert next(entry["reason"] for entry in content["courses"][0]["entries"]) == "näher 🙂"
    assert content["courses"][0]["entries"][0]["evidence"]["settings"]


def test_putting_flags_right_is_an_entry_too():
    step(Phase.SHADOW)
    since = CoursePhase.objects.get().since
    toggles.force_flags(COURSE, True, True)
    step(Phase.SHADOW, reason="flags back")
    assert PhaseChange.objects.latest("id").reason == "flags back"
    assert CoursePhase.objects.get().since == since
    assert broken() == {}


def test_the_models_refuse_changes(log):
    row = log[0]
    row.reason = "other"
    for attempt in (
        row.save,
        row.delete,
        lambda: PhaseChange.objects.update(reason="other"),
        lambda: PhaseChange.objects.filter(pk=row.pk).delete(),
        lambda: PhaseChange.objects.bulk_update([row], ["reason"]),
        lambda: PhaseChange.objects.bulk_create([PhaseChange(course_id=COURSE)]),
        lambda: PhaseChange.objects.create(course_id=COURSE, step_from="legacy", step_to="live", changed_by="eve"),
        lambda: row.save(update_fields=["reason"]),
    ):
        with pytest.raises(LogIsAddedTo):
            attempt()
    assert broken() == {}


def test_a_log_cannot_fork(log):
    """Two writers that have read the same head: the second is refused by the table itself."""
    first, second = (CoursePhase.objects.get(course_id=COURSE) for _ in range(2))
    PhaseChange.objects.append(first, Phase.LEGACY, by="ada", reason="r", evidence={})
    with pytest.raises(IntegrityError), transaction.atomic():
        PhaseChange.objects.append(second, Phase.LIVE, by="eve", reason="r", evidence={})


EDITS = [
    ("reason", "other"),
    ("changed_by", "eve"),
    ("changed_at", "2026-01-01 00:00:00"),
    ("evidence", '{"verdict": "PASS"}'),
    ("step_from", "live"),
    ("course_id", "course-v1:ExU+X+1"),
    ("position", 9),
    ("previous", "0" * 63 + "1"),
    ("digest", "0" * 63 + "1"),
    ("digest", None),
]


@contextmanager
def undone():
    """What is done in here is taken back."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def test_an_edited_entry_shows(log):
    for row, (column, value) in itertools.product(log, EDITS):
        with undone():
            sql(f"UPDATE {TABLE} SET {column} = %s WHERE id = %s", value, row.pk)
            assert COURSE in broken(), (row.position, column, value)
    assert broken() == {}


def test_a_removed_entry_shows_the_last_as_well(log):
    for row in log:
        with undone():
            sql(f"DELETE FROM {TABLE} WHERE id = %s", row.pk)
            assert list(broken()) == [COURSE], row.position


def test_reordered_entries_show(log):
    for one, other in itertools.combinations([row.pk for row in log], 2):
        with undone():
            for old, new in ((one, 10**6), (other, one), (10**6, other)):
                sql(f"UPDATE {TABLE} SET id = %s WHERE id = %s", new, old)
            assert list(broken()) == [COURSE], (one, other)


def test_an_entry_written_past_the_app_shows(log):
    columns = "course_id, step_from, step_to, changed_at, changed_by, reason, evidence"
    sql(f"INSERT INTO {TABLE} ({columns}) SELECT {columns} FROM {TABLE} WHERE id = %s", log[0].pk)
    assert "past the chain" in broken()[COURSE][0]


def test_a_phase_set_past_the_app_shows(log):
    CoursePhase.objects.filter(course_id=COURSE).update(phase="live")
    assert broken() == {COURSE: ["the course is on record as live, and its log ends in shadow"]}
    CoursePhase.objects.filter(course_id=COURSE).delete()
    assert "the head of the log is gone" in broken()[COURSE]


def test_a_head_without_a_length_shows(log):
    """No length is none of any log: not of this one, and not of one that has lost all of its entries."""
    sql(f"UPDATE {CoursePhase._meta.db_table} SET log_length = NULL WHERE course_id = %s", COURSE)
    assert broken()[COURSE] == ["the log ends at place 3 and should end at place 0, or with another entry there"]
    sql(f"DELETE FROM {TABLE} WHERE course_id = %s", COURSE)
    assert broken()[COURSE][0] == "the log ends at place 0 and should end at place 0, or with another entry there"


def test_entries_of_before_the_chain_are_said_to_be():
    """As an upgrade finds them."""
    columns = "course_id, step_from, step_to, changed_at, changed_by, reason, evidence"
    values = [COURSE, "legacy", "shadow", "2026-01-01 00:00:00", "ada", "old", "{}"]
    sql(f"INSERT INTO {TABLE} ({columns}) VALUES (%s, %s, %s, %s, %s, %s, %s)", *values)
    CoursePhase.objects.create(course_id=COURSE, phase="shadow")
    toggles.force_flags(COURSE, True, False)
    document = api.audit([COURSE])
    assert document.exit_code == ExitCode.OK
    assert (document.content["courses"][0]["older"], document.content["courses"][0]["head"]) == (1, None)
    assert "1 entry is older than the chain" in terminal.render(document.content)
    step(Phase.LEGACY)
    assert PhaseChange.objects.latest("id").position == 2
    assert broken() == {}
    sql(f"DELETE FROM {TABLE} WHERE reason = 'old'")
    assert list(broken()) == [COURSE]


def test_a_log_made_anew_as_a_whole_shows_against_an_earlier_audit(log, tmp_path, capsys):
    noted = json.loads(json.dumps(api.audit([]).content))
    assert broken(noted=noted) == {}
    step(Phase.LEGACY)
    assert broken(noted=noted) == {}
    sql(f"DELETE FROM {TABLE} WHERE course_id = %s", COURSE)
    CoursePhase.objects.filter(course_id=COURSE).delete()
    toggles.force_flags(COURSE, False, False)
    assert broken() == {}
    step(Phase.SHADOW)
    assert broken() == {}
    assert "noted earlier" in broken(noted=noted)[COURSE][0]
    path = tmp_path / "audit.json"
    path.write_text(json.dumps(noted))
    call_command("xqueue_audit", "--against", str(path))
    assert "is not there any more" in capsys.readouterr().out


@pytest.mark.parametrize("noted", [[], {}, {"schema": "migration_shim.xqueue_audit/1", "courses": [{}]}, {"schema": 1}])
def test_what_is_no_audit_is_refused(noted):
    with pytest.raises(ShimError, match="no document of xqueue_audit"):
        api.audit([], noted)


def test_the_command(log, tmp_path):
    for words in (("--against", str(tmp_path / "none")), ("--course", "x")):
        with pytest.raises(CommandError) as refused:
            call_command("xqueue_audit", *words)
        assert refused.value.returncode == ExitCode.USAGE
    rows.in_phase("live")
    assert rows_of("--course", OTHER) == [OTHER]
    assert rows_of() == [OTHER, COURSE]


def rows_of(*words):
    out = io.StringIO()
    call_command("xqueue_audit", *words, "--format", "json", stdout=out)
    return [course["course"] for course in json.loads(out.getvalue())["courses"]]
