"""Where a course stands in one word: from what the gate said and what the status sees, the worst of both."""

import itertools

import pytest

from migration_shim.core import ranking
from migration_shim.core.evidence import Cause

COURSE = "course-v1:ExU+CS106+2026"
NOT_POLLED = "preflight blocker: reverse_queue_not_polled q.reverse"
#: As the page for operators has it.
WORDS = (
    *("leak", "double_authority", "lost", "undelivered", "wrong_side", "unknown", "differs", "overdue", "blocked"),
    *("slow", "stale", "needs_pairs", "ready", "not_begun", "moved"),
)


def judged(*reasons, phase="shadow", old=()):
    return {
        "phase": phase,
        "causes": [word for word, _ in reasons],
        "reasons": [text for _, text in reasons],
        "old": list(old),
    }


def course(**changes):
    """A course in shadow that the gate lets pass, unless changes say otherwise."""
    run = {"complete": True}
    return {
        "course": COURSE,
        "phase": "shadow",
        "ledger_rows": 9,
        "permit": "live",
        "fence_leaks": 0,
        "double_authority": 0,
        "lost": None,
        "undelivered": None,
        "wrong_side": 0,
        "attention": [],
        "held": {"rows": 0, "oldest_seconds": None},
        "returning": {"rows": 0, "oldest_seconds": None},
        "last_runs": {"preflight": run, "reconcile": run, "gate": run},
        "gate": judged(),
        "blockers": [],
    } | changes


def stand(**changes):
    return ranking.standing(course(**changes))


def seen(what, *commands, text="seen"):
    return {"what": what, "text": text, "commands": list(commands)}


def test_the_words_are_those_of_the_page_in_their_order():
    assert ranking.ORDER == WORDS
    assert set(Cause) < set(ranking.ORDER)
    assert WORDS[:5] == ranking.ALARMS


@pytest.mark.parametrize("word", [cause for cause in Cause if cause not in (Cause.READY, Cause.MOVED)])
def test_the_gates_cause_is_the_word(word):
    found = stand(gate=judged((word, "why")))
    assert (found.word, found.because) == (word, ((word, "why"),))
    assert found.next or word == Cause.NEEDS_PAIRS


def test_the_worst_of_both_counts():
    """Each pair of a cause of the gate and a thing that the status sees, against the order of the page."""
    lives = {
        "leak": {"fence_leaks": 1},
        "undelivered": {"undelivered": 2},
        "overdue": {"attention": [seen("no_watcher")]},
        "blocked": {"attention": [seen("drift")]},
    }
    for (live, changes), cause in itertools.product(lives.items(), ("lost", "differs", "slow", "needs_pairs")):
        found = stand(gate=judged((cause, "why")), **changes)
        assert found.word == min((live, cause), key=WORDS.index)
        assert {reason.word for reason in found.because} == {live, cause}


def test_a_pass_with_its_permit_is_ready_and_names_the_step():
    found = stand()
    assert (found.word, found.because, found.actor) == ("ready", (), "operator")
    assert found.next == f"xqueue_cutover --course {COURSE} --to live --reason TEXT"


@pytest.mark.parametrize(
    "changes",
    [
        {"permit": None},
        {"gate": None},
        {"gate": judged(phase="legacy")},
        {"gate": judged(old=["the last reconcile is 30.0 h old, the limit is 24.0 h"])},
    ],
    ids=["no permit", "no gate", "another phase", "too old"],
)
def test_what_holds_no_longer_is_stale_and_never_ready(changes):
    assert stand(**changes).word == "stale"


def test_what_is_due_is_asked_for_first():
    none = {"preflight": None, "reconcile": None, "gate": None}
    assert stand(gate=None, last_runs=none).next == f"xqueue_preflight --course {COURSE}"
    half = none | {"preflight": {"complete": True}, "reconcile": {"complete": False}}
    assert stand(gate=None, last_runs=half).next == f"xqueue_reconcile --course {COURSE}"
    assert stand(gate=None).next == f"xqueue_gate --course {COURSE}"


@pytest.mark.parametrize("phase", ["legacy", "shadow"])
def test_a_routine_blocker_is_a_thing_to_do_while_something_else_is_missing(phase):
    found = stand(phase=phase, gate=judged(("blocked", NOT_POLLED), ("needs_pairs", "few"), phase=phase))
    assert (found.word, found.todo) == ("needs_pairs", ("reverse_queue_not_polled q.reverse",))


def test_a_routine_blocker_blocks_the_step_that_needs_it_once_nothing_else_is_missing():
    found = stand(gate=judged(("blocked", NOT_POLLED)), permit=None)
    assert (found.word, found.todo, found.next) == ("blocked", (), f"xqueue_preflight --course {COURSE}")
    assert stand(phase="live", gate=judged(("blocked", NOT_POLLED), phase="live"), permit=None).word == "blocked"


