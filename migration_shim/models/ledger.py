"""The ledger: one row a submission, and what became of it on both systems."""

from __future__ import annotations

import enum
import uuid
from datetime import UTC
from typing import Any

from config_models.models import ConfigurationModel
from django.db import models
from django.utils.timezone import now

from ..core import hash_chain
from ..core.campaign import CampaignState, MemberState
from ..core.data import Authority, DivergenceClass, Leg, Move, Origin, PairStatus, Phase, Verdict
from ..core.errors import LogIsAddedTo
from ..db import text_columns
from ..fields import ExactCharField, ForeignCharField

#: A filler that keeps room in a ledger row for its first result. A row of InnoDB that grows has to be moved, and half
#: of its page with it: the first result then took the server up to ten times as long. So the row is long from the
#: beginning, and the first result empties the filler. What the learner's state says fits into what is left.
ROOM = "-" * 160


def _choices(values: type[enum.StrEnum]) -> list[tuple[str, str]]:
    return [(value.value, value.value) for value in values]


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

    phase = models.CharField(max_length=16, choices=_choices(Phase))
    authority = models.CharField(max_length=16, choices=_choices(Authority))
    origin = models.CharField(max_length=16, choices=_choices(Origin))
    history = models.BooleanField(default=False)
    arrived_at = models.DateTimeField()
    created_at = models.DateTimeField(default=now)

    legacy_leg = models.CharField(max_length=16, choices=_choices(Leg))
    legacy_reason = models.CharField(max_length=64, blank=True, default="")
    legacy_id = models.BigIntegerField(null=True, db_index=True)
    target_leg = models.CharField(max_length=16, choices=_choices(Leg))
    target_reason = models.CharField(max_length=64, blank=True, default="")
    target_submission_id = models.BigIntegerField(null=True, db_index=True)
    points_possible = models.PositiveIntegerField(default=1)
    points_assumed = models.BooleanField(default=False)
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
    move = models.CharField(max_length=16, choices=_choices(Move), default=Move.NONE, db_default=Move.NONE.value)
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
    exact_points = models.FloatField(null=True)
    sink_token = models.CharField(max_length=40, blank=True, default="", db_index=True)
    sink_replies = models.PositiveIntegerField(default=0)

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

    result = models.CharField(max_length=16, choices=_choices(PairStatus), default=PairStatus.NONE)
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


class Bucket(models.Model):
    """
    A counter: the number of ledger entries that are alike in all that is counted of them.

    ``core/buckets.py`` says what the facts mean. The id is a digest of the facts. A row changes only by an addition to
    its ``number`` (``ledger.buckets.Changes``), in the transaction that changes the entries.

    .. no_pii:
    """

    id = models.BigIntegerField(primary_key=True)
    course_id = ExactCharField(max_length=255, db_index=True)
    queue_name = ExactCharField(max_length=128)
    item_id = ExactCharField(max_length=255)
    arrived_on = models.DateField()
    moved_on = models.DateField(null=True)
    graded_on = models.DateField(null=True)
    authority = models.CharField(max_length=16)
    result = models.CharField(max_length=16)
    known = models.CharField(max_length=64)
    differences = models.CharField(max_length=512)
    legacy_state = models.CharField(max_length=16)
    target_state = models.CharField(max_length=16)
    legacy_reply = models.CharField(max_length=16)
    target_reply = models.CharField(max_length=16)
    flags = models.IntegerField()
    number = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.number} ledger entries of {self.course_id}"


class Histogram(models.Model):
    """
    A counter: the number of ledger entries in one bin of a histogram.

    Scores and seconds are counted here, because they have too many values for buckets. The id is a digest of the bin's
    place. See ``Bucket`` and ``core/buckets.py``.

    .. no_pii:
    """

    id = models.BigIntegerField(primary_key=True)
    course_id = ExactCharField(max_length=255)
    queue_name = ExactCharField(max_length=128)
    authority = models.CharField(max_length=16)
    day = models.DateField(null=True)
    kind = models.CharField(max_length=16)
    bin = models.CharField(max_length=64)
    number = models.BigIntegerField()

    class Meta:
        indexes = [models.Index(fields=["course_id", "kind"], name="shim_histogram_course")]

    def __str__(self) -> str:
        return f"{self.number} ledger entries of {self.course_id} in a bin of {self.kind}"


