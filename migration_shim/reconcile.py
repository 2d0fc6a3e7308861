"""
The comparison run: outcome against outcome, payload against payload, one result on each ledger entry, and the proof of
the fence.

The first run of a course looks at everything; later ones at what is open and what is new, unless asked for all. Only
changed results are written, and every count of a document is a count over the ledger, so that a run that looked at a
hundredth says the same as one that looked at all.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings as django_settings
from django.utils.timezone import now

from . import comparing, known, link, overrides, runs, selection, tallies, toggles
from .conf import ShimSettings, load
from .core.totals import course_content, whole_content
from .data import DivergenceClass, Document, ExitCode, Grading
from .legacy import rows as legacy_rows
from .models import LedgerEntry, Run
from .styles import Styles
from .target import reader

#: Entries compared at once; a page of glances holds more, most of which need no comparing.
BATCH = 500
#: Passes after which a run stops asking whether it has learnt how a queue scores.
STYLES_SETTLE = 3
#: Settings of which other values would give a pair another result.
JUDGED_BY = ("presence_grace_seconds", "grading_deadline_seconds")

Progress = Callable[[int, int], None]
Divergence = dict[str, Any]


def run(
    courses: list[str],
    progress: Progress,
    on_divergence: Callable[[Divergence], None] = lambda divergence: None,
    *,
    grading: Grading = Grading.SHADOW,
    full: bool = False,
) -> Document:
    """
    Reconcile courses, each as a run of its own on record.

    Args:
        courses: their ids.
        progress: called with (entries looked at, entries there are to look at).
        on_divergence: called with every divergence on record, after the run.
        grading: ECHO feeds legacy's stored replies to ungraded shadows first, imported history included.
        full: look at settled entries too. The first run of a course, of a version and of other rules always does.

    Raises:
        RunLocked: a reconcile of one of the courses is at work.
        ConfigurationError: the settings are not usable.
    """
    settings = load()
    documents = []
    for course_id in courses:
        with runs.running("reconcile", course_id) as record:
            content = _Reconcile(course_id, settings, grading, record, progress, full=full).run()
            record.document, record.complete = content, content["complete"]
        documents.append(content)
        for row in tallies.divergences(course_id):
            on_divergence(_described(row))
        if not content["complete"]:
            break
    content = whole_content(courses, documents, now())
    exit_code = ExitCode.OK
    if any(content[key] for key in ("diverged", "overdue", "fence_leaks", "double_authority")):
        exit_code |= ExitCode.DIFFERENCES
    if not content["complete"]:
        exit_code |= ExitCode.STOPPED
    return Document(content=content, exit_code=exit_code)


class _Reconcile:
    """One course's run."""

    def __init__(
        self, course_id: str, settings: ShimSettings, grading: Grading, record: Run, progress: Progress, *, full: bool
    ) -> None:
        self.course_id, self.settings, self.record, self.progress = course_id, settings, record, progress
        self.echo = grading is Grading.ECHO
        self.started = now()
        self.last = _comparable(course_id, record)
        self.before = None if full else self.last
        self.styles = Styles(course_id, self.last.document["styles"] if self.last else {})
        self.looked_at = self.echoed = 0

    def run(self) -> dict[str, Any]:
        complete = link.link_new_rows(self.settings, self.record) and self._walk()
        moment = now()
        selection.settle(self.course_id, moment, timedelta(seconds=self.settings.late_reply_seconds))
        known.apply(self.course_id, moment)
        return self._content(moment, complete=complete)

    def _walk(self) -> bool:
        """Look at what there is to look at; again at everything if that has taught how a queue scores."""
        for _ in range(STYLES_SETTLE):
            if not self._pass():
                return False
            learnt = Styles(self.course_id, self.styles.known)
            if learnt.known == self.styles.known:
                break
            # What was judged before this was known would be judged otherwise now.
            self.styles, self.before = learnt, None
        return True

    def _pass(self) -> bool:
        if _stopped():  # also where there is nothing to look at: a stopped run is no evidence
            return False
        since = self._since()
        total = selection.count(self.course_id, since=since)
        queues = [queue + suffix for queue in tallies.queues(self.course_id) for suffix in self._suffixes()]
        job = comparing.Job(
            settings=self.settings, styles=self.styles, register=known.of_course(self.course_id, self.started)
        )
        for page in selection.pages(self.course_id, since=since, echo=self.echo, queues=queues):
            if _stopped():
                return False
            ids = list(self._changed(page))
            for start in range(0, len(ids), BATCH):
                if start and _stopped():
                    return False
                self._compare(ids[start : start + BATCH], job)
            self.looked_at += len(page)
            runs.beat(self.record)
            self.progress(self.looked_at, max(total, self.looked_at))
        return True

    def _changed(self, page: list[selection.Glance]) -> dict[int, str]:
        basis = repr((self.record.versions, _judged_by(self.record)))
        return selection.changed(page, echo=self.echo, basis=basis, style=self.styles.style)

    def _compare(self, ids: list[int], job: comparing.Job) -> None:
        entries = list(LedgerEntry.objects.filter(id__in=ids).order_by("id"))
        if self.echo and (echoed := comparing.echo_entries(entries, self.settings)):
            self.echoed += echoed
            entries = list(LedgerEntry.objects.filter(id__in=ids).order_by("id"))
        # Read after the entries: what changes in between is found changed by the next run.
        seen = self._changed(selection.glances(ids))
        comparing.compare_entries([entry for entry in entries if entry.pk in seen], seen, job)
        runs.beat(self.record)

    def _since(self) -> datetime | None:
        """News are what happened since; None looks at everything."""
        if self.before is None:
            return None
        overlap = timedelta(seconds=self.settings.overlap_seconds)
        return datetime.fromisoformat(self.before.document["watermark"]) - overlap

    def _suffixes(self) -> tuple[str, str]:
        return "", self.settings.reverse_queue_suffix

    def _content(self, moment: datetime, *, complete: bool) -> dict[str, Any]:
        course_id, record = self.course_id, self.record
        classes = tallies.classes(course_id)
        reverse = [queue + self.settings.reverse_queue_suffix for queue in tallies.queues(course_id)]
        leaks = reader.half_fenced(course_id) + legacy_rows.naming(f"/courses/{course_id}/", reverse)
        full = self.before is None
        last_full_at = self.last.document["last_full_at"] if self.last else None
        return course_content(
            course_id,
            tallies.statuses(course_id),
            complete=complete,
            at=moment,
            full=full,
            last_full_at=self.started.isoformat() if full and complete else last_full_at,
            watermark=self.started.isoformat(),
            looked_at=self.looked_at,
            echoed=self.echoed,
            classes=classes,
            known_differences=tallies.known(course_id),
            fence_leaks=classes[DivergenceClass.FENCE_LEAK] + leaks,
            double_authority=classes[DivergenceClass.DOUBLE_AUTHORITY],
            payloads_compared=tallies.entries_of(course_id).filter(payload_compared_at__isnull=False).count(),
            queues=tallies.queues(course_id),
            styles={queue: style.value for queue, style in sorted(self.styles.known.items())},
            cohorts=tallies.cohorts(course_id),
            latency=tallies.latency(tallies.entries_of(course_id)),
            confusion=tallies.confusion(course_id),
            daily=tallies.daily(course_id),
            overrides=overrides.active(course_id, moment),
            register=known.described_of(course_id, moment),
            versions=record.versions,
            settings_digest=runs.digest(record.settings),
        )


def _stopped() -> bool:
    """Whether the kill switch is on by now."""
    toggles.new_work_cycle()
    return toggles.kill_switch_on()


def _comparable(course_id: str, record: Run) -> Run | None:
    """The last complete run whose results still hold: made by the same versions and rules. None asks for a full run."""
    last = runs.last_complete("reconcile", course_id)
    if last is None or last.document.get("last_full_at") is None:
        return None
    same = last.versions == record.versions and _judged_by(last) == _judged_by(record)
    return last if same else None


def _judged_by(record: Run) -> dict[str, Any]:
    """The settings that the result of a pair depends on."""
    return {name: record.settings.get(name) for name in JUDGED_BY}


def _described(row: dict[str, Any]) -> Divergence:
    return row | {"learner": keyed_hash(row["learner"]), "arrived_at": row["arrived_at"].isoformat()}


def keyed_hash(learner: str) -> str:
    """A short name for a learner, the same in every report of this installation and of no use outside it."""
    return hmac.new(
        django_settings.SECRET_KEY.encode(), learner.encode("utf-8", "surrogatepass"), "sha256"
    ).hexdigest()[:12]
