"""The numbers are the same in every format, and nothing that a report must say is left out of any."""

import json
import tracemalloc
from collections import Counter
from dataclasses import replace

import pytest

from migration_shim.reports import html_report as reports_html
from migration_shim.reports import json_report
from migration_shim.reports.formats import RENDERERS
from tests.reports import examples
from tests.reports.examples import COURSE
from tests.reports.reading import Page, markdown_rows, rendered, table, tables

REPORTS = {"demo": examples.demo, "every section": examples.large}
TEXTS = sorted({*RENDERERS} - {".json"})


render = rendered


def expected(report):
    """(course, word) -> number, straight from the document of the comparison."""
    numbers = Counter()
    for course in report.reconcile["courses"]:
        for key in ("equal", "diverged", "waiting", "overdue", "fence_leaks", "double_authority", "echoed"):
            numbers[course["course"], key.replace("_", " ")] = course[key]
        settled = course["equal"] + course["diverged"] + course["waiting"] + course["overdue"]
        numbers[course["course"], "known"] = course["compared"] - settled
    return numbers


@pytest.mark.parametrize("make", REPORTS.values(), ids=REPORTS)
def test_the_page_counts_as_the_document_does(make):
    report = make()
    page_read, document = Page(render(".html", report)), json.loads(render(".json", report))
    courses = document["courses"]
    for word in {word for _, word in expected(report)}:
        shown = [int(text) for _, text in page_read.all(data_count=word)]
        assert shown == [expected(report)[course["course"], word] for course in courses]
    assert [text for _, text in page_read.all(data_count="compared")] == [str(document["compared"])]
    assert [text for _, text in page_read.all(data_count="of")] == [str(document["of"])]
    for course, (_, text) in zip(courses, page_read.all("section", aria_label="Verdict"), strict=True):
        assert f"Compared {course['compared']} of {course['of']}" in text
        assert text.startswith(report.gates[course["course"]]["verdict"])


@pytest.mark.parametrize("make", REPORTS.values(), ids=REPORTS)
def test_the_table_counts_as_the_document_does(make):
    report = make()
    found = {kind: table(text) for kind, text in tables(report).items()}
    for course in found["courses"]:
        for word in {word for _, word in expected(report)}:
            assert int(course[word.replace(" ", "_")]) == expected(report)[course["course"], word]
    for key in ("compared", "of"):
        assert sum(int(course[key]) for course in found["courses"]) == report.reconcile[key]
    divergences = Counter(row["class"] for row in found["divergences"])
    assert divergences == Counter(item["class"] for item in report.divergences())
    by_class = Counter()
    for row in found["classes"]:
        by_class[row["class"]] += int(row["number"])
    assert by_class == +Counter(report.reconcile["classes"]) == divergences
    assert [int(row["pairs"]) for row in found["problems"]] == [item["pairs"] for item in report.reconcile["cohorts"]]


def test_a_file_has_one_kind_of_row():
    """Its columns are those of the kind, and no row leaves all but the course empty."""
    for kind, text in tables(examples.large()).items():
        rows = table(text)
        assert rows, kind
        for row in rows:
            assert sum(bool(value) for key, value in row.items() if key != "course") > 1, (kind, row)


@pytest.mark.parametrize("make", REPORTS.values(), ids=REPORTS)
def test_markdown_and_text_count_as_the_document_does(make):
    report = make()
    cells = markdown_rows(render(".md", report))
    shown = [(row[0].strip("`"), int(row[1])) for row in cells if len(row) == 2 and row[1].isdigit()]
    words = render(".txt", report).split("\n")
    for (course, word), number in expected(report).items():
        assert (word, number) in shown, course
        if word not in ("known", "echoed"):
            assert any(line.split() == [*word.split(), str(number)] for line in words)


@pytest.mark.parametrize("ending", RENDERERS)
def test_every_format_has_what_a_report_must_say(ending):
    report = examples.large()
    text, course = render(ending, report), report.reconcile["courses"][0]
    said = ["FAIL", "668 more graded pairs", str(course["compared"]), str(course["of"])]
    said += ["a course of 40 learners", "ada", "random tests, seed not fixed", "grace"]
    said += ["a signed override", "12 known differences are counted"]
    said += ["28882cd012e2", "edx-submissions", "25", "2026-11-21T03:00:00+00:00", "files", "order", "14.958", "26.5"]
    said += [] if ending == ".json" else [f"xqueue_gate --course {COURSE} --explain"]
    assert [word for word in said if word not in text] == []


