.DEFAULT_GOAL := help
.PHONY: help demo drill serve walk check test test-long matrix corner audit quality format bench bench-quick deploy docs requirements clean

# Two pips at once in one virtual environment break it.
.NOTPARALLEL:

# Any Python from 3.11 on: make demo PYTHON=python3.12
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TUTOR := $(VENV)/tutor
# Major versions of Tutor that the plugin is rendered with.
TUTORS ?= 20 21 22
AUDIT := $(VENV)/audit
# Handed to pytest: make test ARGS="-k ledger"
ARGS ?=
# A line when a step begins and one when it is done; on a terminal what pip is at in between.
SET_UP := -P sandbox/set_up.py

help: ## show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.sandbox ## set everything up and run the main job once, from capture to report
	MIGRATION_SHIM_SANDBOX_DIR=$(CURDIR)/.sandbox/demo $(BIN)/python sandbox/manage.py demo --fresh

drill: $(VENV)/.sandbox ## play five incidents, and resolve each with the commands of the runbook
	MIGRATION_SHIM_SANDBOX_DIR=$(CURDIR)/.sandbox/drill $(BIN)/python sandbox/manage.py drill --fresh

serve: $(VENV)/.sandbox ## a platform to practise on: LMS, XQueue, learners, graders and the dashboard, on loopback
	$(BIN)/python sandbox/manage.py serve

walk: $(VENV)/.test ## walk the first course of the runbook on a sandbox of its own, by what page and screen say; some minutes
	$(BIN)/python -m pytest tests/acceptance/first_hour -q -k few_pairs $(ARGS)

check: $(VENV)/.test quality ## before a commit: quality, and the tests of the rules in core; a minute and a half at most
	$(BIN)/python -m pytest tests/core -m "not long" $(ARGS)

test: $(VENV)/.test $(VENV)/.mysql ## set everything up and run the tests, on SQLite and (where it can be had) on MariaDB
	$(BIN)/python tests/run_databases.py $(ARGS)

test-long: $(VENV)/.test $(VENV)/.mysql ## the same tests with more kills, seeds and rows
	$(BIN)/python tests/run_databases.py --long $(ARGS)

matrix: $(VENV)/.matrix ## run the tests against each release of the matrix (tox.ini); needs Python 3.11 and 3.12
	$(BIN)/python -m tox run $(ARGS)

corner: $(VENV)/.matrix ## the oldest environment of the matrix alone, on SQLite
	$(BIN)/python -m tox run -e py311-ulmo $(if $(ARGS),-- $(ARGS))

audit: $(VENV)/.audit ## resolve the newest versions and ask the advisory service about each; fails where it cannot ask
	$(AUDIT)/bin/python -m pip_audit --strict --progress-spinner off -r requirements/base.in -r requirements/celery.in

quality: $(VENV)/.quality ## lint, layers, types, missing migrations, annotations
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/python -m mypy
	$(BIN)/python sandbox/manage.py makemigrations --check --dry-run
	DJANGO_SETTINGS_MODULE=sandbox.lms.settings PYTHONPATH=. $(BIN)/code_annotations django_find_annotations \
		--config_file .pii_annotations.yml --lint --coverage
	$(BIN)/code_annotations static_find_annotations --config_file .annotations.yml --lint --no_report

format: $(VENV)/.quality ## let ruff mend what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/.bench $(VENV)/.mysql ## run every benchmark beside its baselines and floors, on MariaDB and Redis (an hour or more)
	$(BIN)/python benchmarks/bench.py $(ARGS)

bench-quick: $(VENV)/.bench $(VENV)/.mysql ## the same on few rows, in about five minutes: whether a change makes a difference
	$(BIN)/python benchmarks/bench.py --rows 20000 --only submit,pullers,import,reconcile,reads --no-durable \
		--rounds 20 --puller-rows 200 --api-rows 200 --out reports/bench-quick.json $(ARGS)

