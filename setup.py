"""Package description. Version and requirements are written once, elsewhere, and read from there."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def read(name: str) -> str:
    """Give the text of a file of the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def version() -> str:
    """Give ``__version__`` without importing the package, whose dependencies may not be installed yet."""
    return re.search(r'^__version__ = "([^"]+)"', read("migration_shim/__init__.py"), re.M).group(1)


def requirements(name: str) -> list[str]:
    """Give the requirements of ``requirements/<name>``, bounded as requirements/constraints.txt says."""
    bounded = {re.split(r"[<>=]", line)[0]: line for line in _lines("constraints.txt")}
    return [bounded.get(line, line) for line in _lines(name)]


def _lines(name: str) -> list[str]:
    """Requirement lines of a file, without comments and options such as ``-c``."""
    lines = (line.split("#")[0].strip() for line in read(f"requirements/{name}").splitlines())
    return [line for line in lines if line and not line.startswith("-")]


setup(
    name="migration_shim",
    version=version(),
    description="Moves courses from the XQueue service to edx-submissions, with a way back at every step",
    long_description=read("README.rst"),
    long_description_content_type="text/x-rst",
    license="AGPL-3.0",
    python_requires=">=3.11",
    packages=find_packages(include=["migration_shim", "migration_shim.*"]),
    include_package_data=True,
    install_requires=requirements("base.in"),
    extras_require={"mysql": requirements("mysql.in"), "celery": requirements("celery.in")},
    entry_points={"lms.djangoapp": ["migration_shim = migration_shim.apps:MigrationShimConfig"]},
    zip_safe=False,
    keywords="Python edx Open edX xqueue submissions external grader",
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Framework :: Django",
        "Framework :: Django :: 5.2",
        "Intended Audience :: Developers",
        "Intended Audience :: System Administrators",
        "License :: OSI Approved :: GNU Affero General Public License v3",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
    ],
)
