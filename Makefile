# Every target creates .venv and installs the locked packages first, when they are missing or changed.
#   make suite PRESET=tiny OUT=runs/suite ARGS="--set training.episodes=500"

PYTHON ?= python3
PRESET ?= tiny
OUT ?= runs/suite
ARGS ?=
ONLY ?=
BASE ?=
ROWS ?=
CROSS ?=
RUN ?= runs/suite

BIN := .venv/bin
STAMP := .venv/.lock-stamp

.DEFAULT_GOAL := help
.PHONY: help suite smoke study test test-browser test-matrix lab inspector bench lint docs install clean

# As the command line sets it: threads that wait for each other give their core away, if more run than there are cores.
test: export GOMP_SPINCOUNT ?= 30000

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' Makefile

suite: $(STAMP) ## run all notebooks in order; the report is runs/suite/report.html
	@$(BIN)/tmal suite --preset $(PRESET) --out $(OUT) $(ARGS)

smoke: $(STAMP) ## run all notebooks on a few episodes, to see that they run; a few minutes
	@$(BIN)/tmal suite --preset smoke --out runs/smoke --fresh $(ARGS)

# Two trainings at once, one thread each: faster than one with two.
study: $(STAMP) ## train every variant of TMAL and compare them, the named ones on test; hours, goes on where it stopped; CROSS="ucf101 hmdb51" asks other data sets too
	@$(if $(filter tiny,$(PRESET)),$(BIN)/tmal synthesise --preset $(PRESET))
	@$(BIN)/tmal flow --preset $(PRESET)
	@$(BIN)/tmal flow --preset $(PRESET) --estimator dis_ultrafast
	@$(BIN)/tmal study --preset $(PRESET) --processes 2 --set compute.num_threads=1 $(ARGS)
	@$(if $(CROSS),$(BIN)/tmal cross --train runs/study/tmal/seed0 --train runs/study/visual/seed0 --method otam \
		$(addprefix --test ,$(PRESET) $(CROSS)) --leave-out-overlap --out runs/study/cross)

# Each test on one thread, a process for each core: twice as fast on two. ARGS="-n 0" is for debuggers.
test: $(STAMP) ## run the tests
	@$(BIN)/python -m pytest -q -n logical --maxprocesses 4 --dist worksteal -m "not weights and not slow and not browser" $(ARGS)

test-browser: $(STAMP) ## run the tests that open a real browser, on a run of the smoke preset; needs chromium
	@$(BIN)/python -m pytest -q -n 0 -m browser tests/browser $(ARGS)

test-matrix: $(STAMP) ## run the tests ten times, each with one thing changed that must not matter; an hour; ROWS="..." picks
	@$(BIN)/python tests/matrix.py $(ROWS) $(ARGS)

lab: $(STAMP) ## open JupyterLab at the first notebook, until Ctrl-C
	@$(BIN)/tmal lab $(ARGS)

inspector: $(STAMP) ## serve the episode inspector as a page, to this machine alone; RUN=<run folder>
	@$(BIN)/tmal inspector $(RUN) $(ARGS)

bench: $(STAMP) ## measure speed and memory; ONLY="..." picks benchmarks, BASE=<commit> compares with that commit
	@$(BIN)/python tests/benchmarks/$(if $(BASE),against.py $(BASE),run.py $(ONLY))

lint: $(STAMP) ## check style, formatting (notebooks too), types and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: $(STAMP) ## build API pages of every module in build/docs
	@$(BIN)/python .ci/docs/build.py build/docs

install: $(STAMP) ## only create .venv and install the locked packages

clean: ## remove caches; .venv, data and runs stay
	@rm -rf build .pytest_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info
	@find tmal_core tests notebooks -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf

# The stamp comes last: an install that was interrupted is repeated by the next make.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("make: expected Python 3.11 or newer, got %s. Run: make PYTHON=python3.11" % sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@rm -f $@
	@if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		echo "creating .venv with $$($(PYTHON) --version)"; $(PYTHON) -m venv --clear .venv; fi
	@echo "installing requirements.lock into .venv (about 6 GB with CUDA's libraries; a few minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@echo "installing this package into .venv"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@
