"""
A course of clean pairs, in bulk: every submission stored on both systems, graded alike, and long over.

Rows are written through the models as the real writers leave them: CAPA's headers, bodies and keys, the fence of a
shadow, the sink's callback of a reverse shadow, the seam's lease in the ledger.
"""

import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.core.files.base import ContentFile
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail, Score, StudentItem, Submission, SubmissionFile

from migration_shim.conf import load
from migration_shim.copies import sink
from migration_shim.core.data import Leg, Origin, Phase
from migration_shim.core.identity import digests, input_key, real_placement, reverse_header, shadow_placement
from migration_shim.core.wire import parse_envelope
from migration_shim.ledger.entries import legacy_body, new_entry
from migration_shim.models import LedgerEntry, LegacySubmission
from sandbox.databases import LEGACY_MEDIA
from sandbox.lms import capa
from tests.builders import rows
from tests.builders.rows import COURSE, QUEUE

#: Ids are ours to choose, so that no database has to be asked for them after a bulk insert.
FIRST = 1_000_000
AGE = timedelta(hours=3)
POINTS = 4
ROOT = "https://courses.example.edu"
#: The last pairs of a course: files, and two attempts of one learner at one input.
FILES, ATTEMPTS = 4, 4


@dataclass(slots=True, kw_only=True)
class Pair:
    """One submission: its ledger entry and its row on either side, as they were written."""

    entry: LedgerEntry
    legacy: LegacySubmission
    item: StudentItem
    submission: Submission
    detail: ExternalGraderDetail
    score: Score
    #: The newer attempt of the same learner at the same input, where there is one.
    newer: "Pair | None" = None

    @property
    def identity(self) -> str:
        """What names the pair wherever its rows may go."""
        return self.entry.identity


def reply(score: float, correct: bool | None = None, message: str = "<p>ok</p>") -> str:
    """A grader's reply."""
    return json.dumps({"correct": score > 0 if correct is None else correct, "score": score, "msg": message})


def build(number: int, phase: Phase, problems: int = 20) -> list[Pair]:
    """
    So many clean pairs of a course in shadow or live.

    Of the last ones ``FILES`` hold a file, and before them ``ATTEMPTS`` are the older of two attempts: those are pairs
    too, each with its ``newer``.
    """
    rows.in_phase(phase)
    start = now() - AGE
    pairs: list[Pair] = []
    for index in range(number):
        place = number - index
        newer = pairs[-1] if FILES < place <= FILES + 2 * ATTEMPTS and (place - FILES) % 2 else None
        # The newer attempt is made from its older one: same learner, problem and input.
        who = index - 1 if newer else index
        arrived = start + timedelta(milliseconds=20 * who, minutes=2 if newer else 0)
        made = _pair(index, who, who % problems, phase, arrived, with_file=place <= FILES)
        if newer:
            pairs[-1].newer = made
        pairs.append(made)
    LegacySubmission.objects.bulk_create([pair.legacy for pair in pairs], batch_size=500)
    for model, name in (
        (StudentItem, "item"),
        (Submission, "submission"),
        (ExternalGraderDetail, "detail"),
        (Score, "score"),
        (LedgerEntry, "entry"),
    ):
        made = {getattr(pair, name).pk: getattr(pair, name) for pair in pairs}
        model.objects.bulk_create(made.values(), batch_size=500)
    for pair in pairs[-FILES:]:
        add_file(pair)
    return pairs


