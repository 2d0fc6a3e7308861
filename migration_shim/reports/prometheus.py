"""The status in Prometheus' text format, for a textfile collector or another scraper of files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from ..core import ranking
from ..core.data import Phase, Verdict
from ..core.documents.cutover import SIDES
from ..core.documents.status import StatusDocument
from ..core.documents.status_course import RunTimes
from ..core.documents.status_judgement import CourseStatus

#: The values of the labels in their order, and the number; a sample whose number is None (not known) is left out.
Sample = tuple[tuple[str, ...], float | int | bool | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A gauge: its name without the prefix, help text, labels, and how its samples are read from the document."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    samples: Callable[[StatusDocument], Iterator[Sample]]


PREFIX = "migration_shim_"


def render(content: StatusDocument) -> str:
    """Return the metrics of a status document as text that ends with a line break."""
    lines: list[str] = []
    for metric in METRICS:
        name = PREFIX + metric.name
        lines += [f"# HELP {name} {_escaped(metric.help, quotes=False)}", f"# TYPE {name} gauge"]
        for values, number in metric.samples(content):
            if number is not None:
                named = (f'{label}="{_escaped(value)}"' for label, value in zip(metric.labels, values, strict=True))
                labels = ",".join(named)
                lines.append(f"{name}{{{labels}}} {_number(number)}" if labels else f"{name} {_number(number)}")
    return "\n".join(lines) + "\n"


def _escaped(text: str, *, quotes: bool = True) -> str:
    # A scraper reads UTF-8 only, so lone surrogates are escaped.
    text = text.encode("utf-8", "backslashreplace").decode().replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text


def _number(value: float | int | bool) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


def _site(read: Callable[[StatusDocument], float | int | bool | None]) -> Callable[[StatusDocument], Iterator[Sample]]:
    """Return a reader that yields one sample for the site."""

    def samples(content: StatusDocument) -> Iterator[Sample]:
        yield (), read(content)

    return samples


def _courses(read: Callable[[CourseStatus], float | int | bool | None]) -> Callable[[StatusDocument], Iterator[Sample]]:
    """Return a reader that yields one sample for each course."""

    def samples(content: StatusDocument) -> Iterator[Sample]:
        for course in content["courses"]:
            yield (course["course"],), read(course)

    return samples


def _each(read: Callable[[CourseStatus], Iterator[Sample]]) -> Callable[[StatusDocument], Iterator[Sample]]:
    """Return a reader that yields several samples for each course, whose own labels follow the course's."""

    def samples(content: StatusDocument) -> Iterator[Sample]:
        for course in content["courses"]:
            for labels, number in read(course):
                yield (course["course"], *labels), number

    return samples


def _breakers(key: Literal["failures", "open"]) -> Callable[[StatusDocument], Iterator[Sample]]:
    def samples(content: StatusDocument) -> Iterator[Sample]:
        for leg, state in content["breakers"].items():
            yield (leg,), state[key]

    return samples


def _queues(key: Literal["rows", "oldest_seconds"]) -> Callable[[StatusDocument], Iterator[Sample]]:
    def samples(content: StatusDocument) -> Iterator[Sample]:
        for queue in content["queues_without_watcher"]:
            yield (queue["side"], queue["queue"]), queue[key]

    return samples


def _phase(course: CourseStatus) -> Iterator[Sample]:
    for phase in Phase:
        yield (phase.value,), course["phase"] == phase


def _verdict(course: CourseStatus) -> Iterator[Sample]:
    for verdict in Verdict:
        yield (verdict.value,), course["verdict"] == verdict


def _word(course: CourseStatus) -> Iterator[Sample]:
    for word in ranking.ORDER:
        yield (word,), course["word"] == word


def _words(content: StatusDocument) -> Iterator[Sample]:
    for word in ranking.ORDER:
        yield (word,), content["counts"].get(word, 0)


def _unknown_courses(content: StatusDocument) -> int | None:
    found = content["xqueue"]
    return None if found["courses"] is None or found["known"] is None else found["courses"] - found["known"]


def _look_age(content: StatusDocument) -> float | None:
    looked_at = _timestamp(content["xqueue"]["looked_at"])
    return None if looked_at is None else max((_timestamp(content["at"]) or looked_at) - looked_at, 0.0)


def _in_flight(key: Literal["in_flight", "in_flight_oldest_seconds"]) -> Callable[[CourseStatus], Iterator[Sample]]:
    def samples(course: CourseStatus) -> Iterator[Sample]:
        for side in SIDES:
            states: Mapping[str, float] | None = course[key][side]
            if states is not None:
                for state in _STATES[side]:
                    yield (side, state), states.get(state, 0)

    return samples


def _copies(course: CourseStatus) -> Iterator[Sample]:
    copies: Mapping[str, Any] = course["copies"]
    for kind, counts in copies.items():
        for leg in ("missing", "failed"):
            yield (kind, leg), counts.get(leg, 0)


