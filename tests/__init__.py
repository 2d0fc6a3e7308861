"""
The tests of migration_shim and of its sandbox.

Importing this package points the environment at databases of the tests' own. It is done here because it must happen
before Django's settings (``tests.settings``) read the environment, and pytest-django loads those before any conftest.
"""

from tests import databases

databases.choose()
