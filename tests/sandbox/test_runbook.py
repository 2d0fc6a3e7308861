"""What is read from the runbook's pages."""

import pytest

from sandbox import runbook

INDEX = """# Runbook

## To live

Run `xqueue_gate --course course-v1:A+B+C` first.

```bash
# Not a heading
xqueue_cutover --course course-v1:A+B+C --to live --reason "so there" --execute
```

### Deeper

`xqueue_status --course X`

## Other

`xqueue_known --list`
"""
PAGE = """# To live

`xqueue_preflight --course course-v1:A+B+C --probe`

# Elsewhere

`xqueue_purge`
"""


@pytest.fixture(autouse=True)
def pages(tmp_path, monkeypatch):
    """An index and one page."""
    folder = tmp_path / "runbook"
    folder.mkdir()
    (tmp_path / "runbook.md").write_text(INDEX, encoding="utf-8")
    (folder / "live.md").write_text(PAGE, encoding="utf-8")
    monkeypatch.setattr(runbook, "INDEX", tmp_path / "runbook.md")
    monkeypatch.setattr(runbook, "PAGES", folder)


def test_a_heading_is_found_on_every_page_whatever_its_level():
    assert runbook.commands("To live") == {
        "xqueue_gate --course ID",
        "xqueue_cutover --course ID --to live --reason TEXT",
        "xqueue_status --course ID",
        "xqueue_preflight --course ID --probe",
    }


def test_a_section_ends_at_the_next_heading_of_its_level():
    assert runbook.commands("Deeper") == {"xqueue_status --course ID"}
    assert runbook.commands("Other") == {"xqueue_known --list"}


def test_without_a_heading_all_pages_are_read():
    assert runbook.commands() >= {"xqueue_known --list", "xqueue_preflight --course ID --probe"}


def test_a_heading_that_no_page_has_is_an_error():
    with pytest.raises(KeyError, match="Nowhere"):
        runbook.commands("Nowhere")


def test_a_page_can_be_left_out():
    assert runbook.commands("To live", but="live.md") == runbook.commands("To live") - {
        "xqueue_preflight --course ID --probe"
    }