def _runs(read: Callable[[RunTimes], float | int | bool | None]) -> Callable[[CourseStatus], Iterator[Sample]]:
    def samples(course: CourseStatus) -> Iterator[Sample]:
        runs: Mapping[str, Any] = course["last_runs"]
        for kind, run in runs.items():
            yield (kind,), read(run) if run is not None else None

    return samples


def _timestamp(text: str | None) -> float | None:
    return datetime.fromisoformat(text).timestamp() if text else None


_STATES = {"legacy": ("queued", "pulled"), "target": ("pending", "pulled", "retry")}

#: All metrics, in the order in which they are written.
METRICS: tuple[Metric, ...] = (
    Metric(
        name="status_timestamp_seconds",
        help="When the status was read, in seconds since the epoch.",
        samples=_site(lambda content: _timestamp(content["at"])),
    ),
    Metric(
        name="kill_switch",
        help="Whether copies and runs are stopped everywhere.",
        samples=_site(lambda content: content["kill_switch"]),
    ),
    Metric(
        name="legacy_readable",
        help="Whether legacy's database answers. Without it nothing is said of what legacy holds.",
        samples=_site(lambda content: content["legacy_readable"]),
    ),
    Metric(
        name="breaker_open",
        help="Whether copies of a leg are not tried for now.",
        labels=("leg",),
        samples=_breakers("open"),
    ),
    Metric(
        name="breaker_failures",
        help="Failures of a leg in a row.",
        labels=("leg",),
        samples=_breakers("failures"),
    ),
    Metric(
        name="callback_hosts_unnamed",
        help="Hosts that submissions through our own door call back, and no setting names as this LMS's.",
        samples=_site(lambda content: len(content["callback_hosts"]["unnamed"])),
    ),
    Metric(
        name="ledger_of_another_lms",
        help="Whether the ledger belongs to another LMS, so that nothing acts on it.",
        samples=_site(lambda content: bool(content["ledger_complaint"])),
    ),
    Metric(
        name="watchers_past_the_seam",
        help="Addresses on record that log in at edx-submissions' own endpoint.",
        samples=_site(lambda content: len(content["watchers_past_the_seam"]["logins"])),
    ),
    Metric(
        name="queue_without_watcher_rows",
        help="Rows that wait in a queue from which nobody pulls. No sample for a queue that is served.",
        labels=("side", "queue"),
        samples=_queues("rows"),
    ),
    Metric(
        name="queue_without_watcher_oldest_seconds",
        help="How long the oldest of them has waited.",
        labels=("side", "queue"),
        samples=_queues("oldest_seconds"),
    ),
    Metric(
        name="ledger_entries",
        help="Entries of the ledger.",
        samples=_site(lambda content: content["ledger"]["rows"]),
    ),
    Metric(
        name="ledger_residue",
        help="Entries of the ledger whose residue has not been purged.",
        samples=_site(lambda content: content["ledger"]["residue"]),
    ),
    Metric(
        name="courses",
        help="Courses by where they stand in one word: the cause that the last gate or the status names.",
        labels=("word",),
        samples=_words,
    ),
    Metric(
        name="xqueue_courses",
        help="Courses of this LMS that XQueue has rows of; no sample before the watch has looked.",
        samples=_site(lambda content: content["xqueue"]["courses"]),
    ),
    Metric(
        name="xqueue_courses_unknown",
        help="Those of them that the shim does not know.",
        samples=_site(_unknown_courses),
    ),
    Metric(
        name="xqueue_courses_age_seconds",
        help="How long ago the watch came to the end of XQueue's courses.",
        samples=_site(_look_age),
    ),
    Metric(
        name="course_word",
        help="1 for the word that says where the course stands, 0 for the others.",
        labels=("course", "word"),
        samples=_each(_word),
    ),
    Metric(
        name="course_phase",
        help="1 for the phase that is in force, 0 for the others.",
        labels=("course", "phase"),
        samples=_each(_phase),
    ),
    Metric(
        name="course_drift",
        help="Whether the flags ask for a phase that is not in force.",
        labels=("course",),
        samples=_courses(lambda course: course["drift"]),
    ),
    Metric(
        name="course_past_the_shim",
        help="Whether the platform's own flag sends submissions past the shim without a release.",
        labels=("course",),
        samples=_courses(lambda course: any(item["what"] == "past_the_shim" for item in course["attention"])),
    ),
    Metric(
        name="course_permit_until_timestamp_seconds",
        help="Until when the gate permits the next step.",
        labels=("course",),
        samples=_courses(lambda course: _timestamp(course["permit_until"])),
    ),
    Metric(
        name="course_verdict",
        help="1 for the verdict of the last gate, 0 for the others.",
        labels=("course", "verdict"),
        samples=_each(_verdict),
    ),
    Metric(
        name="course_verdict_age_seconds",
        help="How old that verdict is.",
        labels=("course",),
        samples=_courses(lambda course: course["verdict_age_seconds"]),
    ),
    Metric(
        name="in_flight",
        help="Learners' submissions that a side has not finished.",
        labels=("course", "side", "state"),
        samples=_each(_in_flight("in_flight")),
    ),
    Metric(
        name="in_flight_oldest_seconds",
        help="How long ago the oldest of them arrived; 0 without any.",
        labels=("course", "side", "state"),
        samples=_each(_in_flight("in_flight_oldest_seconds")),
    ),
    Metric(
        name="unknown_lms",
        help="Open rows of legacy that name the course and a host of which no setting says whose it is.",
        labels=("course",),
        samples=_courses(lambda course: None if course["strangers"] is None else sum(course["strangers"].values())),
    ),
    Metric(
        name="failed",
        help="Learners' submissions that have failed for good on the target.",
        labels=("course",),
        samples=_courses(lambda course: course["failed"]),
    ),
    Metric(
        name="stuck_leases",
        help="Rows of the target that a grader has pulled and not answered within its lease.",
        labels=("course",),
        samples=_courses(lambda course: course["stuck_leases"]["rows"]),
    ),
    Metric(
        name="handed_out_in_vain",
        help="Rows of the target that were handed out again and again without a result.",
        labels=("course",),
        samples=_courses(lambda course: course["handed_out_in_vain"]),
    ),
    Metric(
        name="held_rows",
        help="Rows that a handoff holds: no grader has them.",
        labels=("course",),
        samples=_courses(lambda course: course["held"]["rows"]),
    ),
    Metric(
        name="held_oldest_seconds",
        help="For how long the oldest of them has been held; 0 without any.",
        labels=("course",),
        samples=_courses(lambda course: course["held"]["oldest_seconds"] or 0),
    ),
    Metric(
        name="returning_rows",
        help="Rows on their way back to legacy: no grader has them.",
        labels=("course",),
        samples=_courses(lambda course: course["returning"]["rows"]),
    ),
    Metric(
        name="returning_oldest_seconds",
        help="For how long the oldest of them has been on its way; 0 without any.",
        labels=("course",),
        samples=_courses(lambda course: course["returning"]["oldest_seconds"] or 0),
    ),
    Metric(
        name="copies_owed",
        help="Copies that are missing, or were tried and failed.",
        labels=("course", "copy", "state"),
        samples=_each(_copies),
    ),
    Metric(
        name="last_run_timestamp_seconds",
        help="When the last run of a kind ended; no sample while it runs, or where there was none.",
        labels=("course", "kind"),
        samples=_each(_runs(lambda run: _timestamp(run["finished_at"]))),
    ),
    Metric(
        name="last_run_complete",
        help="Whether the last run of a kind came to its end.",
        labels=("course", "kind"),
        samples=_each(_runs(lambda run: run["complete"])),
    ),
    Metric(
        name="last_full_reconcile_timestamp_seconds",
        help="When the last reconcile began that looked at everything.",
        labels=("course",),
        samples=_courses(lambda course: _timestamp(course["last_full_reconcile_at"])),
    ),
    Metric(
        name="fence_leaks",
        help="Copies that have reached a learner, or could; no sample before the first reconcile.",
        labels=("course",),
        samples=_courses(lambda course: course["fence_leaks"]),
    ),
    Metric(
        name="double_authority",
        help="Submissions that both systems had for real; no sample before the first reconcile.",
        labels=("course",),
        samples=_courses(lambda course: course["double_authority"]),
    ),
    Metric(
        name="counters_differed",
        help="Counters that did not say what the ledger says when a reconcile looked at everything last.",
        labels=("course",),
        samples=_courses(lambda course: course["counters_differed"]),
    ),
    Metric(
        name="undelivered",
        help="Learners who wait for a grade that nobody brings; no sample before a reconcile, nor outside an LMS.",
        labels=("course",),
        samples=_courses(lambda course: course["undelivered"]),
    ),
    Metric(
        name="undeliverable",
        help="Those of them for whom nothing can be done; the same.",
        labels=("course",),
        samples=_courses(lambda course: course["undeliverable"]),
    ),
    Metric(
        name="wrong_side",
        help="Submissions that reached legacy while the target was authoritative; no sample before a reconcile.",
        labels=("course",),
        samples=_courses(lambda course: course["wrong_side"]),
    ),
    Metric(
        name="overrides",
        help="Signed overrides of the gate that the phase of the course rests on.",
        labels=("course",),
        samples=_courses(lambda course: len(course["overrides"])),
    ),
    Metric(
        name="course_ledger_entries",
        help="Entries of the ledger that are a course's.",
        labels=("course",),
        samples=_courses(lambda course: course["ledger_rows"]),
    ),
)
