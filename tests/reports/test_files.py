"""The files of ``xqueue_reconcile --report``, over rows of both systems."""

import errno
import json
import stat

import jsonschema
import pytest
from django.core.management import CommandError, call_command
from django.utils.timezone import now

from migration_shim.core.data import ExitCode, Phase
from migration_shim.management.commands import xqueue_reconcile
from migration_shim.models import CoursePhase, GateOverride, KnownDifference, LedgerEntry, Run
from migration_shim.reports.formats import RENDERERS
from sandbox.databases import PROJECT_ROOT
from tests.builders import rows
from tests.builders.rows import COURSE, clean_course, fresh  # noqa: F401
from tests.reports.reading import Page, table

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
SCHEMAS = PROJECT_ROOT / "docs" / "reference" / "schemas"
ANSWER = "a private answer <script>"
LEGACY_WORDS, TARGET_WORDS = "legacy's private words", "the target's private words"


def reply(words, right):
    return json.dumps({"correct": right, "score": int(right), "msg": f"<p>{words}</p>"})


@pytest.fixture
def diverged():
    """A submission that the two graders do not agree on."""
    row = rows.legacy_row(7, answer=ANSWER)
    rows.backfill()
    rows.change([row], **rows.graded(reply(LEGACY_WORDS, True)))
    rows.grade_target(reply(TARGET_WORDS, False))
    return row


def written(folder, *words):
    """Every file of one run, by ending."""
    paths = {ending: folder / f"report{ending}" for ending in (*RENDERERS, ".jsonl")}
    reports = [word for ending in RENDERERS for word in ("--report", str(paths[ending]))]
    call_command("xqueue_reconcile", "--course", COURSE, *reports, "--divergences", str(paths[".jsonl"]), *words)
    return {ending: path.read_bytes().decode() for ending, path in paths.items()}