class KnownDifference(models.Model):
    """
    A difference that an operator has looked into and answers for: every report counts it, none hides it.

    An empty course, queue or problem stands for all. Once the row has expired or was withdrawn, what it covered counts
    against the course again.

    .. pii: The name of the operator who owns it.
    .. pii_types: username
    .. pii_retirement: retained
    """

    klass = models.CharField(max_length=32, choices=_choices(DivergenceClass))
    course_id = ExactCharField(max_length=255, blank=True, default="", db_index=True)
    queue_name = ExactCharField(max_length=128, blank=True, default="")
    item_id = ExactCharField(max_length=255, blank=True, default="")
    reason = models.TextField()
    owner = models.CharField(max_length=150)
    created_at = models.DateTimeField(default=now)
    expires_at = models.DateTimeField()
    withdrawn_at = models.DateTimeField(null=True)
    hits = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return f"known difference {self.pk}: {self.klass}"


class Divergence(models.Model):
    """
    One difference of one submission, as its newest comparison found it; ``found_at`` is when it was found first.

    .. no_pii:
    """

    entry = models.ForeignKey(LedgerEntry, on_delete=models.CASCADE, related_name="differences")
    course_id = ExactCharField(max_length=255)
    klass = models.CharField(max_length=32, choices=_choices(DivergenceClass))
    what = models.CharField(max_length=255)
    found_at = models.DateTimeField(default=now)
    known = models.ForeignKey(KnownDifference, null=True, on_delete=models.SET_NULL, related_name="+")
    # Of a grave class: when an operator signed for it. Unsigned it stays, whatever a later comparison finds.
    cured_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["course_id", "klass", "id"], name="shim_divergence_course")]
        constraints = [models.UniqueConstraint(fields=["entry", "klass"], name="shim_divergence_once")]

    def __str__(self) -> str:
        return f"{self.klass} of ledger entry {self.entry_id}"


class GateOverride(models.Model):
    """
    A person's signed wish to let a course take one step past a gate that is not open, with the verdict at the time.

    It ends with that step: ``used_at``, and ``expires_at`` with it. A proposal waits for its second person until
    ``expires_at``. A release before wrote rows without ``used_at``, each with its step.

    .. pii: The names of the operators who signed it.
    .. pii_types: username
    .. pii_retirement: retained
    """

    course_id = ExactCharField(max_length=255, db_index=True)
    step_to = models.CharField(max_length=16, choices=_choices(Phase))
    reason = models.TextField()
    signed_by = models.CharField(max_length=150)
    created_at = models.DateTimeField(default=now)
    expires_at = models.DateTimeField()
    withdrawn_at = models.DateTimeField(null=True)
    verdict = models.CharField(max_length=16, choices=_choices(Verdict))
    evidence = models.JSONField(default=dict)
    # The codes of the open reasons, as the signer has named them.
    causes = models.JSONField(default=list, db_default=[])
    # The proposal of a first person: no step was taken. It stays set when the second person signs.
    proposal = models.BooleanField(default=False, db_default=False)
    seconded_by = models.CharField(max_length=150, blank=True, default="", db_default="")
    used_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"override of the gate of {self.course_id}, to {self.step_to}"


class WatcherLogin(models.Model):
    """
    An address from which a grader's account has logged in at edx-submissions' own endpoint, past our watcher seam.

    .. no_pii:
    """

    address = models.CharField(max_length=64, unique=True)
    first_seen_at = models.DateTimeField(default=now)
    last_seen_at = models.DateTimeField(default=now)
    logins = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return f"a watcher at {self.address}"


class DoorHost(models.Model):
    """
    A host of ours that no setting names: callbacks of submissions through our own doors have named it.

    .. no_pii:
    """

    host = ExactCharField(max_length=255, unique=True)
    first_seen_at = models.DateTimeField(default=now)

    def __str__(self) -> str:
        return self.host


class LedgerStamp(models.Model):
    """
    The host of the LMS that the ledger belongs to; the newest row counts. It tells a cloned database from its original.

    .. pii: The name of the operator who adopted the ledger.
    .. pii_types: username
    .. pii_retirement: retained
    """

    host = ExactCharField(max_length=255)
    stamped_at = models.DateTimeField(default=now)
    stamped_by = models.CharField(max_length=150, blank=True, default="")
    reason = ExactCharField(max_length=500, blank=True, default="")  # it takes any character, on any database

    def __str__(self) -> str:
        return f"the ledger of {self.host}"


