"""The JSON Schema files of the commands' documents: valid themselves, strict, explained, and met by every document."""

import re
import subprocess
import sys
from datetime import timedelta

import jsonschema
import pytest
from django.utils.timezone import now

from migration_shim import api, toggles
from migration_shim.core.data import DivergenceClass, Phase, RowClass, Verdict
from migration_shim.core.phases import flags_of
from migration_shim.models import Run
from migration_shim.preflight import run as preflight
from migration_shim.reports import terminal
from sandbox import capture
from sandbox.databases import PROJECT_ROOT
from tests.builders import rows
from tests.builders.rows import COURSE, clean_course, fresh  # noqa: F401
from tests.schemas import SCHEMAS, validate, validator

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])


def objects(schema):
    """Every schema of an object in a schema."""
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for part in schema.values():
            yield from objects(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from objects(part)


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_valid_named_and_strict(name):
    schema = SCHEMAS[name]
    validator(name)
    command, _, version = name.rpartition("-")
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == schema["properties"]["schema"]["const"] == f"migration_shim.{command}/{version}"
    for part in objects(schema):
        assert "additionalProperties" in part
        assert part.get("additionalProperties") is not True
    for field, part in schema["properties"].items():
        assert field == "schema" or part.get("description"), field


def test_every_command_has_one():
    names = {path.stem for path in (PROJECT_ROOT / "migration_shim/management/commands").glob("xqueue_*.py")}
    assert {f"{name}-1" for name in names} <= set(SCHEMAS)


def test_every_document_that_the_code_names_has_one_and_no_other_is_there():
    sources = "".join(path.read_text(encoding="utf-8") for path in (PROJECT_ROOT / "migration_shim").rglob("*.py"))
    named = set(re.findall(r'SCHEMA = "migration_shim\.(\w+/\d+)"', sources))
    assert {name.replace("/", "-") for name in named} == set(SCHEMAS)


def test_the_type_of_one_document_loads_no_other():
    loaded = "print(*(name for name in sys.modules if '.core.documents.' in name))"
    code = f"import sys; import migration_shim.core.documents.audit; {loaded}"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT_ROOT, check=True)
    assert {name.rpartition(".")[2] for name in found.stdout.split()} == {"audit", "parts"}


def test_the_words_are_those_of_the_code():
    reconcile = SCHEMAS["xqueue_reconcile-1"]["properties"]
    assert set(SCHEMAS["xqueue_backfill-1"]["properties"]["classes"]["properties"]) == set(RowClass)
    assert set(reconcile["courses"]["items"]["properties"]["classes"]["properties"]) == set(DivergenceClass)
    assert reconcile["classes"]["propertyNames"]["enum"] == list(DivergenceClass)
    assert SCHEMAS["xqueue_gate-1"]["properties"]["verdict"]["enum"] == list(Verdict)
    assert SCHEMAS["xqueue_cutover-1"]["properties"]["to"]["enum"] == list(Phase)


@pytest.fixture
def known_queues(monkeypatch):
    monkeypatch.setattr(preflight.queues, "is_known_to_xqueue", lambda queue: False)


@pytest.mark.usefixtures("known_queues")
def test_the_documents_over_captured_rows():
    capture.load_capture(rows.DATA)
    for history in (False, True):
        validate(rows.backfill(execute=False, history=history).content)
    validate(rows.backfill(limit=20).content)
    rows.backfill()
    rows.grade_target(rows.WRONG, queue_name="exu-py1.shadow")
    courses = api.known_courses()
    document, found = rows.reconcile(*courses)
    assert len(courses) > 3
    validate(document.content)
    assert isinstance(found, list)
    for course in courses[:3]:
        assert validate(api.preflight(course, rows.ignore).content)["findings"]
        validate(api.gate(course).content)
    validate(api.status(courses).content)


@pytest.mark.parametrize("phase", list(Phase))
def test_the_documents_of_every_step(clean, phase):
    rows.legacy_row(1)
    rows.legacy_row(2, pull_time=now(), pullkey="x")
    rows.in_phase(phase)
    toggles.force_flags(COURSE, *flags_of(phase))
    if phase is not Phase.LEGACY:
        validate(api.cutover(COURSE, Phase.LEGACY, reason="r", execute=False, user="ada", login=None).content)
    steps = {Phase.LEGACY: Phase.SHADOW, Phase.SHADOW: Phase.LIVE, Phase.LIVE: Phase.COMPLETE}
    for execute in (False, True):
        if phase in steps:
            validate(api.cutover(COURSE, steps[phase], reason="r", execute=execute, user="ada", login=None).content)
    validate(api.status([COURSE]).content)


def test_the_documents_of_every_verdict(clean):
    assert validate(api.gate(COURSE).content)["verdict"] == "PASS"
    Run.objects.update(finished_at=now() - timedelta(days=2))
    assert validate(api.gate(COURSE).content)["verdict"] == "STALE"
    rows.entries(1, result="diverged", divergences="state")
    assert validate(api.gate(COURSE).content)["verdict"] == "FAIL"
    assert validate(api.gate("course-v1:No+Such+1").content)["verdict"] == "INCONCLUSIVE"
    validate(api.status([COURSE, "course-v1:No+Such+1"]).content)


def test_a_document_that_is_not_as_it_should_be_is_refused(clean):
    content = api.gate(COURSE).content
    for changed in (
        content | {"verdict": "MAYBE"},
        content | {"reasons": ["a reason"]},
        content | {"secret": 1},
        content | {"at": "yesterday"},
        {name: value for name, value in content.items() if name != "needed"},
    ):
        with pytest.raises(jsonschema.ValidationError):
            validate(changed)


def test_every_document_has_a_text(clean):
    toggles.force_flags(COURSE, *flags_of(Phase.SHADOW))
    documents = [
        rows.backfill(execute=False),
        rows.reconcile()[0],
        api.gate(COURSE),
        api.cutover(COURSE, Phase.LIVE, reason="r", execute=False, user="ada", login=None),
        api.status([COURSE]),
    ]
    for document in documents:
        assert len(terminal.render(document.content).splitlines()) > 1


def test_a_reconcile_of_no_course_at_all_is_a_document_too():
    document = validate(api.reconcile([], rows.ignore, lambda divergence: None).content)
    assert (document["of"], document["courses"]) == (0, [])
