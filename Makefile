# The commands of the project; CI calls the same ones.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help install services demo test test-all check format bench two-way docs tables lock clean

help: ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: $(STAMP) ## create .venv with every extra that tests need, from the lock file

# compiled as pip compiles packages: where Python may not write bytecode, every command would begin with it
$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(BIN)/python -m compileall -q src
	touch $(STAMP)

services: install ## install the Debian packages of the servers that tests talk to, if they are missing
	$(BIN)/python -m tongqu.testing.services ensure

demo: install ## a little factory: five systems, eight acts, one honest summary
	$(BIN)/tongqu demo || test $$? -eq 3  # 3: done, and some rows need attention

test: services ## all tests, against real servers on loopback; what fails beside others is tried once more, alone, and listed
	TONGQU_REQUIRE_SERVICES=1 $(BIN)/python -m pytest -q -n 2 --dist loadgroup \
	  || { test $$? -eq 1 && TONGQU_REQUIRE_SERVICES=1 $(BIN)/python -m pytest -q -rpfE --maxfail 1 \
	       --last-failed --last-failed-no-failures none; }

test-all: services ## the tests and the exhaustive crash matrix
	TONGQU_REQUIRE_SERVICES=1 TONGQU_EXHAUSTIVE=1 $(BIN)/python -m pytest -q -n 2 --dist loadgroup

SECONDS ?= 3600
FOLDER ?= soak

chaos: services ## faults with new seeds in every world, for SECONDS; a seed that fails prints how to repeat it
	$(BIN)/python -m tongqu.testing.chaos drill --seconds $(SECONDS)

soak: services ## serve, a stream and random kills for SECONDS; samples and a plot in FOLDER
	$(BIN)/python -m tongqu.testing.chaos soak --seconds $(SECONDS) --folder $(FOLDER)

check: install ## every gate: format, lint, types, layers, docs in sync
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tongqu.app.reference --check

format: install ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: services ## measure against the databases' own tools; writes docs/benchmarks.md
	$(BIN)/python -m bench

two-way: install ## two-way sync: 10,000 concurrent edits beside last-write-wins, and 1,000,000 transfers while processes die
	$(BIN)/python -m bench.two_way reads
	$(BIN)/python -m bench.two_way bank

docs: install ## write the generated reference pages
	$(BIN)/python -m tongqu.app.reference

tables: services ## run the tests that the tables in the reference pages are made of, and write those pages
	TONGQU_REQUIRE_SERVICES=1 $(BIN)/python -m pytest -q -n 2 --dist loadgroup -m "oracle or tabled" \
	  --write-tested docs/reference/tested.json tests/operators tests/connectors/test_schema_changes.py \
	  tests/connectors/file/test_schema_changes.py
	$(BIN)/python -m tongqu.app.reference

guarantees: services ## run the tests that promises rest on, and write the page of guarantees
	TONGQU_REQUIRE_SERVICES=1 $(BIN)/python -m pytest -q -n 2 --dist loadgroup \
	  --write-proven docs/reference/proven.json $$($(BIN)/python -m tongqu.testing.proving)
	$(BIN)/python -m tongqu.app.reference

lock: ## resolve pyproject.toml into requirements.lock again (needs uv)
	uv pip compile --quiet --universal --generate-hashes --extra all --group dev --group build \
	  --python-version 3.11 --no-annotate --no-emit-index-url --no-header -o requirements.lock pyproject.toml

clean: ## remove the environment and everything generated
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache demo-data
