"""The status in Prometheus' text format, for a textfile collector or another scraper of files."""

from __future__ import annotations

from ..core.documents.status import StatusDocument
from .course_metrics import COURSE_METRICS
from .metric import Metric
from .site_metrics import SITE_METRICS

PREFIX = "migration_shim_"
#: All metrics, in the order in which they are written.
METRICS: tuple[Metric, ...] = (*SITE_METRICS, *COURSE_METRICS)


def render(content: StatusDocument) -> str:
    """Return the metrics of a status document as text that ends with a line break."""
    lines: list[str] = []
    for metric in METRICS:
        name = PREFIX + metric.name
        lines += [f"# HELP {name} {_escaped(metric.help, quotes=False)}", f"# TYPE {name} gauge"]
        for values, number in metric.samples(content):
            if number is not None:
                named = (f'{label}="{_escaped(value)}"' for label, value in zip(metric.labels, values, strict=True))
                labels = ",".join(named)
                lines.append(f"{name}{{{labels}}} {_number(number)}" if labels else f"{name} {_number(number)}")
    return "\n".join(lines) + "\n"


def _escaped(text: str, *, quotes: bool = True) -> str:
    # A scraper reads UTF-8 only, so lone surrogates are escaped.
    text = text.encode("utf-8", "backslashreplace").decode().replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text


def _number(value: float | int | bool) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
