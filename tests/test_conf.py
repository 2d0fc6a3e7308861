"""The settings dictionary: what is refused, by which name, and what still works when part of it is wrong."""

import dataclasses
import re
from pathlib import Path
from typing import get_args

import pytest
from django.utils.module_loading import import_string

from migration_shim import conf
from migration_shim.conf import reading, values
from migration_shim.core.errors import ConfigurationError
from migration_shim.core.gate import Thresholds
from migration_shim.lms import points

SECRET = "hunter2-hunter2"
PLATFORM = {
    "url": "https://xqueue.example.edu/",
    "basic_auth": ["door", "key"],
    "django_auth": {"username": "lms", "password": SECRET},
}


#: Settings of earlier versions: docs/decisions/0039-settings.rst says why each is none any more.
GONE = ("LATE_REPLY_SECONDS", "SWEEP_AFTER_SECONDS")


@pytest.fixture(autouse=True)
def platform(settings):
    """An LMS that has XQueue configured and nothing of ours."""
    settings.XQUEUE_INTERFACE = PLATFORM
    del settings.MIGRATION_SHIM


def refused(settings, given):
    """The one reason why a dictionary is refused, with the dictionary in force."""
    settings.MIGRATION_SHIM = given
    [problem] = conf.problems()
    with pytest.raises(ConfigurationError, match=re.escape(problem)):
        conf.load()
    return problem


def test_no_dictionary_means_the_defaults():
    assert conf.problems() == []
    assert conf.load() == conf.ShimSettings()


def test_values_are_taken(settings):
    settings.MIGRATION_SHIM = {
        "LEGACY_URL": "https://x",
        "LEGACY_STORAGE": {"BACKEND": "a.B"},
        "LEGACY_READ_TIMEOUT": 5,
        "OVERLAP_SECONDS": 0,
        "GATE_THRESHOLD": 0.05,
        "LEGACY_USERNAME": None,
    }
    found = conf.load()
    assert (found.legacy_url, found.legacy_storage) == ("https://x", {"BACKEND": "a.B"})
    assert (found.legacy_read_timeout, found.overlap_seconds, found.gate_threshold) == (5, 0, 0.05)
    assert found.legacy_username is None


def test_a_dictionary_that_was_changed_where_it_stands_is_read_anew(settings):
    """What was read is kept only for as long as the dictionary says the same, to the type of each value."""
    settings.MIGRATION_SHIM = {"OVERLAP_SECONDS": 1, "LEGACY_URL": "https://x", "SAMPLE_PERCENT": {"c": 1}}
    assert conf.usable() == (conf.load(), frozenset())
    settings.MIGRATION_SHIM["SAMPLE_PERCENT"]["c"] = 2
    assert conf.usable()[0].sample_percent == {"c": 2}
    settings.MIGRATION_SHIM["OVERLAP_SECONDS"] = True
    assert conf.usable()[1] == {"OVERLAP_SECONDS"}
    settings.MIGRATION_SHIM["OVERLAP_SECONDS"] = 7
    assert (conf.usable()[0].overlap_seconds, conf.usable()[1]) == (7, frozenset())


@pytest.mark.parametrize("given", [None, [], "x", 1])
def test_no_dictionary_at_all(settings, given):
    assert refused(settings, given) == "MIGRATION_SHIM must be a dictionary."


@pytest.mark.parametrize("key", ["LEGACY_URI", "legacy_url", "", 1, None, "THRESHOLDS", *GONE])
def test_unknown_key_is_named(settings, key):
    assert refused(settings, {key: SECRET}) == f"MIGRATION_SHIM[{key!r}] is not a setting of migration_shim."


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("LEGACY_URL", 1, "int"),
        ("LEGACY_URL", b"https://x", "bytes"),
        ("LEGACY_PASSWORD", ["a"], "list"),
        ("LEGACY_STORAGE", None, "NoneType"),
        ("LEGACY_STORAGE", [], "list"),
        ("LEGACY_READ_TIMEOUT", "10", "str"),
        ("LEGACY_READ_TIMEOUT", True, "bool"),
        ("OVERLAP_SECONDS", 1.5, "float"),
        ("OVERLAP_SECONDS", True, "bool"),
        ("OVERLAP_SECONDS", None, "NoneType"),
        ("GATE_THRESHOLD", "0.01", "str"),
        ("SHADOW_QUEUE_SUFFIX", None, "NoneType"),
    ],
)
def test_wrong_type_is_named(settings, key, value, named):
    problem = refused(settings, {key: value})
    assert f"MIGRATION_SHIM[{key!r}]" in problem
    assert f"is a {named}," in problem


