#!/usr/bin/env python
"""Django's command line for the LMS stand-in: every command of migration_shim runs here outside an LMS."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Run one management command with the settings of the LMS stand-in (or those of DJANGO_SETTINGS_MODULE)."""
    # The project is not installed as a package on a fresh clone, and Python puts sandbox/, not the root, on the path.
    # sandbox/ itself goes: a module of ours must never be importable under two names.
    sys.path[:] = [str(ROOT), *(entry for entry in sys.path if Path(entry or ".").resolve() != ROOT / "sandbox")]
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sandbox.lms.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
