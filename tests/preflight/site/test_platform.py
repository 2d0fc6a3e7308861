"""What preflight says of the platform: accounts, caches, broker and storages, each made wrong, and nothing if right."""

import threading
from datetime import timedelta

import pytest
import redis
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.utils.timezone import now
from openedx_events.learning.signals import EXTERNAL_GRADER_SCORE_SUBMITTED
from submissions import models as upstream

from migration_shim.conf import ShimSettings, load
from migration_shim.core.data import Phase
from migration_shim.db import timeouts
from migration_shim.lms import flags, state
from migration_shim.models import CoursePhase, LedgerEntry, LegacySubmission
from migration_shim.preflight import platform as preflight_platform
from sandbox.lms import celery_app, receivers
from sandbox.network import free_port
from tests.builders import rows
from tests.builders.rows import COURSE, fresh  # noqa: F401
from tests.private_redis import redis_url  # noqa: F401
from tests.test_tasks import use_broker  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])


def found():
    return {finding.rule.code: finding for finding in preflight_platform.findings(COURSE, load())}


def about(code):
    finding = found().get(code)
    return finding and finding.about


def grader(name, *, active=True, group="xqueue"):
    user = get_user_model().objects.create_user(name, is_active=active)
    user.groups.add(Group.objects.get_or_create(name=group)[0])


@pytest.fixture(autouse=True)
def sound(settings, use_broker, redis_url):  # noqa: F811
    """A broker that answers, a cache that is shared, graders enough."""
    use_broker(redis_url)
    celery_app.conf.broker_transport_options = {"socket_timeout": 1}
    for number in range(2):
        grader(f"grader{number}")
    settings.LMS_ROOT_URL = "https://lms.example.edu"
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"CALLBACK_HOSTS": ["courses.example.edu"]}


@pytest.fixture(autouse=True)
def _transport_as_before():
    before = celery_app.conf.broker_transport_options
    yield
    celery_app.conf.broker_transport_options = before


@pytest.fixture
def shim(settings):
    def change(**values):
        settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | values

    return change


def test_a_sound_platform_has_no_finding():
    assert found() == {}


class OtherRouter:
    """Has no opinion."""


@pytest.mark.parametrize("routers", [[], [f"{__name__}.OtherRouter", "migration_shim.legacy.routers.LegacyRouter"]])
def test_what_the_apps_own_checks_find_is_a_blocker(settings, routers):
    settings.DATABASE_ROUTERS = routers
    finding = found()["site"]
    assert (finding.severity, finding.about) == ("blocker", "Our database router is not the first.")


def test_what_the_doors_check_finds_is_a_blocker_too(shim):
    shim(HTTP_DOOR_SECONDS=20.0)
    assert "HTTP_DOOR_SECONDS" in about("site")


def test_the_platforms_own_flag_is_a_blocker_until_the_course_is_released(monkeypatch):
    monkeypatch.setattr(flags, "submission_flag_on", lambda course_id: course_id == COURSE)
    assert {code: finding.severity for code, finding in found().items()} == {"platform_flag": "blocker"}
    CoursePhase.objects.create(course_id=COURSE, phase=Phase.COMPLETE, released_at=now())
    assert found() == {}


# Graders


def test_without_a_grader_who_may_pull_that_is_said():
    get_user_model().objects.all().delete()
    assert about("no_graders") == ""
    Group.objects.all().delete()
    grader("a", active=False)
    grader("b", group="staff")
    assert set(found()) == {"no_graders"}
    grader("c")
    assert "no_graders" not in found()


def test_single_login_is_set_against_the_number_of_watchers(settings):
    for user in (40, 41):
        rows.legacy_row(user)
    rows.backfill()
    assert "single_login" not in found()
    rows.legacy_row(42, queue="exu-alg2")
    rows.backfill()
    assert LedgerEntry.objects.count() == 3
    finding = found()["single_login"]
    assert finding.about == "2 active users of the group xqueue, at least 4 watchers for this course"
    settings.PREVENT_CONCURRENT_LOGINS = False
    assert "single_login" not in found()


