"""What the watcher seam hands out, to whom, and in which order."""

import json
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail, Score, get_storage

from migration_shim.conf import load
from migration_shim.models import LedgerEntry
from migration_shim.target import leases, seam
from sandbox.grader import GraderClient, ServerEntry
from sandbox.lms.courseware.models import StudentModule
from sandbox.lms.models import LearnerEffect
from sandbox.lms.seed import seed_learners
from tests.builders import rows
from tests.builders.rows import fresh  # noqa: F401
from tests.builders.watchers import (
    COMMITTED,
    PREFIX,
    SEAM_URL,
    SHADOW,
    Watcher,
    account,
    let_leases_end,
    parts,
    real,
    shadow,
    status_age,
)

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
FILES = {"a.py": b"\x00\xff print()\r\n", "sub dir/ü.txt": b"", "b.csv": b"1,2\n"}


@pytest.fixture
def counted(monkeypatch):
    """What the seam has counted."""
    found = []
    monkeypatch.setattr(seam, "count", found.append)
    return found


def ids(watcher, number, queue=rows.QUEUE):
    """The ids that so many polls hand out."""
    documents = [watcher.pull(queue) for _ in range(number)]
    return [document and document["xqueue_header"]["submission_id"] for document in documents]


def in_status(status, age, **columns):
    """The id of a row in this status since so many seconds."""
    submission_id = real().submission_id
    ExternalGraderDetail.objects.filter(submission_id=submission_id).update(status=status, **columns)
    status_age(submission_id, age)
    return submission_id


# --- the payload --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "answer", "seed", "extra"),
    [
        (rows.PAYLOAD, "x = 1\n", 1, {}),
        ('{"grader": "g.py", "lang": "de", "hide_output": true}', "", 4711, {}),
        ("  not JSON\t\n", "ü\U0001d4b3\x00\r\n", "seed as text", {}),
        ("", "x", None, {"token": "t0k", "endpoint_version": "2", "requestor_id": 7}),
        ('["a", "list"]', ["a", {"b": None}], 0, {"nested": {"a": [1, 2.5, None]}}),
    ],
)
def test_the_payload_is_the_one_that_capa_sent(watcher, payload, answer, seed, extra):
    sent = real(payload=payload, answer=answer, seed=seed, extra=extra)
    document = watcher.pull()
    body = document["xqueue_body"]
    assert body == json.loads(sent.body)
    assert body["grader_payload"] == payload
    info = json.loads(body["student_info"])
    assert info == json.loads(json.loads(sent.body)["student_info"])
    assert len(info["submission_time"]) == 14 and info["random_seed"] == seed
    assert document["xqueue_files"] == {}
    detail = sent.detail
    assert document["xqueue_header"] == {"submission_id": sent.submission_id, "submission_key": detail.pullkey}
    assert detail.status == "pulled"


def test_a_shadow_is_handed_out_like_the_original(watcher):
    row = rows.legacy_row(extra={"token": "t"}, seed=9)
    rows.backfill()
    assert watcher.pull() is None
    assert watcher.pull(SHADOW)["xqueue_body"] == json.loads(row.xqueue_body)


@pytest.mark.parametrize("base_url", ["https://courses.example.edu/media/", "/media/"])
def test_files_come_as_absolute_urls_that_a_grader_can_fetch(watcher, monkeypatch, base_url):
    monkeypatch.setattr(get_storage(), "base_url", base_url)
    real(files=FILES)
    listing = watcher.pull()["xqueue_files"]
    assert sorted(listing) == sorted(FILES)
    for name, url in listing.items():
        assert url.startswith("https://courses.example.edu/media/exu-py1/")
        answer = Client(**rows.HOST).get(urlsplit(url).path)
        assert (answer.status_code, b"".join(answer.streaming_content)) == (200, FILES[name])


