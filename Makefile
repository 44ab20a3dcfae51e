# The two that matter: `make run` shows Tandem between two simulated vendors, `make test` proves it.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
WORKERS ?= 3
SCHEDULES ?= 200
CASES ?= 10000
SEED ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PYTHONPATH =
# Compiled once and kept: the tests start some hundred processes of Tandem.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL = help
.PHONY: help run dev test test-long screenshots test-faults test-faults-saboteurs fuzz check audit sbom secrets bench bench-peers-install docs lock migration clean

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

test: $(VENV)/dev ## Run the tests, on SQLite and PostgreSQL; property tests draw the same examples each time
	TANDEM_TEST_DRAWS=same "$(BIN)/python" -m pytest -q -n $(WORKERS) --dist worksteal -m "not slow"

test-long: $(VENV)/dev ## Run the tests that take long, too
	"$(BIN)/python" -m pytest -q -n $(WORKERS) --dist worksteal --timeout 3600

test-faults: $(VENV)/dev ## Kill, stop, cut off and fill everything: SCHEDULES=200 SEED=1 (see docs/faults.md)
	"$(BIN)/python" -m tests.faults --schedules $(SCHEDULES) --seed $(SEED)

test-faults-saboteurs: $(VENV)/dev ## Show that the fault campaign catches an engine that breaks a promise
	"$(BIN)/python" -m tests.faults.saboteurs

fuzz: $(VENV)/dev ## Ask the API, the door and the loaders what nobody would: CASES=10000 SEED=1 (see docs/hardening.md)
	"$(BIN)/python" -m tests.fuzz --sweep --cases $(CASES) --seed $(SEED)
	TANDEM_TEST_EXAMPLES=2000 "$(BIN)/python" -m pytest -q --timeout 3600 tests/test_hostile_deliveries.py tests/test_hostile_files.py

check: $(VENV)/dev ## Look at style, types, mappings, generated pages and the Dockerfile
	"$(BIN)/ruff" format --check .
	"$(BIN)/ruff" check .
	"$(BIN)/mypy"
	"$(BIN)/tandem" mapping check
	"$(BIN)/python" -m docs.generate --check
	"$(BIN)/python" -m migrations.lint
	"$(BIN)/python" -m pytest -q tests/test_architecture.py tests/test_docs.py tests/test_locks.py
	@if [ -x "$(BIN)/hadolint" ]; then "$(BIN)/hadolint" Dockerfile; else echo "hadolint is not here: Dockerfile not checked"; fi

audit: $(VENV)/dev ## Ask who publishes vulnerabilities about every locked package (needs the network)
	"$(BIN)/pip-audit" --require-hashes --disable-pip --strict $(foreach lock,run postgres dev build,-r requirements/$(lock).txt)

sbom: $(VENV)/dev ## Write what the image is made of: build/sbom.json, in CycloneDX's format
	@mkdir -p build
	"$(BIN)/cyclonedx-py" requirements requirements/postgres.txt --pyproject pyproject.toml --mc-type application \
		--output-reproducible --of JSON -o build/sbom.json

# Compared with what was looked at before; a new find is a secret, or goes into the list: `make secrets accept=1`.
secrets: $(VENV)/dev ## Look for secrets in all files that git knows
	"$(BIN)/python" -m tests.secretscan $(if $(accept),--accept)

bench: $(VENV)/dev ## Measure all, each with a baseline of the same run; full=1 takes hours and fills docs/performance.md
	"$(BIN)/python" -m bench $(if $(full),--full)

bench-peers-install: ## Install what `python -m bench.peers` compares with, out of the project (npm; n8n is large)
	sh bench/peers/install.sh

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