deploy: $(TUTORS:%=$(VENV)/.tutor-%) $(VENV)/.mysql ## render the Tutor plugin's environment with the real Tutor, each version of it
	for version in $(TUTORS); do \
		MIGRATION_SHIM_PYTHON=$(CURDIR)/$(BIN)/python $(TUTOR)-$$version/bin/python -m pytest -c /dev/null \
			--rootdir deploy/tutor -q -p no:cacheprovider deploy/tutor/tests || exit 1; \
	done

docs: $(VENV)/.doc $(VENV)/.sandbox ## check that the generated pages are current, and every reStructuredText file
	$(BIN)/python docs/generate.py --check
	@find . -name '*.rst' -not -path './$(VENV)/*' -not -path './.tox/*' -print0 | sort -z | \
		xargs -0 -n 1 -t $(BIN)/python -m docutils --report=2 --halt=2 --writer=null

requirements: $(VENV)/.test $(VENV)/.quality $(VENV)/.doc $(VENV)/.matrix ## set up everything that the other targets need

clean: ## remove what the targets above made, the virtual environment included
	rm -rf $(VENV) .tox .sandbox reports build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache \
		.hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- set-up: a stamp a layer, so that the second run takes no time ------------------------------------------------------

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "migration_shim needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
		       "Name another one: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
		{ echo "$(PYTHON) cannot make virtual environments: install python3-venv."; exit 1; }
	@echo "set-up: a virtual environment in $(VENV), by $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.sandbox: $(VENV)/.python requirements/sandbox.in requirements/base.in requirements/constraints.txt
	@$(BIN)/python $(SET_UP) "the sandbox" -r requirements/sandbox.in
	@touch $@

$(VENV)/.test: $(VENV)/.sandbox requirements/test.in
	@$(BIN)/python $(SET_UP) "the tests" -r requirements/test.in
	@touch $@

$(VENV)/.bench: $(VENV)/.test requirements/bench.in
	@$(BIN)/python $(SET_UP) "the benchmarks" -r requirements/bench.in
	@touch $@

# Apart from the rest: Tutor brings Kubernetes's client and mypy along, and an operator's Tutor has no app beside it either.
$(VENV)/.tutor-%: $(VENV)/.sandbox requirements/tutor.in deploy/tutor/setup.py
	$(PYTHON) -m venv $(TUTOR)-$*
	@$(TUTOR)-$*/bin/python $(SET_UP) "Tutor $*" 'tutor==$*.*' 'tutor-xqueue==$*.*' -r requirements/tutor.in
	@$(TUTOR)-$*/bin/python $(SET_UP) "the plugin of Tutor $*" --no-deps -e ./deploy/tutor
	@touch $@

$(VENV)/.matrix: $(VENV)/.python requirements/matrix.in
	@$(BIN)/python $(SET_UP) "the matrix" -r requirements/matrix.in
	@touch $@

$(VENV)/.audit: $(VENV)/.python requirements/audit.in
	$(PYTHON) -m venv $(AUDIT)
	@$(AUDIT)/bin/python $(SET_UP) "the audit" -r requirements/audit.in
	@touch $@

# mysqlclient has no wheels. Where it cannot be built this leaves no stamp, so the next run tries again.
$(VENV)/.mysql: $(VENV)/.python requirements/mysql.in
	@if ! { command -v mariadb_config || command -v mysql_config; } >/dev/null || ! command -v cc >/dev/null; then \
		echo "mysqlclient is not installed: it needs a C compiler, pkg-config, python3-dev and libmariadb-dev."; \
	elif $(BIN)/python -m pip --disable-pip-version-check --quiet install -r requirements/mysql.in \
		>$(VENV)/mysqlclient.log 2>&1; then touch $@; \
	else echo "mysqlclient could not be built; the compiler's words are in $(VENV)/mysqlclient.log."; fi

$(VENV)/.quality: $(VENV)/.sandbox requirements/quality.in
	@$(BIN)/python $(SET_UP) "the linters" -r requirements/quality.in
	@touch $@

$(VENV)/.doc: $(VENV)/.python requirements/doc.in
	@$(BIN)/python $(SET_UP) "the documentation" -r requirements/doc.in
	@touch $@
