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
    *(f"tests/repository/test_{name}.py" for name in ("codes", "public_names", "releases")),
    *(f"tests/reports/test_{name}.py" for name in ("course_words", "sides")),
    "tests/backfill/test_pace.py",
    "tests/ledger/counters/test_facts.py",
    "tests/legacy/test_client.py",
    "tests/management/test_course_names.py",
    "tests/watch/test_bounds.py",
    # The stand-ins, but for their schema and their races: what they have to be like does not depend on a database.
    *(f"tests/sandbox/test_lms_{name}.py" for name in ("capa", "receivers", "round_trip", "seed", "views")),
    *(f"tests/sandbox/test_xqueue_{name}.py" for name in ("accounts", "grading", "submit")),
    *(f"tests/sandbox/test_{name}.py" for name in ("capture", "grader", "network", "runbook")),
    *(f"tests/sandbox/test_{name}.py" for name in ("set_up", "waiting", "walk")),
    "tests/sandbox/serve",
    "tests/sandbox/test_lms_platform.py::test_the_stand_in_is_a_platform_unless_it_is_told_otherwise",
    # Deaths within this process: a statement is not executed, whoever would have executed it.
    "tests/backfill/handoff/test_steps.py::test_death_before_any_statement_changes_nothing_of_the_end",
    "tests/backfill/give_back/test_interrupted.py::test_it_may_be_killed_at_any_statement",
    # Random walks of one session at a time; the walks by hand beside them run on both.
    "tests/acceptance/machine/test_state_machine.py::test_whatever_happens_in_whatever_order",
    # The same statements as in the tests beside it, on a larger course.
    "tests/acceptance/faults/test_faults.py::test_one_fault_in_one_problem_of_two_hundred_is_named",
)
#: Tests that run on MariaDB only, where both halves run.
MARIADB_ONLY = (
    # Processes that die, or that are many. A server has to notice that a client is gone, and has locks of rows; SQLite
    # has one lock, in whose queue all of them would stand.
    "tests/backfill/test_celery.py",
    "tests/backfill/test_kill.py",
    "tests/cutover/test_kill.py",
    "tests/acceptance/interleavings",
    "tests/backfill/handoff/test_races.py::test_a_killed_handoff_is_finished_by_the_next",
    "tests/comparison/test_celery.py",
    "tests/backfill/test_run.py::test_a_killed_process_leaves_no_trace_of_its_page_and_can_be_run_again",
    # A database is asked, and what is asked for is the app's own doing. LMSs have MySQL or MariaDB; SQLite is what the
    # sandbox stands on (make demo, drill, walk and corner run on it). It keeps in each room the main path and whatever
    # is written for each database apart: statements by vendor, errors, the ways of a row. The target's endpoint and the
    # doors meet it in make corner.
    "tests/admin",
    "tests/delivery",
    "tests/ledger/hosts",
    "tests/retention",
    "tests/target",
    *(f"tests/acceptance/{name}" for name in ("campaign", "doors", "load", "names", "test_growth.py")),
    "tests/acceptance/faults/test_faults.py::test_all_are_found_typed_right_and_none_invented",
    *(f"tests/backfill/test_{name}.py" for name in ("any_order", "files", "files_hosts", "files_stored")),
    "tests/backfill/test_plan_is_done.py",
    "tests/backfill/give_back/test_round_trip.py",
    *(f"tests/campaign/test_{name}.py" for name in ("race", "records", "stops")),
    *(f"tests/comparison/test_{name}.py" for name in ("cures", "echo", "equal_pairs", "incremental", "oracle")),
    *(f"tests/comparison/test_{name}.py" for name in ("register", "register_race", "replaced_pairs", "wrong_side")),
    "tests/copies/test_breaker.py",
    *(f"tests/cutover/test_{name}.py" for name in ("by_hand", "evidence", "evidence_age", "forget", "overrides")),
    *(f"tests/cutover/test_{name}.py" for name in ("overrides_second", "permits", "plan", "race", "release", "wave")),
    *(f"tests/dual_write/test_{name}.py" for name in ("file_names", "following", "lookups", "two_tabs")),
    *(f"tests/ledger/counters/test_{name}.py" for name in ("changes", "evidence", "recount")),
    *(f"tests/management/test_{name}.py" for name in ("override_command", "selection", "several")),
    "tests/management/test_stops_nobody.py",
    *(f"tests/preflight/test_{name}.py" for name in ("planted", "probe")),
    *(f"tests/reports/test_{name}.py" for name in ("files", "learners", "since")),
    *(f"tests/status/test_{name}.py" for name in ("judgement", "unknown_queues")),
    *(f"tests/watch/test_{name}.py" for name in ("breaches", "step_back", "supervision")),
)
#: Tests that have a MariaDB of their own beside the rest of that half, where it starts its servers itself, in two parts
#: that take as long as the rest does. The first one mostly waits, for the processes of a story or a campaign and for a
#: silent database. In the second the explorer needs a server that nobody else uses at the same time.
APART = (
    ("tests/acceptance/story", "tests/acceptance/campaign", "tests/acceptance/doors/test_silent_xqueue.py"),
    ("tests/acceptance", "tests/cutover", "tests/dual_write", "tests/management", "tests/target"),
)