NAN, INFINITE = float("nan"), float("inf")
RANGES = [
    *((key, value) for key in ("GATE_THRESHOLD", "GATE_ERROR", "GATE_THIN_SHARE") for value in (0, 1, -0.1, 1.5, NAN)),
    *(
        (key, value)
        for key in ("LEGACY_READ_TIMEOUT", "LEGACY_CONNECT_TIMEOUT", "PYTHON_DOOR_SECONDS", "HTTP_DOOR_SECONDS")
        for value in (0, -1, NAN, INFINITE)
    ),
    ("OVERLAP_SECONDS", -1),
    ("GATE_MIN_PAIRS_PER_QUEUE", -1),
    ("LEGACY_FILE_LIMIT", -1),
    *((key, value) for key in ("HOLD_SECONDS", "GATE_LATENCY_FACTOR", "THROTTLE_LAG_SECONDS") for value in (-1, NAN)),
    ("SHADOW_QUEUE_SUFFIX", ""),
    ("ECHO_QUEUE_SUFFIX", ""),
    ("ECHO_QUEUE_SUFFIX", ".shadow"),
    ("SHADOW_QUEUE_SUFFIX", ".echo"),
]


@pytest.mark.parametrize(("key", "value"), RANGES)
def test_value_out_of_range_is_named(settings, key, value):
    named = "ECHO_QUEUE_SUFFIX" if value in (".shadow", ".echo") else key
    assert re.match(rf"MIGRATION_SHIM\[['\"]{named}['\"]\] must ", refused(settings, {key: value}))


SAID = [
    ("GATE_ERROR", 1, "lie between 0 and 1"),
    ("HTTP_DOOR_SECONDS", 0, "be a number of seconds above 0"),
    ("TWIN_PERCENT", 101, "be a number from 0 to 100"),
    ("LEASE_LIMIT", -1, "not be negative"),
    ("THROTTLE_THREADS_RUNNING", -1, "not be negative"),
    ("EVIDENCE_DAYS", 36501, "be a number of days above 0, of a hundred years at most"),
    ("EVIDENCE_DAYS", -1, "be a number of days above 0, of a hundred years at most"),
    ("RANGE_ROWS", 0, "be above 0"),
    ("THROTTLE_REPLICAS", [None], "be a list of database aliases"),
    ("PUSH_QUEUES", ["q", 1], "be a list of queue names"),
    ("SIDE_EFFECT_QUEUES", [1], "be a list of queue names"),
    ("SIDE_EFFECT_FREE_QUEUES", [1], "be a list of queue names"),
    ("SCORE_RECEIVERS", ["lms", ""], "be a list of Python packages or modules"),
    ("COPIES", "later", "be 'deferred' or 'inline'"),
    ("SAMPLE_PERCENT", {"*": 101}, "map courses to numbers from 0 to 100"),
    ("SAMPLE_PERCENT", {"*": True}, "map courses to numbers from 0 to 100"),
    ("SUBMIT_USERS", {"lms": ""}, "map user names to passwords that are not empty"),
    ("PREFLIGHT_GRADERS", {1: "pw"}, "map user names to passwords that are not empty"),
    ("GRADER_QUEUES", {"*": "q"}, "map user names to lists of queue names"),
    ("GRADER_QUEUES", {"*": ["q", 1]}, "map user names to lists of queue names"),
    ("GRADER_QUEUES", {1: ["q"]}, "map user names to lists of queue names"),
    ("LEGACY_FILE_HOSTS", ["https://x"], "be a list of host names, as name or name:port"),
    ("CALLBACK_HOSTS", ["x:y"], "be a list of host names, as name or name:port"),
    ("FOREIGN_CALLBACK_HOSTS", [1], "be a list of host names, as name or name:port"),
    ("REVERSE_QUEUE_SUFFIX", "", "not be empty: a copy needs a queue of its own"),
]


@pytest.mark.parametrize(("key", "value", "must"), SAID)
def test_what_a_value_must_be_is_said(settings, key, value, must):
    assert refused(settings, {key: value}) == f"MIGRATION_SHIM[{key!r}] must {must}."


def test_every_number_has_a_rule():
    """A number without one may be negative, or no number at all (NaN), and is found out in a learner's request."""
    numbers = {key: what for key, what in reading.keys().items() if {int, float} & {what.type, *get_args(what.type)}}
    assert len(numbers) >= 40
    assert [key for key, what in numbers.items() if not what.rules or what.rules[0].holds(NAN)] == []


def test_every_bad_key_is_named_at_once(settings):
    settings.MIGRATION_SHIM = {"A": 1, "LEGACY_URL": 1, "GATE_ERROR": 7}
    assert len(conf.problems()) == 3
    with pytest.raises(ConfigurationError) as caught:
        conf.load()
    assert all(name in str(caught.value) for name in ("'A'", "'LEGACY_URL'", "'GATE_ERROR'"))


@pytest.mark.parametrize(
    "given",
    [
        {"LEGACY_PASSWORD": [SECRET]},
        {"LEGACY_PASSWORD": SECRET.encode()},
        {"LEGACY_URL": {"password": SECRET}},
        {"GATE_ERROR": SECRET},
        {"LEGACY_PASSWORT": SECRET},
        {"SUBMIT_USERS": {"lms": SECRET, "other": [SECRET]}},
        {"PREFLIGHT_GRADERS": {"grader": SECRET, "other": ""}},
        {"SAMPLE_PERCENT": {"*": SECRET}},
    ],
)
def test_no_value_is_shown_as_a_reason(settings, given):
    """A password may stand under the wrong key; neither its type nor the key is a reason to print it."""
    assert SECRET not in refused(settings, given)


