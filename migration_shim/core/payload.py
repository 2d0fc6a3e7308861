"""Compare what each side would hand the grader, field by field. Texts name fields, never values."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from . import json_text
from .data import DivergenceClass

_ABSENT = object()
_OWN_KEYS = ("grader_payload", "student_info", "student_response")
#: Keys may come from learners' and authors' texts, so only plain short names are repeated.
_PLAIN = re.compile(r"[A-Za-z0-9_.-]{1,32}")
#: No more fields than this are named.
_NAMED = 5


def parity(
    legacy_body: str, legacy_files: Mapping[str, str], target_body: str, target_files: Mapping[str, str]
) -> dict[DivergenceClass, str]:
    """
    Return the differences between the two payloads of one submission; empty where a grader could not tell them apart.

    Args:
        legacy_body: ``xqueue_body`` as legacy hands it out.
        legacy_files: a digest of each file's contents, by the name that the grader is given.
        target_body: the body as the watcher seam would hand it out.
        target_files: as ``legacy_files``, with digests made in the same way.
    """
    found: dict[DivergenceClass, str] = {}
    if legacy_body != target_body:
        fields, identity = _body_fields(legacy_body, target_body)
        if fields:
            found[DivergenceClass.PAYLOAD] = _text(fields)
        if identity:
            found[DivergenceClass.IDENTITY] = "differs in anonymous_student_id"
    if legacy_files != target_files:
        found[DivergenceClass.FILES] = _file_text(legacy_files, target_files)
    return found


def _body_fields(legacy_body: str, target_body: str) -> tuple[list[str], bool]:
    """Return the fields that differ, and whether the learner's identity does."""
    try:
        one, other = json_text.loads(legacy_body), json_text.loads(target_body)
        if not isinstance(one, dict) or not isinstance(other, dict):
            return ([] if _same(one, other) else ["body"]), False
        fields = [] if _same_at("student_response", one, other) else ["student_response"]
        fields += _inner_fields("grader_payload", one, other)
        info = _inner_fields("student_info", one, other)
        extra = sorted((one.keys() | other.keys()) - set(_OWN_KEYS))
        fields += [_name(key) for key in extra if not _same_at(key, one, other)]
    except ValueError:
        # One of the two is no JSON that can be read, and the texts differ.
        return ["body"], False
    identity = [field for field in info if field == "student_info.anonymous_student_id"]
    return fields + [field for field in info if field not in identity], bool(identity)


def _inner_fields(key: str, one: dict[str, object], other: dict[str, object]) -> list[str]:
    """Return the fields that differ in a text that is itself JSON, or the whole text's name where it is not."""
    if _same_at(key, one, other):
        return []
    texts = (one.get(key, _ABSENT), other.get(key, _ABSENT))
    try:
        first, second = (json_text.loads(text) if isinstance(text, str) else _ABSENT for text in texts)
    except ValueError:
        return [key]
    if not isinstance(first, dict) or not isinstance(second, dict):
        return [] if _ABSENT not in (first, second) and _same(first, second) else [key]
    names = sorted(first.keys() | second.keys())
    return [f"{key}.{_name(name)}" for name in names if not _same_at(name, first, second)]


def _same_at(key: str, one: dict[str, object], other: dict[str, object]) -> bool:
    if key not in one or key not in other:
        return key not in one and key not in other
    return _same(one[key], other[key])


def _same(one: object, other: object) -> bool:
    """Compare as JSON: 1, 1.0 and true are three values to a grader, and equal in Python."""
    if isinstance(one, str) and isinstance(other, str):
        return one == other
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _name(key: str) -> str:
    return key if _PLAIN.fullmatch(key) else "(another key)"


def _text(fields: list[str]) -> str:
    more = f" and {len(fields) - _NAMED} more" if len(fields) > _NAMED else ""
    return f"differs in {', '.join(fields[:_NAMED])}{more}"


def _file_text(legacy: Mapping[str, str], target: Mapping[str, str]) -> str:
    """Say how many files differ and in what, without their names, which are the learner's own."""
    both = legacy.keys() & target.keys()
    counts = {
        "only on legacy": len(legacy) - len(both),
        "only on target": len(target) - len(both),
        "with other contents": sum(legacy[name] != target[name] for name in both),
    }
    return "files: " + ", ".join(f"{count} {what}" for what, count in counts.items() if count)
