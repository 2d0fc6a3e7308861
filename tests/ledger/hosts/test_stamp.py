"""A ledger under another LMS's host, as a cloned database brings it: nothing acts on it until somebody adopts it."""

import io
import json
from datetime import timedelta

import pytest
from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command
from django.utils.timezone import now
from submissions.models import get_storage

from migration_shim import api
from migration_shim.backfill import unfinished
from migration_shim.conf import load
from migration_shim.copies import retire_replaced
from migration_shim.core.data import ExitCode, Origin, Phase
from migration_shim.core.errors import LedgerNotOurs
from migration_shim.core.identity import digests, input_key
from migration_shim.core.wire import parse_envelope
from migration_shim.ledger import stamp
from migration_shim.ledger.entries import new_entry
from migration_shim.legacy import give_back, writes
from migration_shim.models import LedgerEntry, LedgerStamp, LegacySubmission, StoredIntent
from migration_shim.reports import terminal
from migration_shim.target import file_storage
from tests.builders import handing_off as handoff
from tests.builders import live_courses as watched
from tests.builders import other_lms as world
from tests.builders import rows
from tests.builders.rows import COURSE, fresh  # noqa: F401
from tests.schemas import validate

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])


@pytest.fixture
def clone(settings):
    """What makes the database that of an LMS at another host."""

    def under(host=world.STAGING):
        settings.LMS_ROOT_URL = f"https://{host}"
        # So that its rows are told apart from nobody's: what refuses here is the stamp.
        world.named(settings, CALLBACK_HOSTS=[world.OURS])
        rows.RequestCache.clear_all_namespaces()

    return under


def untouched():
    """All that a refused command must leave as it is."""
    return (
        list(LegacySubmission.objects.order_by("id").values()),
        list(LedgerEntry.objects.order_by("id").values()),
        list(StoredIntent.objects.values()),
    )


def test_the_first_command_that_acts_stamps_the_ledger():
    assert stamp.stamped() == ""
    api.status([COURSE])
    handoff.run(execute=False)
    assert stamp.stamped() == ""  # a screen and a plan write nothing
    watched.watch()
    assert stamp.stamped() == world.OURS
    watched.watch()
    assert LedgerStamp.objects.count() == 1


@pytest.mark.parametrize("mode", ["handoff", "return"])
def test_nothing_is_moved(clone, mode):
    watched.stand("live" if mode == "handoff" else "legacy")
    rows.legacy_row(7)
    stamp.check()
    clone()
    before = untouched()
    words = ["xqueue_backfill", "--mode", mode, "--all", "--format", "json"]
    out = io.StringIO()
    call_command(*words, stdout=out)
    (advice, *_) = json.loads(out.getvalue())["advice"]
    assert "--execute would be refused: The ledger belongs to the LMS at courses.example.edu" in advice
    with pytest.raises(CommandError, match=r"The ledger belongs .* xqueue_cutover --adopt") as refused:
        call_command(*words, "--execute", stdout=io.StringIO())
    assert refused.value.returncode == ExitCode.ERROR
    assert untouched() == before


def test_what_is_between_the_systems_is_not_finished(clone):
    rows.entries(1, move="held")
    rows.entries(1, move="returning")
    stamp.check()
    clone()
    with pytest.raises(LedgerNotOurs):
        unfinished.finish_handoff(COURSE, load(), lambda: None)
    with pytest.raises(LedgerNotOurs):
        unfinished.finish_return(COURSE, load(), lambda: None)


def test_no_write_reaches_legacy_whoever_asks_for_it(clone):
    row = rows.legacy_row(7)
    stamp.check()
    clone()
    item = give_back.Returning(
        header=row.xqueue_header,
        body=row.xqueue_body,
        callback_url=row.lms_callback_url,
        queue_name=row.queue_name,
        arrived_at=row.arrival_time,
        submission_time="",
        input_key="",
        legacy_id=None,
        mark="",
    )
    for write in (
        lambda: writes.retire([row.pk]),
        lambda: writes.revive(row.pk, ""),
        lambda: give_back.insert(item, "{}", "{}"),
    ):
        with pytest.raises(LedgerNotOurs):
            write()
    assert LegacySubmission.objects.get().retired is False


