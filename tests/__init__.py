"""
The tests of migration_shim and of its sandbox.

Each package of the app has a folder of its name here; what is about one of the modules beside them (``dual_write``,
``toggles``) bears that module's name. ``acceptance`` holds what is a story across packages, ``repository`` what is
about the repository itself, ``sandbox`` what the stand-ins have to be like, ``builders`` what all of these start from.

Importing this package points the environment at databases of the tests' own. It is done here because it must happen
before Django's settings (``tests.settings``) read the environment, and pytest-django loads those before any conftest.
"""

from tests import databases

databases.choose()
