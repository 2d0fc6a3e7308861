"""Two reports: the demo's, frozen, and a made-up one with every section, in which every text can be made hostile."""

import json
import random
from itertools import count
from pathlib import Path

from migration_shim.core.data import DivergenceClass
from migration_shim.reports.report import Report

DATA = Path(__file__).parent / "data"
COURSE = "course-v1:ExU+PY1+2026"
MADE_AT = "2026-11-22T18:00:00+00:00"
VERSIONS = {"migration_shim": "0.1.0", "django": "5.2.8", "edx-submissions": "4.0.2"}


def demo():
    """The report at the end of ``make demo``, as it was once."""
    frozen = json.loads((DATA / "demo.json").read_text(encoding="utf-8"))
    lines = (DATA / "demo.jsonl").read_text(encoding="utf-8").splitlines()
    beside = frozen.pop("report")
    del beside["differences"]  # made of the divergences
    # The file does not say how often a row was handed out, which is among what tells why the target failed.
    return Report(reconcile=frozen, divergences=lambda: ({"leases": 5} | json.loads(line) for line in lines), **beside)


def gate(verdict="FAIL", reasons=("problem a: 3 divergences in presence, state or payload",), **changes):
    return {
        "schema": "migration_shim.xqueue_gate/1",
        "course": COURSE,
        "phase": "shadow",
        "next_step": "live",
        "verdict": verdict,
        "reasons": list(reasons),
        "needed": ["668 more graded pairs without a divergence"] if reasons else [],
        "evidence": {
            "arithmetic": {
                "pairs": 9000,
                "diverged": 30,
                "threshold": 0.01,
                "error": 0.05,
                "evidence": 0.016,
                "evidence_needed": 20.0,
            }
        },
        "ways_out": ["a signed override"],
        "notes": ["12 known differences are counted, and not held against the course"],
    } | changes


def divergences(number, problems, queue="exu-py1", what="legacy 1, target 0.5", course=COURSE):
    """As many divergences, spread over classes and problems."""
    classes = ("score", "correctness", "state", "presence")
    for index in range(number):
        yield {
            "entry": 1000 + index,
            "legacy_id": 5000 + index if index % 7 else None,
            "submission_id": 2000 + index if index % 5 else None,
            "course": course,
            "problem": problems[index % len(problems)],
            "queue": queue,
            "learner": f"{index:012x}",
            "arrived_at": f"2026-11-{1 + index % 22:02d}T09:30:00+00:00",
            "class": classes[index % len(classes)],
            "known": 7 if index % 9 == 8 else None,
            "what": what,
            "found_at": f"2026-11-{1 + index % 22:02d}T10:00:00+00:00",
        } | sides(index, what)


def sides(index=0, reason="too_large", **changes):
    """What both systems and the learner have of a submission."""
    failed = index % 4 == 2
    return {
        "authority": "legacy",
        "legacy_state": "graded",
        "legacy_correct": True,
        "legacy_score": 1.0,
        "legacy_seconds": 12.5,
        "legacy_leg": "stored",
        "legacy_reason": "",
        "target_state": "failed" if failed else "graded",
        "target_correct": None if failed else False,
        "target_score": None if failed else 0.5,
        "target_seconds": 9.25,
        "target_graded_at": "2026-11-20T09:31:02+00:00",
        "target_leg": "failed" if index % 4 == 3 else "stored",
        "target_reason": reason if index % 4 == 3 else "",
        "leases": 5,
        "points_possible": 10,
        "learner_said": "comparable",
        "learner_correct": True,
        "learner_score": 1.0,
    } | changes


def of_rows(batch):
    """What is only in the systems' own rows."""
    more = {"legacy_returned_at": "2026-11-20T09:31:05+00:00", "target_points": 5, "target_failures": 5}
    return [more for _ in batch]


def changed(what="legacy 1, target 0.5", **changes):
    """What has changed since an earlier run."""
    pair = {"then": 3, "now": 2}
    return {
        "course": COURSE,
        "run": 11,
        "finished_at": "2026-11-21T03:00:00+00:00",
        "verdict": {"then": None, "now": "FAIL"},
        "counts": {"of": {"then": 7, "now": 7}, "diverged": pair},
        "classes": [{"class": "score", "then": 3, "new": 1, "gone": 2, "now": 2}],
        "new": 1,
        "gone": 2,
        "listed_new": [{"entry": 1001, "class": "score", "what": what, "found_at": MADE_AT}],
        "listed_gone": [{"entry": 901, "class": "score", "is_now": "cured"}],
    } | changes