@pytest.mark.parametrize("ending", TEXTS)
def test_what_a_document_has_not_is_said_to_be_missing(ending):
    text = render(ending, examples.demo())
    assert "not in this report" in text.lower()
    course = examples.demo().reconcile["courses"][0]
    kept = ("confusion", "daily", "styles", "noise", "learners")
    with_all = {key: examples.large().reconcile["courses"][0][key] for key in kept}
    with_all |= {
        "full": True,
        "looked_at": 7,
        "last_full_at": examples.MADE_AT,
        "watermark": "7",
        "payloads_compared": 7,
    }
    report = examples.demo()
    whole = replace(report, reconcile=report.reconcile | {"courses": [course | with_all]})
    assert "not in this report" not in render(ending, whole).lower()


@pytest.mark.parametrize("ending", TEXTS)
def test_a_run_that_was_stopped_is_no_evidence(ending):
    report = examples.large()
    course = report.reconcile["courses"][0] | {"complete": False}
    stopped = replace(report, reconcile=report.reconcile | {"complete": False, "courses": [course]})
    assert "this is not evidence" in render(ending, stopped)
    assert "this is not evidence" not in render(ending, report)
    assert f"xqueue_reconcile --course {COURSE}" in render(ending, stopped)


@pytest.mark.parametrize("ending", RENDERERS)
def test_a_report_of_no_course(ending):
    empty = {"courses": [], "cohorts": [], "compared": 0, "of": 0, "latency": {}}
    report = replace(examples.large(), reconcile=examples.large().reconcile | empty, gates={}, runs={})
    assert render(ending, replace(report, divergences=lambda: iter(())))


NEXT = {
    "PASS": (examples.gate("PASS", ()), f"xqueue_cutover --course {COURSE} --to live --reason TEXT"),
    "PASS, nowhere to go": (examples.gate("PASS", (), next_step=None), None),
    "FAIL": (examples.gate(), f"xqueue_gate --course {COURSE} --explain"),
    "STALE": (examples.gate("STALE"), f"xqueue_gate --course {COURSE} --explain"),
    "INCONCLUSIVE": (examples.gate("INCONCLUSIVE"), f"xqueue_gate --course {COURSE} --explain"),
}


@pytest.mark.parametrize("ending", TEXTS)
@pytest.mark.parametrize(("verdict", "command"), NEXT.values(), ids=NEXT)
def test_the_next_command_follows_the_verdict(ending, verdict, command):
    text = render(ending, examples.large(gates={COURSE: verdict}))
    assert (command or verdict["verdict"]) in text
    assert ("xqueue_cutover" in text) == (verdict["verdict"] == "PASS" and command is not None)


def test_a_large_course_renders_and_the_page_stays_small():
    report = examples.large(problems=200, diverged=0)
    names = [cohort["problem"] for cohort in report.reconcile["cohorts"]]
    report = replace(report, divergences=lambda: examples.divergences(100_000, names))
    html = render(".html", report)
    cards = Page(html).all("li", **{"data-divergence": "score"})
    assert len(cards) == reports_html.EACH
    assert "score: 25 of 25000" in html
    assert len(html) < 300_000
    assert len(Page(html).all("th", scope="row")) > 200


@pytest.mark.parametrize("show", [json_report.lines, RENDERERS[".csv"]])
def test_all_divergences_stream(show):
    names = [cohort["problem"] for cohort in examples.large().reconcile["cohorts"]]
    report = replace(examples.large(), divergences=lambda: examples.divergences(10_000, names))
    tracemalloc.start()
    lines = sum(1 for _ in show(report))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert lines >= 10_000
    assert peak < 2_000_000


def test_a_rare_class_is_not_crowded_out():
    names = ["a"]
    rare = next(examples.divergences(1, names)) | {"class": "fence_leak", "entry": 77}
    report = replace(examples.large(), divergences=lambda: iter([*examples.divergences(5000, names), rare]))
    for ending in (".html", ".md", ".txt"):
        text = render(ending, report)
        assert "fence_leak" in text
        assert "77" in text
