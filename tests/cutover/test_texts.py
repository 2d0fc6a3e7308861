"""People's own text in columns that cannot hold it: nothing blocks a step, the chain holds, columns are widened."""

import logging
from contextlib import contextmanager

import pytest
from django.apps import apps
from django.db import connection

from migration_shim import api, toggles
from migration_shim.core.data import DivergenceClass, Phase, Verdict
from migration_shim.core.phases import flags_of
from migration_shim.cutover import override_records
from migration_shim.db import text_columns
from migration_shim.ledger import known_differences
from migration_shim.models import FlagOverride, GateOverride, KnownDifference, LedgerEntry, PhaseChange
from tests.builders import rows
from tests.builders.overrides import step_past_gate
from tests.builders.rows import COURSE, fresh  # noqa: F401

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "xqueue"]),
    pytest.mark.skipif(connection.vendor != "mysql", reason="a column of SQLite holds every text"),
]
FIRE = "zurück \U0001f525 now"
ESCAPED = "zurück \\U0001f525 now"
RESIDUE = ("raw_header", "grader_payload", "student_info", "extra_body")


@pytest.fixture(autouse=True)
def whole_again(monkeypatch):
    yield
    monkeypatch.setattr(text_columns, "COPIED", 10**9)  # MySQL changes none in place, and other tests have used up ids
    with connection.schema_editor(atomic=False) as editor:
        text_columns.widen(apps, editor)
    connection.close()  # its SQL mode, too


def narrow(model, *names, charset="utf8mb3"):
    with connection.cursor() as cursor:
        for name in names:
            field = model._meta.get_field(name)
            null = "NULL" if field.null else "NOT NULL"
            kind = f"{field.db_type(connection)} CHARACTER SET {charset} {null}"
            cursor.execute(f"ALTER TABLE {model._meta.db_table} MODIFY `{field.column}` {kind}")


def charsets(model, *names):
    return {text_columns._charsets(connection, model, name)[-1] for name in names}


@contextmanager
def widening():
    with connection.schema_editor(atomic=False) as editor:
        yield lambda: text_columns.widen(apps, editor)


def back(reason=FIRE):
    rows.in_phase("live")
    toggles.force_flags(COURSE, *flags_of(Phase.LIVE))
    return api.cutover(COURSE, Phase.LEGACY, reason=reason, execute=True, user="ops \U0001f525", login=None)


@pytest.mark.parametrize("strict", [True, False])
def test_no_reason_blocks_the_way_back_or_breaks_the_chain(strict):
    narrow(PhaseChange, "reason", "changed_by")
    narrow(FlagOverride, "note")
    if not strict:
        with connection.cursor() as cursor:
            cursor.execute("SET sql_mode = ''")
    assert back().content["executed"]
    entry = PhaseChange.objects.get()
    assert (entry.reason, entry.changed_by) == (ESCAPED, "ops \\U0001f525")
    assert FlagOverride.objects.latest("id").note == ESCAPED
    assert api.audit([COURSE]).content["broken"] == 0
    assert toggles.phase_of(COURSE).phase is Phase.LEGACY


def test_a_column_of_latin1_and_half_a_surrogate():
    narrow(PhaseChange, "reason", charset="latin1")
    assert back("zurück \u4e2d \udcff").content["executed"]
    assert PhaseChange.objects.get().reason == "zurück \\u4e2d \\udcff"
    assert api.audit([COURSE]).content["broken"] == 0


def test_a_column_that_holds_it_gets_it_as_it_is():
    back()
    assert PhaseChange.objects.get().reason == FIRE


def test_register_and_override_take_any_text():
    narrow(KnownDifference, "reason", "owner")
    narrow(GateOverride, "reason", "signed_by")
    known_differences.add(DivergenceClass.SCORE, reason=FIRE, owner=FIRE, days=3)
    entry = KnownDifference.objects.get()
    assert (entry.reason, entry.owner) == (ESCAPED, ESCAPED)
    rows.in_phase("shadow")
    toggles.force_flags(COURSE, True, False)
    step = step_past_gate(COURSE, Phase.LIVE, reason=FIRE)
    assert step.content["verdict"] == Verdict.INCONCLUSIVE
    assert [item["reason"] for item in override_records.described(COURSE)] == [ESCAPED]


def test_a_migration_makes_the_columns_hold_everything():
    narrow(PhaseChange, "reason", "changed_by")
    narrow(LedgerEntry, *RESIDUE)
    with widening() as widen:
        widen()
    assert charsets(PhaseChange, "reason", "changed_by") == charsets(LedgerEntry, *RESIDUE) == {"utf8mb4"}
    with connection.cursor() as cursor:
        cursor.execute("SHOW CREATE TABLE migration_shim_ledgerentry")
        created = cursor.fetchone()[1]
    [line] = [line for line in created.splitlines() if "`grader_payload`" in line]
    assert "longtext" in line and "NOT NULL" not in line
    with widening() as widen, _statements() as said:
        widen()
    assert not any("ALTER" in statement for statement in said)  # where there is nothing to do nothing is done


def test_a_large_ledger_that_cannot_be_changed_in_place_is_left_as_it_is(monkeypatch, caplog):
    narrow(LedgerEntry, *RESIDUE)
    rows.entries(2)
    monkeypatch.setattr(text_columns, "COPIED", 1)
    with widening() as widen, monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
        patched.setattr(text_columns, "_IN_PLACE", "ALGORITHM=INSTANT, LOCK=EXCLUSIVE, ALGORITHM=NONSENSE")
        widen()
    assert charsets(LedgerEntry, *RESIDUE) == {"utf8mb3"}
    assert "in a quiet hour run: ALTER TABLE" in caplog.text


@contextmanager
def _statements():
    said = []

    def note(execute, sql, params, many, context):
        said.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        yield said
