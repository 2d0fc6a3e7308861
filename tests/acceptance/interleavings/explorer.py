"""Playing the schedules of one pair of operations, and saying how to play one again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from migration_shim import toggles
from migration_shim.core.data import Phase
from tests.acceptance.interleavings import invariants, schedules
from tests.acceptance.interleavings.footprints import Meeting
from tests.acceptance.interleavings.operations import ON_LEGACY, ON_TARGET, OPERATIONS, World, in_process
from tests.acceptance.interleavings.scheduler import Played, Stage, elsewhere
from tests.acceptance.interleavings.schedules import Schedule, written
from tests.acceptance.interleavings.snapshots import Clock, fingerprint, known_tables


@dataclass(frozen=True, slots=True)
class Pair:
    """Two operations, by name, that meet in one phase."""

    one: str
    other: str
    phase: Phase

    def __str__(self) -> str:
        return f"{self.phase}: {self.one} + {self.other}"

    @classmethod
    def parsed(cls, text: str) -> Pair:
        """The pair of a text as ``str`` gives it."""
        phase, _, names = text.partition(": ")
        return cls(*names.split(" + "), phase=Phase(phase))


@dataclass
class Found:
    """What came of a pair: schedules played, different outcomes, and what does not hold, by schedule."""

    pair: Pair
    played: int = 0
    outcomes: int = 0
    broken: dict[str, list[str]] = field(default_factory=dict)

    def __str__(self) -> str:
        """What is broken, once each, with the first schedule that shows it and how to play that again."""
        first: dict[str, tuple[str, int]] = {}
        for schedule, found in self.broken.items():
            for text in found:
                shown, number = first.get(text, (schedule, 0))
                first[text] = shown, number + 1
        lines = [f"{self.pair}: {len(self.broken)} of {self.played} schedules, {self.outcomes} outcomes"]
        for text, (schedule, number) in first.items():
            lines += [f"  {text} ({number} schedules)", f'    INTERLEAVING="{self.pair} / {schedule}"']
        return "\n".join(lines)


class Explorer:
    """One pair in its world. Use it as a context: the app meets the world's XQueue, LMS and broker meanwhile."""

    def __init__(self, stage: Stage, pair: Pair, clock: Clock, monkeypatch: Any, settings: Any) -> None:
        self.stage, self.pair = stage, pair
        self.operations = OPERATIONS[pair.one], OPERATIONS[pair.other]
        users = [operation.user for operation in self.operations if operation.user is not None]
        #: An operation that is about no learner of its own is about the other's.
        default = ON_LEGACY if pair.phase is Phase.SHADOW else ON_TARGET
        self.users = [operation.user or (users or [default])[0] for operation in self.operations]
        self.world = World(pair.phase, clock, echo=any(operation.echo for operation in self.operations))
        self._around = in_process(monkeypatch, settings, self.world)
        self._known: dict[str, list[str]] = {}

    def __enter__(self) -> Explorer:
        self._around.__enter__()
        self.world.build(*(operation.setup for operation in self.operations))
        return self

    def __exit__(self, *error: Any) -> None:
        self._around.__exit__(*error)

    def meeting(self) -> Meeting:
        """What each of the two touches, whichever comes first."""
        first, second = ([one.steps for one in self.play(schedules.parsed(text))] for text in ("A B", "B A"))
        return Meeting(((first[0], second[0]), (first[1], second[1])), frozenset(known_tables()))

    def steps(self) -> tuple[int, int]:
        """How many steps each has, whichever comes first."""
        return self.meeting().steps

    def play(self, schedule: Schedule) -> list[Played]:
        """Begin again, and play one schedule."""
        self.world.put_back()
        works = tuple(
            self._process(operation.make(self.world, user))
            for operation, user in zip(self.operations, self.users, strict=True)
        )
        return self.stage.play(works, schedule)

    def _process(self, work: Callable[[], Any]) -> Callable[[], Any]:
        """A process of its own, which has cached nothing and sees the world's time."""

        def begin() -> Any:
            with elsewhere():
                toggles.new_work_cycle()
                self.world.clock.tell_server()
            return work()

        return begin

    def explore(self, wanted: Iterable[Schedule]) -> Found:
        """Play schedules; what two of them end in alike is finished and looked at once."""
        found = Found(self.pair)
        for schedule in wanted:
            played = self.play(schedule)
            outcome = fingerprint() + str([(one.died, repr(one.error)) for one in played])
            outcome += str([attempt.answer for attempt in self.world.attempts]) + str(self.world.delivered)
            outcome += str(invariants.at_once(self.world))
            if outcome not in self._known:
                self._known[outcome] = invariants.broken(self.world, self.operations, played)
            found.played += 1
            if self._known[outcome]:
                found.broken[written(schedule)] = self._known[outcome]
        found.outcomes = len(self._known)
        return found