@pytest.mark.parametrize("on", [True, False])
def test_older_platforms_have_single_login_among_their_features(settings, on):
    del settings.PREVENT_CONCURRENT_LOGINS
    settings.FEATURES = {"PREVENT_CONCURRENT_LOGINS": on}
    get_user_model().objects.first().delete()
    assert ("single_login" in found()) == on


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SINGLE_LOGIN_EXEMPT_GROUPS", ["xqueue"], False),
        ("SINGLE_LOGIN_EXEMPT_GROUPS", ["staff"], True),
        ("SINGLE_LOGIN_EXEMPT_USERNAMES", {"grader1"}, False),
        ("SINGLE_LOGIN_EXEMPT_USERNAMES", ["grader0"], True),
        ("SINGLE_LOGIN_EXEMPT_USERNAMES", None, True),
    ],
)
def test_an_account_that_is_exempt_may_have_all_watchers(settings, name, value, said):
    get_user_model().objects.get(username="grader0").delete()
    setattr(settings, name, value)
    assert ("single_login" in found()) == said


def test_rows_in_a_queue_that_nobody_polls_are_named_with_their_side():
    rows.legacy_row(40)
    rows.legacy_row(41, course="course-v1:ExU+Other+2026", queue="exu-alg2")
    (finding,) = preflight_platform.findings(COURSE, load())
    assert (finding.rule.code, finding.queue) == ("unwatched", rows.QUEUE)
    assert finding.about.startswith("legacy: 1 row, the oldest for 36")
    rows.backfill()
    details = upstream.ExternalGraderDetail.objects.filter(queue_name=f"{rows.QUEUE}.shadow")
    assert details.update(status_time=now() - timedelta(seconds=1000)) == 1
    sides = {(item.queue, item.about.partition(":")[0]) for item in preflight_platform.findings(COURSE, load())}
    assert sides == {(rows.QUEUE, "legacy"), (f"{rows.QUEUE}.shadow", "target")}
    LegacySubmission.objects.update(pull_time=now())
    details.update(status="pulled", status_time=now())
    assert found() == {}


# Caches


@pytest.mark.parametrize("kind", ["locmem.LocMemCache", "dummy.DummyCache"])
def test_a_cache_of_one_process_is_named(settings, kind):
    settings.CACHES = {"default": {"BACKEND": f"django.core.cache.backends.{kind}"}}
    assert about("cache_not_shared") == f"CACHES['default'] is a {kind.split('.')[1]}"


