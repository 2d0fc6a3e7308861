"""
Which courses a command is about. Every command that takes several lets them be named in the same ways.

What names courses is taken together; ``--state`` then keeps those that stand there. The order is: as ``--course``
names them, then as the file does, then all others by id. So the first one named stays first, which is the canary of a
wave. A course that is named twice counts once.

A whole id that nobody knows is refused: most commands would put a record of it into the database, where it would look
like a course that waits for its submissions.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from django.db import DatabaseError

from .. import toggles
from ..core.data import ExitCode, Phase
from ..core.evidence import Cause
from ..core.failures import Failure
from ..ledger import counts, site_courses
from ..legacy import course_rows
from ..legacy.timeouts import AWAY, soon
from ..lms import catalogue
from ..models import CoursePhase, PhaseChange
from ..runs import causes
from ..status import ranking
from . import course_names, queue_users
from .failures import Failed

#: The words of ``--state``: causes, the worst first, then phases.
WORDS = (*map(str, Cause), "not_begun", *map(str, Phase))
UNNAMED = "which courses? Name them with --course, --org, --queue, --file or --all, or choose them with --state"
#: Options that name courses.
_NAMES = ("course", "org", "queue", "all", "file")
#: Bytes of a file: some hundred thousand ids.
_FILE_LIMIT = 10_000_000
#: For how many names of no course a call looks for what may have been meant.
_SUGGESTED = 5
#: Names that do not pass after which a call looks no further, unless it is a way back: each may cost statements.
_PROBLEMS = 100
#: Seconds that XQueue's database has to say whether it has rows of a course.
_PATIENCE = 5.0


def text(value: str) -> str:
    """Parse a text that is not blank, as an argparse type."""
    if not value.strip():
        raise argparse.ArgumentTypeError("it must not be empty")
    return value.strip()


def add_arguments(
    parser: argparse.ArgumentParser, *, queue: bool = True, everything: str = "every course of the site"
) -> None:
    """
    Add the options that name courses.

    Args:
        parser: the command's parser.
        queue: add ``--queue`` too; False where the command has an option of this name that says something else.
        everything: what ``--all`` names, for the help.
    """
    group = parser.add_argument_group(
        "which courses",
        "What names courses is taken together, and --state keeps some of them. The order is that of --course, of the "
        "file, then by id.",
    )
    group.add_argument(
        "--course",
        type=text,
        action="append",
        metavar="ID",
        help="a course: its id, parts of it that no other course has (CS106), or a pattern (ExU+CS1*); may be repeated",
    )
    group.add_argument("--org", type=text, action="append", metavar="ORG", help="an organisation's; may be repeated")
    if queue:
        group.add_argument(
            "--queue", type=text, action="append", metavar="NAME", help="those that use a queue; may be repeated"
        )
    group.add_argument("--all", action="store_true", help=everything)
    group.add_argument(
        "--file", metavar="PATH", help="those of a file, one a line as for --course; # begins a comment, - is stdin"
    )
    group.add_argument(
        "--state",
        choices=WORDS,
        action="append",
        metavar="WORD",
        help="of these, or of all, only those that stand there: a cause (" + ", ".join(WORDS[: -len(Phase)]) + ") or a "
        "phase (" + ", ".join(Phase) + "); may be repeated: any of the causes, and any of the phases",
    )
    add_new(group)


def add_new(parser: Any) -> None:
    """Add the option that lets a course pass which nobody knows."""
    parser.add_argument(
        "--new", action="store_true", help="take a whole id although neither the shim, XQueue nor the LMS knows it"
    )


def is_named(options: dict[str, Any]) -> bool:
    """Tell whether the options name courses, or choose some by their state."""
    return any(options.get(name) for name in (*_NAMES, "state"))


def is_one(options: dict[str, Any], found: list[str]) -> bool:
    """
    Tell whether the command line names one course and cannot name more, however many courses there are.

    Such a call gets the document of one course, any other that of several: which of them a script gets must not depend
    on how many courses match today.
    """
    others = any(options.get(name) for name in ("org", "queue", "all", "file", "state"))
    return len(found) == 1 and not others and not any(map(course_names.is_pattern, given(options, "course")))


def courses(options: dict[str, Any], *, begun: bool = False, left_out: list[str] | None = None) -> list[str]:
    """
    Return the ids of the courses that the options name, each once.

    Args:
        options: the command's, see ``add_arguments``.
        begun: of what is not named by its own id take only courses that the shim has on record.
        left_out: given where the courses go back to legacy, which nothing may hold up. An id passes then where it
            cannot be told whether anybody knows it; what is wrong with other names is added to this list, and refuses
            only a call that names no course at all.

    Returns:
        The ids. Empty only where none of the named courses stands where ``--state`` says, or where there is no course.

    Raises:
        CommandError: nothing names a course, or something names none: with exit code 64. Nothing is left out: one
            wrong name refuses them all.
        Failed: XQueue's database cannot say whether it knows a course; with the cause.
    """
    if not is_named(options):
        raise CommandError(UNNAMED, returncode=ExitCode.USAGE)
    search = _Search(new=bool(options.get("new")), begun=begun, way_back=left_out is not None)
    named: list[list[str]] = []
    for where, name in (*(("", name) for name in given(options, "course")), *_lines(options.get("file"))):
        if left_out is None and len(search.problems) + len(search.unasked) >= _PROBLEMS:
            if search.problems:
                search.problems.append("So many names are wrong that the rest was not looked at.")
            break
        named.append(search.named(name, where))
    rest: set[str] = set()
    for org in given(options, "org"):
        rest.update(search.of_org(org))
    for queue in given(options, "queue"):
        rest.update(search.of_queue(queue))
    if options.get("all") or not any(options.get(name) for name in _NAMES):
        rest.update(search.pool)
    found = list(dict.fromkeys([course for some in named for course in some] + sorted(rest)))
    if (search.problems or search.unasked or search.queues_unasked) and (left_out is None or not found):
        raise search.refusal()
    if left_out is not None:
        left_out += search.refused()
    return _in_state(found, given(options, "state")) if options.get("state") else found


def given(options: dict[str, Any], name: str) -> list[str]:
    """Return what was given for an option: from Python, a caller that names one thing may give it alone."""
    value = options.get(name) or []
    return [value] if isinstance(value, str) else list(value)


def one(name: str, *, new: bool = False) -> str:
    """
    Return the id of one course that is named as with ``--course``.

    Raises:
        CommandError: as ``courses`` does, and if several match.
    """
    found = courses({"course": [name], "new": new})
    if len(found) > 1:
        raise CommandError(f"One course here, and {name!r} names {len(found)}.", returncode=ExitCode.USAGE)
    return found[0]


class _Search:
    """One look for courses. What there is is read once, and only if a whole id does not settle it."""

    def __init__(self, *, new: bool, begun: bool, way_back: bool) -> None:
        self.new, self.begun, self.way_back = new, begun, way_back
        self.problems: list[str] = []
        #: What XQueue would have to say of, and why its database cannot be asked.
        self.unasked: list[str] = []
        self.queues_unasked: list[str] = []
        self.away: Failure | None = None

    @functools.cached_property
    def on_record(self) -> frozenset[str]:
        return frozenset(counts.known_courses())

    @functools.cached_property
    def everywhere(self) -> list[str]:
        try:
            return sorted(self.on_record.union(site_courses.all_courses()))
        except DatabaseError:  # tables of an older release; what has no record has nothing to go back from
            if not self.way_back:
                raise
            return sorted(self.on_record)

    @functools.cached_property
    def suggestions(self) -> list[str]:
        return [*self.everywhere, *catalogue.some_ids()]

    @property
    def pool(self) -> list[str]:
        """What ``--all`` names, and what patterns are matched with."""
        return sorted(self.on_record) if self.begun else self.everywhere

    def named(self, name: str, where: str = "") -> list[str]:
        """Return what one ``--course``, or one line of a file, names."""
        if course_names.is_pattern(name):
            return course_names.matching(name, self.pool) or self._refuse(f"{where}{self._no_match(name)}")
        if (course := course_names.canonical(name)) is not None:
            return [course] if self._is_known(course, where) else []
        found = course_names.shortened(name, self.everywhere)
        if len(found) > 1:
            return self._refuse(f"{where}{name!r} may be any of {course_names.listed(found)}: name one in full.")
        return found or self._refuse(f"{where}{name!r} is no course key and short for no course.", name)

    def _no_match(self, pattern: str) -> str:
        from_a_part_on = f"*+{pattern}"
        if course_names.matching(from_a_part_on, self.pool):
            return (
                f"No course matches {pattern!r}: it is matched from the organisation on, and {from_a_part_on!r} fits."
            )
        return f"No course matches {pattern!r}."

    def of_org(self, org: str) -> list[str]:
        found = [course for course in self.pool if toggles.org_of(course) == org]
        return found or self._refuse(f"The shim knows no course of {org!r}, and found none in XQueue.")

    def of_queue(self, queue: str) -> list[str]:
        found, error = queue_users.of_queue(queue, self.pool)
        if error is not None and not found:
            self.away = causes.of_legacy(error)
            self.queues_unasked.append(f"the queue {queue!r}")
            return []
        if error is not None:  # a note only: what is left out has nothing on record yet
            sys.stderr.write(
                f"XQueue's database does not answer: courses that use {queue!r} only there are left out.\n"
            )
        return found or self._refuse(f"No course is known to use the queue {queue!r}.")

    def refusal(self) -> CommandError:
        """Return the error of what was found wrong. Where XQueue's database is all that is, that is the cause."""
        if self.away and not self.problems:
            means = (
                f"Nothing was done: the shim does not know {self._whom()}, and nobody can say whether XQueue does."
                f"{self._close()}"
            )
            do = self.away.do + (" Without XQueue: where an id is right, add --new." if self.unasked else "")
            return Failed(dataclasses.replace(self.away, means=means, do=do))
        return CommandError("\n".join(self.refused()), returncode=ExitCode.USAGE)

    def refused(self) -> list[str]:
        """Return what is wrong, and of what cannot be told whether it is."""
        if self.away is None or not (whom := self._whom()):
            return self.problems
        unasked = f"Whether XQueue has {whom} cannot be asked: {self.away.message}{self._close()}"
        return [*self.problems, unasked]

    def _whom(self) -> str:
        return course_names.listed([*self.unasked, *self.queues_unasked])

    def _close(self) -> str:
        """Return which course may have been meant, where XQueue was to be asked for one alone."""
        found = course_names.alike(self.unasked[0], self.suggestions) if len(self.unasked) == 1 else ()
        return f" Did you mean {' or '.join(found)}?" if found else ""

    def _is_known(self, course: str, where: str) -> bool:
        """Tell whether a whole id passes. Where it does not, the reason is among the problems, or it is unasked."""
        try:
            there = self.new or self._is_there(course)
        except DatabaseError:  # tables of an older release, or none
            if not self.way_back:
                raise
            there = True
        if there is None and not self.way_back:
            self.unasked.append(course)
        if there is False:
            lms = ", nor has the LMS" if catalogue.has_course(course) is False else ""
            said = f"No course {course!r}: the shim does not know it, XQueue has no row of it{lms}."
            self._refuse(f"{where}{said}", course)
        return bool(there) or (there is None and self.way_back)

    def _is_there(self, course: str) -> bool | None:
        """Tell whether anybody knows an id; None where XQueue, which is asked last, may be the one and is away."""
        if course in self.on_record or course in self.everywhere or _has_left_traces(course):
            return True
        if catalogue.has_course(course):
            return True
        if self.away:
            return None
        try:
            return soon(lambda: course_rows.has_course(course), _PATIENCE)
        except (*AWAY, TimeoutError) as error:
            self.away = causes.of_legacy(error)
            return None

    def _refuse(self, said: str, name: str = "") -> list[str]:
        """Keep a problem, with the courses that may have been meant, and what lets a whole id pass; return nothing."""
        whole = bool(name) and course_names.canonical(name) is not None
        if name and len(self.problems) < _SUGGESTED and (close := course_names.alike(name, self.suggestions)):
            said += f" Did you mean {' or '.join(close)}?"
        self.problems.append(said + (" If the id is right, add --new." if whole else ""))
        return []


