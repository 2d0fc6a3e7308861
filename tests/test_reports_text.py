"""Documents as text: each one renders, says what matters first, names the next command, and shows no learner."""

import copy
import importlib
import json
import pkgutil

import pytest

import migration_shim
from migration_shim.core.totals import Totals, course_content, whole_content
from migration_shim.data import Comparison, DivergenceClass, Outcome, PairStatus, State
from migration_shim.reports.text import render
from tests.core.rows import NOON

COURSE = "course-v1:ExU+PY1+2026"
PROBLEM = "block-v1:ExU+PY1+2026+type@problem+block@a"


def finding(code, severity, rows=0, example=None, seam=False):
    return {
        "code": code,
        "severity": severity,
        "seam": seam,
        "rows": rows,
        "example_legacy_id": example,
        "queue": "exu-py1",
        "problem": PROBLEM,
        "effect": f"effect of {code}",
        "advice": f"advice on {code}",
    }


def preflight(*findings):
    return {
        "schema": "migration_shim.xqueue_preflight/1",
        "course": COURSE,
        "at": NOON.isoformat(),
        "rows": 1793,
        "queues": ["exu-py1"],
        "findings": list(findings),
        "versions": {},
    }


def backfill(**changes):
    return {
        "schema": "migration_shim.xqueue_backfill/1",
        "mode": "shadow",
        "executed": True,
        "scope": "shadow open",
        "finished_at": NOON.isoformat(),
        "read": 404,
        "written": 395,
        "classes": {"imported": 395, "malformed": 9, "final": 0},
        "reasons": {"malformed": {"body_not_json": 1, "callback_no_course": 8}},
        "checkpoint": 0,
        "complete": True,
        "seconds": 1.5,
    } | changes


def reconcile(complete=True):
    totals = Totals(of=5)
    for status, found, known in (
        (PairStatus.EQUAL, {}, ""),
        (PairStatus.EQUAL, {}, ""),
        (PairStatus.DIVERGED, {DivergenceClass.SCORE: "legacy 1, target 0"}, ""),
        (PairStatus.KNOWN, {}, "collided_on_legacy_only"),
    ):
        side = Outcome(state=State.GRADED, arrived_at=NOON, returned_at=NOON)
        result = Comparison(status=status, divergences=found, known=known)
        totals.add("exu-py1", PROBLEM, side, side, result, timed=True)
    return whole_content([COURSE], [course_content(COURSE, totals, complete=complete, at=NOON)], NOON)


def gate(verdict="PASS", **changes):
    tally = {
        "name": "exu-py1",
        "entries": 460,
        "graded_pairs": 449,
        "echoed": 0,
        "diverged": 0,
        "deterministic": 0,
    }
    return {
        "schema": "migration_shim.xqueue_gate/1",
        "course": COURSE,
        "at": NOON.isoformat(),
        "phase": "shadow",
        "next_step": "live",
        "verdict": verdict,
        "reasons": [],
        "needed": [],
        "evidence": {
            "reconcile_age_seconds": 60.0,
            "reconcile_complete": True,
            "preflight_age_seconds": None,
            "preflight_blockers": [],
            "problems": [tally | {"name": PROBLEM}],
            "queues": [tally],
            "missing": 0,
            "overdue": 0,
            "fence_leaks": 0,
            "double_authority": 0,
            "arithmetic": {
                "pairs": 449,
                "diverged": 0,
                "threshold": 0.01,
                "error": 0.05,
                "evidence": 20.036,
                "evidence_needed": 20.0,
            },
        },
    } | changes


def cutover(**changes):
    return {
        "schema": "migration_shim.xqueue_cutover/1",
        "course": COURSE,
        "at": NOON.isoformat(),
        "from": "shadow",
        "to": "live",
        "reason": "term starts",
        "gated": True,
        "permitted": True,
        "verdict": "PASS",
        "reasons": [],
        "needed": [],
        "flags_before": {"migration_shim.dual_write": True, "migration_shim.target_primary": False},
        "flags_after": {"migration_shim.dual_write": True, "migration_shim.target_primary": True},
        "authoritative_after": "target",
        "in_flight": {"legacy": {"queued": 3, "pulled": 1}, "target": {}},
        "remember": "Keep XQueue running.",
        "way_back": "xqueue_cutover --to legacy",
        "executed": False,
    } | changes


def removal(**changes):
    return {
        "schema": "migration_shim.xqueue_cutover_removal/1",
        "course": COURSE,
        "at": NOON.isoformat(),
        "shadows": 119,
        "removed": 0,
        "executed": False,
    } | changes


