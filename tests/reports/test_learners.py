"""Who the learners behind the hashes are: who may know, that it is written down first, and the file for support."""

import json
import os
import stat

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command

from migration_shim import api
from migration_shim.core.data import ExitCode
from migration_shim.core.errors import ShimError
from migration_shim.core.remedies import REMEDIES
from migration_shim.models import Divergence, LedgerEntry, PhaseChange
from migration_shim.reconcile import keyed_hash
from migration_shim.reports import files, learners
from tests.builders import rows, waiting_learners
from tests.builders.rows import COURSE, RIGHT, WRONG, anonymous_id, fresh  # noqa: F401
from tests.commands import manage
from tests.reports.reading import table
from tests.schemas import validate

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
WHY = "a learner has written to support"


@pytest.fixture
def diverged():
    """Two learners' submissions on which the graders do not agree; their ledger entries."""
    rows.in_phase("shadow")
    for user in (7, 8):
        row = rows.legacy_row(user)
        rows.backfill()
        rows.change([row], **rows.graded(RIGHT))
        rows.grade_target(WRONG)
    rows.reconcile()
    return list(LedgerEntry.objects.order_by("id"))


def somebody(name="ada", *, may=True, **fields):
    user = get_user_model().objects.create_user(name, pk=9000, **fields)  # no learner's number, whatever ran before
    if may:
        user.user_permissions.add(
            Permission.objects.get(content_type__app_label="migration_shim", codename="view_ledgerentry")
        )
    return name


def asked(learner, login="ada"):
    return learners.resolve(COURSE, learner, login=login, reason=WHY, run_by="root")


def written(path, login="ada"):
    return learners.write_affected(COURSE, path, login=login, reason=WHY, run_by="root")


def looked_up():
    return PhaseChange.objects.filter(evidence__has_key="looked_up")


def test_a_hash_is_resolved_and_that_is_written_down(diverged):
    somebody()
    waiting_learners.learner(7)
    content = validate(asked(keyed_hash(anonymous_id(7))).content)
    assert content["people"] == [{"learner": keyed_hash(anonymous_id(7)), "user_id": "7", "username": "learner7"}]
    assert {item["entry"] for item in content["divergences"]} == {diverged[0].pk}
    assert anonymous_id(7) not in json.dumps(content)
    log = looked_up().get()
    evidence = {"looked_up": {"learners": 1, "learner": keyed_hash(anonymous_id(7)), "run_by": "root"}}
    assert (log.changed_by, log.reason, log.evidence) == ("ada", WHY, evidence)
    assert api.audit([COURSE]).content["broken"] == 0


def test_without_the_lms_users_table_of_anonymous_ids_the_callback_tells(diverged):
    """Nobody with this anonymous id is known here; the header names the user id, and no user has it."""
    somebody()
    content = asked(keyed_hash(anonymous_id(8))).content
    assert [(one["user_id"], one["username"]) for one in content["people"]] == [("8", None)]
    LedgerEntry.objects.update(raw_header="")
    content = validate(asked(keyed_hash(anonymous_id(8))).content)
    assert [(one["user_id"], one["username"]) for one in content["people"]] == [(None, None)]


@pytest.mark.parametrize("who", ["without permission", "inactive", "nobody"])
def test_who_may_not_is_told_nothing(diverged, tmp_path, who):
    if who != "nobody":
        somebody("eve", may=who == "inactive", is_active=who != "inactive")
    for call in (lambda: asked(keyed_hash(anonymous_id(7)), "eve"), lambda: written(tmp_path / "who.csv", "eve")):
        with pytest.raises(ShimError, match="eve") as error:
            call()
        assert "learner7" not in str(error.value)
    assert not looked_up().exists()
    assert list(tmp_path.iterdir()) == []


def test_a_hash_of_nobody_is_an_error_and_no_look_up(diverged):
    somebody()
    with pytest.raises(ShimError, match="No learner"):
        asked("0" * 12)
    assert not looked_up().exists()