def test_a_row_without_a_ledger_entry_is_handed_out_in_upstreams_form(watcher, counted):
    sent = real(seed=5, extra={"token": "t"}, files={"a.py": b"1"})
    twin = real(seed=5, extra={"token": "t"}, files={"a.py": b"1"})
    detail, entry = sent.detail, sent.entry
    LedgerEntry.objects.all().delete()
    document = watcher.pull()
    assert counted == ["handed_out_without_residue"]
    assert document["xqueue_body"] == {
        "grader_payload": '{"grader": "py1/square/grade.py"}',
        "student_info": json.dumps(
            {
                "anonymous_student_id": entry.learner,
                "submission_time": str(int(detail.created_at.timestamp())),
                "random_seed": 1,
            }
        ),
        "student_response": "x = 1\n",
    }
    upstream = Watcher(prefix="/xqueue").pull()
    assert upstream["xqueue_header"]["submission_id"] == twin.submission_id
    assert upstream["xqueue_body"].keys() == document["xqueue_body"].keys()
    assert upstream["xqueue_files"].keys() == document["xqueue_files"].keys() == {"a.py"}


def test_a_lease_is_on_record_in_the_ledger(watcher, counted):
    sent = real()
    key = watcher.pull()["xqueue_header"]["submission_key"]
    entry, detail = sent.entry, sent.detail
    assert (entry.lease_key, entry.leases, entry.leased_at) == (key, 1, detail.status_time)
    assert counted == []


# --- which row ----------------------------------------------------------------------------------------------------


def test_nothing_younger_than_the_hold_is_handed_out(watcher, shim):
    shim(HOLD_SECONDS=2)
    young, old = real(age=1.0), real(age=2.1)
    assert ids(watcher, 2) == [old.submission_id, None]
    assert parts(watcher.get("get_queuelen", queue_name=rows.QUEUE)) == (0, 0)
    status_age(young.submission_id, 2.1)
    assert ids(watcher, 2) == [young.submission_id, None]


def test_the_default_hold_is_two_seconds(watcher, settings):
    del settings.MIGRATION_SHIM["HOLD_SECONDS"]
    assert load().hold_seconds == 2
    real(age=0.5)  # what follows may take a second on a busy machine
    old = real(age=2.0)
    assert ids(watcher, 2) == [old.submission_id, None]


def test_fresh_rows_come_before_retries_and_dying_rows_last(watcher):
    """Whatever their age: a row that keeps dying cannot hold up its queue."""
    expired = [in_status("pulled", age, pullkey="k") for age in (9000, 8000)]
    retries = [in_status("retry", age, pullkey="k") for age in (6000, 7000)]
    fresh_rows = [real(age=age).submission_id for age in (20, 30, 10)]
    in_status("pulled", 60, pullkey="k")  # still with its grader
    in_status("retired", 9000, pullkey="k")
    in_status("failed", 9000, pullkey="k")
    assert parts(watcher.get("get_queuelen", queue_name=rows.QUEUE)) == (0, 7)
    expected = [fresh_rows[1], fresh_rows[0], fresh_rows[2], *reversed(retries), *expired, None]
    assert ids(watcher, 8) == expected


def test_queues_are_apart(watcher):
    here, there = real(), real(queue="exu-misc")
    assert ids(watcher, 2, "exu-misc") == [there.submission_id, None]
    assert ids(watcher, 2) == [here.submission_id, None]


# --- leases that end ----------------------------------------------------------------------------------------------


def test_a_renewed_lease_has_a_new_key_and_a_new_time_and_refuses_the_first_grader(watcher):
    sent = real()
    first = watcher.pull()["xqueue_header"]
    assert watcher.pull() is None
    let_leases_end()
    moment = now()
    second = watcher.pull()["xqueue_header"]
    assert second["submission_id"] == first["submission_id"]
    assert second["submission_key"] != first["submission_key"]
    assert sent.detail.status_time >= moment
    assert (sent.entry.lease_key, sent.entry.leases) == (second["submission_key"], 2)
    assert watcher.pull() is None  # upstream would hand it out at every poll from now on
    assert watcher.put(first) == (1, "Incorrect key for submission")
    assert Score.objects.count() == 0
    assert watcher.put(second) == (0, "")
    assert sent.detail.status == "retired" and Score.objects.count() == 1


