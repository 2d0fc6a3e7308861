"""
The report as one HTML file that loads nothing from the network and runs no script.

Django's template engine escapes every value. The page's own policy allows only its one style sheet, by digest.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from django.template import Context, Engine

from .escape import escaped
from .html_context import course_view
from .report import KNOWN, OVERRIDE, Report
from .samples import samples

#: Divergences shown of each class in each course.
EACH = 25
_FOLDER = Path(__file__).parent / "templates"


@cache
def _engine() -> Engine:
    """Return an engine of our own: that of the host project may be configured in any way, or be another one."""
    return Engine(dirs=[str(_FOLDER)])


@cache
def _style() -> str:
    return "\n" + (_FOLDER / "report.css").read_text(encoding="utf-8")


def render(report: Report) -> Iterator[str]:
    """Yield the page in one piece."""
    shown_samples = samples(report, EACH, side_by_side=True)
    style = _style()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    values = {
        "style": style,
        "style_digest": digest,
        "made_at": report.made_at,
        "complete": report.reconcile["complete"],
        "compared": report.reconcile["compared"],
        "of": report.reconcile["of"],
        "problems": [
            {key: escaped(text) for key, text in item.items()} for item in report.reconcile.get("problems", ())
        ],
        "courses": [course_view(report, course, shown_samples) for course in report.reconcile["courses"]],
        "overrides": [{key: escaped(item[key]) for key in OVERRIDE} for item in report.overrides],
        "known_differences": [{key: escaped(item[key]) for key in KNOWN} for item in report.known_differences],
        "with_content": report.content is not None,
    }
    # A number in the host's language ("12,5") would be no number in a chart.
    yield _engine().get_template("report.html").render(Context(values, autoescape=True, use_l10n=False))
