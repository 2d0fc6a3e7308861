"""
Settings of the tests: those of the LMS stand-in, on databases that tests/conftest.py chose in the environment.

Flags are forced in the app's own tables, unless a test takes the fixture ``platform`` (tests/builders/platform.py):
most tests want the phase that a flag stands for, and not the platform.
"""

import os

os.environ["SANDBOX_FLAGS"] = "own"

from sandbox.lms.settings import *  # noqa: F403

# Many tests cannot wait as long as these two ask for; what they say is tested where it is called by name.
SILENCED_SYSTEM_CHECKS = ["migration_shim.E013", "migration_shim.E014"]
