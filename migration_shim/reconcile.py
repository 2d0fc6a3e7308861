"""
The run of ``xqueue_reconcile``: it compares what the two systems hold of each submission.

It compares outcomes and payloads, stores one result on each ledger entry, and proves that no fence leaks. The first run
of a course looks at all entries. Later runs look at what is open and at what is new, unless a full run is asked for.
Only changed results are written, and every number of the document is a count over the ledger. So a run that looked at a
hundredth of the entries gives the same document as one that looked at all.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings as django_settings
from django.utils.timezone import now

from . import toggles
from .comparison import candidates, linking, scan, sweep, twins
from .comparison.score_styles import ScoreStyles
from .conf import ShimSettings, load
from .core.data import Document, ExitCode, Grading
from .core.documents.parts import CourseProblem
from .core.documents.reconcile import ReconcileDocument
from .core.documents.reconcile_course import ReconciledCourse
from .core.histograms import Kind
from .core.reconcile_document import course_content, fence_known_upto, whole_content
from .cutover import gate, override_records
from .delivery import learner_side
from .delivery.totals import learner_totals
from .ledger import aggregates, counts, known_differences, recount
from .legacy import open_rows as legacy_open_rows
from .models import KnownDifference, Run
from .runs import garbage
from .runs import records as run_records
from .runs.control import Control, Progress, Stopped, nothing
from .runs.isolated import exit_code_of, run_step
from .runs.workers import sender
from .target import reader

#: How often a run scans a course at most, because each scan may teach it how a queue scores.
STYLES_SETTLE = 3
#: Seconds for which what legacy has in flight is kept for the next courses. A step forward reads it anew.
IN_FLIGHT_SECONDS = 30

Divergence = dict[str, Any]


def run(
    courses: list[str],
    progress: Progress,
    on_divergence: Callable[[Divergence], None] | None = None,
    *,
    grading: Grading = Grading.SHADOW,
    full: bool = False,
    tell: Callable[[str], None] = nothing,
    workers: str | None = None,
) -> Document[ReconcileDocument]:
    """
    Reconcile courses, each as a run of its own on record, and return the document of them all.

    Of several courses, one that fails or that another reconcile is at work on holds up no other: the document names it
    among its problems.

    Args:
        courses: their ids.
        progress: called with (entries looked at, entries to look at).
        on_divergence: called with every divergence on record of a course, after its run. Without it none is read.
        grading: ECHO first feeds legacy's stored replies to ungraded shadows, imported history included.
        full: look at settled entries too. The first run of a course, of a version and of other rules always does.
        tell: called with a short text while the run waits, and with an empty one when it goes on.
        workers: ``celery`` hands ranges of entries to the LMS's workers, which compare them instead of this process.

    Raises:
        RunLocked: only one course was named, and another reconcile is at work on it.
        ConfigurationError: the settings are not usable.
    """
    settings = load()
    documents: list[ReconciledCourse] = []
    at_work: list[Run] = []
    in_flight = legacy_open_rows.CachedRows(IN_FLIGHT_SECONDS)
    problems: list[CourseProblem] = []

    def keep_place() -> None:
        if at_work:  # a sweep is nobody's run
            run_records.keep_place(at_work[-1])

    send = None if workers is None else sender("reconcile")
    control_of_all = Control(toggles.stop_reason, settings=settings, tell=tell, beat=keep_place)
    with control_of_all as control, garbage.left_alone():

        def one(course_id: str) -> ReconciledCourse:
            with run_records.running("reconcile", course_id, judge=gate.review_permit) as record:
                at_work.append(record)
                reconcile = _CourseRun(
                    course_id, settings, grading, record, control, progress, send, in_flight, full, swept
                )
                content = reconcile.run()
                record.document = {**content, "on_record": aggregates.on_record(course_id, content["classes"])}
                record.complete = content["complete"]
            return content

        by_sweep = full and send is None and grading is Grading.SHADOW and sweep.is_worth_it(courses)
        swept = _swept(control, progress) if by_sweep else None
        for course_id in courses:
            content, said = (
                run_step("reconcile", course_id, one, course_id) if len(courses) > 1 else (one(course_id), "")
            )
            if content is None:
                problems.append({"course": course_id, "said": said})
                continue
            documents.append(content)
            if on_divergence is not None:
                for row in aggregates.divergences(course_id):
                    on_divergence(row | {"learner": keyed_hash(row["learner"])})
            if not content["complete"]:
                break
    whole = whole_content(courses, documents, problems, now())
    exit_code = exit_code_of(problems)
    if whole["diverged"] or whole["overdue"] or whole["fence_leaks"] or whole["double_authority"]:
        exit_code |= ExitCode.DIFFERENCES
    if not all(document["complete"] for document in documents):
        exit_code |= ExitCode.STOPPED
    return Document(content=whole, exit_code=exit_code)


def _swept(control: Control, progress: Progress) -> sweep.Swept | None:
    """Sweep the site, and return when that was; None where it was not done, so that each course's run does all."""
    began = now()
    try:
        opened, _ = run_step("sweep", "", sweep.open_changed, control, progress)
    except Stopped:  # the run of the first course stops as well, and says so in its document
        return None
    return None if opened is None else sweep.Swept(began, now())