def validated(document):
    """The report's own part of the JSON file; the rest is the command's document, held against its schema elsewhere."""
    schema = json.loads((SCHEMAS / "xqueue_reconcile-1.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema["properties"]["report"]).validate(document["report"])
    return document


def test_every_file_tells_the_same(diverged, tmp_path):
    files = written(tmp_path)
    document = validated(json.loads(files[".json"]))
    gate = document["report"]["gates"][COURSE]
    lines = [json.loads(line) for line in files[".jsonl"].splitlines()]
    assert (document["compared"], document["of"], document["diverged"]) == (1, 1, 1)
    assert {line["legacy_id"] for line in lines} == {diverged.pk}
    assert len(lines) == sum(document["classes"].values()) > 0
    cells = table(files[".csv"])
    assert [row["class"] for row in cells] == [line["class"] for line in lines]
    cards = [
        attributes["data-divergence"]
        for attributes, _ in Page(files[".html"]).all("li")
        if "data-divergence" in attributes
    ]
    assert sorted(cards) == sorted(line["class"] for line in lines)
    for ending in RENDERERS:
        assert ending == ".json" or str(diverged.pk) in files[ending]  # divergences are in the JSON Lines
        if ending != ".csv":  # one kind of row a file: the others are further files
            assert gate["verdict"] in files[ending]
            assert "edx-submissions" in files[ending]


def test_a_csv_of_another_kind_is_asked_for_by_its_name(diverged, tmp_path):
    names = ("report.csv", "report.courses.csv", "report.classes.csv", "report.2026.csv")
    reports = [word for name in names for word in ("--report", str(tmp_path / name))]
    call_command("xqueue_reconcile", "--course", COURSE, *reports)
    found = {name: table((tmp_path / name).read_bytes().decode()) for name in names}
    assert found["report.csv"] == found["report.2026.csv"]  # a dot in a name is no kind
    assert {row["legacy_id"] for row in found["report.csv"]} == {str(diverged.pk)}
    assert [(row["course"], row["diverged"]) for row in found["report.courses.csv"]] == [(COURSE, "1")]
    assert {row["class"] for row in found["report.classes.csv"]} == {row["class"] for row in found["report.csv"]}


def test_a_report_says_whether_the_run_was_a_full_one(diverged, tmp_path):
    scopes = []
    for words in ((), (), ("--full",)):
        document = json.loads(written(tmp_path, *words)[".json"])
        scopes.append((document["courses"][0]["full"], "incremental" in (tmp_path / "report.txt").read_text()))
    assert scopes == [(True, False), (False, True), (True, False)]


def test_no_learner_is_in_a_file_unless_content_was_asked_for(diverged, tmp_path):
    entry = LedgerEntry.objects.get()
    key = json.loads(diverged.xqueue_header)["lms_key"]
    callback = json.loads(diverged.xqueue_header)["lms_callback_url"]
    private = [ANSWER, "private answer", LEGACY_WORDS, TARGET_WORDS, "private words"]
    never = [rows.anonymous_id(7), entry.learner, key, callback, rows.PAYLOAD, "lms_key", "grader_payload"]
    for ending, text in written(tmp_path).items():
        assert [secret for secret in (*private, *never) if secret in text] == [], ending
    for ending, text in written(tmp_path, "--include-content").items():
        assert [secret for secret in never if secret in text] == [], ending
        if ending != ".json":
            assert "private answer" in text, ending
            assert "private words" in text, ending
        assert ending in (".md", ".txt", ".csv", ".jsonl") or "<script" not in text


def test_a_file_with_content_is_for_its_owner_alone(diverged, tmp_path):
    written(tmp_path)
    assert any(stat.S_IMODE(path.stat().st_mode) & 0o044 for path in tmp_path.iterdir())
    written(tmp_path, "--include-content")
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
    assert {path.stem for path in tmp_path.iterdir()} == {"report"}


def test_exceptions_are_printed_in_every_report(diverged, tmp_path):
    later = now().replace(year=now().year + 1)
    GateOverride.objects.create(
        course_id=COURSE, step_to="live", reason="few learners", signed_by="ada", expires_at=later, verdict="FAIL"
    )
    known = {"reason": "seen before", "owner": "grace", "expires_at": later}
    KnownDifference.objects.create(klass="score", course_id=COURSE, **known)
    KnownDifference.objects.create(klass="order", course_id="course-v1:Another+One+1", **known | {"owner": "nobody"})
    files = written(tmp_path)
    for ending in (".json", ".html", ".md", ".txt"):
        assert [word for word in ("few learners", "ada", "seen before", "grace") if word not in files[ending]] == []
        assert "nobody" not in files[ending]
    validated(json.loads(files[".json"]))


def test_a_report_opens_no_gate(clean, tmp_path):
    before = CoursePhase.objects.get(course_id=COURSE)
    runs = Run.objects.filter(kind="gate").count()
    written(tmp_path)
    after = CoursePhase.objects.get(course_id=COURSE)
    assert after.phase == before.phase == Phase.SHADOW
    assert (after.permit, after.permit_run) == (before.permit, before.permit_run)
    assert Run.objects.filter(kind="gate").count() == runs


def test_a_report_that_fails_leaves_the_older_one(diverged, tmp_path, monkeypatch):
    before = written(tmp_path)

    def broken(report):
        yield "half"
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setitem(xqueue_reconcile.RENDERERS, ".html", broken)
    with pytest.raises(CommandError, match="no space"):
        written(tmp_path)
    assert (tmp_path / "report.html").read_bytes().decode() == before[".html"]


@pytest.mark.parametrize("name", ["report", "report.", "report.pdf", "report.jsonl", ".html", "report.html.gz"])
def test_an_ending_that_is_no_format_is_a_usage_error(name, tmp_path):
    with pytest.raises(CommandError, match="does not end in") as error:
        call_command("xqueue_reconcile", "--course", COURSE, "--report", str(tmp_path / name))
    assert error.value.returncode == ExitCode.USAGE
    assert not Run.objects.exists()
