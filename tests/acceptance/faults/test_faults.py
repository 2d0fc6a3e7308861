"""
Every class of divergence, planted by its cause into clean pairs: all found, typed right, none invented.

What is found is compared with what was planted as a set of (submission, class), and every number of the document and of
the reports with the same set.
"""

import csv
import io
import json
from collections import Counter
from pathlib import Path

import pytest
from django.db import transaction

from migration_shim import api
from migration_shim.core.data import DivergenceClass, ExitCode, Verdict
from migration_shim.cutover import gate
from migration_shim.models import LedgerEntry
from migration_shim.reports import json_report
from migration_shim.reports.formats import RENDERERS, renderer_of
from tests.acceptance.faults.faults import BOTH, CLEAN, FAULTS, IMPOSSIBLE
from tests.builders import clean_pairs as course
from tests.builders import rows
from tests.builders.rows import COURSE, fresh  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
PHASES = pytest.mark.parametrize("phase", BOTH)


def faults_of(phase, *, later):
    """The faults that a phase can have; ``later``: those that a second look can find."""
    return {name: fault for name, fault in FAULTS.items() if phase in fault.phases and not (later and fault.once)}


def take(pairs, faults):
    """One pair for each fault: name -> pair."""
    older = [pair for pair in pairs if pair.newer]
    newer = {pair.newer.identity for pair in older}
    files = pairs[-course.FILES :]
    aside = {pair.identity for pair in (*older, *files)} | newer
    pools = {
        "plain": (pair for pair in pairs if pair.identity not in aside),
        "older": iter(older),
        "file": iter(files),
    }
    return {name: next(pools[fault.on]) for name, fault in faults.items()}


def reconcile(**options):
    """The document, and what was found as a multiset of (identity, class)."""
    found = []
    document = api.reconcile([COURSE], rows.ignore, found.append, **options)
    identities = dict(LedgerEntry.objects.values_list("pk", "identity"))
    return document, Counter((identities[item["entry"]], item["class"]) for item in found), found


def planted(taken):
    """What has to be found: a multiset of (identity, class)."""
    return Counter(
        (pair.identity, FAULTS[name].klass.value)
        for name, pair in taken.items()
        if name in FAULTS and not FAULTS[name].course_wide
    )


def leaks(taken):
    """How many of the planted faults are leaks that no entry has."""
    return sum(name in FAULTS and FAULTS[name].course_wide for name in taken)


@pytest.fixture
def build():
    """Clean courses whose files are taken away again."""
    made = []

    def make(*args):
        made.extend(course.build(*args))
        return made

    yield make
    course.remove_files(made[-course.FILES :])


def test_every_class_is_planted_in_every_phase_that_can_have_it():
    for phase in BOTH:
        there = {fault.klass for fault in faults_of(phase, later=False).values()}
        assert set(DivergenceClass) - there == {klass for klass, where in IMPOSSIBLE if where is phase}


def check(number, phase, build, *, later):
    pairs = build(number, phase)
    faults = faults_of(phase, later=later)
    taken = take(pairs, faults | CLEAN)
    everything = faults | CLEAN
    for name, pair in taken.items():
        everything[name].prepare(pair)
    if later:
        document, found, _ = reconcile()
        assert found == Counter()
        assert document.content["equal"] > 0.9 * number
        assert document.content["fence_leaks"] == document.content["double_authority"] == 0
    for name, pair in taken.items():
        everything[name].plant(pair)
    if not later:
        # Read before: a backfill notes what it finds.
        lost = taken["legacy lost it in flight"]
        LedgerEntry.objects.filter(identity=lost.identity).update(legacy_state="queued", legacy_id=lost.legacy.pk)
        gone = taken["gone by retention"]
        score = json.loads(gone.legacy.grader_reply)["score"]
        LedgerEntry.objects.filter(identity=gone.identity).update(
            legacy_state="graded", legacy_correct=score > 0, legacy_score=score, seen="x", legacy_id=gone.legacy.pk
        )
    document, found, listed = reconcile(full=True)
    expected = planted(taken)
    names = {pair.identity: name for name, pair in taken.items()}
    wrong = {names.get(one, one): klass for one, klass in (found - expected)}
    missed = {names.get(one, one): klass for one, klass in (expected - found)}
    assert (missed, wrong) == ({}, {})
    by_class = Counter(klass for _, klass in expected.elements())
    content = document.content
    assert +Counter(content["classes"]) == by_class
    assert content["diverged"] == len({identity for identity, _ in expected})
    assert content["fence_leaks"] == by_class["fence_leak"] + leaks(taken)
    assert content["double_authority"] == by_class["double_authority"]
    assert content["overdue"] == 0
    assert content["compared"] == content["of"] == LedgerEntry.objects.count()
    assert document.exit_code == ExitCode.DIFFERENCES
    reports_say(document.content, listed, by_class)


