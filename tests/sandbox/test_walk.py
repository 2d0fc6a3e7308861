"""The walk: what it types, when it waits, and when it gives up. The page and the commands are a test's."""

import pytest

from sandbox import runbook, walk
from sandbox.waiting import NoProgress

PAGE = """# The first hour

## Walk the first course

1. One.

   ```bash
   one  # exit code 2 is all right here
   ```

   ```text
   $ no command
   ```

2. Two.

   ```bash
   two
   three "a # b"
   ```

   ```bash
   four  # until it says the end
   ```

## Next

```bash
never
```
"""


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Write a page, and what the commands on it do: a shell script for each."""
    monkeypatch.setattr(runbook, "INDEX", tmp_path / "runbook.md")
    monkeypatch.setattr(runbook, "PAGES", tmp_path / "runbook")
    (tmp_path / "runbook.md").write_text("# Runbook\n", encoding="utf-8")
    (tmp_path / "runbook").mkdir()
    (tmp_path / "runbook" / walk.PAGE).write_text(PAGE, encoding="utf-8")
    commands = tmp_path / "bin"
    commands.mkdir()
    (tmp_path / "serve.env").write_text(f'export PATH={commands}:"$PATH" COUNT={tmp_path}/count\n', encoding="utf-8")

    def does(**scripts):
        for name, script in scripts.items():
            path = commands / name
            path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
            path.chmod(0o755)
        return walk.Walk(tmp_path / "serve.env", lambda line: None, pause=0, patience=0.5)

    return does


#: Counts its calls in a file, and does the last part from the third on.
THIRD = 'echo x >> "$COUNT"; [ $(wc -l < "$COUNT") -ge 3 ]'


def typed(walking):
    return [screen.line.words for screen in walking.screens]


def test_the_page_is_read_block_by_block(page):
    page()
    assert [[line.words for line in block] for block in walk.blocks()] == [["one"], ["two", 'three "a # b"'], ["four"]]


def test_it_types_the_page_from_top_to_bottom(page):
    walking = page(one="exit 2", two="exit 0", three='[ "$1" = "a # b" ]', four="echo this is the end")
    walking.go()
    assert typed(walking) == ["one", "two", 'three "a # b"', "four"]


def test_a_block_is_typed_again_until_all_of_it_has_ended_well(page):
    third = f'if {THIRD}; then exit 0; else echo "  because of $(wc -l < "$COUNT")"; exit 10; fi'
    walking = page(one="exit 0", two="exit 0", three=third, four="echo the end")
    walking.go()
    assert typed(walking) == ["one", *["two", 'three "a # b"'] * 3, "four"]


def test_an_exit_code_that_the_page_does_not_allow_here_is_not_passed(page):
    walking = page(one="exit 3", two="exit 0", three="exit 0", four="echo the end")
    with pytest.raises(NoProgress, match=r"'one' to end well: nothing has changed for 0.5 s; last seen: exit code 3"):
        walking.go()
    assert set(typed(walking)) == {"one"}


def test_the_screen_has_to_say_what_the_page_waits_for(page):
    walking = page(one="exit 0", two="exit 0", three="exit 0", four="echo not yet")
    with pytest.raises(NoProgress, match="'four' to end well"):
        walking.go()


def test_the_same_reason_for_too_long_ends_it_in_the_words_of_the_screen(page):
    walking = page(one="echo 'BLOCKER  nobody_polls'; date +%N; exit 4")
    with pytest.raises(NoProgress, match="last seen: BLOCKER  nobody_polls"):
        walking.go()


def test_an_error_ends_it_at_once_with_the_screen(page):
    walking = page(one="exit 0", two="echo CommandError: no such course; exit 1")
    with pytest.raises(walk.Stuck, match="'two' ended with 1:\nCommandError: no such course"):
        walking.go()
    assert typed(walking) == ["one", "two"]


def test_a_command_that_is_not_there_ends_it_at_once(page):
    with pytest.raises(walk.Stuck, match="'one' ended with 127"):
        page().go()