def _pair(index: int, who: int, problem: int, phase: Phase, arrived: datetime, *, with_file: bool) -> Pair:
    user, pk = 1000 + who, FIRST + index
    usage_key = rows.usage_key(f"{problem:032x}")
    request = capa.make_request(
        answer_id=f"{capa.html_id(usage_key)}_2_1",
        response="" if with_file else f"x = {index}\nprint('grüße', x)\n" * 3,
        grader_payload=json.dumps({"grader": f"py1/{problem}/grade.py", "hint": "h" * 20}),
        callback=capa.callback_url(ROOT, COURSE, user, usage_key),
        queue_name=QUEUE,
        user_id=user,
        anonymous_id=rows.anonymous_id(user),
        seed=index % 100,
        now=arrived,
    )
    envelope = parse_envelope(request.header, request.body)
    identity = digests(envelope.header, request.body, ["a.py"] if with_file else [])
    entry = new_entry(
        envelope,
        identity,
        phase=phase,
        origin=Origin.ROUTER,
        arrived_at=arrived,
        input_key=input_key(envelope),
    )
    entry.pk, entry.legacy_leg, entry.target_leg = pk, Leg.STORED, Leg.STORED
    entry.created_at, entry.points_possible, entry.target_submission_id = arrived, POINTS, pk
    entry.lease_key, entry.leased_at, entry.leases = f"{pk:032x}", arrived + timedelta(seconds=6), 1
    share = (0, 0.25, 0.5, 1)[index % 4]
    shadow = phase is Phase.SHADOW
    place = shadow_placement(envelope, identity.identity, ".shadow") if shadow else real_placement(envelope)
    item_pk = FIRST + who
    item = StudentItem(
        pk=item_pk,
        student_id=place.student_id,
        course_id=place.course_id,
        item_id=place.item_id,
        item_type=place.item_type,
    )
    submission = Submission(
        pk=pk,
        student_item_id=item_pk,
        attempt_number=1,
        submitted_at=arrived,
        created_at=arrived,
        answer=envelope.body.student_response,
    )
    detail = ExternalGraderDetail(
        pk=pk,
        submission_id=pk,
        queue_name=place.queue_name,
        queue_key=place.queue_key,
        points_possible=POINTS,
        grader_file_name=f"py1/{problem}/grade.py",
        status="retired",
        pullkey=entry.lease_key,
        grader_reply=reply(share, message="<p>the target's words</p>"),
        created_at=arrived + timedelta(seconds=1),
        status_time=arrived + timedelta(seconds=25),
    )
    score = Score(
        pk=pk,
        student_item_id=item_pk,
        submission_id=pk,
        points_earned=round(share * POINTS),
        points_possible=POINTS,
        created_at=arrived,
    )
    legacy = legacy_row(entry, request.header, request.body, arrived, share, "a.py" if with_file else "")
    legacy.pk = pk
    if not shadow:
        as_reverse(entry, legacy, envelope.body.student_response)
    return Pair(entry=entry, legacy=legacy, item=item, submission=submission, detail=detail, score=score)


def legacy_row(
    entry: LedgerEntry, header: str, body: str, arrived: datetime, share: float, file_name: str
) -> LegacySubmission:
    """The row of ``queue_submission``, graded and acknowledged."""
    return LegacySubmission(
        requester_id="10.20.0.11",
        lms_callback_url=json.loads(header)["lms_callback_url"][:128],
        queue_name=QUEUE,
        xqueue_header=header,
        xqueue_body=body,
        s3_keys=json.dumps({file_name: file_key(entry.pk)} if file_name else {}),
        s3_urls="{}",
        arrival_time=arrived,
        pull_time=arrived + timedelta(seconds=5),
        return_time=arrived + timedelta(seconds=20),
        grader_id="10.20.4.7",
        pullkey=f"{entry.pk:032x}",
        grader_reply=reply(share),
        lms_ack=True,
        retired=True,
    )


def as_reverse(entry: LedgerEntry, row: LegacySubmission, answer: object) -> None:
    """Make a row the reverse shadow of an entry: the sink's callback, a queue of its own, no learner's key."""
    settings = load()
    entry.sink_token = sink.token(entry.learner, entry.item_id, entry.input_key)
    url = sink.url(entry.sink_token, settings)
    row.queue_name = entry.queue_name + settings.reverse_queue_suffix
    row.xqueue_header, row.lms_callback_url = reverse_header(url, entry.identity, row.queue_name), url[:128]
    row.xqueue_body = legacy_body(entry, answer)


def file_key(number: int) -> str:
    """The name that XQueue gave the object of a pair's file."""
    return f"{number:032x}"


def add_file(pair: Pair) -> None:
    """The file of a pair, the same in both storages."""
    content = b"print()\n# %d" % pair.entry.pk
    path = LEGACY_MEDIA / pair.legacy.queue_name / file_key(pair.entry.pk)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    SubmissionFile.objects.create(
        external_grader_id=pair.detail.pk,
        uuid=uuid.uuid4(),
        file=ContentFile(content, name="a.py"),
        original_filename="a.py",
    )


def remove_files(pairs: Iterable[Pair]) -> None:
    """Take the files out of both storages again."""
    for pair in pairs:
        (LEGACY_MEDIA / pair.legacy.queue_name / file_key(pair.entry.pk)).unlink(missing_ok=True)
    for file in SubmissionFile.objects.all():
        file.file.delete(save=False)
