"""Every class of divergence has a remedy, what it says of the gate is what the gate does, and its page is there."""

import re
from pathlib import Path

import pytest

from migration_shim.core import remedies
from migration_shim.core.data import DETERMINISTIC, GRAVE, DivergenceClass, Verdict
from migration_shim.core.gate import evaluate
from migration_shim.core.remedies import Ending
from tests.core import test_gate as gates

DOCS = Path(__file__).resolve().parents[2] / "docs"
every = pytest.mark.parametrize("klass", DivergenceClass)


@every
def test_every_class_has_words_for_each_question(klass):
    remedy = remedies.REMEDIES[klass]
    for text in (remedy.means, remedy.todo, remedy.learner):
        assert text[0].isupper() and text.endswith(".") and len(text) < 160


def test_no_remedy_is_for_a_class_that_is_none():
    assert set(remedies.REMEDIES) == set(DivergenceClass)


def test_a_class_of_another_release_is_the_operators():
    assert remedies.described("of_next_year")["actor"] == "operator"


@every
def test_its_page_is_a_heading_of_the_runbook(klass):
    pages = [DOCS / "runbook.md", *(DOCS / "runbook").glob("*.md")]
    headings = {
        re.sub(r"[^\w -]", "", line.lstrip("# ").strip().lower()).replace(" ", "-")
        for page in pages
        if page.exists()
        for line in page.read_text(encoding="utf-8").splitlines()
        if line.startswith("#")
    }
    assert remedies.REMEDIES[klass].page in headings


@every
def test_what_ends_it_is_what_ends_it_for_the_gate(klass):
    """However many clean pairs come: the gate's own answer, not the sets that the remedy is made of."""
    many, one = gates.told("many", 50_000), {"diverged": 1, "classes": (klass.value,)}
    bad = gates.told("bad", 50_000, deterministic=int(klass in DETERMINISTIC), **one)
    found = evaluate(gates.whole(problems=(many, bad), stuck=int(klass == "stuck")), gates.WHOLE)
    outweighed = found.verdict is Verdict.PASS
    assert outweighed == (remedies.ending(klass) is Ending.PAIRS)
    assert (f"--cure {klass.value} " in remedies.described(klass)["ends"]) == (klass in GRAVE)