class StoredIntent(models.Model):
    """
    File contents about to be stored for a transaction, which names them in its rows and removes this row.

    What a row still names a day later was stored for nothing. ``names`` are the stored names by the uuid of the
    SubmissionFile. The app makes the key itself: MySQL has no RETURNING for many rows.

    .. no_pii:
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    names = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=now, db_index=True)

    def __str__(self) -> str:
        return f"{len(self.names)} contents, meant at {self.created_at:%Y-%m-%d %H:%M}"


class Run(models.Model):
    """
    One run of a command, with the document that it printed.

    ``host``, ``pid`` and ``user`` say whose it is, and are empty on a run of a release before 0016. ``waits_for`` is
    why it does no batch at the moment.

    .. pii: The operating system's name of the operator who began it.
    .. pii_types: username
    .. pii_retirement: retained
    """

    kind = models.CharField(max_length=32)
    scope = ExactCharField(max_length=255, blank=True, default="")
    started_at = models.DateTimeField(default=now)
    heartbeat_at = models.DateTimeField(default=now)
    host = models.CharField(max_length=255, blank=True, default="", db_default="")
    pid = models.PositiveBigIntegerField(default=0, db_default=0)
    user = models.CharField(max_length=150, blank=True, default="", db_default="")
    waits_for = models.CharField(max_length=255, blank=True, default="", db_default="")
    finished_at = models.DateTimeField(null=True)
    complete = models.BooleanField(default=False)
    settings = models.JSONField(default=dict)
    versions = models.JSONField(default=dict)
    document = models.JSONField(default=dict)

    class Meta:
        indexes = [models.Index(fields=["kind", "scope", "id"], name="shim_run_kind_scope")]

    def __str__(self) -> str:
        return f"{self.kind} run {self.pk}"


class Checkpoint(models.Model):
    """
    How far a scan over ids has come, written in one transaction with the work, so that a killed run can resume.

    A range of ids that a worker takes has a row too: ``plan`` says what is to be done with the range, ``counts`` what
    became of its rows. So neither is lost with a worker that dies.

    .. no_pii:
    """

    name = models.CharField(max_length=64, unique=True)
    last_id = models.BigIntegerField(default=0)
    plan = models.JSONField(default=dict, db_default={})
    counts = models.JSONField(default=dict, db_default={})
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"{self.name} at {self.last_id}"


class CoursePhase(models.Model):
    """
    The phase in force of one course, and the permit for its next step. Every submission reads its course's one row.

    .. no_pii:
    """

    course_id = ExactCharField(max_length=255, unique=True)
    phase = models.CharField(max_length=16, choices=_choices(Phase), default=Phase.LEGACY)
    since = models.DateTimeField(default=now)
    permit = models.CharField(max_length=16, blank=True, default="")
    permit_until = models.DateTimeField(null=True)
    permit_run = models.ForeignKey(Run, null=True, on_delete=models.SET_NULL, related_name="+")
    # A digest of all that the permit was given for; see ledger/permits.py. Without one no permit holds.
    permit_basis = models.CharField(max_length=64, blank=True, default="", db_default="")
    # The most fence leaks that a reconcile has seen since the last signed cure. Leaks without a ledger entry are on
    # record nowhere else, and mending their rows does not clear them.
    fence_leaks = models.PositiveIntegerField(default=0, db_default=0)
    # Since when the platform's own flag sends the course's submissions past the shim because we let it.
    released_at = models.DateTimeField(null=True)
    # The head of the course's log. Null, like the columns of the log itself: processes of the release before write rows
    # without them while an upgrade is rolled out.
    log_length = models.PositiveIntegerField(null=True)
    log_digest = models.CharField(max_length=64, null=True)  # noqa: DJ001  (see above)

    class Meta:
        permissions = [("step_course", "Can step a course to another phase")]

    def __str__(self) -> str:
        return f"{self.course_id}: {self.phase}"


class _Log(models.QuerySet):
    """A log: rows are appended one by one, and neither one nor many of them can be changed or removed."""

    def update(self, **kwargs: Any) -> int:
        raise LogIsAddedTo

    def delete(self) -> tuple[int, dict[str, int]]:
        raise LogIsAddedTo

    def bulk_create(self, *args: Any, **kwargs: Any) -> list[Any]:
        raise LogIsAddedTo

    def bulk_update(self, *args: Any, **kwargs: Any) -> int:
        raise LogIsAddedTo

    def append(self, record: CoursePhase, phase: Phase, *, by: str, reason: str, evidence: dict[str, Any]) -> None:
        """
        Append an entry: the course goes from the phase of ``record`` to ``phase``; by whom, why, and on what evidence.

        The caller holds the lock of ``record`` in a transaction and saves it there, because the head of the log is on
        it. So the logs of two courses never wait for each other, a log cannot fork, and the chain costs no statement
        of its own.
        """
        if record.log_length is None:  # entries older than the chain keep their places
            record.log_length = self.filter(course_id=record.course_id).count()
        position, previous = record.log_length + 1, record.log_digest or hash_chain.START
        entry = PhaseChange(
            course_id=record.course_id,
            step_from=record.phase,
            step_to=phase,
            changed_at=now(),
            # Cut to what the columns can hold: what is hashed is what is stored, and no text blocks a way back.
            changed_by=text_columns.fitted(PhaseChange, "changed_by", by)[:150],
            reason=text_columns.fitted(PhaseChange, "reason", reason),
            evidence=evidence,
            position=position,
            previous=previous,
        )
        digest = entry.digest = hash_chain.digest(previous, position, entry.said())
        entry.save(force_insert=True)
        record.log_length, record.log_digest = position, digest


class PhaseChange(models.Model):
    """
    One change of a course's phase: who, when, why, and on what evidence. Rows are only added, by ``objects.append``.

    The rows of a course form a hash chain (``core/hash_chain.py``), whose head is on the course's CoursePhase. A row
    without a digest is older than the chain.

    .. pii: The name of the operator who changed the phase.
    .. pii_types: username
    .. pii_retirement: retained
    """

    course_id = ExactCharField(max_length=255, db_index=True)
    step_from = models.CharField(max_length=16, choices=_choices(Phase))
    step_to = models.CharField(max_length=16, choices=_choices(Phase))
    changed_at = models.DateTimeField(default=now)
    changed_by = models.CharField(max_length=150)
    reason = models.TextField()
    evidence = models.JSONField(default=dict)
    position = models.PositiveIntegerField(null=True)
    previous = models.CharField(max_length=64, null=True)  # noqa: DJ001  (null: older than the chain)
    digest = models.CharField(max_length=64, null=True)  # noqa: DJ001  (null: older than the chain)

    objects = _Log.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["course_id", "position"], name="shim_phase_change_place")]

    def __str__(self) -> str:
        return f"{self.course_id}: {self.step_from} to {self.step_to}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """
        Insert the row.

        Raises:
            LogIsAddedTo: the row is in the table already, or has no place in the chain.
        """
        if not self._state.adding or not self.digest:
            raise LogIsAddedTo
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """
        Refuse: no row of the log is removed.

        Raises:
            LogIsAddedTo: always.
        """
        raise LogIsAddedTo

    def said(self) -> dict[str, Any]:
        """Return all that the row says as plain data, which its digest covers."""
        return {
            "course": self.course_id,
            "from": str(self.step_from),
            "to": str(self.step_to),
            "at": self.changed_at.astimezone(UTC).isoformat(timespec="microseconds"),
            "by": self.changed_by,
            "reason": self.reason,
            "evidence": self.evidence,
        }


class LegacyCourse(models.Model):
    """
    A course that XQueue has rows of, as the watch has found it: an LMS does not know which of its courses use XQueue.

    ``host`` is the callbacks' (``core.hosts.host_of``): one XQueue may serve several LMSs with the same course ids. How
    far the search has come, and when it last came to its end, is on the checkpoint that ``legacy/course_search.py``
    names.

    .. no_pii:
    """

    course_id = ExactCharField(max_length=255)
    host = ExactCharField(max_length=255, blank=True, default="")
    # Rows that are not retired, when they were counted last; the oldest of them arrived then.
    open_rows = models.PositiveIntegerField(default=0, db_default=0)
    oldest_open_at = models.DateTimeField(null=True)
    first_seen_at = models.DateTimeField(default=now)
    seen_at = models.DateTimeField(default=now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["course_id", "host"], name="shim_legacy_course")]

    def __str__(self) -> str:
        return f"{self.course_id}, in XQueue"


class Campaign(models.Model):
    """
    A record of a wish: to bring courses to a phase, by rules for when and how many at a time.

    Where its courses stand is read from their own records. ``plan`` holds the rules as the operator gave them. The row
    is the lock of the campaign's steps: who takes or forbids one holds it.

    .. pii: The name of the operator who started it.
    .. pii_types: username
    .. pii_retirement: retained
    """

    name = ExactCharField(max_length=64, unique=True)
    state = models.CharField(max_length=16, choices=_choices(CampaignState), default=CampaignState.RUNNING.value)
    to = models.CharField(max_length=16, choices=_choices(Phase))
    canary = ExactCharField(max_length=255)
    plan = models.JSONField(default=dict)
    reason = ExactCharField(max_length=500)
    started_at = models.DateTimeField(default=now)
    started_by = ExactCharField(max_length=150)
    # Why it is paused or was stopped, and since when it goes on after a pause.
    said = ExactCharField(max_length=500, blank=True, default="")
    resumed_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"campaign {self.name}"


class CampaignCourse(models.Model):
    """
    One course of a campaign. Which courses a campaign has is settled at its start.

    ``held`` is true while the campaign has the course, and null afterwards: no course is in two campaigns at once, and
    MySQL has no unique index on a part of the rows.

    .. no_pii:
    """

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="courses")
    course_id = ExactCharField(max_length=255)
    place = models.PositiveIntegerField()
    held = models.BooleanField(null=True, default=True)
    state = models.CharField(max_length=16, choices=_choices(MemberState), default=MemberState.GOING.value)
    said = ExactCharField(max_length=500, blank=True, default="")
    # The newest entry of the course's log that is taken for granted: of the start, or of the last ``resume``.
    log_seen = models.BigIntegerField(default=0)
    resumed_at = models.DateTimeField(null=True)
    # The ``since`` of the phase in which it was last shown well (``core/campaign.is_well``).
    well_since = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["course_id", "held"], name="shim_campaign_course_held"),
            models.UniqueConstraint(fields=["campaign", "course_id"], name="shim_campaign_course_once"),
        ]

    def __str__(self) -> str:
        return f"{self.course_id} of campaign {self.campaign_id}"


class CampaignLine(models.Model):
    """
    A line of a campaign's history: what was done or changed, of which course (empty: of all), by whom and why.

    .. pii: The name of the operator who changed the campaign.
    .. pii_types: username
    .. pii_retirement: retained
    """

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="lines")
    at = models.DateTimeField(default=now)
    by = ExactCharField(max_length=150)
    course_id = ExactCharField(max_length=255, blank=True, default="")
    what = models.CharField(max_length=16)
    text = ExactCharField(max_length=500, blank=True, default="")

    class Meta:
        indexes = [models.Index(fields=["campaign", "course_id", "what", "id"], name="shim_campaign_line")]

    def __str__(self) -> str:
        return f"{self.what} of campaign {self.campaign_id}"


class FlagOverride(ConfigurationModel):
    """
    A flag that is forced on or off for one course or organisation, where the platform's waffle_utils is not installed.

    The newest row of a (flag, scope, key) counts; if ``enabled`` is off in it, nothing is forced. Read it through
    ``toggles``, never through ``current()`` or ``is_enabled()``: these cache for ten minutes in a process.

    .. no_pii:
    """

    KEY_FIELDS = ("flag", "scope", "key")

    flag = models.CharField(max_length=255)
    scope = models.CharField(max_length=8, choices=[("course", "course"), ("org", "org")])
    key = ExactCharField(max_length=255)
    force = models.BooleanField(default=False)
    note = models.CharField(max_length=255, blank=True, default="")

    class Meta(ConfigurationModel.Meta):
        indexes = [models.Index(fields=["scope", "key", "flag"], name="shim_flag_override")]

    def __str__(self) -> str:
        return f"{self.flag} forced {'on' if self.force else 'off'} for {self.key}"


class LegacySubmission(models.Model):
    """
    A row of XQueue's one table, as XQueue's own migrations make it (``submission_queue/models.py``).

    Read it through ``legacy.rows``, which returns frozen values; ``legacy.writes`` holds what may change of it.

    .. pii: XQueue's own copy of the submission: user id, anonymous id, answer, reply and keys.
    .. pii_types: id, other
    .. pii_retirement: retained
    """

    is_legacy = True  # for the database router

    requester_id = ForeignCharField(max_length=128)
    lms_callback_url = ForeignCharField(max_length=128)
    queue_name = ForeignCharField(max_length=128)
    xqueue_header = ForeignCharField(max_length=1024)
    xqueue_body = models.TextField()
    s3_keys = ForeignCharField(max_length=1024)
    s3_urls = ForeignCharField(max_length=1024)
    arrival_time = models.DateTimeField()
    pull_time = models.DateTimeField(null=True)
    push_time = models.DateTimeField(null=True)
    return_time = models.DateTimeField(null=True)
    grader_id = ForeignCharField(max_length=128)
    pullkey = ForeignCharField(max_length=128)
    grader_reply = models.TextField()
    num_failures = models.IntegerField(default=0)
    lms_ack = models.BooleanField(default=False)
    retired = models.BooleanField(default=False)

    class Meta:
        managed = False
        db_table = "queue_submission"

    def __str__(self) -> str:
        return f"legacy row {self.pk}"
