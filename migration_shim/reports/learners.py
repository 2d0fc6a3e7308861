"""
Who the learners behind the hashes are, for those who may know: one by its hash, or all affected ones as a table.

Every look-up is written into the course's log before it is given. A report names nobody.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.utils.timezone import now

from ..core import remedies
from ..core.data import DivergenceClass, Document, ExitCode
from ..core.documents.learners import DivergenceOfLearner, LearnersDocument, Person
from ..core.errors import ShimError
from ..cutover.signers import lms_user
from ..delivery.undelivered import write_down
from ..ledger import attempts
from ..lms import state, users
from ..models import Divergence, LedgerEntry
from ..reconcile import keyed_hash
from . import files
from .escape import csv_cell

SCHEMA = "migration_shim.xqueue_learners/1"
#: Django's own permission to view the ledger, which names learners; no other page or command asks for it.
PERMISSION = "migration_shim.view_ledgerentry"
#: Columns of the file for support.
COLUMNS = (
    *("learner", "user_id", "username", "course", "problem", "submitted_at", "class", "what"),
    *("grade_that_counts", "what_to_do"),
)
PAGE = 500
_ENTRY = ("learner", "raw_header", "student_info", "item_id", "arrived_at", "authority")


def resolve(course_id: str, learner: str, *, login: str, reason: str, run_by: str) -> Document[LearnersDocument]:
    """
    Tell who the learner of a course with this hash is, and what is on record of that learner's submissions.

    Args:
        course_id: the course.
        learner: the keyed hash, as reports show it.
        login: the LMS user who looks the learner up.
        reason: why, for the log.
        run_by: the operating system's name of whoever runs this.

    Raises:
        ShimError: the user may not, the course or the hash is not known.
    """
    _refuse_unless_permitted(login)
    entries = LedgerEntry.objects.filter(course_id=course_id)
    names = entries.exclude(learner="").order_by().values_list("learner", flat=True).distinct().iterator()
    found = [name for name in names if keyed_hash(name) == learner]
    if not found:
        raise ShimError(f"No learner of {course_id} on record has the hash {learner}.")
    evidence = {"learner": learner, "run_by": run_by}
    write_down(course_id, len(found), reason=reason, by=login, **evidence)
    on_record = Divergence.objects.filter(course_id=course_id, cured_at=None, entry__learner__in=found)
    newest = [entries.filter(learner=name).order_by("-id").first() for name in found]
    rows = [
        {"entry_id": entry.pk, **{f"entry__{key}": getattr(entry, key) for key in _ENTRY}} for entry in newest if entry
    ]
    people = _named(rows)
    content = _content(course_id, login, run_by, reason, on_record.count())
    content["learner"] = learner
    content["people"] = people
    content["divergences"] = [_divergence(row) for row in on_record.select_related("entry").order_by("id")[:PAGE]]
    return Document(content=content, exit_code=ExitCode.OK)


def write_affected(course_id: str, path: Path, *, login: str, reason: str, run_by: str) -> Document[LearnersDocument]:
    """
    Write the affected learners of a course for support, one row a divergence that nothing explains, as CSV.

    The file is for its owner alone. The document names nobody.

    Args:
        course_id: the course.
        path: the file, in an existing folder.
        login: the LMS user who looks the learners up.
        reason: why, for the log.
        run_by: the operating system's name of whoever runs this.

    Raises:
        ShimError: the user may not, or the course is not known.
    """
    _refuse_unless_permitted(login)
    found = Divergence.objects.filter(course_id=course_id, cured_at=None, known=None)
    number = found.count()
    learners = found.order_by().values("entry__learner").distinct().count()
    write_down(course_id, learners, reason=reason, by=login, file=path.name, run_by=run_by)
    files.write(path, _csv(course_id), private=True)
    content = _content(course_id, login, run_by, reason, number)
    content["file"], content["learners"] = str(path), learners
    return Document(content=content, exit_code=ExitCode.DIFFERENCES if number else ExitCode.OK)


def _refuse_unless_permitted(login: str) -> None:
    user = lms_user(login)
    if not (user.is_active and user.has_perm(PERMISSION)):
        raise ShimError(f"{login} may not look learners up: that takes the permission {PERMISSION}.")


def _content(course_id: str, login: str, run_by: str, reason: str, rows: int) -> LearnersDocument:
    return {
        "schema": SCHEMA,
        "at": now().isoformat(),
        "course": course_id,
        "by": login,
        "run_by": run_by,
        "reason": reason,
        "applies": state.is_lms(),
        "rows": rows,
    }


def _divergence(row: Divergence) -> DivergenceOfLearner:
    return {
        "entry": row.entry_id,
        "problem": row.entry.item_id,
        "submitted_at": row.entry.arrived_at.isoformat(),
        "class": row.klass,
        "what": row.what,
        "grade_that_counts": row.entry.authority,
        "what_to_do": _advice(row.klass),
    }


def _advice(klass: str) -> str:
    return remedies.REMEDIES[DivergenceClass(klass)].learner


class _Echo:
    """A file that gives back what is written to it."""

    def write(self, text: str) -> str:
        return text


def _csv(course_id: str) -> Iterator[str]:
    writer = csv.DictWriter(_Echo(), COLUMNS, quoting=csv.QUOTE_ALL)
    yield writer.writeheader()
    for page in _pages(course_id):
        for row, person in zip(page, _named(page), strict=True):
            values = {
                **person,
                "course": course_id,
                "problem": row["entry__item_id"],
                "submitted_at": row["entry__arrived_at"].isoformat(),
                "class": row["klass"],
                "what": row["what"],
                "grade_that_counts": row["entry__authority"],
                "what_to_do": _advice(row["klass"]),
            }
            yield writer.writerow({key: "" if value is None else csv_cell(value) for key, value in values.items()})


def _pages(course_id: str) -> Iterator[list[dict[str, Any]]]:
    """Yield the divergences that nothing explains, in keyset pages, with what names their learners."""
    rows = Divergence.objects.filter(course_id=course_id, cured_at=None, known=None).order_by("id")
    after = 0
    columns = ("id", "klass", "what", "entry_id", *(f"entry__{name}" for name in _ENTRY))
    while page := list(rows.filter(id__gt=after).values(*columns)[:PAGE]):
        yield page
        after = page[-1]["id"]


def _named(page: list[dict[str, Any]]) -> list[Person]:
    """Return for each row the hash, and the LMS user's id and name where the LMS can tell; None where it cannot."""
    by_anonymous = users.user_ids({row["entry__learner"] for row in page})
    ids = [by_anonymous.get(row["entry__learner"], _by_header(row)) for row in page]
    there = get_user_model().objects.in_bulk({one for one in ids if one is not None})
    return [
        {
            "learner": keyed_hash(row["entry__learner"]),
            "user_id": str(one) if one is not None else None,
            "username": there[one].get_username() if one in there else None,
        }
        for row, one in zip(page, ids, strict=True)
    ]


def _by_header(row: dict[str, Any]) -> int | None:
    """Return the LMS user's id as the callback names it; None where the residue was dropped."""
    one = attempts.submitted(row["entry__raw_header"], row["entry__student_info"], row["entry__learner"])
    number = int(one.place.user_id) if one is not None else None
    return number if number is not None and number < 2**63 else None
