"""The document ``migration_shim.xqueue_cutover/1``."""

from typing import Annotated, Literal, TypedDict

from msgspec import Meta

from ..data import Authority, Phase, Verdict
from ..grader_queues import Holds
from .gate import OpenCause
from .overrides import Override
from .parts import Count, Moment, one_of, says

Flags = TypedDict(
    "Flags",
    {
        "migration_shim.dual_write": bool,
        "migration_shim.target_primary": bool,
    },
)


Side = Literal["legacy", "target"]
#: Both sides, for a loop over the keys of ``InFlight`` and its like.
SIDES: tuple[Side, ...] = ("legacy", "target")


class InFlight(TypedDict):
    """``in_flight``."""

    legacy: Annotated[
        dict[Annotated[str, one_of("queued", "pulled")], Count] | None,
        says("Unretired legacy rows; null where legacy's database does not answer."),
    ]
    target: Annotated[
        dict[Annotated[str, one_of("pending", "pulled", "retry")], Count],
        says("Real rows of the target that are not finished."),
    ]


class FateOfRows(TypedDict):
    """An item of ``becomes``."""

    side: Annotated[
        str, one_of("legacy", "target", "between"), says("Where they are; between the systems no grader has them.")
    ]
    rows: Annotated[Count | None, says("How many; null where legacy's database does not answer.")]
    what: Annotated[str, one_of("stay", "drain", "held", "returning")]
    how: str
    instead: Annotated[str | None, says("The command that moves them to the other side, or finishes the move.")]


class ServedQueue(TypedDict):
    """An item of ``serve``."""

    queue: str
    seam: Annotated[str, one_of(Authority), says("XQueue itself, or the target's watcher seam.")]
    holds: Annotated[str, one_of(Holds)]
    until_empty: Annotated[bool, says("Whether nothing new comes in.")]


class GraderTasks(TypedDict):
    """What a step asks of those who run graders and XQueue."""

    serve: Annotated[list[ServedQueue], says("The queues that graders must poll after the step.")]
    xqueues: Annotated[dict[str, None], says("The entries that XQUEUES in XQueue's settings needs for them.")]


_Step = TypedDict(
    "_Step",
    {
        "schema": Annotated[str, one_of("migration_shim.xqueue_cutover/1")],
        "course": Annotated[str, says("The course key, in its canonical form.")],
        "at": Annotated[Moment, says("When.")],
        "from": Annotated[str, one_of(Phase), says("The phase in force.")],
        "to": Annotated[str, one_of(Phase), says("The phase asked for.")],
        "reason": Annotated[str, says("Why, as the operator said it.")],
        "gated": Annotated[bool, says("Whether the step needs a PASS.")],
        "permitted": Annotated[bool, says("Whether it may be taken: the gate is open, not asked, or overridden.")],
        "overridden": Annotated[
            bool, says("Whether an override passes a gate that is not open; it is signed when the step is taken.")
        ],
        "override": Annotated[Override | None, says("The override on record; null where there is none, as in a plan.")],
        "verdict": Annotated[
            Annotated[str, one_of(Verdict)] | None, says("The gate's verdict; null for a step that needs none.")
        ],
        "causes": Annotated[
            list[OpenCause],
            Meta(extra_json_schema={"uniqueItems": True}),
            says(
                "What is open, by the gate: the codes that an override has to name. Empty for a step that "
                "needs no gate."
            ),
        ],
        "reasons": Annotated[list[str], says("Why it is not permitted.")],
        "needed": Annotated[list[str], says("What is missing.")],
        "flags_before": Annotated[Flags, says("The course's flags.")],
        "flags_after": Annotated[Flags, says("What the step makes of them.")],
        "authoritative_after": Annotated[str, one_of(Authority), says("Whose grade reaches the learner after it.")],
        "platform_flag_before": Annotated[
            bool,
            says(
                "Whether the platform's own send_to_submission_course.enable is on for the course; the step "
                "turns it off first. false outside an LMS."
            ),
        ],
        "in_flight": Annotated[InFlight, says("What each side still holds.")],
        "becomes": Annotated[list[FateOfRows], says("What becomes of the rows in flight.")],
        "remember": Annotated[str, says("What must go on running after the step.")],
        "way_back": Annotated[str | None, says("The command of the way back; null for a step to legacy.")],
        "next": Annotated[
            list[str],
            says("The commands to go on with once the step is taken; if it is not permitted, those to run now."),
        ],
    },
)


class CutoverPlan(_Step, GraderTasks):
    """A step as it is planned: the document, but for whether it was taken."""


class CutoverDocument(CutoverPlan):
    """
    A step of a course, planned or taken.

    The document of xqueue_cutover.
    """

    executed: Annotated[bool, says("Whether the step was taken.")]
