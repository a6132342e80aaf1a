# What a person types here. `make` alone lists it; ARGS= goes to the command as it is:
#   make train ARGS="experiment=imdb_mit_movie data_dir=FOLDER"
#   make predict ARGS='bundle=FOLDER text="what 1995 comedy starred michael douglas"'

PYTHON ?= python3
PIP_ARGS ?=
# Build of PyTorch: cpu, cuda, or the CPU build where an index has it and else the one of PyPI.
TORCH ?= cpu cuda
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
EXTRAS_INSTALLED := $(VENV)/.extras-installed
DOCS_INSTALLED := $(VENV)/.docs-installed
# The locks name all that is needed, and the checksum of each file.
INSTALL := $(BIN)/python -m pip install $(PIP_ARGS) --no-deps --no-build-isolation
LOCKED := $(INSTALL) --require-hashes -r
OUTPUTS ?= outputs
# Tests run on every core, one thread each: more threads than cores wait for each other.
PARALLEL ?= --numprocesses auto --dist loadfile
BENCH ?= benchmarks/one_table.py

# W&B's commands stay on this machine.
export WANDB_ERROR_REPORTING ?= false

.DEFAULT_GOAL := help
.PHONY: help setup extras train evaluate predict sweep dashboard notebooks bench docs test test-all check format clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(INSTALLED) ## make .venv from the locks (PYTHON=python3.12, TORCH=cuda, PIP_ARGS="..." for pip)

$(INSTALLED): requirements/main.txt requirements/build.txt requirements/torch-cpu.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "candelabra needs Python 3.11 or newer: make setup PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(LOCKED) requirements/build.txt
	for build in $(TORCH); do \
		$(LOCKED) requirements/torch-$$build.txt && exit; \
		echo "No $$build build of PyTorch with a known checksum in this index." >&2; \
	done; exit 1
	$(LOCKED) requirements/main.txt
	$(INSTALL) --editable .
	@$(BIN)/python -m pip check
	@touch $@

extras: $(EXTRAS_INSTALLED) ## install the extras, too: adapters, search, ONNX, notebooks

# Only the targets that need the extras install them.
$(EXTRAS_INSTALLED): $(INSTALLED) requirements/extras.txt
	$(LOCKED) requirements/extras.txt
	@touch $@

train: $(INSTALLED) ## train; ARGS="experiment=NAME key=value ..."
	$(BIN)/candelabra train $(ARGS)

evaluate: $(INSTALLED) ## score a trained model; ARGS="bundle=FOLDER ..."
	$(BIN)/candelabra evaluate $(ARGS)

predict: $(INSTALLED) ## ask a trained model; ARGS='bundle=FOLDER text="..."'
	$(BIN)/candelabra predict $(ARGS)

sweep: ARGS ?= freeze=none,encoder pooling=mean,cls
sweep: $(INSTALLED) ## train every combination; ARGS="key=a,b key=c,d"
	$(BIN)/candelabra train -m $(ARGS)

dashboard: $(if $(ONLINE),$(EXTRAS_INSTALLED),$(INSTALLED)) ## browse runs in the terminal (ONLINE=1: arrange W&B's page)
	@ls -d $(OUTPUTS)/wandb/*run-* >/dev/null 2>&1 \
		|| { echo "No runs in $(OUTPUTS)/wandb yet: make train writes the first." >&2; exit 1; }
	$(if $(ONLINE),$(BIN)/python -m candelabra.run.workspace $(OUTPUTS) $(ARGS),$(BIN)/wandb leet run $(OUTPUTS)/wandb)

notebooks: $(EXTRAS_INSTALLED) ## run every notebook from top to bottom
	$(BIN)/jupyter execute notebooks/*.ipynb

bench: $(EXTRAS_INSTALLED) ## speed against other libraries; ARGS="--data FOLDER" (BENCH=benchmarks/FILE.py)
	$(BIN)/python $(BENCH) $(ARGS)

docs: $(DOCS_INSTALLED) ## build the documentation into site/
	$(BIN)/mkdocs build --clean --quiet
	@echo "Open site/index.html in a browser."

$(DOCS_INSTALLED): $(EXTRAS_INSTALLED) requirements/docs.txt
	$(LOCKED) requirements/docs.txt
	@touch $@

test test-all: export OMP_NUM_THREADS ?= 1
test: $(EXTRAS_INSTALLED) ## the tests, without the slow ones
	$(BIN)/pytest $(PARALLEL) $(ARGS)

test-all: $(EXTRAS_INSTALLED) ## all tests
	$(BIN)/pytest $(PARALLEL) -m "slow or not slow" $(ARGS)

check: $(EXTRAS_INSTALLED) ## format, lint, types and the order of imports, nothing changed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED) ## put the code into its format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove caches and builds; the next command installs again; outputs/ stays
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist site $(INSTALLED) $(EXTRAS_INSTALLED) $(DOCS_INSTALLED)
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