def test_another_blocker_is_never_routine():
    found = stand(gate=judged(("blocked", NOT_POLLED), ("blocked", "preflight blocker: queue_unknown q")))
    assert (found.word, found.because[0].text) == ("blocked", "preflight blocker: queue_unknown q")
    assert found.todo == ("reverse_queue_not_polled q.reverse",)


def test_in_complete_the_health_counts_and_no_old_verdict():
    old = judged(("differs", "why"), phase="live")
    found = stand(phase="complete", permit=None, gate=old)
    assert (found.word, found.next, found.actor) == ("moved", "", "nobody")
    assert stand(phase="complete", gate=old, undelivered=1).word == "undelivered"
    assert stand(phase="complete", gate=old, attention=[seen("no_watcher")]).word == "overdue"


def test_nothing_begun():
    nothing = {"phase": "legacy", "ledger_rows": 0, "permit": None, "gate": None}
    none = {"preflight": None, "reconcile": None, "gate": None}
    assert stand(**nothing, last_runs=none).word == "not_begun"
    assert stand(**nothing, last_runs=none).next == f"xqueue_preflight --course {COURSE}"
    assert stand(**nothing).next == f"xqueue_cutover --course {COURSE} --to shadow --reason TEXT"
    blocked = stand(**nothing, blockers=["files_no_storage"])  # what has to be mended comes before the step
    assert (blocked.word, blocked.todo) == ("not_begun", ("files_no_storage",))
    assert blocked.next == f"xqueue_preflight --course {COURSE}"
    assert stand(**nothing, attention=[seen("no_watcher")]).word == "not_begun"  # legacy's own matter
    assert stand(**nothing, fence_leaks=1).word == "leak"  # it was begun once
    assert stand(**nothing | {"ledger_rows": 1}).word == "stale"


@pytest.mark.parametrize(("seconds", "word"), [(599, "ready"), (601, "overdue"), (None, "overdue")])
def test_rows_that_are_on_their_way_for_too_long_are_overdue(seconds, word):
    held = {"rows": 1, "oldest_seconds": seconds}
    assert stand(held=held, attention=[seen("held", "finish it")]).word == word


def test_the_next_command_is_the_one_of_the_first_reason():
    moving = {"rows": 1, "oldest_seconds": 5}
    found = stand(held=moving, attention=[seen("held", "not this"), seen("drift", "this", "or that", text="drifts")])
    assert (found.word, found.next) == ("blocked", "this")


def test_a_cause_of_a_later_release_is_unknown_and_not_ready():
    assert stand(gate=judged(("something_new", "why"))).word == "unknown"


@pytest.mark.parametrize(
    ("reason", "actor"),
    [
        (("blocked", "preflight blocker: queue_reserved q"), "course_team"),
        (("blocked", "preflight blocker: file_unreachable (3 rows)"), "operator"),
        (("differs", "why"), "grader_team"),
        (("slow", "why"), "grader_team"),
        (("needs_pairs", "why"), "nobody"),
        (("leak", "why"), "operator"),
    ],
)
def test_who_has_to_act(reason, actor):
    assert stand(gate=judged(reason)).actor == actor


def test_courses_are_ranked_by_word_and_then_by_id():
    courses = [("b", "ready"), ("c", "leak"), ("a", "ready"), ("d", "moved"), ("e", "unknown")]
    assert ranking.rank(courses) == ["c", "e", "a", "b", "d"]
    assert list(ranking.counts(word for _, word in courses).items()) == [
        ("leak", 1),
        ("unknown", 1),
        ("ready", 2),
        ("moved", 1),
    ]


def test_names_are_as_short_as_they_can_be():
    names = ranking.short_names(
        [
            *("course-v1:ExU+CS1+2026", "course-v1:ExU+CS2+2025", "course-v1:ExU+CS2+2026", "course-v1:Oth+CS3+1"),
            *("course-v1:ExU+CS3+1", "course-v1:ExU+py+1", "course-v1:ExU+PY+1", "MITx/6.002x/2012", "no key"),
        ]
    )
    assert names == {
        "course-v1:ExU+CS1+2026": "CS1",
        "course-v1:ExU+CS2+2025": "ExU+CS2+2025",
        "course-v1:ExU+CS2+2026": "ExU+CS2+2026",
        "course-v1:Oth+CS3+1": "Oth+CS3",
        "course-v1:ExU+CS3+1": "ExU+CS3",
        "course-v1:ExU+py+1": "course-v1:ExU+py+1",
        "course-v1:ExU+PY+1": "course-v1:ExU+PY+1",
        "MITx/6.002x/2012": "6.002x",
        "no key": "no key",
    }
