"""Which tests run in one half of a run only: on SQLite or on MariaDB (see run_databases.py)."""

#: Tests that run on SQLite only, where both halves run.
SQLITE_ONLY = (
    # They ask no database: rules, texts and documents.
    "tests/core",
    *(f"tests/reports/test_{name}.py" for name in ("counts", "golden", "hostile", "page")),
    "tests/test_conf.py",
    "tests/repository/test_docs.py",
    "tests/reports/test_text.py",
    "tests/repository/test_repository.py",
    "tests/repository/test_contributing.py",
    "tests/repository/test_house.py",
    # The stand-ins, but for their schema and their races: what they have to be like does not depend on a database.
    *(f"tests/sandbox/test_lms_{name}.py" for name in ("capa", "receivers", "round_trip", "seed", "views")),
    *(f"tests/sandbox/test_xqueue_{name}.py" for name in ("accounts", "grading", "submit")),
    *(f"tests/sandbox/test_{name}.py" for name in ("capture", "grader", "network")),
    # Deaths within this process: a statement is not executed, whoever would have executed it.
    "tests/backfill/handoff/test_steps.py::test_death_before_any_statement_changes_nothing_of_the_end",
    "tests/backfill/give_back/test_interrupted.py::test_it_may_be_killed_at_any_statement",
    # Random walks of one session at a time; the walks by hand beside them run on both.
    "tests/acceptance/machine/test_state_machine.py::test_whatever_happens_in_whatever_order",
    # The same statements as in the tests beside it, on a larger course.
    "tests/acceptance/faults/test_faults.py::test_one_fault_in_one_problem_of_two_hundred_is_named",
)
#: Tests that run on MariaDB only, where both halves run: processes that die, or that are many. A server has to notice
#: that a client is gone, and has locks of rows; SQLite has one lock, in whose queue all of them would stand.
MARIADB_ONLY = (
    "tests/backfill/test_celery.py",
    "tests/backfill/test_kill.py",
    "tests/cutover/test_kill.py",
    "tests/acceptance/doors/test_silent_xqueue.py",
    "tests/acceptance/doors/test_starvation.py",
    "tests/acceptance/interleavings",
    "tests/backfill/handoff/test_races.py::test_a_killed_handoff_is_finished_by_the_next",
    "tests/comparison/test_celery.py",
    "tests/backfill/test_run.py::test_a_killed_process_leaves_no_trace_of_its_page_and_can_be_run_again",
)
#: Tests that have a MariaDB of their own beside the rest of that half, where it starts its servers itself: they mostly
#: wait, for the processes of a story, for a silent database or for each other's locks, and the explorer needs a server
#: that nobody else uses.
APART = ("tests/acceptance/interleavings", "tests/acceptance/story", "tests/acceptance/doors/test_silent_xqueue.py")
