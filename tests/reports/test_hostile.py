"""Names and messages come from rows that anybody could have written: they show as text, in every format."""

import csv
import io
import json
import re
import unicodedata
from dataclasses import replace

import pytest

from migration_shim.reports import json_report
from migration_shim.reports import terminal as text
from migration_shim.reports.escape import code_span, csv_cell, printable
from migration_shim.reports.formats import RENDERERS
from tests.reports import examples
from tests.reports.examples import COURSE
from tests.reports.reading import Page, markdown_rows, rendered, table, tables

HOSTILE = {
    "markup": "</pre></style></title><script>alert(1)</script><img src=//evil.example onerror=alert(1)>",
    "attribute": '" onmouseover="alert(1)" x=\'',
    "entity": "&lt;b&gt; &amp; &#60;",
    "template": "{{ 7|add:7 }}{% debug %}{# no #}",
    "brackets": "[a](http://evil.example) ![b](x) <http://evil.example> [[c]] www.evil.example",
    "pipes": "a|b\\|c\\\\|d || `tick` ``two`` ~~s~~ **b** _i_ # h",
    "backticks": "```\ncode\n```",
    "formula": '=HYPERLINK("http://evil.example","x")',
    "formula after a quote": '"=1+1',
    "formula after blanks": " \u00a0\t'@SUM(1)",
    "formula after a delimiter": "x;=cmd|' /C calc'!A0",
    "wide formula": "＝1+1",  # noqa: RUF001
    "minus": "-2+3",
    "plus": "+1",
    "tab": "\t=1",
    "return": "\r=1",
    "terminal": "\x1b[31mred\x1b]0;title\x07\x9b2J",
    "bidi": "\u202egnp.exe\u2066\u200f",
    "NUL": "a\0b",
    "lines": "a\nb\r\nc\u2028d\x85e",
    "half a surrogate": "x\ud800y",
    "not a character": "\ufffe\U000e0041",
}
TEXTS = sorted({*RENDERERS} - {".json"})


def hostile(text):
    """A report in which every name and text that a row or an operator can choose is this one."""
    content = examples.contents(answer=text, legacy_message=text, target_message=text)
    reasons = (f"queue {text}: 0 pairs", f"problem {text}: 1 divergence")
    return examples.large(
        queue=text,
        names=[text, f"{text}2"],
        what=text,
        diverged=8,
        content=content,
        gates={COURSE: examples.gate(reasons=reasons, needed=[f"5 more pairs in {text}"])},
        overrides=[examples.override(reason=text, signed_by=text)],
        known_differences=[examples.known_difference(reason=text, owner=text, queue=text, problem=text)],
    )


render = rendered


def acts(char, allowed):
    """Whether a terminal, a browser or an editor would do something at this character."""
    return char not in allowed and unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")


@pytest.mark.parametrize("ending", RENDERERS)
@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_in_a_report_acts(ending, name):
    whole = render(ending, hostile(HOSTILE[name]))
    whole.encode("utf-8")
    assert [
        char for char in whole if acts(char, "\r\n" if ending == ".csv" else "\n\t" if ending == ".html" else "\n")
    ] == []


@pytest.mark.parametrize("name", HOSTILE)
def test_a_page_shows_hostile_text_and_no_more(name):
    page, calm = Page(render(".html", hostile(HOSTILE[name]))), Page(render(".html", hostile("calm")))
    shape = [(tag, sorted(attributes)) for tag, attributes, _ in page.elements]
    assert shape == [(tag, sorted(attributes)) for tag, attributes, _ in calm.elements]
    shown = printable(HOSTILE[name])
    [(_, article)] = page.all("article")
    # three of the texts of a card, its own, and the two of its reasons
    assert article.count(shown.strip()) >= 8
    answers = [text for _, text in page.all("pre")]
    assert answers
    assert set(answers) == {printable(HOSTILE[name], lines=True).strip()}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_cell_of_a_table_is_a_formula(name):
    whole = tables(hostile(HOSTILE[name]))
    for one in whole.values():
        rows = table(one)
        assert rows
        assert all(len(row) == len(rows[0]) and None not in row for row in rows)
        for delimiter, starts in ((",", "=+-@＝＋－＠\t\r"), (";", "=+-@＝＋－＠")):  # noqa: RUF001
            for row in csv.reader(io.StringIO(one, newline=""), delimiter=delimiter):
                assert [value for value in row if value.strip(" \"'\u00a0`").startswith(tuple(starts))] == []
    # The text is there, apart from the backslash that keeps it from being a formula.
    bare = printable(HOSTILE[name]).replace("\\", "")
    assert {row["answer"].replace("\\", "") for row in table(whole["divergences"])} == {bare}
    assert {row["queue"].replace("\\", "") for row in table(whole["problems"])} == {bare}


