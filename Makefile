# The two that matter: `make run` shows Tandem between two simulated vendors, `make test` proves it.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
WORKERS ?= 2
SCHEDULES ?= 200
SEED ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PYTHONPATH =

.DEFAULT_GOAL = help
.PHONY: help run dev test test-long screenshots test-faults test-faults-saboteurs check bench docs lock migration clean

help: ## Say what can be made
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-21s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Tandem needs Python 3.11 or newer; $(PYTHON) is older.  Try: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv "$(VENV)"
	@touch "$@"

# Locked by hash: the same packages everywhere.  The project itself goes in without dependencies of its own.
$(VENV)/run: $(VENV)/created requirements/run.txt requirements/build.txt pyproject.toml
	"$(BIN)/python" -m pip install --quiet --require-hashes -r requirements/build.txt
	"$(BIN)/python" -m pip install --quiet --require-hashes -r requirements/run.txt
	"$(BIN)/python" -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch "$@"

$(VENV)/dev: $(VENV)/run requirements/dev.txt
	"$(BIN)/python" -m pip install --quiet --require-hashes -r requirements/dev.txt
	@touch "$@"

run: $(VENV)/run ## Show Tandem between two simulated vendors, at http://127.0.0.1:8000/
	"$(BIN)/tandem" demo

dev: $(VENV)/dev ## Install all that developing needs

test: $(VENV)/dev ## Run the tests, on SQLite and PostgreSQL
	"$(BIN)/python" -m pytest -q -n $(WORKERS) --dist worksteal -m "not slow"

test-long: $(VENV)/dev ## Run the tests that take long, too
	"$(BIN)/python" -m pytest -q -n $(WORKERS) --dist worksteal --timeout 3600

test-faults: $(VENV)/dev ## Kill, stop, cut off and fill everything: SCHEDULES=200 SEED=1 (see docs/faults.md)
	"$(BIN)/python" -m tests.faults --schedules $(SCHEDULES) --seed $(SEED)

test-faults-saboteurs: $(VENV)/dev ## Show that the fault campaign catches an engine that breaks a promise
	"$(BIN)/python" -m tests.faults.saboteurs

check: $(VENV)/dev ## Look at style, types, mappings, generated pages and the Dockerfile
	"$(BIN)/ruff" format --check .
	"$(BIN)/ruff" check .
	"$(BIN)/mypy"
	"$(BIN)/tandem" mapping check
	"$(BIN)/python" -m docs.generate --check
	"$(BIN)/python" -m migrations.lint
	"$(BIN)/python" -m pytest -q tests/test_architecture.py tests/test_docs.py tests/test_locks.py
	@if [ -x "$(BIN)/hadolint" ]; then "$(BIN)/hadolint" Dockerfile; else echo "hadolint is not here: Dockerfile not checked"; fi

bench: $(VENV)/dev ## Measure; JSON, each figure with a baseline of the same run
	"$(BIN)/python" -m bench.ack
	"$(BIN)/python" -m bench.sync latency
	"$(BIN)/python" -m bench.sync burst
	"$(BIN)/python" -m bench.match
	"$(BIN)/python" -m bench.clocks
	"$(BIN)/python" -m bench.scorecard
	"$(BIN)/python" -m bench.drain
	"$(BIN)/python" -m bench.growth
	"$(BIN)/python" -m bench.console

screenshots: $(VENV)/dev ## Write the pictures of the console anew; needs Chromium
	TANDEM_TEST_SCREENSHOTS=1 "$(BIN)/python" -m pytest -q tests/test_console_browser.py tests/test_console_agreement_browser.py -k accessible

docs: $(VENV)/dev ## Write the generated pages anew
	"$(BIN)/python" -m docs.generate

# The largest first: the smaller ones then take its versions, so that what is tested is what runs.
UV = "$(BIN)/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --no-header --no-annotate $(if $(upgrade),--upgrade)

lock: $(VENV)/dev ## Pin the dependencies anew; upgrade=1 takes the newest
	$(UV) requirements/build.in -o requirements/build.txt
	$(UV) pyproject.toml --extra postgres --extra dev -o requirements/dev.txt
	$(UV) pyproject.toml --extra postgres -c requirements/dev.txt -o requirements/postgres.txt
	$(UV) pyproject.toml -c requirements/dev.txt -o requirements/run.txt

migration: $(VENV)/dev ## Write the next migration: m="what it does"
	@"$(BIN)/python" -m migrations.new "$(m)"
	@"$(BIN)/ruff" check --quiet --fix migrations && "$(BIN)/ruff" format --quiet migrations

clean: ## Remove what was built
	rm -rf "$(VENV)" build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