def large(problems=12, diverged=30, queue="exu-py1", names=None, what="legacy 1, target 0.5", content=None, **beside):
    """A made-up report with every section that a report may have."""
    names = names or [f"block-v1:ExU+PY1+2026+type@problem+block@{index:032x}" for index in range(problems)]
    dice = random.Random(1)
    cohorts = []
    for index, name in enumerate(names):
        found = sum(1 for number in range(diverged) if number % len(names) == index)
        counts = {"equal": dice.randint(200, 900), "known": index % 3, "diverged": found, "waiting": index % 4}
        counts["overdue"] = int(index == 4)
        counts = {key: number for key, number in counts.items() if number}
        cohorts.append({"course": COURSE, "queue": queue, "problem": name, "pairs": sum(counts.values()), **counts})
    sums = {
        key: sum(item.get(key, 0) for item in cohorts) for key in ("pairs", "equal", "diverged", "waiting", "overdue")
    }
    known = sum(item.get("known", 0) for item in cohorts)
    items = list(divergences(diverged, names, queue, what))
    classes = {klass.value: sum(item["class"] == klass.value for item in items) for klass in DivergenceClass}
    course = {
        "course": COURSE,
        "complete": True,
        "finished_at": MADE_AT,
        "of": sums["pairs"] + 17,
        "compared": sums["pairs"],
        "equal": sums["equal"],
        "diverged": sums["diverged"],
        "waiting": sums["waiting"],
        "overdue": sums["overdue"],
        "classes": classes,
        "known_differences": {"collided_on_legacy_only": known} if known else {},
        "echoed": 0,
        "fence_leaks": 0,
        "double_authority": 0,
        "counters_differed": 0,
        "cohorts": cohorts,
        "latency": {
            "legacy": {"graded": 640, "median": 14.958, "p90": 21.4, "p95": 30.1, "p99": 48.02},
            "target": {"graded": 640, "median": 10.734, "p90": 13.9, "p95": 17.6, "p99": 26.5},
        },
        "confusion": [
            {"legacy": one, "target": other, "pairs": pairs}
            for one, other, pairs in (
                ("wrong 0", "wrong 0", 2100),
                ("correct 0.5", "correct 0.5", 310),
                ("correct 1", "correct 1", 3400),
                ("correct 1", "correct 0.5", 22),
                ("correct 0.5", "wrong 0", 6),
                ("invalid reply", "correct 1", 2),
            )
        ],
        "daily": [
            {"day": f"2026-11-{day:02d}", "compared": 150 + 90 * (day % 7), "diverged": day % 3 * (day % 5)}
            for day in range(1, 23)
        ],
        "full": False,
        "last_full_at": "2026-11-21T03:00:00+00:00",
        "looked_at": 70,
        "watermark": "2026-11-22T17:55:00+00:00",
        "payloads_compared": sums["pairs"],
        "styles": {queue: "ratio"},
        "noise": {"twins": 260, "judged": 250, "differ": 1},
        "learners": {
            "applies": True,
            "receiver": True,
            "waiting": 2,
            "undeliverable": 1,
            "third_side": {
                "compared": 310,
                "as_both": 305,
                "as_legacy": 1,
                "as_target": 3,
                "as_neither": 1,
                "not_comparable": {"newer_attempt": 40, "submitted_later": 2},
            },
        },
    }
    keys = ("of", "compared", "equal", "diverged", "waiting", "overdue", "echoed", "fence_leaks", "double_authority")
    reconcile = {
        "schema": "migration_shim.xqueue_reconcile/1",
        "finished_at": MADE_AT,
        "complete": True,
        **{key: course[key] for key in keys},
        "classes": classes,
        "known_differences": course["known_differences"],
        "cohorts": cohorts,
        "latency": {COURSE: course["latency"]},
        "courses": [course],
        "not_compared": ["files", "order"],
        "since": [changed(what)],
    }
    beside = {
        "gates": {COURSE: gate()},
        "runs": {COURSE: {"run": 12, "versions": VERSIONS, "settings_digest": "28882cd012e2", "sample_percent": 25}},
        "overrides": [override()],
        "known_differences": [known_difference()],
    } | beside
    return Report(
        reconcile=reconcile,
        made_at=MADE_AT,
        divergences=lambda: iter(items),
        content=content,
        rows=of_rows,
        **beside,
    )


def override(**changes):
    return {
        "id": 3,
        "course": COURSE,
        "step_to": "live",
        "verdict": "INCONCLUSIVE",
        "causes": ["stale", "needs_pairs"],
        "reason": "a course of 40 learners",
        "signed_by": "ada",
        "seconded_by": "grace",
        "signed_at": "2026-11-20T10:00:00+00:00",
        "used_at": "2026-11-20T10:05:00+00:00",
        "expires_at": "2026-11-20T10:05:00+00:00",
    } | changes


def known_difference(**changes):
    return {
        "id": 7,
        "class": "score",
        "course": COURSE,
        "queue": "exu-py1",
        "problem": "",
        "reason": "random tests, seed not fixed",
        "owner": "grace",
        "expires_at": "2026-12-24T10:00:00+00:00",
        "state": "in force",
        "covers": 12,
    } | changes


def contents(**texts):
    """A source of learners' content that gives every divergence the same."""
    numbers = count()

    def give(batch):
        return [
            {"answer": f"print({next(numbers)})", "legacy_message": "ok", "target_message": None} | texts for _ in batch
        ]

    return give
