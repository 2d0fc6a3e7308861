"""Every format of the demo's report, byte for byte."""

import json

import pytest

from migration_shim.reports import json_report
from migration_shim.reports.formats import RENDERERS
from tests.reports import examples
from tests.reports.golden import ENDINGS, rendered


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_report_of_the_demo_is_what_it_was(ending):
    assert rendered(ending) == (examples.DATA / f"demo{ending}").read_bytes().decode()


def test_the_json_of_the_demo_is_read_and_written_alike():
    frozen = (examples.DATA / "demo.json").read_text(encoding="utf-8")
    assert "".join(json_report.render(examples.demo())) == frozen
    assert "".join(json_report.lines(examples.demo())) == (examples.DATA / "demo.jsonl").read_text(encoding="utf-8")


def test_the_same_report_renders_twice():
    report = examples.demo()
    for render in RENDERERS.values():
        assert "".join(render(report)) == "".join(render(report))


def test_the_demo_has_something_to_show():
    frozen = json.loads((examples.DATA / "demo.json").read_text(encoding="utf-8"))
    assert {gate["verdict"] for gate in frozen["report"]["gates"].values()} == {"INCONCLUSIVE", "FAIL"}
    assert frozen["diverged"] == 2
