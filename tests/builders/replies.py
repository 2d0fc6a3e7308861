"""What graders answer, good and bad, and what edx-submissions and CAPA are known to make of each."""

from dataclasses import dataclass

from migration_shim.target.results import COULD_NOT_BE_GRADED

#: A reply with this text is one that a plugin's receiver of the score event raises on.
POISON = "poison"
TOLD = COULD_NOT_BE_GRADED["msg"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """
    One grader's reply.

    ``real`` and ``shadow`` say whether put_result stores it on a row with the learner's own identity and on a fenced
    one (else it is a counted failure); ``wipes`` whether CAPA calls it invalid and resets the learner's problem.
    """

    text: str
    real: bool = False
    shadow: bool = False
    wipes: bool = False


RIGHT = Reply(text='{"correct": true, "score": 1, "msg": "<p>ok</p>"}', real=True, shadow=True)
GOOD = (
    RIGHT,
    Reply(text='{"correct": false, "score": 0, "msg": "<p>no</p>"}', real=True, shadow=True),
    Reply(text='{"correct": true, "score": 0.5, "msg": "<p>half</p>"}', real=True, shadow=True),
)
BAD = (
    Reply(text="<html>", wipes=True),
    Reply(text="", wipes=True),
    Reply(text="[1, 2]", wipes=True),
    Reply(text='"graded"', wipes=True),
    Reply(text='{"correct": true, "score": null, "msg": "<p>ok</p>"}'),
    # Stored, for edx-submissions reads the score only; CAPA misses the message.
    Reply(text='{"correct": true, "score": 1}', real=True, shadow=True, wipes=True),
    # CAPA raises on it; a shadow's event never gets that far.
    Reply(text='{"correct": true, "score": 1, "msg": 5}', shadow=True),
    Reply(text=f'{{"correct": true, "score": 1, "msg": "<p>{POISON}</p>"}}'),
)
