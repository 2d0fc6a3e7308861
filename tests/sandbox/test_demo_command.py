"""How the demo ends where it cannot go on: one message, and the stack only for who asks."""

import pytest
from django.core.management import CommandError, call_command

from sandbox.demo import stage
from sandbox.lms.management.commands import demo
from sandbox.waiting import NoProgress


@pytest.fixture
def plays(monkeypatch):
    """A demo that does what a test tells it to, after its first chapter has begun."""
    monkeypatch.setattr(demo, "prepare", lambda: None)
    monkeypatch.setattr(stage, "require_empty", lambda: None)

    def play_with(act):
        def play(told):
            told.chapter("Something")
            act(told)

        monkeypatch.setattr(demo.story, "play", play)

    return play_with


def raising(error):
    def act(told):
        raise error

    return act


def test_a_wait_in_vain_is_one_message_that_says_where(plays, capsys):
    plays(raising(NoProgress("waited for copies: nothing has changed for 120 s; last seen: 3 owed")))
    with pytest.raises(CommandError) as caught:
        call_command("demo")
    first, logs = str(caught.value).splitlines()
    assert first == (
        "the demo stopped in step 1 (Something): waited for copies: nothing has changed for 120 s; last seen: 3 owed"
    )
    assert "--traceback" in logs
    assert capsys.readouterr().err == ""


def test_an_error_without_words_has_its_name(plays):
    plays(raising(ConnectionError("refused")))
    with pytest.raises(CommandError, match=r"the demo stopped in step 1 \(Something\): ConnectionError: refused"):
        call_command("demo")


def test_an_interrupt_ends_it_as_a_shell_expects(plays):
    plays(raising(KeyboardInterrupt()))
    with pytest.raises(CommandError, match="the demo was interrupted in step 1") as caught:
        call_command("demo")
    assert caught.value.returncode == 130


def test_a_claim_that_does_not_hold_fails_it(plays):
    plays(lambda told: told.check("all is well", False))
    with pytest.raises(CommandError, match="the demo did not hold what it claims"):
        call_command("demo")
