"""
Count the rows of one course as they stream past: by rule within queue and problem, and by their class for backfill.

Nothing of a row is kept but its id, as an example or because an operator has to look at the row. Cohorts, words and ids
are bounded, so memory does not grow with the rows. What exceeds a bound is counted together, never dropped.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from .classification import ParsedRow, Policy, classify, is_failed_push
from .data import Reply, RowClass, ScoreStyle
from .findings import Finding, found
from .identity import GRADED_DISPATCH
from .row_checks import Hit, grading_seconds, input_of, of_envelope, of_reply, of_score, of_siblings, of_times
from .row_rules import RULES
from .scoring import read_reply, style_of, style_sign

#: Queues, and pairs of queue and problem, that are told apart; the others are counted together.
COHORTS = 300
OTHERS = "(others)"
PROBLEMS = 10_000
#: Words kept with a count, and rows that are listed by id.
WORDS, LISTED = 5, 1000
#: Rows with files that are looked at, of a queue: so many in flight, and so many of the newest graded ones.
FILES_LOOKED = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class RowContext:
    """What stays the same while the rows of a course are counted."""

    policy: Policy
    shadow_suffix: str
    lease_seconds: float
    #: (points, whether they are assumed) of a problem, by usage key.
    points_of: Callable[[str], tuple[int, bool]]
    #: What the installed edx-submissions would store for (reply, points possible); None where that cannot be told.
    predict: Callable[[str, int], int | None] | None
    #: Whether scores of the course go on to another platform over LTI.
    lti: bool


@dataclass(slots=True, kw_only=True)
class HitCount:
    """The count of rows that meet one rule."""

    example: int
    rows: int = 0
    most: float = 0
    words: set[str] = field(default_factory=set)
    listed: list[int] = field(default_factory=list)

    def finding(self, code: str, queue: str, problem: str, about: str = "") -> Finding:
        """Return the count as a finding of this queue and problem."""
        about = about or (_ABOUT[code].format(self.most) if code in _ABOUT else ", ".join(sorted(self.words)))
        return found(
            RULES[code],
            queue=queue,
            problem=problem,
            about=about,
            rows=self.rows,
            example=self.example,
            listed=tuple(self.listed),
        )


_ABOUT = {"answer_over_limit": "up to {:,.0f} characters", "grading_over_lease": "up to {:,.0f} s"}


class HitCounts(dict[str, HitCount]):
    """The counts of one cohort, by the code of the rule."""

    def add(self, row_id: int, hits: Iterable[Hit]) -> None:
        """Count a row once for each rule that it meets, however often it meets it."""
        for code, together in _by_code(hits).items():
            count = self.setdefault(code, HitCount(example=row_id))
            count.rows += 1
            for hit in together:
                count.most = max(count.most, hit.size)
                if hit.word:
                    count.words.add(hit.word if len(count.words) < WORDS else "and others")


def _by_code(hits: Iterable[Hit]) -> dict[str, list[Hit]]:
    grouped: dict[str, list[Hit]] = {}
    for hit in hits:
        grouped.setdefault(hit.code, []).append(hit)
    return grouped


@dataclass(slots=True, kw_only=True)
class Cohort:
    """One problem of one queue. ``history`` is how many graded rows ``--history`` could import and have echoed."""

    points: int
    points_assumed: bool
    example: int
    rows: int = 0
    in_flight: int = 0
    history: int = 0
    longest_grading: float = 0
    inputs: set[str] = field(default_factory=set)
    counts: HitCounts = field(default_factory=HitCounts)
    #: What is wrong with scores if the queue has this style.
    by_style: dict[ScoreStyle, HitCounts] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Queue:
    """What the rows of one queue show about it."""

    #: The newest row that a grader pulled and whose grade the LMS accepted.
    newest_graded: int | None = None
    last_pull: datetime | None = None
    last_push: datetime | None = None
    pushed: int = 0
    #: One of the pushed rows.
    push_example: int | None = None
    signs: Counter[str] = field(default_factory=Counter)
    files_in_flight: deque[int] = field(default_factory=lambda: deque(maxlen=FILES_LOOKED))
    files_graded: deque[int] = field(default_factory=lambda: deque(maxlen=FILES_LOOKED))
    with_files: int = 0


class CourseRowCounts:
    """The counts of one course. ``see`` has to be called once for every row, in ascending order of id."""

    def __init__(self, facts: RowContext) -> None:
        self._facts = facts
        self.rows = 0
        self.classes: Counter[RowClass] = Counter()
        self.cohorts: dict[tuple[str, str], Cohort] = {}
        self.queues: dict[str, Queue] = {}
        #: The usage keys of the course's problems, of up to ``PROBLEMS``.
        self.problems: set[str] = set()

    def see(self, parsed: ParsedRow, siblings: list[ParsedRow]) -> None:
        """Count one row. ``siblings`` are the other rows that share its callback as XQueue compares it."""
        row_class = classify(parsed, siblings, self._facts.policy, present=False).row_class
        if row_class is RowClass.COPY:
            return  # our own copy, no learner's row
        row, envelope = parsed.row, parsed.envelope
        self.rows += 1
        self.classes[row_class] += 1
        queue = self._queue(parsed)
        cohort = self._cohort(row.queue_name, envelope.callback.item_id if envelope else "", row.id)
        if envelope is not None and len(self.problems) < PROBLEMS:
            self.problems.add(envelope.callback.item_id)
        cohort.rows += 1
        cohort.in_flight += not row.retired
        cohort.longest_grading = max(cohort.longest_grading, grading_seconds(row) or 0)
        hits = list(of_times(row, self._facts.lease_seconds))
        if envelope is None or parsed.digests is None:
            cohort.counts.add(row.id, [*hits, Hit("unreadable", parsed.problem)])
            return
        policy = self._facts.policy
        hits += of_envelope(envelope, parsed.digests.identity, policy.answer_limit, self._facts.shadow_suffix)
        hits += of_siblings(parsed, siblings)
        if row_class is RowClass.COLLIDED:
            hits.append(Hit("collided"))
        if envelope.callback.dispatch == GRADED_DISPATCH:
            hits += self._of_input(cohort, parsed)
            hits += self._of_reply(cohort, queue, parsed, final=row_class is RowClass.FINAL)
        cohort.counts.add(row.id, hits)
        if row_class is RowClass.COLLIDED and len(listed := cohort.counts["collided"].listed) < LISTED:
            listed.append(row.id)

    def _of_input(self, cohort: Cohort, parsed: ParsedRow) -> Iterator[Hit]:
        assert parsed.envelope is not None
        found_input = input_of(parsed.envelope)
        if not found_input:
            yield Hit("input_unknown")
            return
        cohort.inputs.add(found_input)
        # For problems that turn out to have only one input, these are left out of the findings.
        yield Hit("multi_input")

    def _of_reply(self, cohort: Cohort, queue: Queue, parsed: ParsedRow, *, final: bool) -> Iterator[Hit]:
        row, predict = parsed.row, self._facts.predict
        if row.return_time is None or is_failed_push(row) or predict is None:
            return
        reply, predicted = read_reply(row.grader_reply), predict(row.grader_reply, cohort.points)
        cohort.history += final and predicted is not None
        yield from of_reply(reply, predicted)
        if reply.score is not None and predicted is not None:
            self._judge(cohort, queue, row.id, reply, predicted)

    def _judge(self, cohort: Cohort, queue: Queue, row_id: int, reply: Reply, predicted: int) -> None:
        assert reply.score is not None
        queue.signs[style_sign(reply.score, cohort.points)] += 1
        for style, code in of_score(reply, predicted, cohort.points):
            cohort.by_style.setdefault(style, HitCounts()).add(row_id, [Hit(code)])

    def _queue(self, parsed: ParsedRow) -> Queue:
        row, envelope = parsed.row, parsed.envelope
        name = row.queue_name if row.queue_name in self.queues or len(self.queues) < COHORTS else OTHERS
        queue = self.queues.setdefault(name, Queue())
        queue.last_pull = max(filter(None, (queue.last_pull, row.pull_time)), default=None)
        if row.push_time is not None:
            queue.push_example = row.id
            queue.pushed += 1
            queue.last_push = max(filter(None, (queue.last_push, row.push_time)))
        graded = row.lms_ack and not is_failed_push(row)
        if envelope is not None and envelope.callback.dispatch == GRADED_DISPATCH and graded:
            queue.newest_graded = row.id
        if parsed.file_names:
            queue.with_files += 1
            (queue.files_graded if row.retired else queue.files_in_flight).append(row.id)
        return queue

    def _cohort(self, queue: str, problem: str, row_id: int) -> Cohort:
        key = (queue, problem)
        if key not in self.cohorts and len(self.cohorts) >= COHORTS:
            key = (queue if queue in self.queues else OTHERS, OTHERS)  # whose graders' style is known
        if key not in self.cohorts:
            points, assumed = self._facts.points_of(problem) if problem and key[1] != OTHERS else (1, bool(problem))
            self.cohorts[key] = Cohort(points=points, points_assumed=assumed, example=row_id)
        return self.cohorts[key]

    def style(self, queue: str) -> ScoreStyle:
        """Return what the graders of a queue call a score, by all of its scores."""
        return style_of(self.queues[queue].signs) if queue in self.queues else ScoreStyle.UNKNOWN

    def findings(self) -> Iterator[Finding]:
        """Yield what was found in the rows."""
        for (queue, problem), cohort in self.cohorts.items():
            counts = cohort.counts | cohort.by_style.get(self.style(queue), {})
            for code, count in counts.items():
                if code != "multi_input":
                    yield count.finding(code, queue, problem)
                elif len(cohort.inputs) > 1 and problem != OTHERS:
                    yield count.finding(code, queue, problem, f"{len(cohort.inputs)} inputs")
            if cohort.points_assumed:
                code = "lti_points_unknown" if self._facts.lti else "points_unknown"
                yield HitCount(example=cohort.example, rows=cohort.rows).finding(code, queue, problem)
