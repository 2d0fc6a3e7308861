"""The page is one file that asks nothing of the network, runs nothing, and can be read by anybody in both themes."""

import base64
import hashlib
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from django.template import Engine
from django.utils import translation

from migration_shim.reports import html_report as reports_html
from tests.reports import examples
from tests.reports.reading import Page

ROOT = Path(__file__).resolve().parents[2]
REPORTS = {"demo": examples.demo, "every section": examples.large}
either = pytest.mark.parametrize("make", REPORTS.values(), ids=REPORTS)
STYLE = (Path(reports_html.__file__).parent / "templates" / "report.css").read_text(encoding="utf-8")


def html(report):
    return "".join(reports_html.render(report))


@either
def test_it_asks_nothing_of_the_network_and_runs_nothing(make):
    read = Page(html(make()))
    tags = {tag for tag, _, _ in read.elements}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form", "video", "audio", "use"}
    for _, attributes, _ in read.elements:
        assert not any(name.startswith("on") or name in ("src", "style", "action") for name in attributes)
        assert attributes.get("href", "#").startswith("#")
    assert not re.search(r"url\(|@import|expression\(|https?:", STYLE)


@either
def test_its_policy_lets_its_own_style_through_and_nothing_else(make):
    whole = html(make())
    [style] = re.findall(r"<style>(.*?)</style>", whole, re.S)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    [(meta, _)] = Page(whole).all("meta", http_equiv="Content-Security-Policy")
    assert meta["content"] == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


@either
def test_it_has_landmarks_headings_in_order_and_headers_on_every_table(make):
    read = Page(html(make()))
    [(attributes, _)] = read.all("html")
    assert attributes["lang"] == "en"
    for tag in ("main", "h1", "title", "footer"):
        assert len(read.all(tag)) == 1
    levels = [int(tag[1]) for tag, _, _ in read.elements if re.fullmatch(r"h[1-6]", tag)]
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))
    names = [attributes["id"] for _, attributes, _ in read.elements if "id" in attributes]
    assert len(names) == len(set(names))
    for _, attributes, _ in read.elements:
        assert attributes.get("aria-labelledby") in (None, *names)
    for region, _ in read.all("div", **{"class": "scroll"}):
        assert region["tabindex"] == "0"
        assert region["role"] == "region"
    for attributes, text in read.all("th"):
        assert attributes["scope"] in ("col", "row", "rowgroup", "colgroup")
        assert text


@either
def test_every_chart_has_words_for_those_who_do_not_see_it(make):
    charts = Page(html(make())).all("svg")
    assert charts
    for attributes, _ in charts:
        assert attributes["role"] == "img"
        assert re.search(r"\d|table", attributes["aria-label"])


def test_a_verdict_comes_before_every_figure():
    read = Page(html(examples.large()))
    order = [attributes.get("aria-label") for tag, attributes, _ in read.elements if tag == "section"]
    assert order[0] == "Verdict"
    [(_, text)] = read.all("section", aria_label="Verdict")
    assert "problem a: 3 divergences in presence, state or payload" in text


def test_every_divergence_that_is_shown_can_be_found_again():
    cards = Page(html(examples.large(diverged=30))).all("ol")
    text = " ".join(text for _, text in cards)
    for item in examples.large(diverged=30).divergences():
        for key in ("entry", "legacy_id", "submission_id", "learner", "problem"):
            assert item[key] is None or str(item[key]) in text


def test_a_bar_is_full_and_shows_what_is_small():
    report = examples.large(problems=1, diverged=1)
    [rects] = [
        [
            attributes
            for tag, attributes, _ in Page(html(report)).elements
            if tag == "rect" and attributes["height"] == "8"
        ][:2]
    ]
    assert [rect["class"] for rect in rects] == ["equal", "diverged"]
    assert float(rects[0]["x"]) == 0
    assert float(rects[1]["x"]) == pytest.approx(float(rects[0]["width"]))
    assert float(rects[0]["width"]) + float(rects[1]["width"]) == pytest.approx(100)
    assert float(rects[1]["width"]) > 1


# Colours


def colours(theme):
    """The custom properties of a theme, as (red, green, blue)."""
    light, dark = re.findall(r":root \{(.*?)\}", STYLE, re.S)
    found = dict(re.findall(r"--([a-z-]+): #([0-9a-f]{6})", dark if theme == "dark" else light))
    return {name: tuple(int(value[at : at + 2], 16) for at in (0, 2, 4)) for name, value in found.items()}


def luminance(colour):
    """WCAG 2's relative luminance."""
    parts = [value / 255 for value in colour]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_and_charts_stand_out_in_both_themes(theme):
    named = colours(theme)
    text = [(ink, paper) for ink in ("ink", "muted", "link") for paper in ("bg", "card")]
    text += [(f"{verdict}-ink", f"{verdict}-bg") for verdict in ("pass", "fail", "inconclusive", "stale")]
    assert [pair for pair in text if contrast(named[pair[0]], named[pair[1]]) < 4.5] == []
    charts = [(part, "card") for part in ("equal", "known", "diverged", "waiting", "overdue", "legacy", "target")]
    assert [pair for pair in charts if contrast(named[pair[0]], named[pair[1]]) < 3] == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_numbers_stand_out_on_every_shade_of_the_table_of_scores(theme):
    named, block = colours(theme), re.findall(r":root \{(.*?)\}", STYLE, re.S)[theme == "dark"]
    for name in ("same", "other"):
        tint = [int(part) for part in re.search(rf"--{name}: (\d+) (\d+) (\d+)", block).groups()]
        shades = re.findall(rf"\.{name}\.k\d \{{ background: rgb\(var\(--{name}\) / (\.\d+)\)", STYLE)
        assert len(shades) == 5
        for share in map(float, shades):
            mixed = [share * above + (1 - share) * below for above, below in zip(tint, named["card"], strict=True)]
            assert contrast(named["ink"], mixed) >= 4.5


# The host project


def test_the_host_projects_templates_and_language_do_not_matter(settings):
    expected = html(examples.large())
    settings.TEMPLATES = []
    settings.USE_THOUSAND_SEPARATOR = True
    with translation.override("de"):
        assert html(examples.large()) == expected


def test_a_value_that_a_template_asks_for_is_there(monkeypatch):
    """Django renders a missing name as nothing; a page with a hole in it would look like a page."""
    strict = Engine(dirs=[reports_html._FOLDER], string_if_invalid="MISSING %s")
    monkeypatch.setattr(reports_html, "_engine", lambda: strict)
    for make in REPORTS.values():
        assert re.findall(r"MISSING \S+", html(make())) == []


def test_an_installation_has_the_templates(tmp_path):
    words = [sys.executable, "setup.py", "--quiet", "egg_info", "--egg-base", str(tmp_path)]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    [sources] = tmp_path.glob("*.egg-info/SOURCES.txt")
    listed = {line for line in sources.read_text().splitlines() if line.startswith("migration_shim/reports/templates/")}
    assert listed == {str(path.relative_to(ROOT)) for path in reports_html._FOLDER.iterdir()}
    assert "include_package_data=True" in (ROOT / "setup.py").read_text()
