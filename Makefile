# askrelay: what a checkout can do. Needs make and Python 3.11 or newer, nothing else.

PYTHON ?= python3
TESTS ?= tests
# One process per core, four at most: each has a RabbitMQ node and a PostgreSQL cluster of its own.
PYTEST_ARGS ?= -n auto --maxprocesses 4 --dist worksteal

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
# What the worker is compared with; nothing of it may be importable where the worker runs.
BENCH_VENV := .venv-bench
BENCH_STAMP := $(BENCH_VENV)/.ready
BENCH_LOCK := tests/bench/peers/requirements.lock

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test lint format bench bench-growth simulate mutants chaos canaries lock servers python docs clean

help: ## list what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  PYTHON=python3.12          the Python to use"
	@echo "  TESTS=tests/unit           the tests to run; PYTEST_ARGS= for pytest's own options"
	@echo "  INSTALL=1                  let make install missing servers with sudo"

demo: $(STAMP) ## watch it work: no key, no broker, no network
	@$(BIN)/askrelay demo $(DEMO_ARGS)

test: servers $(STAMP) ## run the tests, with private RabbitMQ and PostgreSQL servers
	@echo "Running the tests (several minutes) ..."
	@$(BIN)/python -m pytest $(PYTEST_ARGS) $(TESTS)

lint: $(STAMP) ## check style, types and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(STAMP) ## put the code in its form
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: servers $(STAMP) $(BENCH_STAMP) ## measure beside what others write (20 minutes); BENCH_ARGS=--quick for 3
	@$(BIN)/python -m tests.bench $(BENCH_ARGS)

bench-growth: servers $(STAMP) ## measure full ledgers and backlogs (an hour, 30 GB); BENCH_ARGS=--quick for 3 minutes
	@$(BIN)/python -m tests.bench_growth $(BENCH_ARGS)

simulate: $(STAMP) ## run the real code by seeds on virtual time: SEEDS=20000, or SEED=7 for one, step by step
	@$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),2000))

mutants: $(STAMP) ## take one rule out at a time; the simulation has to notice
	@$(BIN)/python -m tests.simulation --mutants

chaos: servers $(STAMP) ## kill, pause and cut real processes (about 45 minutes); a table shows what came of it
	@$(BIN)/python -m tests.chaos $(CHAOS_ARGS)

docs: $(STAMP) ## build the pages into build/docs; a warning is an error
	@$(BIN)/sphinx-build -q -W --keep-going -n -c docs -d build/doctrees $(DOCS_ARGS) . build/docs
	@echo "Open build/docs/index.html"

canaries: servers $(STAMP) ## 10,000 events with canaries, and faults: nothing of them may come out anywhere
	@ASKRELAY_TEST_CANARIES=10000 $(BIN)/python -m pytest -n0 -s --timeout 600 tests/integration/test_canaries.py

# Without addresses in it, so that everybody's own index serves. pip needs the hashes to refuse anything else.
lock: ## refresh requirements.lock, the image's two and the bench's (needs uv)
	uv pip compile pyproject.toml --group dev --extra traces --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-emit-find-links --no-header -o requirements.lock
	uv pip compile pyproject.toml --extra traces --constraints requirements.lock --universal \
	    --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
	    -o deploy/requirements.lock
	echo hatchling | uv pip compile - --constraints requirements.lock --universal --python-version 3.11 \
	    --generate-hashes --no-emit-index-url --no-emit-find-links --no-header -o deploy/build.lock
	uv pip compile tests/bench/peers/requirements.in --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-emit-find-links --no-header -o $(BENCH_LOCK)

python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "askrelay needs Python 3.11 or newer; $(PYTHON) is `$(PYTHON) --version 2>&1`." \
	         "Name another with: make PYTHON=/path/to/python3.12"; exit 1; } >&2

# With venv, so that somebody who must install by hand is told all of it at once.
servers: | python
	@$(PYTHON) -m tests.servers.install rabbitmq postgresql node promtool venv

$(STAMP): requirements.lock pyproject.toml | python
	@$(PYTHON) -m tests.servers.install venv
	@echo "Making the virtual environment in $(VENV) (about a minute) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-cache-dir --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-cache-dir --no-build-isolation --no-deps -e .
	@touch $@

$(BENCH_STAMP): $(BENCH_LOCK) | python
	@$(PYTHON) -m tests.servers.install venv
	@echo "Making the virtual environment of the peers in $(BENCH_VENV) (half a minute) ..."
	@$(PYTHON) -m venv $(BENCH_VENV)
	@$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-cache-dir --require-hashes -r $(BENCH_LOCK)
	@touch $@

clean: ## remove what make has made here
	rm -rf $(VENV) $(BENCH_VENV) .mypy_cache .ruff_cache .import_linter_cache .hypothesis dist build
