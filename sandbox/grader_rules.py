"""How the sandbox's graders grade: a pure function of the submission, so both systems are told the same.

Made after the graders behind the captured rows. No learner's code is run: an answer is right when its function is one
of the known right ones, whatever comments and prints stand around it.
"""

import ast
import hashlib
import json
import re
import warnings
from typing import Any

GRADER_NAME = re.compile(r"^(?P<course>\w+)/(?P<function>\w+)/grade\.py$")

RIGHT_ANSWERS = """
def factorial(n):
    r = 1
    for i in range(2, n + 1):
        r *= i
    return r
def factorial(n):
    return 1 if n < 2 else n * factorial(n - 1)
def is_even(n):
    if n % 2 == 0:
        return True
    return False
def is_even(n):
    return n % 2 == 0
def is_even(n):
    return not n % 2
def reverse(s):
    out = ''
    for c in s:
        out = c + out
    return out
def reverse(s):
    return ''.join(reversed(s))
def reverse(s):
    return s[::-1]
def square(n):
    result = n * n
    return result
def square(n):
    return n * n
def square(n):
    return n ** 2
def total(xs):
    return sum(xs)
def total(xs):
    t = 0
    for x in xs:
        t += x
    return t
def vowels(s):
    n = 0
    for c in s:
        if c.lower() in 'aeiou':
            n += 1
    return n
def vowels(s):
    return sum(c in 'aeiou' for c in s.lower())
"""

# An answer that holds one of these lines gets the reply of a grader that misbehaves, as captured ones did.
MISBEHAVIOUR: dict[str, dict[str, Any] | list | str] = {
    "# reply: not json": "<html><body>502 Bad Gateway</body></html>",
    "# reply: list": [True, 1, "<p>ok</p>"],
    "# reply: correct missing": {"score": 1, "msg": "<p>ok</p>"},
    "# reply: score missing": {"correct": True, "msg": "<p>ok</p>"},
    "# reply: score null": {"correct": True, "score": None, "msg": "<p>tests run</p>"},
    "# reply: score text": {"correct": True, "score": "1", "msg": "<p>ok</p>"},
    "# reply: score negative": {"correct": False, "score": -1, "msg": "<p>ok</p>"},
    "# reply: message empty": {"correct": True, "score": 1, "msg": ""},
}

# (correct, score) of the hazard course's graders in their default mode, picked by a digest of the answer.
FRACTIONS = {
    True: ((True, 1), (True, 1), (True, 0.75), (True, 0.5)),
    False: ((False, 0), (False, 0.25)),
}
POINTS = {
    True: ((True, 1), (True, 1), (True, 10), (True, 7)),
    False: ((False, 0),),
}
HAZARD_GRADERS = {"square": FRACTIONS, "is_even": FRACTIONS, "vowels": FRACTIONS, "reverse": POINTS, "total": POINTS}

MESSAGES = {"en": "{name}: {passed} of 3 tests passed", "es": "{name}: {passed} de 3 pruebas superadas"}


def _functions(source: str) -> dict[str, str]:
    """Return the functions of a Python source as normalised text; nothing where it is no Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    return {node.name: ast.dump(node) for node in tree.body if isinstance(node, ast.FunctionDef)}


_RIGHT = {ast.dump(node) for node in ast.parse(RIGHT_ANSWERS).body}


def grade_submission(body: dict[str, Any], files: dict[str, bytes]) -> dict[str, Any] | list | str:
    """
    Return the reply to one submission: a dictionary for put_result, or the text of a grader that misbehaves.

    Graders of the hazard course (ds201/…) use the extra payload keys and the seed: given either, all or nothing; in
    their default mode, with only a grader name and seed 1, fractions (square, is_even, vowels) or points (reverse,
    total). So a payload that was cut down to the grader's name gets another grade for about half of the answers, and
    one that never had a grader's name finds no tests at all. A language is used for the message.
    """
    response = body.get("student_response")
    text = response if isinstance(response, str) else json.dumps(response, ensure_ascii=False)
    for line, reply in MISBEHAVIOUR.items():
        if line in text:
            return reply
    payload = _payload(body.get("grader_payload"))
    if payload.get("grader") == "":
        return {"correct": False, "score": 0, "msg": "<p>no tests found</p>"}
    functions = _functions(text)
    grader = payload.get("grader", body.get("grader_payload"))
    named = GRADER_NAME.match(grader) if isinstance(grader, str) else None
    course, function = (named["course"], named["function"]) if named else ("", next(iter(functions), "answer"))
    # CAPA sends an empty answer with uploads: only then do the files count.
    right = functions.get(function) in _RIGHT if text else any(files.values())
    digest = hashlib.sha256(repr((grader, text, sorted(files.items()))).encode("utf-8", "surrogatepass")).digest()
    passed = 3 if right else digest[0] % 3
    if course == "py1":
        return _watcher_style(function, right, passed)
    if course == "ds201" and set(payload) == {"grader"} and _seed(body) == 1 and function in HAZARD_GRADERS:
        choices = HAZARD_GRADERS[function][right]
        correct, score = choices[digest[1] % len(choices)]
    else:
        correct, score = right, int(right)
    detail = MESSAGES["es" if payload.get("lang") == "es" else "en"].format(name=function, passed=passed)
    colour = "ok" if right else "no"
    return {"correct": correct, "score": score, "msg": f'<div class="test"><p class="{colour}">{detail}</p></div>'}


def _payload(payload: Any) -> dict[str, Any]:
    """Return the payload's keys; none where it is not a JSON object."""
    try:
        parsed = json.loads(payload)
    except (TypeError, ValueError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _seed(body: dict[str, Any]) -> Any:
    """Return the problem's seed as the body tells it, 1 where it does not."""
    return _payload(body.get("student_info")).get("random_seed", 1)


def _watcher_style(function: str, right: bool, passed: int) -> dict[str, Any]:
    """Return the reply as the official grader support renders it."""
    word, colour = ("CORRECT", "ok") if right else ("INCORRECT", "no")
    detail = f"{function}: {passed} passed" + ("" if right else " (expected 3 passed)")
    header = f'<header>Test results</header><div class="shortform">{word}</div>'
    msg = f'<div class="test">{header}<p class="{colour}">{detail}</p></div>'
    return {"correct": right, "score": int(right), "msg": msg}
