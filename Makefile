# askrelay: what a checkout can do. Needs make and Python 3.11 or newer, nothing else.

PYTHON ?= python3
TESTS ?= tests
# One process per core, four at most: each has a RabbitMQ node and a PostgreSQL cluster of its own.
PYTEST_ARGS ?= -n auto --maxprocesses 4 --dist worksteal

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test lint format bench simulate mutants chaos lock servers python clean

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

bench: servers $(STAMP) ## measure; the figures go to the screen
	@$(BIN)/python -m tests.bench $(BENCH_ARGS)

simulate: $(STAMP) ## run the real code by seeds on virtual time: SEEDS=20000, or SEED=7 for one, step by step
	@$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),2000))

mutants: $(STAMP) ## take one rule out at a time; the simulation has to notice
	@$(BIN)/python -m tests.simulation --mutants

chaos: servers $(STAMP) ## kill, pause and cut real processes (about 45 minutes); a table shows what came of it
	@$(BIN)/python -m tests.chaos $(CHAOS_ARGS)

# Without addresses in it, so that everybody's own index serves. pip needs the hashes to refuse anything else.
lock: ## refresh requirements.lock (needs uv)
	uv pip compile pyproject.toml --group dev --extra traces --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-emit-find-links --no-header -o requirements.lock

python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "askrelay needs Python 3.11 or newer; $(PYTHON) is `$(PYTHON) --version 2>&1`." \
	         "Name another with: make PYTHON=/path/to/python3.12"; exit 1; } >&2

# With venv, so that somebody who must install by hand is told all of it at once.
servers: | python
	@$(PYTHON) -m tests.servers.install rabbitmq postgresql node venv

$(STAMP): requirements.lock pyproject.toml | python
	@$(PYTHON) -m tests.servers.install venv
	@echo "Making the virtual environment in $(VENV) (about a minute) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-cache-dir --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-cache-dir --no-build-isolation --no-deps -e .
	@touch $@

clean: ## remove what make has made here
	rm -rf $(VENV) .mypy_cache .ruff_cache .import_linter_cache .hypothesis dist build
