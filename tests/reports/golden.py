"""
Writes the golden files anew out of the frozen demo.json: ``python -m tests.reports.golden``. Then see what git says.

demo.json and demo.jsonl are what ``xqueue_reconcile --all --report demo.json --divergences demo.jsonl`` wrote after
``make demo``; they need not follow every change of the demo.
"""

from migration_shim.reports.formats import RENDERERS
from tests.reports import examples

ENDINGS = sorted({*RENDERERS} - {".json"})


def rendered(ending):
    return "".join(RENDERERS[ending](examples.demo()))


if __name__ == "__main__":
    for ending in ENDINGS:
        (examples.DATA / f"demo{ending}").write_bytes(rendered(ending).encode())