def test_a_cell_keeps_what_is_no_formula():
    for value in (COURSE, "block-v1:ExU+PY1+2026+type@problem+block@a", "legacy 1, target -1", "a;b", 12, 0.5):
        assert csv_cell(value) == value
    assert csv_cell("=1") == "\\=1"
    assert csv_cell(-5) == -5


CODE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")


@pytest.mark.parametrize("name", HOSTILE)
def test_markdown_keeps_its_tables_and_has_no_markup_of_a_row(name):
    whole, calm = render(".md", hostile(HOSTILE[name])), render(".md", hostile("calm"))
    assert [len(row) for row in markdown_rows(whole)] == [len(row) for row in markdown_rows(calm)]
    assert len(whole.splitlines()) == len(calm.splitlines())
    assert CODE.sub("", whole) == CODE.sub("", calm)


def test_a_code_span_holds_any_text():
    assert code_span("a`b") == "`` a`b ``"
    assert code_span("``") == "``` `` ```"
    assert code_span("a|b") == "`a\\|b`"
    # After a backslash, readers of Markdown do not agree on what an escaped pipe is.
    assert code_span("a\\|b") == "`a\\\\x7cb`"
    assert code_span(" ") == code_span("") == "–"  # noqa: RUF001


@pytest.mark.parametrize("name", HOSTILE)
def test_json_is_valid_and_exact(name):
    report = hostile(HOSTILE[name])
    document = json.loads(render(".json", report))
    assert {cohort["queue"] for cohort in document["cohorts"]} == {HOSTILE[name]}
    assert document["report"]["overrides"][0]["reason"] == HOSTILE[name]
    lines = "".join(json_report.lines(report)).split("\n")
    assert lines.pop() == ""
    assert [json.loads(line)["what"] for line in lines] == [HOSTILE[name]] * 8
    assert {json.loads(line)["answer"] for line in lines} == {HOSTILE[name]}


@pytest.mark.parametrize("name", HOSTILE)
def test_the_terminal_gets_one_line_for_a_line(name):
    report = hostile(HOSTILE[name])
    printed = text.render(report.reconcile)
    assert [char for char in printed if acts(char, "\n")] == []
    assert len(printed.split("\n")) == len(text.render(hostile("calm").reconcile).split("\n"))
    assert printable(HOSTILE[name]) in printed


SECRETS = ("cafe1b3b73d49907bd901eacd552484d", "lms_key", "pullkey", "xqueue_header", "lms_callback_url", "s3cr3t")
LEAK = {
    "answer": SECRETS[0],
    "student_id": SECRETS[0],
    "raw_header": '{"lms_key": "s3cr3t", "lms_callback_url": "https://lms/s3cr3t"}',
    "pullkey": "s3cr3t",
    "lms_key": "s3cr3t",
    "grader_reply": "s3cr3t",
    "legacy_message": "s3cr3t",
}


def careless(value):
    """The same data with a learner's in every object of it, as a careless producer might leave them."""
    if isinstance(value, list):
        return [careless(item) for item in value]
    if isinstance(value, dict) and ("pairs" in value or "course" in value or "entry" in value or "reason" in value):
        return {key: careless(item) for key, item in value.items()} | LEAK
    return {key: careless(item) for key, item in value.items()} if isinstance(value, dict) else value


@pytest.mark.parametrize("ending", [*TEXTS, ".jsonl"])
def test_no_learner_is_shown_where_nobody_asked_for_content(ending):
    report = examples.large()
    noise = report.reconcile["courses"][0].pop("noise")
    leaking = replace(
        report,
        reconcile=careless(report.reconcile),
        gates=careless(report.gates),
        overrides=careless(report.overrides),
        known_differences=careless(report.known_differences),
        divergences=lambda: map(careless, report.divergences()),
    )
    assert noise
    assert SECRETS[0] in str([leaking.reconcile, *leaking.divergences()])
    show = json_report.lines if ending == ".jsonl" else RENDERERS[ending]
    whole = "".join(show(leaking))
    assert [secret for secret in SECRETS if secret in whole] == []
    assert whole == "".join(show(report))


@pytest.mark.parametrize("ending", [*TEXTS, ".jsonl"])
def test_content_is_shown_where_it_was_asked_for_and_the_file_says_so(ending):
    asked = examples.large(
        content=examples.contents(answer="print(41)", legacy_message="well done", target_message="no")
    )
    show = json_report.lines if ending == ".jsonl" else RENDERERS[ending]
    for word in ("print(41)", "well done"):
        assert word in "".join(show(asked))
        assert word not in "".join(show(examples.large()))
    if ending in (".html", ".md", ".txt"):
        assert "as learner data" in "".join(show(asked))
        assert "as learner data" not in "".join(show(examples.large()))


def test_a_long_message_does_not_drown_the_page():
    report = examples.large(diverged=1, content=examples.contents(answer="x" * 50_000))
    assert "and 46000 characters more" in render(".html", report)
    assert "x" * 4001 not in render(".html", report)
    assert "x" * 50_000 in "".join(json_report.lines(report))