def _has_left_traces(course: str) -> bool:
    """Tell whether a course without a record has a log (it was removed past the app), or a flag that is on."""
    return PhaseChange.objects.filter(course_id=course).exists() or any(toggles.flags_for(course))


def _in_state(found: list[str], wanted: Iterable[str]) -> list[str]:
    """Return the courses that stand where one of the wanted causes and one of the wanted phases says."""
    phases = {word for word in wanted if word in set(Phase)}
    causes = set(wanted) - phases
    if phases:
        recorded = dict(CoursePhase.objects.values_list("course_id", "phase"))
        found = [course for course in found if recorded.get(course, Phase.LEGACY) in phases]
    if causes:
        word = ranking.words(found)
        found = [course for course in found if word[course] in causes]
    return found


def _lines(path: str | None) -> Iterator[tuple[str, str]]:
    """Yield where each line of a file stands, and what it names, without comments and empty lines."""
    if path is None:
        return
    try:
        if path == "-":
            content = sys.stdin.buffer.read(_FILE_LIMIT + 1)
        else:
            with Path(path).open("rb") as file:
                content = file.read(_FILE_LIMIT + 1)
        if len(content) > _FILE_LIMIT:
            raise ValueError(f"it is larger than {_FILE_LIMIT} bytes")
        lines = content.decode("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise CommandError(f"--file: {path} cannot be read: {error}", returncode=ExitCode.USAGE) from error
    names = [(number, line.partition("#")[0].strip()) for number, line in enumerate(lines, 1)]
    if not any(name for _, name in names):
        raise CommandError(f"--file: {path} names no course.", returncode=ExitCode.USAGE)
    yield from ((f"--file: line {number}: ", name) for number, name in names if name)
