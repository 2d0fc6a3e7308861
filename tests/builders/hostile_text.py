"""The one strategy of hostile text, and what of it a field can hold before this app sees it."""

import re

from hypothesis import strategies as st
from opaque_keys import InvalidKeyError
from opaque_keys.edx.keys import CourseKey, UsageKey

from migration_shim.models import LegacySubmission

#: Around the limits of XQueue's columns (128), of the target's (128 and 255), and past all of them.
LENGTHS = (121, 125, 128, 129, 255, 256, 300)
PIECES = (
    *(" ", "  ", "\t", "\n", "\r\n", "\0", "\u00a0", "\u200b", "\u202e"),
    *('"', "'", "`", "\\", "%", "%s", "%00", "%41", "_", ";", ";_", "/", "<b>", "{}", "$", "#", "+", "&amp;"),
    *("\u00e9", "e\u0301", "\u00df", "\u0130", "\u212a", "\uff21", "\u6f22"),
    *("\U0001f525", "\U00010400", "\U0001d4b3"),  # four bytes; the last two are letters
    *("\ud800", "\udcff"),
)


def hostile(base: str) -> st.SearchStrategy[str]:
    """Text that some system between CAPA and a grader takes for ``base``, cuts, garbles or cannot hold."""
    pieces = st.sampled_from(PIECES)
    same = st.sampled_from((base.upper(), base.lower(), base.swapcase(), base.title(), "", *PIECES))
    around = st.builds(lambda before, after: before + base + after, st.just("") | pieces, pieces)
    long = st.builds(
        lambda filler, length: (base + filler * length)[:length],
        st.sampled_from(("x", " ", "\u00e9", "\U00010400")),
        st.sampled_from(LENGTHS),
    )
    return same | around | long | st.text(max_size=20)


def _parsed(parse, text: str, pattern: str) -> str | None:
    """The key that the parts of a text make which a key may hold; None where it is none."""
    try:
        key = parse(pattern.format(re.sub(r"[^\w\-~.:]", "", text)))
    except InvalidKeyError:
        return None
    return str(key) if len(str(key)) <= 255 and "\n" not in str(key) else None


def course_of(text: str) -> str | None:
    """A course with this number; None where there can be none."""
    return _parsed(CourseKey.from_string, text, "course-v1:ExU+{}+2026")


def item_of(text: str, course: str) -> str | None:
    """A problem of a course with this name; None where there can be none."""
    prefix = course.replace("course-v1:", "block-v1:").replace("{", "{{")
    return _parsed(UsageKey.from_string, text, prefix + "+type@problem+block@{}")


def reason_of(text: str) -> str:
    """What an operator can type, or paste into a form: never nothing at all."""
    return text if text.strip() else f"because{text}"


def fits(row: LegacySubmission) -> bool:
    """Whether XQueue, which is strict, could have stored the row. SQLite asks for no length."""
    limits = ((field.attname, field.max_length) for field in row._meta.concrete_fields if field.max_length)
    return all(len(getattr(row, name)) <= limit for name, limit in limits)