class _CourseRun:
    """
    The run of one course.

    ``swept`` is when a sweep of the site has looked at what is settled. Where that serves, a full run need not.
    """

    def __init__(
        self,
        course_id: str,
        settings: ShimSettings,
        grading: Grading,
        record: Run,
        control: Control,
        progress: Progress,
        send: Callable[[int], None] | None,
        in_flight: legacy_open_rows.CachedRows,
        full: bool,
        swept: sweep.Swept | None,
    ) -> None:
        self.course_id, self.settings, self.record = course_id, settings, record
        self.control, self.progress, self.send, self.in_flight = control, progress, send, in_flight
        self.echo = grading is Grading.ECHO
        self.started = now()
        self.last = _comparable(course_id, record)
        styles = self.last.document["styles"] if self.last else {}
        self.styles = ScoreStyles.learnt(course_id, styles)
        if swept is not None and (self.styles.to_json()["known"] != styles or not swept.serves(record, self.last)):
            swept = None
        self.swept_at = swept.began if swept is not None else None
        self.before = None if full and self.swept_at is None else self.last
        self.scanned, self.total, self.stopped_by = scan.ScanCounts(), 0, ""
        control.waited.clear()  # of the course before

    def run(self) -> ReconciledCourse:
        try:
            self._stages()
        except Stopped as stopped:
            self.stopped_by = str(stopped)
        moment = now()
        # Read anew: an entry that was withdrawn while the run compared covers nothing.
        register = known_differences.with_expired(self.course_id)
        compared = known_differences.apply(self.course_id, moment, register)
        run_records.keep_place(self.record)
        return self._content(moment, compared, register)

    def _stages(self) -> None:
        """Do all that a stop may cut short."""
        linking.link_new_rows(self.settings, self.control)
        self._scan()
        if not self.echo:
            twins.judge_and_write(self.course_id, self.settings, self.control.check)
        candidates.settle(
            self.course_id, now(), timedelta(seconds=self.settings.late_reply_seconds), self.control.check
        )
        # Last: it goes by what the comparison has seen, and by rows and states as they are now.
        learner_side.ask_learners(self.course_id, self.settings, self.control.check)

    def _scan(self) -> None:
        """Scan the course; if that has taught how a queue scores, scan all of it again by what was learnt."""
        for _ in range(STYLES_SETTLE):
            before = self.scanned.compared
            self._scan_once()
            if self.scanned.compared == before:  # there is nothing new to learn from
                return
            learnt = ScoreStyles.learnt(self.course_id, self.styles.known)
            if learnt.known == self.styles.known:
                return
            # What was judged before this was known would be judged otherwise now.
            self.styles, self.before = learnt, None

    def _scan_once(self) -> None:
        self.control.check()  # also where no entry is to be looked at: a stopped run is no evidence
        request = scan.ScanRequest(
            course_id=self.course_id,
            since=self._since(),
            echo=self.echo,
            basis=scan.basis_of(self.record.versions, self.record.settings),
            styles=self.styles,
            at=self.started,
        )
        self.total = open_ones = candidates.count(self.course_id, since=request.since)
        if self.swept_at is not None and request.since is not None:  # the sweep has looked at the rest
            self.total = candidates.count(self.course_id, since=None)
            self.scanned.looked_at = self.total - open_ones
        scanner = scan.Scanner(request, self.settings, self.control)
        queues = [queue + suffix for queue in counts.queues(self.course_id) for suffix in self._suffixes()]
        if self.send is None:
            pages = candidates.pages(scanner.read, self.course_id, since=request.since, echo=self.echo, queues=queues)
        else:
            scan.scan_by_workers(request, self.record, self.control, self.settings, self.send, self.scanned, self._show)
            pages = candidates.touched_pages(scanner.read, self.course_id, since=request.since, queues=queues)
        for page in pages:
            self.control.turn()
            self.scanned.join(scanner.compare_page(page))
            self._show(self.scanned)

    def _show(self, scanned: scan.ScanCounts) -> None:
        self.progress(scanned.looked_at, max(self.total, scanned.looked_at))

    def _since(self) -> datetime | None:
        """Return from when on changes of settled entries are looked for; None for a scan of all entries."""
        if self.before is None:
            return None
        overlap = timedelta(seconds=self.settings.overlap_seconds)
        return datetime.fromisoformat(self.before.document["watermark"]) - overlap

    def _suffixes(self) -> tuple[str, str]:
        return "", self.settings.reverse_queue_suffix

    def _content(self, moment: datetime, compared: counts.Numbers, register: list[KnownDifference]) -> ReconciledCourse:
        course_id, record, complete = self.course_id, self.record, not self.stopped_by
        full = self.before is None or self.swept_at is not None
        before = self.last.document if self.last else {}
        # A run that looks at everything also counts everything; what it has found is said until one finds nothing.
        differed = before.get("counters_differed", 0)
        if full and complete:
            differed, compared = recount.mend(course_id), counts.bucketed(course_id)
        waited = self.scanned.waited + self.control.waited
        loose, loose_places = counts.loose_with_bins(course_id)
        numbers = counts.joined(compared, loose)
        places = [*counts.counted_bins(course_id, *Kind), *loose_places.items()]
        classes = aggregates.classes(numbers)
        counted = aggregates.of_course(course_id, numbers)
        reverse = [queue + self.settings.reverse_queue_suffix for queue in counted.queues]
        fenced_upto = reader.newest_item()
        known_upto = 0 if full else fence_known_upto(before)
        leaks = reader.half_fenced(course_id, known_upto=known_upto) + legacy_open_rows.count_naming(course_id, reverse)
        last_full_at = before.get("last_full_at")
        return course_content(
            course_id,
            counted.statuses,
            complete=complete,
            at=moment,
            full=full,
            last_full_at=(self.swept_at or self.started).isoformat() if full and complete else last_full_at,
            watermark=self.started.isoformat(),
            stopped_by=self.stopped_by,
            waited={kind: round(seconds, 1) for kind, seconds in waited.items()},
            counters_differed=differed,
            looked_at=self.scanned.looked_at,
            echoed=self.scanned.echoed,
            classes=classes,
            known_differences=counted.known,
            fence_leaks=classes["fence_leak"] + leaks,
            fence_looked_upto=fenced_upto,
            double_authority=classes["double_authority"],
            learners=learner_totals(course_id, places, self.settings),
            strangers=legacy_open_rows.count_unclaimed(self.in_flight.all_rows(), course_id),
            payloads_compared=counted.payloads_compared,
            queues=counted.queues,
            styles={queue: style.value for queue, style in sorted(self.styles.known.items())},
            cohorts=counted.cohorts,
            latency=aggregates.latency(places),
            noise=twins.twin_counts(numbers),
            confusion=aggregates.confusion(places),
            daily=aggregates.daily(numbers),
            overrides=override_records.described(course_id),
            register=known_differences.described_of(course_id, moment, register),
            versions=record.versions,
            settings_digest=run_records.digest(record.settings),
        )


def _comparable(course_id: str, record: Run) -> Run | None:
    """Return the last complete run if the same versions and rules made it; None where a full run is needed."""
    last = run_records.last_complete("reconcile", course_id)
    if last is None or last.document.get("last_full_at") is None or not recount.is_of_counters(last):
        return None
    same = last.versions == record.versions and scan.judged_by(last.settings) == scan.judged_by(record.settings)
    return last if same else None


def keyed_hash(learner: str) -> str:
    """Return a keyed hash of a learner's id, 12 hex digits, the same in every report of this installation."""
    key = django_settings.SECRET_KEY.encode()
    return hmac.digest(key, learner.encode("utf-8", "surrogatepass"), "sha256").hex()[:12]