def reports_say(content, listed, by_class):
    """Every format has the planted number of each class."""
    report = api.diff_report(content, lambda: iter(listed))
    texts = {ending: "".join(render(report)) for ending, render in RENDERERS.items()}
    assert +Counter(json.loads(texts[".json"])["classes"]) == by_class
    assert Counter(json.loads(line)["class"] for line in json_report.lines(report)) == by_class
    assert Counter(row["class"] for row in csv.DictReader(io.StringIO(texts[".csv"], newline=""))) == by_class
    classes = "".join(renderer_of(Path("report.classes.csv"))(report))
    table = csv.DictReader(io.StringIO(classes, newline=""))
    # A leak needs no entry of the ledger.
    whole = by_class | ({"fence_leak": content["fence_leaks"]} if content["fence_leaks"] else {})
    assert {row["class"]: int(row["number"]) for row in table} == whole
    lines = texts[".txt"].split("\n")
    for klass, number in by_class.items():
        assert f"| `{klass}` | {whole[klass]} |" in texts[".md"]
        assert any(line.split() in ([klass, str(number)], [klass.replace("_", " "), str(number)]) for line in lines)
        assert f"of {number}" in texts[".html"]


@PHASES
@pytest.mark.parametrize("later", [False, True], ids=["before the first look", "after it"])
def test_all_are_found_typed_right_and_none_invented(phase, later, build):
    check(400, phase, build, later=later)


@pytest.mark.long
@pytest.mark.timeout(900)
@PHASES
@pytest.mark.parametrize("later", [False, True], ids=["before the first look", "after it"])
def test_the_same_among_ten_thousand(phase, later, build):
    check(10_000, phase, build, later=later)


def never_seen(pair):
    """Let the ledger know of a pair what it knew before the first reconcile."""
    entries = LedgerEntry.objects.filter(identity=pair.identity)
    entries.update(legacy_state="", seen="", result="none", settled_at=None, payload_compared_at=None)


class Undo(Exception):
    """Raised to take a savepoint back."""


@PHASES
def test_one_fault_in_one_problem_of_two_hundred_is_named(phase, build):
    """Three pairs a problem pass; with one of them at fault they do not, and the reasons say where it is."""
    pairs = build(600, phase, 200)
    rows.preflighted()
    faults = faults_of(phase, later=False)
    reconcile()
    result, _ = gate.evaluate_course(COURSE)
    assert (result.verdict, result.reasons) == (Verdict.PASS, ())
    silent = {}
    for name, fault in faults.items():
        pair = take(pairs, {name: fault})[name]
        try:
            with transaction.atomic(), transaction.atomic("xqueue"):
                never_seen(pair)
                fault.prepare(pair)
                if not fault.once:
                    reconcile()
                fault.plant(pair)
                document, _, _ = reconcile(full=True)
                result, _ = gate.evaluate_course(COURSE)
                about = document.content["fence_leaks"] if fault.klass is DivergenceClass.FENCE_LEAK else 1
                where = f"{about} fence leak" if fault.course_wide else pair.entry.item_id
                if result.verdict is Verdict.PASS or not any(where in reason for reason in result.reasons):
                    silent[name] = (result.verdict, result.reasons)
                raise Undo
        except Undo:
            pass
    assert silent == {}