def test_passwords_are_not_in_the_representation(settings):
    settings.MIGRATION_SHIM = {
        "LEGACY_PASSWORD": SECRET,
        "SUBMIT_USERS": {"lms": SECRET},
        "PREFLIGHT_GRADERS": {"g": SECRET},
    }
    shown = repr(conf.load()) + repr(conf.legacy_access())
    assert SECRET not in shown
    assert "'key'" not in shown
    assert "legacy_url" in shown


def test_thresholds(settings):
    settings.MIGRATION_SHIM = {
        "GATE_THRESHOLD": 0.1,
        "GATE_ERROR": 0.2,
        "GATE_MIN_PAIRS_PER_QUEUE": 3,
        "GATE_MIN_PAIRS_PER_PROBLEM": 4,
        "GATE_THIN_SHARE": 0.5,
        "EVIDENCE_MAX_AGE_SECONDS": 6,
    }
    assert conf.load().thresholds() == Thresholds(
        rate=0.1,
        error=0.2,
        pairs_per_queue=3,
        pairs_per_problem=4,
        thin_share=0.5,
        max_age_seconds=6,
        demand_all=True,
    )


def test_a_late_reply_has_two_processing_delays_and_a_lease(settings):
    assert conf.load().late_reply_seconds == 420
    settings.MIGRATION_SHIM = {"PROCESSING_DELAY_SECONDS": 120, "LEASE_SECONDS": 900}
    assert conf.load().late_reply_seconds == 1140


def test_every_setting_is_annotated_with_its_default():
    """What operators read is generated from the annotations; one that lags behind the code misleads them."""
    source = Path(values.__file__).read_text()
    pattern = r'# \.\. setting_name: MIGRATION_SHIM\["(\w+)"\]\n\s+# \.\. setting_default: (.*)\n'
    annotated = {name: text.strip() for name, text in re.findall(pattern, source)}
    fields = {
        field.name.upper(): getattr(conf.ShimSettings(), field.name) for field in dataclasses.fields(conf.ShimSettings)
    }
    assert {name: eval(text, {}) for name, text in annotated.items()} == fields


# --- access to legacy -------------------------------------------------------------------------------------------------


def test_access_is_the_platforms_where_we_have_none():
    found = conf.legacy_access()
    assert (found.url, found.username, found.password) == ("https://xqueue.example.edu", "lms", SECRET)
    assert (found.basic_auth, found.timeout) == (("door", "key"), (3.05, 10.0))


def test_our_access_wins(settings):
    settings.MIGRATION_SHIM = {
        "LEGACY_URL": "http://other:1/",
        "LEGACY_USERNAME": "me",
        "LEGACY_PASSWORD": "pw",
        "LEGACY_CONNECT_TIMEOUT": 1,
        "LEGACY_READ_TIMEOUT": 2,
    }
    found = conf.legacy_access()
    assert (found.url, found.username, found.password, found.timeout) == ("http://other:1", "me", "pw", (1, 2))


@pytest.mark.parametrize("given", [None, {}, {"url": ""}, {"url": None}])
def test_no_url_anywhere(settings, given):
    settings.XQUEUE_INTERFACE = given
    with pytest.raises(ConfigurationError, match=r"LEGACY_URL.*XQUEUE_INTERFACE"):
        conf.legacy_access()


def test_platform_without_an_account(settings):
    settings.XQUEUE_INTERFACE = {"url": "http://x", "django_auth": None, "basic_auth": None}
    found = conf.legacy_access()
    assert (found.username, found.password, found.basic_auth) == ("", "", None)


@pytest.mark.parametrize(
    "given",
    [
        None,
        [],
        {"UNKNOWN": 1},
        {"GATE_ERROR": 7},
        {"LEGACY_URL": 5},
        {"LEGACY_PASSWORD": ["a"]},
        {"LEGACY_USERNAME": {}},
        {"LEGACY_READ_TIMEOUT": "ten"},
        {"LEGACY_READ_TIMEOUT": 0},
        {"LEGACY_READ_TIMEOUT": [1]},
        {"LEGACY_CONNECT_TIMEOUT": -1},
        {"LEGACY_CONNECT_TIMEOUT": NAN},
    ],
)
def test_a_mistake_in_the_dictionary_never_cuts_a_learner_off(settings, given):
    expected = conf.legacy_access()
    settings.MIGRATION_SHIM = given
    assert conf.problems()
    found = conf.legacy_access()
    assert found == expected
    hash(found)  # the pooled session is kept by it


@pytest.mark.parametrize("path", [conf.load().points_resolver, "migration_shim.points.from_student_modules"])
def test_the_points_resolver_is_found_under_the_path_that_sites_have_written_down_too(path, monkeypatch):
    """It has moved; a path that cannot be imported assumes one point for every problem."""
    counted = []
    monkeypatch.setattr(points, "count", lambda *what: counted.append(what))
    assert import_string(path) is points.from_student_modules
    assert points.points_possible(None, "course-v1:a+b+c", "", resolver=path) == (1, True)  # there is no LMS here
    assert not counted