def test_the_lease_is_a_setting(watcher, shim):
    shim(LEASE_SECONDS=30)
    sent = real()
    watcher.pull()
    status_age(sent.submission_id, 29)
    assert watcher.pull() is None
    status_age(sent.submission_id, 31)
    assert watcher.pull() is not None


def die(watcher, times, queue=rows.QUEUE):
    """Let a row be pulled and its grader die, so many times; the ids that were handed out."""
    found = []
    for _ in range(times):
        document = watcher.pull(queue)
        found.append(document and document["xqueue_header"]["submission_id"])
        let_leases_end()
    return found


@pytest.mark.parametrize("status", ["pending", "retry", "pulled"])
def test_of_two_sessions_that_read_the_same_row_one_has_it(status):
    """Where locked rows cannot be skipped both read it; an expired lease differs by its time alone."""
    submission_id = in_status(status, 600, pullkey="old")
    first, second = (ExternalGraderDetail.objects.get(submission_id=submission_id) for _ in range(2))
    assert leases._claim(first, load())
    assert not leases._claim(second, load())
    assert ExternalGraderDetail.objects.get(submission_id=submission_id).pullkey == first.pullkey != "old"


@pytest.mark.parametrize("limit", [1, 5])
def test_a_row_that_keeps_dying_is_failed_and_its_learner_told_once(watcher, shim, limit):
    shim(LEASE_LIMIT=limit)
    sent = real()
    before = LearnerEffect.objects.count()
    assert die(watcher, limit) == [sent.submission_id] * limit
    assert sent.detail.status == "pulled" and LearnerEffect.objects.count() == before
    other = real(learner=False)
    assert ids(watcher, 3) == [other.submission_id, None, None]
    detail = sent.detail
    assert (detail.status, detail.num_failures, detail.pullkey) == ("failed", limit, "")
    (state,) = StudentModule.objects.get().correct_map.values()
    assert state["queuestate"] is None
    assert "Your submission could not be graded" in state["msg"]
    published = LearnerEffect.objects.filter(kind="grade_published", source="external_grader_event")
    assert published.count() == 1
    let_leases_end()
    watcher.pull()
    assert published.count() == 1
    assert Score.objects.count() == 0


def test_a_dying_shadow_tells_its_learner_nothing(watcher):
    row = rows.legacy_row()
    assert seed_learners([vars(row) | {"arrival_time": row.arrival_time.isoformat()}]).states == 1
    rows.backfill()
    states = list(StudentModule.objects.values_list())
    assert None not in die(watcher, 5, SHADOW)
    assert watcher.pull(SHADOW) is None
    assert ExternalGraderDetail.objects.get().status == "failed"
    assert list(StudentModule.objects.values_list()) == states
    assert LearnerEffect.objects.count() == 0


def test_telling_learners_can_be_turned_off(watcher, shim):
    shim(LEASE_LIMIT=1, TELL_LEARNER_OF_FAILURE=False)
    sent = real()
    die(watcher, 1)
    assert watcher.pull() is None
    assert sent.detail.status == "failed"
    assert LearnerEffect.objects.count() == 0


def test_a_receiver_that_raises_does_not_cost_the_poll(watcher, shim, caplog):
    shim(LEASE_LIMIT=1)
    lost = real(learner=False)  # the LMS's receiver raises
    die(watcher, 1)
    other = real()
    ExternalGraderDetail.objects.filter(submission_id=other.submission_id).update(status="pulled", pullkey="k")
    status_age(other.submission_id, 500)
    shim(LEASE_LIMIT=5)
    ExternalGraderDetail.objects.filter(submission_id=lost.submission_id).update(num_failures=4)
    assert ids(watcher, 2) == [other.submission_id, None]
    assert lost.detail.status == "failed"
    assert "a learner was not told of a failure: DoesNotExist" in caplog.text


# --- requests that get nothing ------------------------------------------------------------------------------------


def test_an_empty_queue_and_an_unknown_one_say_so_in_xqueues_words(watcher):
    for queue in (rows.QUEUE, "nobody's"):
        assert parts(watcher.get("get_submission", queue_name=queue)) == (1, f"Queue '{queue}' is empty")