def test_the_cache_of_the_flags_is_looked_at_too(settings):
    settings.WAFFLE_CACHE_NAME = "flags"
    assert about("cache_failed") == "CACHES['flags']: InvalidCacheBackendError"
    settings.CACHES = settings.CACHES | {"flags": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    assert set(found()) == {"cache_not_shared"}


def test_a_cache_that_cannot_be_reached_is_named(settings, redis_url):  # noqa: F811
    redis_cache = {"BACKEND": "django.core.cache.backends.redis.RedisCache"}
    redis_cache["OPTIONS"] = {"socket_timeout": 1}
    settings.CACHES = {"default": redis_cache | {"LOCATION": f"redis://127.0.0.1:{free_port()}"}}
    assert about("cache_failed") == "CACHES['default']: ConnectionError"
    settings.CACHES = {"default": redis_cache | {"LOCATION": redis_url}}
    assert found() == {}


@pytest.mark.parametrize(
    ("options", "query", "named"),
    [
        ({}, "", True),
        ({"socket_connect_timeout": 1}, "", True),
        ({"socket_timeout": None}, "", True),
        ({"socket_timeout": 0.5}, "", False),
        ({"SOCKET_TIMEOUT": 2}, "", False),
        ({"CONNECTION_POOL_KWARGS": {"socket_timeout": 2}}, "", False),
        ({}, "?socket_timeout=2", False),
    ],
)
def test_a_cache_whose_client_waits_for_ever_is_named(settings, redis_url, options, query, named):  # noqa: F811
    """Whether the options are those of this backend is not asked: a cache that raises is a finding of its own."""
    backend = "django.core.cache.backends.redis.RedisCache"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": redis_url + query, "OPTIONS": options}}
    assert ("cache_no_timeout" in found()) is named


def test_so_is_memcached_and_no_cache_without_a_server(settings):
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache"}}
    assert about("cache_no_timeout") == "CACHES['default']"
    settings.CACHES["default"]["OPTIONS"] = {"connect_timeout": 0.5, "timeout": 1}
    assert about("cache_no_timeout") is None


# Celery


def test_tasks_that_run_in_the_senders_process_are_named(use_broker, redis_url):  # noqa: F811
    use_broker(redis_url, eager=True)
    assert set(found()) == {"celery_eager"}


def test_a_broker_without_a_timeout_is_a_note(use_broker, redis_url):  # noqa: F811
    celery_app.conf.broker_transport_options = {"visibility_timeout": 60}
    assert {code: finding.severity for code, finding in found().items()} == {"broker_no_timeout": "note"}


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_does_not_answer_is_named_and_not_its_password(use_broker, scheme):  # noqa: F811
    use_broker(f"{scheme}://user:secret@127.0.0.1:{free_port()}//")
    assert set(found()) == {"broker_unreachable"}
    assert "secret" not in repr(found())


def test_nothing_is_sent_to_the_broker(redis_url):  # noqa: F811
    client = redis.Redis.from_url(redis_url)
    before = client.info("commandstats")
    assert found() == {}
    after = client.info("commandstats")
    called = {name for name, stats in after.items() if stats["calls"] > before.get(name, {"calls": 0})["calls"]}
    assert "cmdstat_ping" in called
    assert not called & {"cmdstat_lpush", "cmdstat_publish", "cmdstat_set", "cmdstat_sadd", "cmdstat_hset"}


def test_without_celery_that_is_a_note(monkeypatch, shim):
    monkeypatch.setattr(preflight_platform, "broker", None)
    assert {code: finding.severity for code, finding in found().items()} == {"celery_missing": "note"}
    shim(COPIES="inline")
    assert found() == {}


# Storages


def use_storage(settings, backend, **options):
    settings.EDX_SUBMISSIONS = {"MEDIA": {"BACKEND": backend, "OPTIONS": options}}
    upstream._get_storage_cached.cache_clear()


@pytest.fixture(autouse=True)
def _storage_as_before():
    yield
    upstream._get_storage_cached.cache_clear()


FILES = "django.core.files.storage.FileSystemStorage"


def test_a_directory_that_django_can_make_will_do_and_is_not_made(settings, tmp_path):
    use_storage(settings, FILES, location=str(tmp_path / "not" / "yet"))
    assert found() == {}
    assert list(tmp_path.iterdir()) == []


def test_a_storage_below_a_file_is_a_blocker(settings, tmp_path):
    (tmp_path / "file").write_text("")
    use_storage(settings, FILES, location=str(tmp_path / "file" / "media"))
    finding = found()["storage_unusable"]
    assert (finding.severity, finding.about) == ("blocker", f"{tmp_path}/file is no directory")


def test_a_directory_without_rights_is_a_blocker(settings, tmp_path, monkeypatch):
    use_storage(settings, FILES, location=str(tmp_path))
    # Root may write everywhere: the answer of the system is played, the question is asked for real.
    monkeypatch.setattr(preflight_platform.os, "access", lambda path, rights: not (path == tmp_path and rights & 2))
    assert about("storage_unusable") == f"{tmp_path} may not be written"


def test_a_storage_that_is_not_there_is_a_blocker(settings):
    use_storage(settings, "storages.that.do.not.Exist")
    assert about("storage_unusable") == "ModuleNotFoundError"


class Bucket:
    """Stands for a bucket: it is only asked whether it has an object."""

    def __init__(self, error):
        self.error, self.asked = error, []

    def exists(self, name):
        self.asked.append(name)
        if self.error:
            raise self.error
        return False


@pytest.mark.parametrize("error", [OSError("denied"), ConnectionResetError()])
def test_a_bucket_that_does_not_answer_is_a_blocker(monkeypatch, error):
    bucket = Bucket(error)
    monkeypatch.setattr(preflight_platform.file_storage, "storage_in_use", lambda: bucket)
    assert about("storage_unusable") == type(error).__name__
    bucket.error = None
    assert found() == {}
    assert bucket.asked == ["migration_shim/preflight"] * 2


def test_xqueues_storage_must_be_there_to_be_read(shim, tmp_path):
    options = {"location": str(tmp_path / "gone")}
    shim(LEGACY_STORAGE={"BACKEND": FILES, "OPTIONS": options})
    finding = found()["legacy_storage_unusable"]
    assert (finding.severity, finding.about) == ("warning", f"{tmp_path}/gone is no directory")
    (tmp_path / "gone").mkdir()
    assert found() == {}
    shim(LEGACY_STORAGE={"BACKEND": "no.such.Storage"})
    assert about("legacy_storage_unusable") == 'MIGRATION_SHIM["LEGACY_STORAGE"] makes no storage: ModuleNotFoundError.'


# Patience


def test_what_does_not_answer_is_given_up():
    release = threading.Event()
    with pytest.raises(TimeoutError):
        timeouts.call(release.wait, seconds=0.05)
    release.set()
    assert timeouts.call(release.wait, seconds=60) is True
    with pytest.raises(ZeroDivisionError):
        timeouts.call(lambda: 1 / 0)


# Who hears of a stored result


def tracker(**kwargs):
    """A receiver that gives nobody a grade."""


@pytest.fixture
def silent():
    with receivers.without_score_receiver():
        yield


def test_a_platform_that_hears_of_no_result_is_blocked(silent):
    finding = found()["no_score_receiver"]
    assert (finding.severity, finding.about) == ("blocker", "what listens: nothing")


@pytest.mark.parametrize("module", ["migration_shim.logfilter", "openedx_events.event_bus", "lmsx.tracking", "tests.x"])
def test_another_receiver_is_none_of_the_platforms(silent, module, monkeypatch):
    """Ours, the event bus's, a tracker's: none of them gives a grade to anybody."""
    monkeypatch.setattr(tracker, "__module__", module)
    EXTERNAL_GRADER_SCORE_SUBMITTED.connect(tracker)
    try:
        assert about("no_score_receiver") == f"what listens: {module}"
    finally:
        EXTERNAL_GRADER_SCORE_SUBMITTED.disconnect(tracker)


@pytest.mark.parametrize("module", ["lms.djangoapps.grades.signals.handlers", "xmodule.x", "openedx.core.x"])
def test_the_platforms_own_is_told_by_its_module(silent, module, monkeypatch, shim):
    monkeypatch.setattr(tracker, "__module__", module)
    shim(SCORE_RECEIVERS=ShimSettings().score_receivers)
    EXTERNAL_GRADER_SCORE_SUBMITTED.connect(tracker)
    try:
        assert "no_score_receiver" not in found()
    finally:
        EXTERNAL_GRADER_SCORE_SUBMITTED.disconnect(tracker)


def test_a_receiver_that_is_gone_does_not_count(silent, shim):
    """Signals hold functions weakly."""
    shim(SCORE_RECEIVERS=["tests"])

    def passing(**kwargs):
        """Gone with this test."""

    EXTERNAL_GRADER_SCORE_SUBMITTED.connect(passing)
    assert "no_score_receiver" not in found()
    del passing
    assert "no_score_receiver" in found()


def test_the_sandboxs_receiver_is_the_platforms_by_its_setting_only(shim):
    assert "no_score_receiver" not in found()
    shim(SCORE_RECEIVERS=ShimSettings().score_receivers)
    assert about("no_score_receiver") == "what listens: sandbox.lms.receivers"


def test_without_an_lms_nobody_is_blocked_and_it_is_said(silent, monkeypatch):
    monkeypatch.setattr(state, "_model", lambda: None)
    assert "no_score_receiver" not in found()
    assert found()["no_lms"].severity == "note"
