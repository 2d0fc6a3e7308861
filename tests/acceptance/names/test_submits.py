"""
The same names in submissions through the door, beside the XQueue stand-in: each one that was accepted is held once by
the system that is authoritative, has one entry, and its neighbours come out as if it were not there.
"""

import pytest
from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils.timezone import now
from hypothesis import given
from submissions.models import ExternalGraderDetail

from migration_shim import api, toggles
from migration_shim.copies import breaker
from migration_shim.core.data import Authority, Phase
from migration_shim.core.errors import Malformed
from migration_shim.core.wire import parse_envelope
from migration_shim.models import LedgerEntry, LegacySubmission
from sandbox.lms import capa
from sandbox.lms.blocks import SubmittedFile
from tests import databases
from tests.acceptance.names.test_names import ODD, converted, every_run, examples_of
from tests.builders import odd_rows as world
from tests.builders import rows
from tests.builders.attempts import legacy, recording_lms, shim, start_xqueue, xqueue_server  # noqa: F401  (fixtures)
from tests.builders.hostile_text import course_of, item_of
from tests.builders.rows import COURSE, QUEUE

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)
#: Learners with ordinary names: the one before the odd ones, and the one after them.
FIRST, LAST = 41, 48
#: Nothing is copied in these.
QUIET = (Phase.LEGACY, Phase.COMPLETE)


#: Every day the narrowest one; the rows of the other tests come in each.
*WIDER, NARROWEST = world.CHARSETS
EACH = (NARROWEST, *(pytest.param(charset, marks=pytest.mark.long) for charset in WIDER))


@pytest.fixture(scope="module", params=EACH, autouse=True)
def charset(request, databases_ready, django_db_blocker):
    """XQueue's table in one character set or the other."""
    with django_db_blocker.unblock(), converted(request.param):
        yield


def submit(user, course=COURSE, item="", queue=QUEUE, learner="", file="", key=""):
    """One submission as CAPA makes it and sends it: header, body and the door's answer; None if CAPA cannot make it."""
    item = item or rows.usage_key(world.PROBLEM, course)
    try:
        request = capa.make_request(
            answer_id=f"{capa.html_id(item)}_2_1",
            response=f"x = {user}\n",
            grader_payload=rows.PAYLOAD,
            callback=capa.callback_url("https://courses.example.edu", course, user, item),
            queue_name=queue,
            user_id=user,
            anonymous_id=learner or rows.anonymous_id(user),
            seed=1,
            now=now(),
        )
    except UnicodeEncodeError:
        return None
    header = request.header.replace(request.key, key) if key.isalnum() and key.isascii() else request.header
    upload = SubmittedFile(SimpleUploadedFile("main.py", b"print()"))
    upload.name = file = file.encode("utf-8", "replace").decode("utf-8")  # as the LMS reads it from a browser's request
    toggles.new_work_cycle()
    answer = api.queue_interface().send_to_queue(header, request.body, [upload] if file else [])
    return header, request.body, answer


def story(phase, odd):
    """Submit, let the watch write what is owed, copy what is left, and compare; what comes of the two neighbours."""
    course, item = course_of(odd.get("course", "PY1")) or COURSE, item_of(odd.get("item", world.PROBLEM), COURSE)
    courses = list({COURSE, course})
    world.stand(phase, courses)
    sent = [submit(FIRST)]
    if odd:
        sent += [submit(42, course), submit(43, item=item or "")]
        sent += [submit(user, **{name: odd[name]}) for user, name in enumerate(("queue", "learner", "file", "key"), 44)]
    sent.append(submit(LAST))
    assert [answer[0] for _, _, answer in (sent[0], sent[-1])] == [0, 0]
    for header, body, (error, said) in filter(None, sent):
        assert error in (0, 1) and isinstance(said, str)
        held_once(authority_of(phase, header, body), header, accepted=not error)
    api.watch(courses)
    if phase is Phase.SHADOW:
        world.as_planned(world.Mode.SHADOW)
    problems = world.compared(courses, ordinary="")
    headers = [one[0] for one in sent if one]
    found = list(LedgerEntry.objects.values_list("raw_header", flat=True))
    assert len(found) == len(set(found)), "a submission has two entries"
    assert set(found) <= set(headers)
    return problems, [outcome(user) for user in (FIRST, LAST)]


def authority_of(phase, header, body):
    """The system that takes a submission: legacy whatever nobody else can read, in every phase."""
    try:
        parse_envelope(header, body)
    except Malformed:
        return Authority.LEGACY
    return phase.authority


def held_once(authority, header, *, accepted):
    """A submission that was accepted is on the authoritative side once, and one that was refused not at all."""
    on_legacy = [row for row in LegacySubmission.objects.all() if row.xqueue_header == header]
    entries = [entry for entry in LedgerEntry.objects.all() if entry.raw_header == header]
    if authority is Authority.LEGACY:
        assert len(on_legacy) == accepted
    else:
        ids = [entry.target_submission_id for entry in entries]
        assert ExternalGraderDetail.objects.filter(submission_id__in=ids).count() == accepted
        assert on_legacy == []


def outcome(user):
    """What both systems and the ledger have of an ordinary learner."""
    entry = LedgerEntry.objects.filter(learner=rows.anonymous_id(user)).values_list(
        "course_id", "queue_name", "authority", "legacy_leg", "target_leg", "target_reason", "result", "divergences"
    )
    return list(entry), LegacySubmission.objects.filter(xqueue_header__contains=f"/xqueue/{user}/").count()


@pytest.mark.parametrize("phase", [Phase.SHADOW, Phase.LIVE, *(pytest.param(p, marks=pytest.mark.long) for p in QUIET)])
@pytest.mark.parametrize("examples", [1, pytest.param(20, marks=[pytest.mark.long, pytest.mark.timeout(3600)])])
@pytest.mark.usefixtures("legacy")
def test_submissions(phase, examples):
    def told(odd):
        breaker.reset()
        cache.clear()
        try:
            return story(phase, odd)
        finally:
            for alias in ("default", "xqueue"):
                databases.empty(alias)
            LegacySubmission.objects.all().delete()

    without = told({})

    @every_run
    @examples_of(examples)
    @given(ODD)
    def same(odd):
        assert told(odd) == without

    same()