def test_nothing_is_superseded_on_legacy(clone):
    older, newer = rows.legacy_row(7, age=timedelta(hours=2)), rows.legacy_row(7, answer="y = 2\n")
    envelope = parse_envelope(newer.xqueue_header, newer.xqueue_body)
    found = digests(envelope.header, newer.xqueue_body, ())
    accepted = {"phase": Phase.LIVE, "origin": Origin.ROUTER, "arrived_at": now(), "input_key": input_key(envelope)}
    entry = new_entry(envelope, found, **accepted)
    entry.save()

    def supersede():
        retire_replaced.retire_replaced_attempts(entry, None, load())
        older.refresh_from_db()
        return older.retired

    stamp.check()
    clone()
    assert supersede() is False
    stamp.adopt(world.STAGING, reason="r", execute=True, user="ada")
    assert supersede() is True


def test_nothing_is_purged_or_swept_and_every_round_says_so(clone):
    watched.stand("shadow")
    rows.graded_pairs(2)
    rows.reconcile()
    LedgerEntry.objects.update(settled_at=now() - timedelta(days=31))
    (file,) = file_storage.record_intents(rows.QUEUE, ["a.py"])
    file_storage.save(file, ContentFile(b"the other LMS's, in a bucket that is shared"))
    StoredIntent.objects.update(created_at=now() - timedelta(days=2))
    stamp.check()
    clone()
    content = validate(watched.watch(purge=True))
    said = {problem["step"]: problem["said"] for problem in content["problems"]}
    assert set(said) == {"ledger", "purge", "sweep"}
    assert said["ledger"].startswith("LedgerNotOurs: The ledger belongs to the LMS at courses.example.edu")
    assert get_storage().exists(file.stored_name)
    assert not LedgerEntry.objects.exclude(purged_at=None).exists()
    assert {problem["step"] for problem in validate(watched.watch())["problems"]} == {"ledger"}

    stamp.adopt(world.STAGING, reason="r", execute=True, user="ada")
    content = validate(watched.watch(purge=True))
    assert (content["problems"], content["purge"]["dropped"], content["sweep"]["removed"]) == ([], 2, 1)


def test_shadows_are_not_removed(clone):
    watched.stand("complete")
    stamp.check()
    clone()
    assert api.remove_shadows(COURSE, execute=False, progress=rows.ignore).content["shadows"] == 0
    with pytest.raises(LedgerNotOurs):
        api.remove_shadows(COURSE, execute=True, progress=rows.ignore)


def test_status_and_preflight_say_it(clone):
    stamp.check()
    clone()
    content = validate(api.status([COURSE]).content)
    assert "ANOTHER LMS'S LEDGER: The ledger belongs to the LMS at courses.example.edu" in terminal.render(content)
    found = {item["code"]: item for item in api.preflight(COURSE, rows.ignore).content["findings"]}
    assert found["ledger_not_ours"]["severity"] == "blocker"
    assert "grant_update" not in found and "grant_return" not in found


def test_an_lms_that_no_setting_names_is_not_the_one_of_the_stamp(settings):
    stamp.check()
    del settings.LMS_ROOT_URL
    rows.RequestCache.clear_all_namespaces()
    with pytest.raises(LedgerNotOurs, match="no host that a setting names"):
        stamp.check()


def adopted(*words):
    """What the command prints."""
    out = io.StringIO()
    call_command("xqueue_cutover", *words, "--reason", "a new name 🙂", "--format", "json", stdout=out)
    return validate(json.loads(out.getvalue()))


def test_a_ledger_is_adopted_by_name(clone):
    stamp.check()
    clone()
    plan = adopted("--adopt", world.STAGING)
    assert (plan["from"], plan["to"], plan["executed"]) == (world.OURS, world.STAGING, False)
    assert "would be that of the LMS at staging.example.org" in terminal.render(plan)
    with pytest.raises(LedgerNotOurs):
        stamp.check()
    assert "Done." in terminal.render(adopted("--adopt", world.STAGING, "--execute"))
    stamp.check()
    newest = LedgerStamp.objects.latest("id")
    assert (newest.host, newest.reason) == (world.STAGING, "a new name 🙂")
    assert newest.stamped_by


def test_a_command_line_that_was_copied_with_its_database_adopts_nothing(clone):
    stamp.check()
    clone()
    with pytest.raises(CommandError, match=r"This LMS is at staging\.example\.org, not at courses\.example\.edu"):
        adopted("--adopt", world.OURS, "--execute")
    assert LedgerStamp.objects.count() == 1


@pytest.mark.parametrize(
    "words", [["--adopt", "h", "--to", "live"], ["--course", COURSE], ["--adopt", "h", "--org", "x"]]
)
def test_an_adoption_is_no_step(words):
    with pytest.raises(CommandError) as refused:
        adopted(*words)
    assert refused.value.returncode == ExitCode.USAGE
