"""The phase machine: the phase that the flags ask for, the steps that are permitted, and the phase in force."""

from __future__ import annotations

from dataclasses import dataclass

from .data import Authority, Phase

_BY_FLAGS = {
    (False, False): Phase.LEGACY,
    (True, False): Phase.SHADOW,
    (True, True): Phase.LIVE,
    (False, True): Phase.COMPLETE,
}
_ORDER = tuple(Phase)


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseDecision:
    """
    The phase in force. ``drift`` is what the flags ask for and do not get; ``changed`` is set where a step is obeyed.
    """

    phase: Phase
    asked: Phase
    changed: bool

    @property
    def drift(self) -> bool:
        """Whether the flags ask for a phase that is not in force."""
        return self.phase is not self.asked


def asked_phase(*, dual_write: bool, target_primary: bool) -> Phase:
    """Return the phase that the two flags ask for."""
    return _BY_FLAGS[dual_write, target_primary]


def flags_of(phase: Phase) -> tuple[bool, bool]:
    """Return (dual_write, target_primary) for a phase."""
    return next(flags for flags, other in _BY_FLAGS.items() if other is phase)


def needs_permit(step_from: Phase, step_to: Phase) -> bool:
    """Tell whether a step gives learners' grades to the target, or takes legacy's copy away from it."""
    return step_to.authority is Authority.TARGET and _ORDER.index(step_to) > _ORDER.index(step_from)


def allowed_steps(phase: Phase) -> tuple[Phase, ...]:
    """Return the phases that a command may step to: the neighbours, and legacy as the emergency way back."""
    place = _ORDER.index(phase)
    neighbours = {_ORDER[index] for index in (place - 1, place + 1) if 0 <= index < len(_ORDER)}
    return tuple(step for step in _ORDER if step in neighbours or (step is Phase.LEGACY and phase is not step))


def decide(asked: Phase, recorded: Phase, *, permit: Phase | None) -> PhaseDecision:
    """
    Return the phase in force.

    A step that makes or keeps legacy authoritative is obeyed at once. A step that makes the target authoritative, or
    stops its copies, is obeyed only from the phase before it and only with a fresh ``permit`` for it. Otherwise the
    course stays in the recorded phase, and that is drift.

    Args:
        asked: the phase that the flags ask for.
        recorded: the last phase that was in force.
        permit: the phase that fresh evidence or an override permits, if any.
    """
    if asked is recorded or asked.authority is Authority.LEGACY:
        return PhaseDecision(phase=asked, asked=asked, changed=asked is not recorded)
    obeyed = asked in allowed_steps(recorded) and (not needs_permit(recorded, asked) or permit is asked)
    return PhaseDecision(phase=asked if obeyed else recorded, asked=asked, changed=obeyed)