def status(**changes):
    course = {
        "course": COURSE,
        "phase": "shadow",
        "since": NOON.isoformat(),
        "changed_by": "ada",
        "reason": "trial",
        "drift": True,
        "asked": "live",
        "flags": {"migration_shim.dual_write": True, "migration_shim.target_primary": True},
        "permit": None,
        "permit_until": None,
        "in_flight": {"legacy": {"queued": 3}, "target": {}},
        "copies": {"shadow": {"failed": 2}, "reverse": {}},
        "last_runs": {"preflight": None, "reconcile": {"finished_at": NOON.isoformat(), "complete": False}},
        "verdict": None,
        "fence_leaks": 0,
        "double_authority": None,
    }
    return {
        "schema": "migration_shim.xqueue_status/1",
        "at": NOON.isoformat(),
        "kill_switch": False,
        "breakers": {"target": {"failures": 5, "open": True}, "legacy": {"failures": 0, "open": False}},
        "courses": [course | changes],
    }


DOCUMENTS = {
    "preflight, clean": preflight(),
    "preflight": preflight(
        finding("answer_over_limit", "blocker", 3, 2356),
        finding("queue_unknown", "blocker"),
        finding("random_seed", "note", 5, seam=True),
    ),
    "backfill": backfill(),
    "backfill, plan": backfill(executed=False, written=0),
    "reconcile": reconcile(),
    "reconcile, no course": whole_content([], [], NOON),
    "gate": gate(),
    "gate, nothing to open": gate(phase="complete", next_step=None),
    "gate, closed": gate("INCONCLUSIVE", reasons=["there was no preflight"], needed=["a preflight"]),
    "cutover": cutover(),
    "cutover, done": cutover(executed=True),
    "cutover, back to legacy": cutover(to="legacy", gated=False, verdict=None, way_back=None),
    "removal": removal(),
    "removal, done": removal(executed=True, removed=119),
    "cutover, refused": cutover(permitted=False, verdict="STALE", reasons=["too old"], needed=["a reconcile"]),
    "status": status(),
    "status, no course": status() | {"courses": []},
    "status, new course": status(since=None, changed_by=None, reason=None, drift=False, asked="shadow"),
}


def lines(document):
    return [line.strip() for line in render(document).splitlines()]


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_every_document_renders(document):
    text = render(document)
    assert text.strip()
    assert not any(word in text for word in ("None", "True", "False", "{", "<"))


def schemas():
    """Every document that the app makes, found in its modules."""
    names = [module.name for module in pkgutil.walk_packages(migration_shim.__path__, "migration_shim.")]
    modules = [importlib.import_module(name) for name in names if ".management.commands." not in name]
    return {value for module in modules for name, value in vars(module).items() if name.endswith("SCHEMA")}


def test_every_schema_of_the_app_is_rendered_here():
    assert schemas() == {document["schema"] for document in DOCUMENTS.values()}


LEARNER = "cafe1b3b73d49907bd901eacd552484d"
PRIVATE = {"learner": LEARNER, "answer": LEARNER, "msg": LEARNER, "raw_header": LEARNER, "grader_reply": LEARNER}
RECORDS = ("schema", "course", "code", "name", "arithmetic", "pairs", "finished_at", "failures")


def planted(value):
    """The document with a learner's data in every record of it, as a careless producer might leave them."""
    if isinstance(value, list):
        return [planted(item) for item in value]
    if not isinstance(value, dict):
        return value
    inner = {key: planted(item) for key, item in value.items()}
    return inner | PRIVATE if any(key in value for key in RECORDS) else inner


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_no_text_shows_what_it_was_not_asked_for(document):
    whole = planted(copy.deepcopy(document))
    assert LEARNER in str(whole)
    assert render(whole) == render(document)


def test_preflight():
    found = lines(DOCUMENTS["preflight"])
    assert found[0] == f"Preflight of {COURSE}: 2 blockers in 1793 legacy rows, queues: exu-py1"
    assert "BLOCKER  answer_over_limit: 3 rows" in found
    assert "effect of answer_over_limit" in found
    assert "To do: advice on answer_over_limit" in found
    assert f"3  exu-py1  {PROBLEM}  (legacy row 2356)" in found
    assert "BLOCKER  queue_unknown" in found
    assert "NOTE     random_seed: 5 rows" in found
    assert "effect of random_seed (the watcher seam hands out the original)" in found
    assert found[-1] == "The gate stays closed while there are blockers."
    clean = lines(preflight(finding("submission_time_format", "note", 1)))
    assert clean[-1] == f"Next: xqueue_reconcile --course {COURSE}"


def test_preflight_sums_the_rows_of_a_code():
    assert "BLOCKER  answer_over_limit: 7 rows" in lines(
        preflight(finding("answer_over_limit", "blocker", 3), finding("answer_over_limit", "blocker", 4))
    )