def test_the_file_for_support_is_its_owners_alone(diverged, tmp_path):
    somebody()
    waiting_learners.learner(7)
    path = tmp_path / "who.csv"
    before = os.umask(0)
    try:
        document = written(path)
    finally:
        os.umask(before)
    content = validate(document.content)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (content["learners"], content["rows"], document.exit_code) == (2, 4, ExitCode.DIFFERENCES)
    assert "people" not in content
    found = table(path.read_bytes().decode())
    assert [list(row) for row in found] == [list(learners.COLUMNS)] * 4
    assert {(row["learner"], row["user_id"], row["username"]) for row in found} == {
        (keyed_hash(anonymous_id(7)), "7", "learner7"),
        (keyed_hash(anonymous_id(8)), "8", ""),
    }
    for row in found:
        assert row["what_to_do"] == REMEDIES[row["class"]].learner
        assert row["submitted_at"] in {entry.arrived_at.isoformat() for entry in diverged}
    assert looked_up().get().evidence["looked_up"] == {"learners": 2, "file": "who.csv", "run_by": "root"}


def test_it_is_written_down_before_anything_is_written(diverged, tmp_path, monkeypatch):
    somebody()

    def full(*args, **options):
        assert looked_up().count() == 1
        raise OSError("no space left on device")

    monkeypatch.setattr(files, "write", full)
    with pytest.raises(OSError, match="no space"):
        written(tmp_path / "who.csv")
    assert looked_up().count() == 1


@pytest.mark.by_hand
def test_what_is_explained_or_signed_for_is_not_in_the_file(diverged, tmp_path):
    somebody()
    Divergence.objects.filter(entry=diverged[0]).update(cured_at=diverged[0].arrived_at)
    content = written(tmp_path / "who.csv").content
    assert (content["learners"], content["rows"]) == (1, 2)


def test_pages_of_any_size_name_everybody_once(diverged, tmp_path, monkeypatch):
    somebody()
    written(tmp_path / "one.csv")
    monkeypatch.setattr(learners, "PAGE", 1)
    written(tmp_path / "two.csv")
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()


def test_a_name_is_no_formula(diverged, tmp_path):
    somebody()
    get_user_model().objects.create(pk=8, username="=HYPERLINK(1)")
    written(tmp_path / "who.csv")
    names = {row["username"] for row in table((tmp_path / "who.csv").read_bytes().decode())}
    assert names == {"", "\\=HYPERLINK(1)"}


@pytest.mark.parametrize("path", ["-", "/dev/stdout", "/dev/null", "/proc/self/fd/1", "/tmp", "/no/such/folder/x.csv"])
def test_no_terminal_pipe_or_device_gets_it(path):
    words = ("--course", COURSE, "--learners", path, "--user", "ada", "--reason", WHY)
    assert manage("xqueue_learners", *words).returncode == ExitCode.USAGE


@pytest.mark.parametrize(
    "words",
    [
        ("--learner", "0" * 12, "--reason", WHY),  # no user
        ("--learner", "0" * 12, "--user", "ada"),  # no reason
        ("--learner", "0" * 12, "--user", "ada", "--reason", " "),
        ("--learner", "learner7", "--user", "ada", "--reason", WHY),
        ("--user", "ada", "--reason", WHY),
    ],
)
def test_what_is_missing_is_a_usage_error(words):
    with pytest.raises(CommandError) as error:
        call_command("xqueue_learners", "--course", COURSE, *words)
    assert error.value.returncode == ExitCode.USAGE


def test_the_command_on_a_terminal(diverged, capsys):
    somebody()
    waiting_learners.learner(7)
    words = ("--learner", keyed_hash(anonymous_id(7)), "--user", "ada", "--reason", WHY)
    call_command("xqueue_learners", "--course", COURSE, *words)
    text = capsys.readouterr().out
    assert f"{keyed_hash(anonymous_id(7))} is user 7, learner7" in text
    assert "stands in the course's log" in text


def test_a_link_in_the_folder_is_not_followed(diverged, tmp_path):
    """Somebody else has put a link where the part is written: nothing is written through it."""
    aim = tmp_path / "aim"
    (tmp_path / ".who.csv.part").symlink_to(aim)
    files.write(tmp_path / "who.csv", ["x"], private=True)
    assert not aim.exists()
    assert (tmp_path / "who.csv").read_text() == "x"
