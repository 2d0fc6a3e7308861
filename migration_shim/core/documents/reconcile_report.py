"""What a report adds to ``migration_shim.xqueue_reconcile/1``."""

from collections.abc import Mapping
from typing import Annotated, Any, NotRequired, TypedDict

from msgspec import Meta

from ..data import Verdict
from .parts import Count, Moment, one_of, says

#: A gate's document. Its schema is another file, and a reader of this one is not made to have it.
AskedGate = Annotated[
    Mapping[str, Any],
    Meta(
        extra_json_schema={
            "properties": {"schema": {"const": "migration_shim.xqueue_gate/1"}},
            "required": ["schema"],
            "additionalProperties": {},
        }
    ),
]


class ReportedRun(TypedDict):
    """An item of ``report.runs``."""

    run: Annotated[int, says("The record's id.")]
    versions: Annotated[dict[str, str], says("Package -> version.")]
    settings_digest: Annotated[str, says("The same for the same settings.")]
    sample_percent: Annotated[float, says("Share of the learners whose submissions are copied.")]


class ReportedOverride(TypedDict):
    """An item of ``report.overrides``."""

    id: Annotated[int, says("Its number.")]
    course: Annotated[str, says("The course key, in its canonical form.")]
    step_to: Annotated[str, says("The step that it was for.")]
    causes: Annotated[
        list[str],
        says("The codes of what it passed, as the signer named them; empty where a release before did not ask."),
    ]
    verdict: Annotated[str, one_of(Verdict), says("What the gate said when it was signed.")]
    reason: Annotated[str, says("Why.")]
    signed_by: Annotated[str, says("Who signed it.")]
    seconded_by: Annotated[str, says("Who signed as the second person; empty where none had to.")]
    signed_at: Annotated[Moment, says("When.")]
    expires_at: Annotated[
        Moment, says("When it ended: with its step. Of a proposal: until when a second person may sign it.")
    ]
    used_at: Annotated[Moment | None, says("When its step was taken; null while it waits for a second person.")]


ReportedDifference = TypedDict(
    "ReportedDifference",
    {
        "id": Annotated[int, says("Its number.")],
        "class": Annotated[str, says("The class of divergence.")],
        "course": Annotated[str, says("The course; empty for all.")],
        "queue": Annotated[str, says("The queue; empty for all.")],
        "problem": Annotated[str, says("The problem; empty for all.")],
        "reason": Annotated[str, says("Why it is harmless.")],
        "owner": Annotated[str, says("Who answers for it.")],
        "expires_at": Annotated[Moment, says("Until when it counts.")],
        "state": Annotated[str, one_of("in force", "expired", "withdrawn"), says("Whether it counts.")],
        "covers": Annotated[Count, says("Divergences that it covers.")],
    },
)


class TextOfDivergence(TypedDict):
    """An item of ``report.differences.texts``."""

    text: Annotated[str, says("What differs.")]
    number: Annotated[Count, says("Of so many.")]


class Remedy(TypedDict):
    """What to do about a class of divergence."""

    means: Annotated[str, says("What the class says.")]
    actor: Annotated[str, says("Who has to act first.")]
    todo: Annotated[str, says("What they have to do.")]
    ends: Annotated[str, says("What ends it for the gate, and what no number of pairs ends.")]
    page: Annotated[str, says("The runbook's heading about it.")]


_FoundOfClass = TypedDict(
    "_FoundOfClass",
    {
        "class": Annotated[str, says("The class of divergence.")],
        "number": Annotated[
            Count, says("Divergences on record, the registered ones included, and leaks that have no entry.")
        ],
        "first_found_at": Annotated[
            Moment | None, says("When the one that is on record longest was found; null where that is not known.")
        ],
        "last_found_at": Annotated[Moment | None, says("When the newest was found.")],
        "texts": Annotated[list[TextOfDivergence], says("The most frequent texts, the most frequent first.")],
    },
)


class ClassOfDivergence(_FoundOfClass, Remedy):
    """An item of ``report.differences``."""


class ReconcileReport(TypedDict):
    """``report``."""

    made_at: Annotated[Moment, says("When the report was made.")]
    gates: Annotated[
        Mapping[str, AskedGate],
        says("Course -> its gate's document at that moment, migration_shim.xqueue_gate/1; asked without a permit."),
    ]
    runs: Annotated[Mapping[str, ReportedRun], says("Course -> what its run's record says.")]
    overrides: Annotated[
        list[ReportedOverride],
        says("Signed overrides of the gate that a course's phase rests on. They change no verdict."),
    ]
    known_differences: Annotated[
        list[ReportedDifference], says("The register of known differences, for these courses and for all.")
    ]
    differences: NotRequired[
        Annotated[
            dict[str, list[ClassOfDivergence]],
            says("Course -> every class of divergence on record, with who acts and what ends it."),
        ]
    ]
