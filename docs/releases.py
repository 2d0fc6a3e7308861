"""
The table of releases: what each Open edX release has, by which door the app takes its submissions, and what was run.

docs/generate.py makes docs/reference/releases.rst of it and puts it into the README; tests/repository/test_releases.py
holds it against the bounds of the package, of the Tutor plugin and of the matrix.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One Open edX release, or several that are alike."""

    name: str
    tutor: tuple[int, ...]
    python: str
    django: str
    submissions: str
    sender: str
    door: str
    run: str
    #: The first versions of Django and of edx-submissions that the app runs on there; None where it does not.
    oldest: tuple[str, str] | None


RELEASES = (
    Release(
        name="Sumac, Teak",
        tutor=(19, 20),
        python="3.11",
        django="4.2",
        submissions="before 3.12",
        sender="none, or V1",
        door="not supported",
        run="Django 4.2 cannot make the tables. Tutor 20's environment renders, and its settings pass the checks",
        oldest=None,
    ),
    Release(
        name="Ulmo",
        tutor=(21,),
        python="3.11",
        django="5.2.7, then 5.2.11",
        submissions="before 3.12.2: raise it to 3.12.2",
        sender="V1",
        door="Python or HTTP",
        run="``py311-ulmo``; Tutor 21's environment",
        oldest=("5.2.7", "3.12.2"),
    ),
    Release(
        name="Verawood",
        tutor=(22,),
        python="3.12",
        django="5.2",
        submissions="4.0.1, then 4.0.2",
        sender="V2",
        door="Python or HTTP",
        run="``py312-verawood``; Tutor 22's environment",
        oldest=("5.2.12", "4.0.1"),
    ),
    Release(
        name="master",
        tutor=(),
        python="3.12",
        django="5.2.12",
        submissions="3.12.2 in spring 2026, 4.0.2 since",
        sender="V2",
        door="Python or HTTP",
        run="``py311-newest``; ``py312-newest`` on SQLite",
        oldest=("5.2.12", "3.12.2"),
    ),
)

#: The environments of tox.ini, and what is run in each.
ENVIRONMENTS = {
    "py311-ulmo": "requirements/oldest.txt: edx-submissions 3.12.2, Django 5.2.7, DRF 3.16.1, openedx-events 10.5.0, "
    "edx-opaque-keys 3.0.0, edx-toggles 5.4.1. The tests that meet what differs (tests/corner.py), on SQLite; in CI "
    "too, as ``make corner``.",
    "py312-verawood": "requirements/verawood.txt: edx-submissions 4.0.1, Django 5.2.12, openedx-events 11.1.0, "
    "edx-opaque-keys 4.0.0. The same tests, on SQLite.",
    "py311-newest": "The newest of everything: edx-submissions 4.0.2. All tests, on SQLite and MariaDB 10.11; what CI "
    "runs as ``make test``.",
    "py312-newest": "The same on Python 3.12, with openedx-events 11 and xblocks-contrib 1.0.",
}
HEADER = ("Open edX", "Tutor", "Python", "Django", "edx-submissions", "sender", "door", "what was run")


def supported() -> list[Release]:
    """The releases that the app runs on."""
    return [release for release in RELEASES if release.oldest]


def table() -> str:
    """The table in reStructuredText."""
    rows = [HEADER]
    for one in RELEASES:
        tutor = ", ".join(map(str, one.tutor)) or "none"
        rows.append((one.name, tutor, one.python, one.django, one.submissions, one.sender, one.door, one.run))
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in rows:
        lines += [f"   {'  -' if place else '* -'} {cell}" for place, cell in enumerate(row)]
    return "\n".join(lines)