def test_backfill():
    found = lines(backfill())
    assert found[0] == "Backfill (shadow): 404 rows read, 395 written"
    assert [line.split() for line in found[1:3]] == [["imported", "395"], ["malformed", "9"]]
    assert ["callback_no_course", "8"] in [line.split() for line in found]
    assert not any("final" in line for line in found)
    plan = lines(backfill(executed=False, complete=False))
    assert plan[0].endswith("nothing written: this is the plan")
    assert "Stopped before the end; run the same command again to go on." in plan
    assert plan[-1] == "Next: the same command with --execute"


def test_reconcile():
    found = lines(reconcile())
    assert found[0] == f"{COURSE}: compared 4 of 5"
    words = [line.split() for line in found]
    for expected in (["equal", "2"], ["diverged", "1"], ["fence", "leaks", "0"], ["score", "1"]):
        assert expected in words
    assert ["collided_on_legacy_only", "1"] in words
    assert f"exu-py1  {PROBLEM}: 4 pairs, 2 equal, 1 diverged" in found
    assert found[-1] == f"Next: xqueue_gate --course {COURSE}"
    assert "Stopped before the end: this is not evidence." not in found
    assert "Stopped before the end: this is not evidence." in lines(reconcile(complete=False))


def test_gate():
    found = lines(gate())
    assert found[0] == f"PASS  {COURSE}"
    assert "449 pairs, 0 unexplained divergences, threshold 1.00%" in found
    assert "evidence against a rate at the threshold: 20.036 (at least 20 needed)" in found
    assert f"{PROBLEM}: 449 pairs of 460, 0 diverged" in found
    assert found[-1] == f"Next: xqueue_cutover --course {COURSE} --to live --reason TEXT"
    assert "--to complete" in lines(gate(phase="live", next_step="complete"))[-1]
    nothing = lines(DOCUMENTS["gate, nothing to open"])
    assert nothing[-1] == "The course is in complete: there is no step that needs the gate."
    closed = lines(DOCUMENTS["gate, closed"])
    assert closed[:3] == [f"INCONCLUSIVE  {COURSE}", "because there was no preflight", "needed: a preflight"]
    assert not any("--to live" in line for line in closed)


def test_cutover():
    found = lines(cutover())
    assert found[0] == f"Plan. {COURSE}: shadow -> live"
    assert "migration_shim.target_primary: off -> on" in found
    assert "authoritative after it: target" in found
    assert "in flight on legacy: 3 queued, 1 pulled" in found
    assert "in flight on target: nothing" in found
    assert found[-1] == "Next: the same command with --execute"
    assert lines(cutover(executed=True))[0] == f"Done. {COURSE}: shadow -> live"
    refused = lines(DOCUMENTS["cutover, refused"])
    assert refused[:4] == [
        f"NOT PERMITTED. {COURSE}: shadow -> live",
        "gate: STALE",
        "because too old",
        "needed: a reconcile",
    ]
    assert not any("--execute" in line for line in refused)


def test_cutover_names_the_way_back_where_there_is_one():
    assert any(line.startswith("way back: ") for line in lines(cutover()))
    assert not any(line.startswith("way back") for line in lines(DOCUMENTS["cutover, back to legacy"]))


def test_removal():
    plan = lines(removal())
    assert plan[0] == f"{COURSE}: 119 shadows would be removed, with their files; no real row"
    assert plan[-1] == "Next: the same command with --execute"
    assert lines(DOCUMENTS["removal, done"]) == [f"{COURSE}: 119 of 119 shadows removed"]


def test_watcher_configuration_is_printed_as_json():
    servers = {"legacy": {"SERVER": "https://xqueue.example.edu"}}
    found = render(status(watcher_config={"xqueue_servers.json": servers}))
    _, _, printed = found.partition("  xqueue_servers.json:\n")
    assert json.JSONDecoder().raw_decode(printed.strip())[0] == servers
    assert "xqueue_servers.json" not in render(status())


def test_status():
    found = lines(status())
    assert found[0] == "kill switch: off"
    assert "breaker target: OPEN, copies are paused, 5 failures in a row" in found
    assert "breaker legacy: closed, 0 failures in a row" in found
    assert f"{COURSE}: shadow since 2026-11-22T12:00:00+00:00" in found
    assert any("DRIFT" in line and f"xqueue_cutover --course {COURSE} --to live" in line for line in found)
    assert "shadow copies owed: 2 failed" in found
    assert "last preflight: never" in found
    assert "last reconcile: 2026-11-22T12:00:00+00:00 (not complete)" in found
    assert "verdict: none" in found
    assert "fence leaks: 0" in found
    assert "double authority: not checked yet" in found
    assert "No course is known to the shim yet." in lines(DOCUMENTS["status, no course"])
