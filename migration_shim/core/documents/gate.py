"""The document ``migration_shim.xqueue_gate/1``."""

from typing import Annotated, NotRequired, TypedDict

from msgspec import Meta

from ..data import DivergenceClass, Phase, Verdict
from ..evidence import Arithmetic, Cause
from .overrides import Override
from .parts import Count, Moment, one_of, says

#: What can be open. ``ready`` and ``moved`` say that nothing is.
OpenCause = Annotated[str, one_of(*(cause for cause in Cause if cause not in (Cause.READY, Cause.MOVED)))]
#: What holds between keys; docs/schemas.py adds it to the schema.
BETWEEN_KEYS = {
    "if": {"properties": {"verdict": {"const": Verdict.PASS.value}}},
    "then": {"properties": {"reasons": {"maxItems": 0}, "needed": {"maxItems": 0}}},
    "else": {"properties": {"reasons": {"minItems": 1}}},
}

RegisteredDifference = TypedDict(
    "RegisteredDifference",
    {
        "id": Annotated[Count, says("Its number.")],
        "class": Annotated[str, one_of(DivergenceClass), says("The class of divergence.")],
        "course": Annotated[str, says("The course; empty for all.")],
        "queue": Annotated[str, says("The queue; empty for all.")],
        "problem": Annotated[str, says("The problem; empty for all.")],
        "reason": Annotated[str, says("Why it is harmless.")],
        "owner": Annotated[str, says("Who answers for it.")],
        "created_at": Annotated[Moment, says("Since when.")],
        "expires_at": Annotated[Moment, says("Until when.")],
        "state": Annotated[str, one_of("in force", "expired", "withdrawn"), says("Whether it covers anything now.")],
        "covers": Annotated[Count, says("Divergences on record that it covers.")],
    },
)

Register = Annotated[
    list[RegisteredDifference],
    says(
        "The register of known differences as far as it concerns the course, what has expired or was withdrawn "
        "included."
    ),
]


class CohortTally(TypedDict):
    """A problem of ``evidence.problems``, or a queue of ``evidence.queues``."""

    name: Annotated[str, says("The problem's usage key, or the queue's name.")]
    entries: Annotated[Count, says("Submissions whose copy was wanted, known differences apart.")]
    graded_pairs: Annotated[Count, says("Graded on both sides, or diverged and final.")]
    diverged: Annotated[Count, says("Unexplained differences.")]
    deterministic: Annotated[Count, says("Entries that differ in a way that no random grader explains.")]
    echoed: Annotated[Count, says("Of the graded pairs: by an echo of legacy's reply, not by a grader.")]
    known: Annotated[Count, says("Entries whose differences are all known.")]
    classes: Annotated[
        list[Annotated[str, one_of(DivergenceClass)]], says("The deterministic classes found, and stuck.")
    ]
    payload_compared: Annotated[
        Count | None,
        says(
            "Entries whose payloads were compared as a whole, or whose copy is on its way; null when "
            "payloads were not looked at."
        ),
    ]
    twins: Annotated[Count, says("Shadows that the target has graded twice.")]
    twins_differ: Annotated[Count, says("Of these, graded otherwise the second time.")]
    elsewhere: Annotated[Count, says("Graded pairs whose grader did not pull through the watcher seam.")]
    side_effects: Annotated[
        bool, says("Of queues only: declared to have graders that must not grade twice (SIDE_EFFECT_QUEUES).")
    ]
    before: NotRequired[
        Annotated[
            Count, says("Pairs that a grader graded through the watcher seam before the course was last taken back.")
        ]
    ]
    aged: NotRequired[Annotated[Count, says("Clean pairs that are older than EVIDENCE_DAYS and do not count.")]]
    idle: NotRequired[
        Annotated[bool, says("Whether no submission has come for EVIDENCE_DAYS; nothing is asked of such a queue.")]
    ]


class Percentiles(TypedDict):
    """``evidence.latency``."""

    timed: Annotated[Count, says("Pairs that both systems got in the same moment.")]
    legacy: Annotated[float, says("Legacy's.")]
    target: Annotated[float, says("The target's.")]


