"""The ledger: one row a submission, and what became of it on both systems."""

from __future__ import annotations

from django.db import models
from django.utils.timezone import now

from ..core.data import Authority, Leg, Move, Origin, PairStatus, Phase
from ..fields import ExactCharField
from .choices import choices

#: A filler that keeps room in a ledger row for its first result. A row of InnoDB that grows has to be moved, and half
#: of its page with it: the first result then took the server up to ten times as long. So the row is long from the
#: beginning, and the first result empties the filler. What the learner's state says fits into what is left.
ROOM = "-" * 160


class LedgerEntry(models.Model):
    """
    One submission, and what became of it on both systems: the only place that links legacy's row and the target's.

    It also keeps the residue: what an ExternalGraderDetail cannot hold of the envelope, which is the raw payload,
    student_info, extra body keys and the raw header. The answer is not here; the Submission has it. The raw header
    holds the LMS user id and the lms_key, and the callback view has no other authentication. So the header is never
    shown and never exported.

    .. pii: The anonymous id of the learner, and in the residue the LMS user id and the key that lets a grade be posted.
    .. pii_types: id, other
    .. pii_retirement: local_api
    """

    identity = models.CharField(max_length=64, unique=True)
    group = models.CharField(max_length=64)
    course_id = ExactCharField(max_length=255)
    item_id = ExactCharField(max_length=255)
    # Stands for learner, problem and input together; empty where the input could not be recovered.
    input_key = models.CharField(max_length=64, blank=True, default="", db_index=True)
    learner = ExactCharField(max_length=255)
    queue_name = ExactCharField(max_length=128)

    phase = models.CharField(max_length=16, choices=choices(Phase))
    authority = models.CharField(max_length=16, choices=choices(Authority))
    origin = models.CharField(max_length=16, choices=choices(Origin))
    history = models.BooleanField(default=False)
    arrived_at = models.DateTimeField()
    created_at = models.DateTimeField(default=now)

    legacy_leg = models.CharField(max_length=16, choices=choices(Leg))
    legacy_reason = models.CharField(max_length=64, blank=True, default="")
    legacy_id = models.BigIntegerField(null=True, db_index=True)
    target_leg = models.CharField(max_length=16, choices=choices(Leg))
    target_reason = models.CharField(max_length=64, blank=True, default="")
    target_submission_id = models.BigIntegerField(null=True, db_index=True)
    points_possible = models.PositiveIntegerField(default=1)
    superseded_at = models.DateTimeField(null=True)
    # The outbox: when a worker is to look next at the attempts that the submission has replaced, and at the copy that
    # it is owed. Null: nothing is owed. The worker that takes a row moves its time on, and so does a failure: the time
    # is lease and backoff as well.
    supersession_due = models.DateTimeField(null=True)
    copy_due = models.DateTimeField(null=True)
    # Failures in a row, of either work.
    tries = models.PositiveSmallIntegerField(default=0, db_default=0)
    # When the copy of a submission that came through the router was written; its latency counts from then.
    copied_at = models.DateTimeField(null=True)
    # A handoff writes a second, real target row. Until it is released ``target_submission_id`` stays the shadow's; then
    # it names the real row, and the shadow is set aside. A return goes the same way back.
    move = models.CharField(max_length=16, choices=choices(Move), default=Move.NONE, db_default=Move.NONE.value)
    moved_at = models.DateTimeField(null=True)
    real_submission_id = models.BigIntegerField(null=True, db_index=True)
    shadow_submission_id = models.BigIntegerField(null=True)
    shadow_lease_key = models.CharField(max_length=128, blank=True, default="", db_default="")
    # Both systems had the row for real at one time. It is never reset: a gate must see it.
    double_authority = models.BooleanField(default=False, db_default=False)
    # What legacy's row said of itself when it was imported; the target row is pending whatever it was.
    legacy_state = models.CharField(max_length=16, blank=True, default="", db_default="")
    # The watcher seam's own record of who holds the row; empty when it was never handed out there.
    lease_key = models.CharField(max_length=128, blank=True, default="")
    leased_at = models.DateTimeField(null=True)
    leases = models.PositiveIntegerField(default=0)
    # Whose session was handed the row (a keyed hash), while it is not known whether the answer arrived; whether it was
    # answered in time, and whether the session's next request came after that. Only such a lease counts when it ends.
    lease_session = models.CharField(max_length=32, blank=True, default="", db_default="", db_index=True)
    lease_sent = models.BooleanField(default=False, db_default=False)
    lease_taken = models.BooleanField(default=False, db_default=False)
    echo = models.BooleanField(default=False)
    sink_token = models.CharField(max_length=40, blank=True, default="", db_index=True)

    raw_header = models.TextField(blank=True, default="")
    grader_payload = models.TextField(null=True)  # noqa: DJ001  (null and "" are two different payloads)
    student_info = models.TextField(blank=True, default="")
    extra_body = models.TextField(blank=True, default="")

    # What reconcile last read of either side, kept because legacy's retention removes rows; ``legacy_state`` is above.
    legacy_correct = models.BooleanField(null=True)
    legacy_score = models.FloatField(null=True)
    legacy_seconds = models.FloatField(null=True)
    target_state = models.CharField(max_length=16, blank=True, default="", db_default="")
    target_correct = models.BooleanField(null=True)
    target_score = models.FloatField(null=True)
    target_seconds = models.FloatField(null=True)
    # When the target graded or echoed it: a clean pair is evidence for so many days from then.
    target_graded_at = models.DateTimeField(null=True)
    # A second grading of the same shadow, to learn how often the target's graders disagree with themselves.
    twin_submission_id = models.BigIntegerField(null=True)
    twin_agrees = models.BooleanField(null=True)
    # The watcher seam's record of who holds the twin; ``lease_key`` stays the shadow's. Null, because processes of the
    # release before write rows without it while an upgrade is rolled out.
    twin_lease_key = models.CharField(max_length=128, null=True)  # noqa: DJ001
    payload_compared_at = models.DateTimeField(null=True)
    # Digests of the rules that the result was judged by, and of the two rows as they were; see candidates.Fingerprints.
    # While they hold, so does the result. An empty ``seen`` asks for a new comparison.
    seen = models.CharField(max_length=24, blank=True, default="", db_default="")
    legacy_seen = models.CharField(max_length=16, blank=True, default="", db_default="")
    target_seen = models.CharField(max_length=16, blank=True, default="", db_default="")
    # Final on both sides and older than the late-reply horizon: only a full reconcile looks at it again.
    settled_at = models.DateTimeField(null=True)
    # The residue was dropped: no copy can be made out of the entry any more, and none is.
    purged_at = models.DateTimeField(null=True)
    # The third side: what the learner's own state said when it was asked last (``core/delivered.py``), and the grade in
    # it. Asked until it has settled: the row is over, and the state has left its key behind.
    learner_said = models.CharField(max_length=24, blank=True, default="", db_default="")
    learner_correct = models.BooleanField(null=True)
    learner_score = models.FloatField(null=True)
    learner_settled_at = models.DateTimeField(null=True)
    # How often a stored result was delivered once more, when last, and why it never can be.
    delivery_tries = models.PositiveSmallIntegerField(default=0, db_default=0)
    delivery_tried_at = models.DateTimeField(null=True)
    undeliverable = models.CharField(max_length=24, blank=True, default="", db_default="")
    # Its learner's account is retired: what names the learner goes as soon as nothing needs it.
    forget = models.BooleanField(default=False, db_default=False)

    result = models.CharField(max_length=16, choices=choices(PairStatus), default=PairStatus.NONE)
    divergences = models.CharField(max_length=255, blank=True, default="")
    known = models.CharField(max_length=64, blank=True, default="")
    graded_pair = models.BooleanField(default=False)
    compared_at = models.DateTimeField(null=True)
    # See ROOM; empty once there is a result.
    room = models.CharField(max_length=160, blank=True, default=ROOM, db_default=ROOM)
    # The bucket that its last comparison has counted it in (``ledger/buckets.py``). Null: it was not compared yet, and
    # a count reads the entry itself. No foreign key: a writer to the ledger locks no counter.
    bucket_id = models.BigIntegerField(null=True)

    class Meta:
        # Each has a query that would read the whole ledger without it (docs/decisions/0034 has them all, with those of
        # the columns above): all of them together are half of what an entry costs the server.
        indexes = [
            # The walks of a course from end to end; how large the courses are.
            models.Index(fields=["course_id", "id"], name="shim_ledger_course"),
            # Shadows that are owed: backfill, repair and status look for them by nothing else.
            models.Index(fields=["target_leg", "id"], name="shim_ledger_target_leg"),
            # Reverse copies that are owed or were refused: status, repair, queue_names.
            models.Index(fields=["legacy_leg", "id"], name="shim_ledger_legacy_leg"),
            # What is between the systems: the next step of a handoff or a return, and whether the app may be removed.
            models.Index(fields=["move", "id"], name="shim_ledger_move"),
            # The outbox, by what is longest due.
            models.Index(fields=["supersession_due"], name="shim_ledger_supersession"),
            models.Index(fields=["authority", "copy_due"], name="shim_ledger_copy"),
            # What an incremental reconcile looks at.
            models.Index(fields=["course_id", "settled_at", "id"], name="shim_ledger_open"),
            # What no comparison has counted yet, and the entries of a bucket.
            models.Index(fields=["course_id", "bucket_id"], name="shim_ledger_bucket"),
            # Whose learner is to be asked, page by page.
            models.Index(fields=["course_id", "learner_settled_at", "id"], name="shim_ledger_asked"),
            # What a handoff has seen counts at once, whatever is in the counters. Next to none are so.
            models.Index(fields=["double_authority"], name="shim_ledger_double"),
            # What is due to be purged, and how much is kept.
            models.Index(fields=["purged_at", "settled_at"], name="shim_ledger_purge"),
            # Learners that are to be forgotten, and all entries of one: asked for with both values of ``forget``.
            models.Index(fields=["forget", "learner"], name="shim_ledger_forget"),
            # A twin that is handed out or removed, and the twins that are not judged yet.
            models.Index(fields=["twin_submission_id", "twin_agrees"], name="shim_ledger_twin"),
        ]

    def __str__(self) -> str:
        return f"ledger entry {self.pk}"
