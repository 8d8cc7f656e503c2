# Every verb sets up .venv by itself; CI runs the same verbs (.ci/run).
# TORCH: the CPU build by default. On a GPU machine: make TORCH='torch>=2.11,<2.14' demo
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
TORCH ?= torch==2.13.0
BIN := .venv/bin

# CHAOS: CHAOS=--full for the counts of a release, CHAOS='--only training --seed 7' for a part.
CHAOS ?=

.PHONY: demo test check fix test-all chaos bench screens doctor upgrade clean

demo: .venv/ready
	$(BIN)/isoplan demo

test: .venv/ready
	$(BIN)/python -m pytest -n 2

test-all: .venv/ready
	$(BIN)/python -m pytest -n 2 -m "not gpu"

check: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyrefly check --threads 1  # two threads read the same modules twice
	$(BIN)/lint-imports

fix: .venv/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

chaos: .venv/ready
	$(BIN)/python -m tests.chaos $(CHAOS)

bench: .venv/ready
	for script in benchmarks/bench_*.py; do $(BIN)/python $$script || exit 1; done

screens: .venv/ready
	$(BIN)/python docs/make_screens.py

doctor: .venv/ready
	$(BIN)/isoplan doctor

.venv/ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "isoplan needs Python 3.11 or newer on PATH (or make PYTHON=/path/to/python3)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt "$(TORCH)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[train,dev]"
	touch .venv/ready

# The newest versions of everything, written down as what the checks and tests run with from now on.
upgrade: clean
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	$(BIN)/python -m pip install --quiet --editable ".[train,dev]"
	$(BIN)/python -m pip freeze --exclude-editable | grep -v '^torch==' > constraints.txt
	touch .venv/ready

clean:
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis
