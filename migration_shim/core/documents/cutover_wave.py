"""The document ``migration_shim.xqueue_cutover_wave/1``."""

from typing import Annotated, TypedDict

from msgspec import Meta

from ..data import Phase, Verdict
from .cutover import InFlight
from .parts import Count, Moment, one_of, says


class WaveCounts(TypedDict):
    """``counts``."""

    done: Count
    watched: Count
    failed: Count
    moved: Count
    planned: Count
    refused: Count
    waits: Count


CourseOfWave = TypedDict(
    "CourseOfWave",
    {
        "course": str,
        "state": Annotated[
            str,
            one_of("done", "watched", "failed", "moved", "planned", "refused", "waits"),
            says(
                "done: in the phase, and well by fresh evidence. watched: in it, without fresh evidence "
                "since. failed: in it, and not well. moved: by this call. planned: by this call with "
                "--execute. refused: by the gate or the phase machine. waits: for its turn."
            ),
        ],
        "from": Annotated[str, one_of(Phase), says("The phase in force before the call.")],
        "verdict": Annotated[
            Annotated[str, one_of(Verdict)] | None,
            says("The gate's verdict on a course moved or planned; null where it was not asked."),
        ],
        "overridden": bool,
        "reasons": list[str],
        "needed": list[str],
        "in_flight": InFlight | None,
    },
)


class CutoverWaveDocument(TypedDict):
    """
    A step of many courses.

    The document of xqueue_cutover for several courses.
    """

    schema: Annotated[str, one_of("migration_shim.xqueue_cutover_wave/1")]
    at: Annotated[Moment, says("When.")]
    to: Annotated[str, one_of(Phase), says("The phase asked for.")]
    reason: Annotated[str, says("Why, as the operator said it.")]
    limit: Annotated[int, Meta(ge=1), says("How many courses may be in flight.")]
    canary: Annotated[str, says("The course that goes first.")]
    counts: Annotated[WaveCounts, says("Courses by where they stand.")]
    stopped: Annotated[str | None, says("Why nothing further is moved; null where the wave goes on.")]
    courses: Annotated[list[CourseOfWave], says("Where each course stands, in the order of the wave.")]
    next: Annotated[list[str], says("The commands to go on with.")]
    executed: Annotated[bool, says("Whether courses were moved, as far as they may be.")]
