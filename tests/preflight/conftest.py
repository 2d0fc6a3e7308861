"""What the tests of preflight's findings about rows share."""

import pytest

from migration_shim.preflight import queues, site


@pytest.fixture
def no_site(monkeypatch):
    """Nothing is wrong with the site; its own tests look at the real one."""
    monkeypatch.setattr(site, "site_findings", lambda course_id, settings: [])


@pytest.fixture
def quiet(no_site, monkeypatch):
    """Besides, XQueue knows every queue, and graders poll it; test_run.py asks a real one."""
    monkeypatch.setattr(queues, "is_known_to_xqueue", lambda queue: True)
    monkeypatch.setattr(queues.legacy_rows, "was_pulled_since", lambda queue, moment: True)