@pytest.mark.parametrize("action", ["get_submission", "get_queuelen"])
@pytest.mark.parametrize("parameters", [{}, {"queue_name": ""}])
def test_a_request_without_a_queue_is_refused(watcher, action, parameters):
    code, content = parts(watcher.get(action, **parameters))
    assert (code, content) == (1, f"'{action}' must provide parameter 'queue_name'")


OF_THE_LMS = ("auth_", "django_session", "sandbox_lms_")


def asked(watcher, **parameters):
    """The statements of one poll, those of the LMS's session and account apart; ends of transactions are ours."""
    with CaptureQueriesContext(connection) as captured:
        answer = watcher.get("get_submission", **parameters)
    every = [query["sql"] for query in captured]
    return parts(answer), [sql for sql in every if not any(name in sql for name in OF_THE_LMS)], every


@COMMITTED
def test_a_poll_of_an_empty_queue_asks_at_most_four_things(watcher):
    """Graders poll all day, and mostly for nothing."""
    real(queue="another")
    for _ in range(2):
        (code, content), ours, every = asked(watcher, queue_name=rows.QUEUE)
        assert (code, content) == (1, f"Queue '{rows.QUEUE}' is empty")
        assert 1 <= len(ours) <= 4, "\n".join(ours)
        assert len(every) > len(ours)


@COMMITTED
def test_a_poll_while_nothing_is_due_asks_as_little(watcher, shim):
    shim(HOLD_SECONDS=600)
    real(age=0)
    held = real(user=31)
    ExternalGraderDetail.objects.filter(submission_id=held.submission_id).update(
        status="pulled", status_time=now(), pullkey="k"
    )
    (code, _), ours, _ = asked(watcher, queue_name=rows.QUEUE)
    assert code == 1
    assert len(ours) <= 4, "\n".join(ours)


def test_queuelen_counts_what_could_be_handed_out(watcher):
    for _ in range(3):
        real()
    shadow()
    assert parts(watcher.get("get_queuelen", queue_name=rows.QUEUE)) == (0, 3)
    watcher.pull()
    assert parts(watcher.get("get_queuelen", queue_name=rows.QUEUE)) == (0, 2)
    assert parts(watcher.get("get_queuelen", queue_name=SHADOW)) == (0, 1)


# --- who may ------------------------------------------------------------------------------------------------------


def refused(watcher):
    """Whether no endpoint of a grader answers; 403 is what makes a watcher log in again."""
    answers = [
        watcher.get("get_submission", queue_name=rows.QUEUE),
        watcher.get("get_queuelen", queue_name=rows.QUEUE),
        watcher.post("put_result", xqueue_header="{}", xqueue_body="{}"),
    ]
    return {answer.status_code for answer in answers} == {403}


@COMMITTED
def test_without_a_login_nothing_is_handed_out():
    sent = real()
    stranger = Watcher("nobody", "pw")
    assert parts(stranger.logged_in) == (1, "Incorrect login credentials")
    assert refused(stranger)
    assert sent.detail.status == "pending"


@COMMITTED
def test_a_user_outside_the_group_gets_nothing():
    sent = real()
    account("teacher", group="staff")
    teacher = Watcher("teacher")
    assert parts(teacher.logged_in) == (1, "Incorrect login credentials")
    assert refused(teacher)
    teacher.client.force_login(rows.get_user_model().objects.get(username="teacher"))
    assert refused(teacher)
    assert sent.detail.status == "pending"


@COMMITTED
def test_a_user_of_the_submit_door_cannot_pull_and_a_grader_cannot_submit(shim, monkeypatch):
    monkeypatch.setenv("MIGRATION_SHIM_SUBMIT_DOOR", "1")
    shim(SUBMIT_USERS={"lms": "secret"})
    sent = real()
    door = Watcher("lms", "secret")
    assert parts(door.logged_in) == (0, "Logged in")
    assert refused(door)
    account()
    grader = Watcher()
    assert parts(grader.post("submit", xqueue_header=sent.header, xqueue_body=sent.body)) == (1, "login_required")
    # The contrast: each may do what is its own.
    assert parts(door.post("submit", xqueue_header="{", xqueue_body="{}")) == (1, "Queue request has invalid format")
    assert grader.pull() is not None


