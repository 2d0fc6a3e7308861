"""Classify legacy rows for backfill: pure functions of a row, its siblings and a policy, defined for any row."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .data import LegacyRow, RowClass, State, Whose
from .errors import Malformed
from .identity import GRADED_DISPATCH, Digests, digests, has_suffix, in_sample, input_key
from .wire import Envelope, grader_name, is_sink, parse_envelope, parse_header

#: XQueue gives a row up once this many returns were refused (MAX_NUMBER_OF_FAILURES is 3, and it compares with ``>``).
GIVEN_UP_FAILURES = 4
#: Why another LMS's row is out of scope. An unknown host is one that no setting calls ours or another LMS's.
OTHERS = {Whose.FOREIGN: "other_lms", Whose.UNKNOWN: "unknown_lms"}
#: What a handoff writes into ``grader_id`` of a row that it takes from legacy's graders; the ledger entry's id follows.
MARK = "migration_shim:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What one backfill wants. ``courses`` and ``queues`` are None for all."""

    courses: frozenset[str] | None
    queues: frozenset[str] | None
    history: bool
    answer_limit: int
    files_readable: bool
    #: Whether collided rows, whose learners still wait, are imported.
    collided: bool = False
    #: What the name of a reverse-shadow queue ends in; empty: no queue is one.
    reverse_suffix: str = ""
    #: The share of learners in percent that are copied, by course; "*" stands for every other one.
    sample_percent: Mapping[str, float] = field(default_factory=dict)
    #: Endings that no author's queue may have on the target.
    suffixes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedRow:
    """A legacy row with what was read out of it. ``problem`` says why ``digests``, and maybe ``envelope``, is None."""

    row: LegacyRow
    envelope: Envelope | None
    problem: str
    digests: Digests | None
    file_names: tuple[str, ...]
    input_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The class of one row, with a short reason where the class has several."""

    row_class: RowClass
    reason: str = ""


def parse_row(row: LegacyRow, file_names: Iterable[str] | None) -> ParsedRow:
    """
    Parse one legacy row.

    Nothing is raised. A row that cannot be read comes back with the reason in ``problem``, whatever has gone wrong, and
    is counted and shown as malformed: one odd row must not keep all others from being read. A row of another LMS is not
    parsed. It has no envelope, digests or input, so that nothing is linked to it, copied from it or superseded by it.

    Args:
        row: the row.
        file_names: the original names of its files; None where they could not be read, and then it has no digests.
    """
    if row.whose is not Whose.OURS:
        problem = OTHERS[row.whose]
        return ParsedRow(row=row, envelope=None, problem=problem, digests=None, file_names=(), input_key="")
    try:
        return _parse(row, file_names)
    except Exception as error:
        problem = f"unexpected_{type(error).__name__}"
        return ParsedRow(row=row, envelope=None, problem=problem, digests=None, file_names=(), input_key="")


def _parse(row: LegacyRow, file_names: Iterable[str] | None) -> ParsedRow:
    try:
        envelope = parse_envelope(row.xqueue_header, row.xqueue_body)
    except Malformed as error:
        # A sink's token stands for learner, problem and input, as an input key does.
        key = row.lms_callback_url if is_copy(row) else ""
        return ParsedRow(row=row, envelope=None, problem=error.reason, digests=None, file_names=(), input_key=key)
    if file_names is None:
        # The course is known, only the contents are not. So the row counts in its course.
        return ParsedRow(
            row=row,
            envelope=envelope,
            problem="file_names_unreadable",
            digests=None,
            file_names=(),
            input_key=input_key(envelope),
        )
    names = tuple(sorted(file_names))
    return ParsedRow(
        row=row,
        envelope=envelope,
        problem="",
        digests=digests(envelope.header, row.xqueue_body, names),
        file_names=names,
        input_key=input_key(envelope),
    )


def plain_identity(row: LegacyRow) -> str | None:
    """
    Return the identity of a row without files from a few of its columns, or None where the whole row has to be parsed.

    This serves only to find an entry with that identity. It does not check whether the row can be read: the entry was
    made from a row that could.
    """
    if row.s3_keys not in ("", "{}") or row.whose is not Whose.OURS:
        return None
    try:
        header = parse_header(row.xqueue_header)
    except Malformed:
        return None
    return digests(header, row.xqueue_body, ()).identity


def is_handed_off(row: LegacyRow) -> bool:
    """
    Tell whether our own handoff has retired a row. Its pullkey is empty, so XQueue refuses a grader's reply to it.
    """
    return row.retired and not row.pullkey and row.grader_id.startswith(MARK)


def is_failed_push(row: LegacyRow) -> bool:
    """
    Tell whether XQueue could not push a row to its grader.

    If the LMS acknowledged such a row, it acknowledged no grade: XQueue itself reported the failure, as an operator's
    command does, and keeps no reply (xqueue, ``submission_queue/consumer.py``).
    """
    return row.push_time is not None and row.num_failures > 0 and not row.grader_reply


def same_input(one: ParsedRow, other: ParsedRow) -> bool:
    """Tell whether two rows are certainly attempts of one learner at one input."""
    return bool(one.input_key) and one.input_key == other.input_key


def legacy_state(parsed: ParsedRow, siblings: Iterable[ParsedRow]) -> State:
    """
    Return the state of a legacy row. ``siblings`` are the other rows with its truncated callback.

    XQueue retires a row in four ways and records none of them: an accepted return, four refused returns, a newer
    submission of the same input, and a submission whose callback only agrees in its first 128 characters (collided).
    Our own handoff leaves a mark. A row that a newer row has retired still accepts a late return. That reply reached
    the learner only if the newer row belonged to another input.
    """
    row = parsed.row
    if not row.retired:
        return State.QUEUED if row.pull_time is None else State.PULLED
    if is_handed_off(row):
        return State.HANDED_OFF
    newer = [other for other in siblings if other.row.id > row.id]
    if row.lms_ack and (row.return_time is None or is_failed_push(row)):
        return State.GIVEN_UP  # the LMS has acknowledged XQueue's or an operator's own "could not be graded"
    if row.lms_ack:
        # An acknowledged return after a newer attempt of the same input had arrived was ignored by the LMS.
        replaced = any(same_input(parsed, other) and _arrived_before_return(other, row) for other in newer)
        return State.SUPERSEDED if replaced else State.GRADED
    if row.num_failures >= GIVEN_UP_FAILURES:
        return State.GIVEN_UP
    if any(same_input(parsed, other) for other in newer):
        return State.SUPERSEDED
    if newer:
        return State.COLLIDED
    # Retired without an outcome and without a newer row: an operator's command did it, or the newer row was deleted.
    return State.GIVEN_UP


def _arrived_before_return(newer: ParsedRow, row: LegacyRow) -> bool:
    return row.return_time is not None and newer.row.arrival_time < row.return_time


def classify(
    parsed: ParsedRow, siblings: list[ParsedRow], policy: Policy, *, present: bool, wanted: bool = False
) -> Decision:
    """
    Return the one class of a row.

    Args:
        parsed: the row.
        siblings: the other legacy rows that share its truncated callback.
        policy: what this backfill wants.
        present: whether the target already holds this submission.
        wanted: whether the router owes this submission a shadow; if so it gets one although legacy has graded it since.
    """
    if (other := OTHERS.get(parsed.row.whose)) is not None:
        return Decision(row_class=RowClass.OUT_OF_SCOPE, reason=other)
    # A sink's callback names no course, so a row that could be read is a copy by its queue only.
    in_reverse = bool(policy.reverse_suffix) and parsed.row.queue_name.endswith(policy.reverse_suffix)
    if in_reverse or (parsed.envelope is None and is_copy(parsed.row)):
        return Decision(row_class=RowClass.COPY)
    if (outside := _outside(parsed, policy)) is not None:
        return outside
    if parsed.envelope is None or parsed.digests is None:
        return Decision(row_class=RowClass.MALFORMED, reason=parsed.problem)
    if parsed.envelope.callback.dispatch != GRADED_DISPATCH:
        return Decision(row_class=RowClass.DRAIN, reason="dispatch_not_score_update")
    if _is_duplicate(parsed, siblings):
        return Decision(row_class=RowClass.DUPLICATE)
    state = legacy_state(parsed, siblings)
    # A shadow that the router owes is written unless a newer attempt superseded the row. If the row collided, its
    # learner still waits.
    asked_for = (wanted and state is not State.SUPERSEDED) or (policy.collided and state is State.COLLIDED)
    if state in _RETIRED_CLASSES and not asked_for:
        return Decision(row_class=_RETIRED_CLASSES[state])
    if state is State.HANDED_OFF:
        return Decision(row_class=RowClass.PRESENT, reason="handed_off")
    if present:
        return Decision(row_class=RowClass.PRESENT)
    if (reason := _unfit(parsed, policy)) is not None:
        return Decision(row_class=RowClass.DRAIN, reason=reason)
    return Decision(row_class=RowClass.FINAL if state is State.GRADED and not wanted else RowClass.IMPORTED)


_RETIRED_CLASSES = {
    State.SUPERSEDED: RowClass.SUPERSEDED,
    State.COLLIDED: RowClass.COLLIDED,
    State.GIVEN_UP: RowClass.GIVEN_UP,
}


def is_copy(row: LegacyRow) -> bool:
    """Tell whether a row is a reverse shadow: its callback is our sink."""
    try:
        return is_sink(parse_header(row.xqueue_header).callback_url)
    except Malformed:
        return False


def _outside(parsed: ParsedRow, policy: Policy) -> Decision | None:
    if policy.queues is not None and parsed.row.queue_name not in policy.queues:
        return Decision(row_class=RowClass.OUT_OF_SCOPE, reason="other_queue")
    if parsed.envelope is not None and not _sampled(parsed.envelope, policy):
        return Decision(row_class=RowClass.OUT_OF_SCOPE, reason="not_sampled")
    if policy.courses is None:
        return None
    if parsed.envelope is None:
        # A row that names no course belongs to none; only a run over all of them reports it.
        return Decision(row_class=RowClass.OUT_OF_SCOPE, reason="no_course")
    if parsed.envelope.callback.course_id not in policy.courses:
        return Decision(row_class=RowClass.OUT_OF_SCOPE, reason="other_course")
    return None


def _sampled(envelope: Envelope, policy: Policy) -> bool:
    percent = policy.sample_percent.get(envelope.callback.course_id, policy.sample_percent.get("*", 100))
    return in_sample(envelope.body.anonymous_student_id, percent)


def _is_duplicate(parsed: ParsedRow, siblings: list[ParsedRow]) -> bool:
    """
    Tell whether another row with the same identity stands for the submission: the newest unretired one, else the
    newest.
    """
    rows = [other.row for other in siblings if other.digests == parsed.digests] + [parsed.row]
    best = max(rows, key=lambda row: (not row.retired, row.id))
    return best.id != parsed.row.id


def _unfit(parsed: ParsedRow, policy: Policy) -> str | None:
    assert parsed.envelope is not None
    body = parsed.envelope.body
    if body.student_response is None:
        return "answer_null"
    if answer_over(body.student_response, policy.answer_limit):
        return "answer_over_limit"
    if not parsed.envelope.header.queue_name:
        return "queue_name_empty"
    if has_suffix(parsed.envelope.header.queue_name, policy.suffixes):
        return "queue_name_reserved"
    if len(grader_name(body.grader_payload)) > 128:
        return "grader_name_too_long"
    if parsed.file_names and not policy.files_readable:
        return "no_legacy_storage"
    return None


def answer_over(answer: object, limit: int) -> bool:
    """
    Tell whether an answer's size is above a limit.

    A short text is not counted out: no character takes more than 12.
    """
    if isinstance(answer, str) and 12 * len(answer) + 2 <= limit:
        return False
    try:
        return answer_size(answer) > limit
    except RecursionError:  # it nests too deeply to be encoded
        return True


def answer_size(answer: object) -> int:
    """Return an answer's size as edx-submissions limits it: the number of characters of its ASCII-escaped JSON."""
    return len(json.dumps(answer))
