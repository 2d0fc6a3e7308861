"""A Tutor plugin that installs and configures migration_shim. Its version is the app's."""

import re
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).resolve().parent
ABOUT = (HERE / "tutormigration_shim" / "__init__.py").read_text(encoding="utf-8")

setup(
    name="tutor-contrib-migration-shim",
    version=re.search(r'^__version__ = "([^"]+)"', ABOUT, re.M).group(1),
    description="Tutor plugin of migration_shim: moves courses from XQueue to edx-submissions",
    long_description=(HERE / "README.rst").read_text(encoding="utf-8"),
    long_description_content_type="text/x-rst",
    license="AGPL-3.0",
    python_requires=">=3.11",
    packages=["tutormigration_shim"],
    package_data={"tutormigration_shim": ["patches/*", "templates/**/*"]},
    install_requires=["tutor>=21,<23"],
    entry_points={"tutor.plugin.v1": ["migration_shim = tutormigration_shim.plugin"]},
)