def test_login_needs_both_fields(watcher):
    for form in ({}, {"username": "grader"}, {"password": "pw"}):
        assert parts(watcher.client.post(f"{PREFIX}/login/", form)) == (1, "Insufficient login info")
    assert parts(Watcher(password="wrong").logged_in) == (1, "Incorrect login credentials")


def test_the_login_page_gives_the_token_to_anybody():
    client = Client(enforce_csrf_checks=True, **rows.HOST)
    assert parts(client.get(f"{PREFIX}/login/")) == (0, "")
    assert client.cookies["csrftoken"]["secure"]
    assert "sessionid" not in client.cookies


@COMMITTED
def test_the_session_cookie_is_secure_and_logout_ends_it(watcher):
    assert watcher.client.cookies["sessionid"]["secure"]
    assert watcher.client.cookies["sessionid"]["domain"] == ".example.edu"
    real()
    assert parts(watcher.post("logout")) == (0, "Goodbye")
    assert refused(watcher)


def test_anybody_may_ask_for_the_status():
    client = Client(**rows.HOST)
    assert parts(client.get(f"{PREFIX}/status/")) == (0, "OK")
    assert parts(client.post(f"{PREFIX}/status/")) == (0, "OK")


@pytest.mark.parametrize(
    ("method", "action"),
    [("post", "get_submission"), ("post", "get_queuelen"), ("get", "put_result"), ("get", "logout")],
)
def test_other_methods_are_refused(watcher, method, action):
    assert getattr(watcher, method)(action).status_code == 405


# --- transactions, and a grader over the network ------------------------------------------------------------------


@COMMITTED
def test_no_view_of_the_seam_runs_in_a_requests_transaction(watcher, monkeypatch, settings):
    """In an LMS every other view does (ATOMIC_REQUESTS): a counted failure would be undone with the attempt."""
    assert settings.DATABASES["default"]["ATOMIC_REQUESTS"]
    seen = {}
    original = seam.WatcherSeam.initial

    def initial(self, request, *args, **kwargs):
        seen[self.action] = connection.in_atomic_block
        return original(self, request, *args, **kwargs)

    monkeypatch.setattr(seam.WatcherSeam, "initial", initial)
    for action in ("get_submission", "get_queuelen", "status"):
        watcher.get(action)
    for action in ("put_result", "logout"):
        watcher.post(action)
    assert seen == dict.fromkeys(["get_submission", "get_queuelen", "status", "put_result", "logout"], False)
    Client(**rows.HOST).get("/xqueue/get_submission/")
    with transaction.atomic():
        assert connection.in_atomic_block


@COMMITTED
def test_a_grader_over_https_pulls_and_one_past_the_proxy_has_no_session(servers):
    """The cookies are Secure and of the institution's domain: the grader needs the public address."""
    account()
    rows.legacy_row()
    rows.backfill()
    direct = GraderClient(entry(servers.lms.url + "/migration_shim"), timeout=10)
    assert direct.login()  # says yes, and its cookies go nowhere
    assert direct.request("get", "/xqueue/get_queuelen/", params={"queue_name": SHADOW}) == (False, "status 403")
    public = GraderClient(entry(SEAM_URL), timeout=10)
    assert public.request("get", "/xqueue/get_queuelen/", params={"queue_name": SHADOW}) == (True, 1)
    assert {cookie.secure for cookie in public.session.cookies} == {True}
    assert public.put(public.pull(SHADOW)["xqueue_header"], rows.RIGHT)
    assert ExternalGraderDetail.objects.get().status == "retired"
    assert now() - ExternalGraderDetail.objects.get().status_time < timedelta(minutes=1)


def entry(url):
    """The grader's account at an address."""
    return ServerEntry(url=url, username="grader", password="pw", queues=(SHADOW,))
