"""Make the JSON Schema files of docs/reference/schemas from the types in migration_shim/core/documents."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import sys
from typing import Any, get_args, get_type_hints

import msgspec


def documents() -> list[type]:
    """Return the types of all documents: see ``is_document``."""
    from migration_shim.core import documents

    names = [f"{documents.__name__}.{module.name}" for module in pkgutil.iter_modules(documents.__path__)]
    kinds = [(name, kind) for name in names for kind in vars(importlib.import_module(name)).values()]
    return [kind for name, kind in kinds if is_document(kind) and kind.__module__ == name]


def is_document(kind: Any) -> bool:
    """Tell whether a type is a document, not a part or a plan of one: it names its schema, and is called so."""
    return "schema" in getattr(kind, "__required_keys__", ()) and kind.__name__.endswith("Document")


def name_of(document: type) -> str:
    """Return the schema that a document names: ``migration_shim.NAME/VERSION``."""
    (word,) = msgspec.json.schema(get_type_hints(document, include_extras=True)["schema"])["enum"]
    return str(word)


def file_of(document: type) -> str:
    """Return the name of the file that holds a document's schema."""
    return name_of(document).removeprefix("migration_shim.").replace("/", "-") + ".json"


def schema_of(document: type) -> str:
    """
    Return the JSON Schema of a document's type, as the text of its file.

    Title and description are the type's docstring. Keys stand in the order of the type, ``schema`` first, and no other
    key is allowed. What holds between keys, which no type says, is ``BETWEEN_KEYS`` of the type's module. A document
    within another is named, not repeated.
    """
    made = msgspec.json.schema(document)
    title, _, description = (inspect.getdoc(document) or "").partition("\n\n")
    whole: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": name_of(document),
        "title": title.rstrip("."),
        "description": " ".join(description.split()),
    }
    kinds = {kind.__name__: kind for kind in _objects(document)}
    body = _named(document.__name__, made["$defs"], kinds)
    between = getattr(sys.modules[document.__module__], "BETWEEN_KEYS", {})
    return json.dumps(whole | body | between, indent=2) + "\n"


def _objects(kind: Any, found: list[type] | None = None) -> list[type]:
    """Return the typed dictionaries that a type is made of, itself included."""
    found = [] if found is None else found
    if isinstance(kind, type) and hasattr(kind, "__required_keys__"):
        if kind not in found:
            found.append(kind)
            for part in get_type_hints(kind).values():
                _objects(part, found)
    else:
        for part in get_args(kind):
            _objects(part, found)
    return found


def _named(name: str, definitions: dict[str, Any], kinds: dict[str, type]) -> dict[str, Any]:
    """Return the schema of a named type without its docstring, which speaks to whoever reads the type."""
    named = _inlined(definitions[name], definitions, kinds)
    named = {key: value for key, value in named.items() if key not in ("title", "description")}
    if name in kinds:
        order = sorted(get_type_hints(kinds[name]), key=lambda key: key != "schema")
        named["properties"] = {key: named["properties"][key] for key in order}
        named["required"] = [key for key in order if key in named.get("required", ())]
        named["additionalProperties"] = False
    return named


def _inlined(part: Any, definitions: dict[str, Any], kinds: dict[str, type]) -> Any:
    """Return a part of a schema with each reference replaced by what it names: a reader finds all in its place."""
    if isinstance(part, list):
        return [_inlined(one, definitions, kinds) for one in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        name = part["$ref"].rpartition("/")[2]
        other = is_document(kinds.get(name))
        named = {"$ref": f"../{name_of(kinds[name])}"} if other else _named(name, definitions, kinds)
        return named | {key: value for key, value in part.items() if key != "$ref"}
    if len(part.get("enum", ())) == 1:
        return {"const": part["enum"][0]} | {key: value for key, value in part.items() if key not in ("enum", "type")}
    whole = {key: _inlined(value, definitions, kinds) for key, value in part.items() if key != "$defs"}
    if whole.get("type") == "object" and "properties" not in whole:
        whole.setdefault("additionalProperties", {})
    match whole.get("anyOf"):
        case [{"type": str(kind), **limits}, {"type": "null"}] if "enum" not in limits:
            whole = {"type": [kind, "null"], **limits} | {key: whole[key] for key in whole if key != "anyOf"}
    first = {"type": whole.pop("type")} if "type" in whole else {}
    last = {"description": whole.pop("description")} if isinstance(whole.get("description"), str) else {}
    return first | last | whole
