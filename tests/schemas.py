"""Documents held against the schemas that they name: what the tests of every command end with."""

import functools
import json
from datetime import datetime

import jsonschema
import referencing

from sandbox.databases import PROJECT_ROOT

FOLDER = PROJECT_ROOT / "docs" / "reference" / "schemas"
SCHEMAS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))}
FORMATS = jsonschema.FormatChecker()
#: A document of several courses refers to the schema of one.
REGISTRY = referencing.Registry().with_contents((schema["$id"], schema) for schema in SCHEMAS.values())


@FORMATS.checks("date-time", raises=ValueError)
def is_date_time(value):
    """ISO 8601 with an offset; jsonschema's own check needs a library more."""
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


@functools.cache  # to check a schema takes a hundred times as long as to check a document against it
def validator(name):
    schema = SCHEMAS[name]
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema, format_checker=FORMATS, registry=REGISTRY)


def validate(content):
    """A document as it is printed, against the schema that it names."""
    printed = json.loads(json.dumps(content, allow_nan=False))
    validator(printed["schema"].removeprefix("migration_shim.").replace("/", "-")).validate(printed)
    return printed
