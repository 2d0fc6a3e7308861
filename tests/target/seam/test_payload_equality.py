"""The same grader at legacy and at the seam: every importable captured row is handed out with an equal payload."""

import json

from submissions.models import ExternalGraderDetail

from migration_shim.core.data import Leg
from migration_shim.models import LedgerEntry, LegacySubmission
from sandbox import capture
from sandbox.grader import GraderClient, ServerEntry
from tests.builders import rows
from tests.builders.rows import fresh  # noqa: F401
from tests.builders.watchers import COMMITTED, SEAM_URL, account

pytestmark = COMMITTED


def pull_all(url, username, password, queues):
    """All that a grader gets of these queues: (body as text, files by name) by submission id."""
    client = GraderClient(ServerEntry(url=url, username=username, password=password, queues=tuple(queues)), timeout=20)
    found = {}
    for queue in queues:
        while (document := client.pull(queue)) is not None:
            number = json.loads(document["xqueue_header"])["submission_id"]
            assert number not in found
            found[number] = document["xqueue_body"], client.fetch_files(document["xqueue_files"])
    return found


def parsed(body):
    """A body with what it holds as text in turn: the grader reads student_info as JSON, the payload as it likes."""
    fields = json.loads(body)
    return fields | {"student_info": json.loads(fields["student_info"])}


def kinds(body, row):
    """Which of the unusual forms a row has."""
    fields = json.loads(body)
    found = set()
    if fields.keys() - {"grader_payload", "student_info", "student_response"}:
        found.add("extra keys")
    try:
        payload = json.loads(fields["grader_payload"] or "")
        if isinstance(payload, dict) and payload.keys() - {"grader"}:
            found.add("extra payload keys")
    except ValueError:
        found.add("payload is no JSON")
    if json.loads(fields["student_info"]).get("random_seed") != 1:
        found.add("seed")
    if "KEY_FOR_EXTERNAL_DICTS" in row["s3_keys"]:
        found.add("external dictionaries")
    elif row["s3_keys"] != "{}":
        found.add("files")
    if row["retired"]:
        found.add("history")
    return found


def test_every_importable_captured_row_is_handed_out_alike(servers):
    capture.load_capture(rows.DATA)
    classes = rows.backfill(history=True, per_problem=1000).content["classes"]
    copies = LedgerEntry.objects.filter(target_leg=Leg.STORED)
    pairs = dict(copies.values_list("legacy_id", "target_submission_id"))
    assert len(pairs) == classes["imported"] + classes["final"]
    # Legacy hands out what is not retired; the seam's grader polls the queues of shadows only.
    LegacySubmission.objects.exclude(pk__in=pairs).update(retired=True)
    LegacySubmission.objects.filter(pk__in=pairs).update(retired=False, pull_time=None, pullkey="")
    for entry in copies.filter(history=True):
        details = ExternalGraderDetail.objects.filter(submission_id=entry.target_submission_id)
        assert details.update(queue_name=f"{entry.queue_name}.shadow") == 1
    account()

    queues = sorted(set(copies.values_list("queue_name", flat=True)))
    legacy = pull_all(servers.xqueue.url, "lms", "lms-password", queues)
    target = pull_all(SEAM_URL, "grader", "pw", [f"{queue}.shadow" for queue in queues])

    assert legacy.keys() == pairs.keys() and target.keys() == set(pairs.values())
    captured = {row["id"]: row for row in rows.captured()}
    seen, files = [], 0
    for legacy_id, submission_id in pairs.items():
        (body, contents), (copy, copied) = legacy[legacy_id], target[submission_id]
        assert body == captured[legacy_id]["xqueue_body"]
        assert parsed(copy) == parsed(body), legacy_id
        assert json.loads(copy)["student_info"] == json.loads(body)["student_info"], legacy_id
        assert copied == contents, legacy_id
        files += len(contents)
        seen.append(kinds(body, captured[legacy_id]))
    counts = {kind: sum(kind in found for found in seen) for kind in set().union(*seen)}
    assert len(pairs) > 300 and files > 50, (len(pairs), files)
    assert min(counts.values()) >= 2 and len(counts) == 7, counts
    leased = LedgerEntry.objects.filter(leases=1, pk__in=copies).count()
    assert leased == len(pairs)
    assert not ExternalGraderDetail.objects.exclude(status="pulled").exists()
