"""
Run, on SQLite, the tests that depend on which releases are installed: ``python tests/corner.py [pytest arguments]``.

For the environments of the matrix that are not the newest one (tox.ini). What is not listed says the same everywhere
(rules in core, reports, commands), or compares outcomes that were planted with the scores of edx-submissions 4.0.2.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: What meets edx-submissions, Django's own ways, DRF, openedx-events and the keys: where releases differ.
TESTS = (
    # Writing to edx-submissions, reading from it, and its own endpoint beside ours: signatures, CSRF, scores, statuses.
    "tests/target/seam",
    "tests/target/test_fence.py",
    "tests/target/test_prediction.py",
    "tests/comparison/test_echo.py",
    # The platform's senders, over both doors, down to a grade in real CAPA.
    "tests/acceptance/doors",
    # What moves rows of edx-submissions by statements of our own.
    "tests/backfill/handoff/test_run.py",
    "tests/backfill/handoff/test_settings.py",
    "tests/backfill/give_back/test_give_back.py",
    "tests/backfill/test_bulk.py",
    # Migrations, databases and versions, and the receivers of edx-submissions' signals.
    "tests/preflight/site",
    "tests/sandbox/test_lms_receivers.py",
    "tests/sandbox/test_schema.py",
    "tests/repository/test_databases.py",
    # Flags and overrides: edx-toggles, django-waffle, django-config-models, edx-django-utils.
    "tests/test_toggles.py",
    "tests/cutover/test_overrides.py",
    # Celery.
    "tests/test_tasks.py",
)


def main() -> int:
    """Run pytest over the list; its exit code."""
    command = [sys.executable, "-m", "pytest", "-m", "not long", *TESTS, *sys.argv[1:]]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
