"""Entries made out of envelopes."""

from datetime import UTC, datetime, timedelta

from django.utils.timezone import now

from migration_shim.core.data import Authority, Leg, Origin, Phase
from migration_shim.core.identity import digests
from migration_shim.core.wire import parse_envelope
from migration_shim.ledger import entries
from migration_shim.models import LedgerEntry
from tests.builders import rows

MOMENT = datetime(2026, 11, 20, 8, 30, 15, 250, tzinfo=UTC)


def test_a_new_entry_has_each_value_in_its_own_field(monkeypatch):
    """The fields get their values by position: none may slip into its neighbour, and no time may be an earlier one."""
    course = "course-v1:ExU+PY1+2026"
    header, body = rows.header(7, "a" * 32, "k" * 32, course, "q"), rows.body(7, "answer", "20261122090000")
    envelope = parse_envelope(header, body)
    own = digests(envelope.header, body, ())
    said = {"phase": Phase.LIVE, "origin": Origin.ROUTER, "arrived_at": MOMENT}
    entries.new_entry(envelope, own, **said, input_key="i" * 64)
    later = now() + timedelta(hours=1)
    monkeypatch.setattr(entries, "now", lambda: later)
    found = entries.new_entry(envelope, own, **said, input_key="i" * 64)
    kept = dict(zip(entries.KEPT, entries.kept(envelope, own, "i" * 64), strict=True))
    legs = {"authority": Authority.TARGET, "legacy_leg": Leg.NONE, "target_leg": Leg.NONE, "created_at": later}
    wanted = LedgerEntry(**kept, **said, **legs)
    for field in LedgerEntry._meta.concrete_fields:
        assert getattr(found, field.attname) == getattr(wanted, field.attname), field.attname
    assert found._state.adding and found.course_id == course