class GateEvidence(TypedDict):
    """``evidence``."""

    reconcile_age_seconds: Annotated[
        float | None, says("Seconds since the last complete one; null when there was none.")
    ]
    reconcile_complete: Annotated[bool, says("Whether the newest reconcile came to its end.")]
    preflight_age_seconds: Annotated[
        float | None, says("Seconds since the last complete one; null when there was none.")
    ]
    preflight_blockers: Annotated[list[str], says("The blockers of the last preflight, with their rows.")]
    problems: Annotated[list[CohortTally], says("Problem by problem.")]
    queues: Annotated[list[CohortTally], says("Queue by queue.")]
    missing: Annotated[Count, says("Submissions missing on one side.")]
    overdue: Annotated[Count, says("Submissions overdue on one side.")]
    fence_leaks: Annotated[
        Count | None,
        says("Of the last complete reconcile, and on record until a cure is signed; null when nobody has looked."),
    ]
    double_authority: Annotated[
        Count | None,
        says("Of the last complete reconcile, and on record until a cure is signed; null when nobody has looked."),
    ]
    undelivered: Annotated[
        Count | None,
        says(
            "Learners on record who wait, or have waited, for a grade that nobody brings, until a cure "
            "is signed; null when nobody has asked, or nobody can (learners_asked)."
        ),
    ]
    learners_asked: Annotated[
        bool, says("Whether there is an LMS whose learners' states can be asked; false: undelivered is not applicable.")
    ]
    wrong_side: Annotated[
        Count | None,
        says("Submissions that reached legacy while the target was authoritative; null when nobody has looked."),
    ]
    lost: Annotated[
        Count | None, says("Submissions or scores that vanished before their time; null when nobody has looked.")
    ]
    grave: NotRequired[
        Annotated[
            dict[str, Count], says("The other classes that only a signed cure ends, and how many there are of each.")
        ]
    ]
    taken_back: NotRequired[
        Annotated[
            bool,
            says(
                "Whether the course was stepped back from live or complete: then only pairs graded since "
                "show that its graders work."
            ),
        ]
    ]
    stuck: Annotated[Count | None, says("Submissions that only an operator will move; null when nobody has looked.")]
    latency: Annotated[
        Percentiles | None, says("95th percentiles of the seconds from arrival to return; null when nobody has looked.")
    ]
    arithmetic: Annotated[Arithmetic, says("The figures behind the bound.")]
    explained: Annotated[list[str], says("The arithmetic in words, line by line.")]


class GateDocument(TypedDict):
    """
    The verdict of a course.

    The document of xqueue_gate. PASS only when nothing is missing, old or wrong.
    """

    schema: Annotated[str, one_of("migration_shim.xqueue_gate/1")]
    course: Annotated[str, says("The course key, in its canonical form.")]
    at: Annotated[Moment, says("When the verdict was made.")]
    phase: Annotated[str, one_of(Phase), says("The phase on record.")]
    next_step: Annotated[
        Annotated[str, one_of(Phase)] | None, says("The next step that needs the gate; null where there is none.")
    ]
    verdict: Annotated[str, one_of(Verdict), says("FAIL outranks STALE outranks INCONCLUSIVE.")]
    cause: NotRequired[
        Annotated[
            str,
            one_of(Cause),
            says(
                "The worst of the reasons in one word, to rank courses by: the worst comes first in this "
                "list. moved: there is no further step."
            ),
        ]
    ]
    causes: NotRequired[
        Annotated[
            list[OpenCause],
            Meta(extra_json_schema={"uniqueItems": True}),
            says("What is open: the causes of all reasons, each once, the worst first. An override names all of them."),
        ]
    ]
    reasons: Annotated[list[str], says("Every reason why it is not PASS; empty for PASS.")]
    reason_causes: NotRequired[
        Annotated[
            list[Annotated[str, one_of(Cause)]],
            says("The cause of each reason, in one word, in the order of the reasons."),
        ]
    ]
    needed: Annotated[list[str], says("What would move it on, in numbers where there are numbers.")]
    more_pairs: NotRequired[
        Annotated[
            Count | None,
            says("How many more clean pairs the course as a whole needs; null where no number in reach would do."),
        ]
    ]
    more_by_queue: NotRequired[
        Annotated[
            dict[str, Annotated[int, Meta(ge=1)]],
            says("How many more pairs the graders of a queue have to grade, by queue."),
        ]
    ]
    ways_out: Annotated[list[str], says("What is left to a course that can never have the pairs that are asked for.")]
    notes: Annotated[list[str], says("What holds beside any verdict, and has to be known to whoever acts on it.")]
    overrides: Annotated[
        list[Override], says("Signed overrides of the gate that the course's phase rests on. They change no verdict.")
    ]
    register: Register
    evidence: Annotated[GateEvidence, says("All that the verdict was made of.")]
