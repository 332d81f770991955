# Two commands: `make demo` (search, retrain, evaluate, export on bundled data) and `make test` (everything CI checks).
PYTHON ?= python3
BIN := .venv/bin
POISE := $(BIN)/poise
DEMO := runs/demo

.PHONY: demo docs test test-faults gpu lint types imports unit setup clean

setup: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "poise needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: setup
	$(POISE) search --data digits --space darts --preset demo --out $(DEMO) --overwrite
	$(POISE) train $(DEMO) --overwrite
	$(POISE) evaluate $(DEMO)/net
	$(POISE) export $(DEMO)/net --to onnx
	$(POISE) export $(DEMO)/net --to python
	$(POISE) show $(DEMO)

test: setup lint types imports unit

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

imports: setup
	$(BIN)/lint-imports

# The documentation as a site, in site/; the tests build it as well, just as strictly.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

# One thread per worker: two workers with two threads each would fight over two cores.
unit: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

# What `make test` takes a sample of, in full: every kill, every damaged byte, every example, every combination.
test-faults: setup
	OMP_NUM_THREADS=1 POISE_FAULTS=full $(BIN)/python -m pytest tests/faults $$(grep -lr '^from full import' tests) \
		-n auto --dist worksteal

# On a machine with a CUDA device: its tests, how fast it is, and a search, in ten minutes. It needs no `setup`; what it
# is told by ARGS, tools/gpu_check.py says.
gpu:
	$(PYTHON) tools/gpu_check.py $(ARGS)

clean:
	rm -rf .venv .venv-gpu runs site
