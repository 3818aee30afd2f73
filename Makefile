# Everything runs in a virtual environment of its own, .venv; nothing outside this folder is touched.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
TORCH  ?= torch==2.13.0
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet

PLUGINS := $(wildcard plugins/fxcompress-*)
THREADS := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: help demo test lint docs golden slow clean

help:
	@echo "make demo   install what the demo needs into .venv and run the main job on real digits"
	@echo "make test   install what the tests need into .venv and run them"
	@echo "make lint   ruff and mypy"
	@echo "make docs   renew the pages that are made from the code"
	@echo "make golden renew the expected diffs of the golden cases; read what changed before you commit"
	@echo "make slow   the slower suites: long fuzzing, all mutations"
	@echo "make clean  remove .venv and what the demo wrote"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "fxcompress needs Python 3.11 or later; name one:  make PYTHON=python3.12 ..."; exit 1; }
	@echo "== making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)

# torch goes in first and pinned, so that nothing else chooses another.
$(VENV)/torch.stamp: $(BIN)/python
	@echo "== installing $(TORCH) (a few minutes where it is not at hand)"
	@$(PIP) $(TORCH) && touch $@

$(VENV)/demo.stamp: $(VENV)/torch.stamp pyproject.toml
	@echo "== installing fxcompress and what the demo needs"
	@$(PIP) -e '.[demo]' && touch $@

$(VENV)/dev.stamp: $(VENV)/torch.stamp pyproject.toml $(PLUGINS:%=%/pyproject.toml)
	@echo "== installing fxcompress, its plugins, and what the tests need"
	@$(PIP) -e '.[dev]' && $(PIP) $(PLUGINS:%=-e %) && touch $@

demo: $(VENV)/demo.stamp
	@echo "== running the demo: train, compress, evaluate, save, load, compare"
	@$(BIN)/fxcompress demo --into demo-output

test: $(VENV)/dev.stamp
	@echo "== testing the plugins"
	@set -e; for plugin in $(PLUGINS); do $(THREADS) $(BIN)/python -m pytest -q $$plugin; done
	@echo "== testing fxcompress"
	@$(THREADS) $(BIN)/python -m pytest -n 2 --dist loadfile --durations 10

lint: $(VENV)/dev.stamp
	@echo "== ruff"
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@echo "== mypy"
	@$(BIN)/mypy

docs: $(VENV)/dev.stamp
	@$(BIN)/python -m fxcompress.manual > docs/passes.md

golden: $(VENV)/dev.stamp
	@$(BIN)/python -m pytest -q tests/golden --update-golden

nightly: $(VENV)/dev.stamp
	@$(THREADS) $(BIN)/python benchmarks/pruning_random.py --count 2000

slow: $(VENV)/dev.stamp
	@$(THREADS) $(BIN)/python -m pytest -n 2 --dist loadfile --slow

clean:
	rm -rf $(VENV) demo-output
