# Every target does its own set-up in .venv and can be run again; `make` alone lists them.

PYTHON ?= python3
# More options for pip when it installs torch, for example an index with CPU builds.
TORCH_ARGS ?=
# Of the fuzzer: every seed makes other searches.
SEED ?= 0

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input
RUN := runs/quickstart
BUILD_INPUTS := pyproject.toml setup.cfg constraints.txt $(wildcard mcts/*.pyx mcts/*.pxd mcts/*.h mcts/core/*.[ch])

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help quickstart test test-native test-portable fuzz check lint bench clean distclean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /  make \1	/' | expand -t 20

quickstart: $(VENV)/.installed  ## install, train tic-tac-toe in under 90 seconds, evaluate it
	@if [ -e $(RUN) ]; then \
		n=1; while [ -e $(RUN)-$$n ]; do n=$$((n + 1)); done; \
		mv $(RUN) $(RUN)-$$n && echo "The run that was in $(RUN) is now in $(RUN)-$$n."; \
	fi
	$(BIN)/muzero-wm train quickstart --run-dir $(RUN)
	$(BIN)/muzero-wm evaluate $(RUN) --opponent perfect --simulations 25 --json $(RUN)/evaluation.json
	@printf '%s\n' '' 'Next:' \
		'  $(BIN)/muzero-wm play $(RUN)                        play against it, and see what it thinks' \
		'  $(BIN)/muzero-wm evaluate $(RUN) --opponent mcts:1000' \
		'  $(BIN)/muzero-wm train connect4                              ten minutes on two cores' \
		'  $(BIN)/tensorboard --logdir runs                             the curves'

test: $(VENV)/.installed-dev  ## run the tests that take seconds (the marks slow and gpu are left out)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not gpu"

test-native: $(VENV)/.installed-dev  ## the search tests and a short fuzz under bounds checks and under sanitizers
	$(BIN)/python -m tests.native.checked

test-portable: $(VENV)/.installed-dev  ## a choice of the tests on emulated processors (needs qemu-user)
	$(BIN)/python -m tests.portable

fuzz: $(VENV)/.installed-dev  ## a million random searches under the sanitizers: a quarter of an hour (SEED=n)
	$(BIN)/python -m tests.native.checked sanitizers --no-tests --fuzz 1000000 --seed $(SEED)

lint: $(VENV)/.installed-dev  ## ruff, mypy, cython-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint mcts

check: lint test  ## everything a reviewer would run: lint, types, tests

bench: $(VENV)/.installed-dev  ## five seeds of the quickstart: strength and speed, for benchmarks/RESULTS.md
	$(BIN)/python benchmarks/learning/seeds.py quickstart --seeds 0 1 2 3 4 --opponent perfect --simulations 25

clean:  ## remove what was built and cached; .venv and runs/ stay
	rm -rf build dist *.egg-info mcts/_*.c mcts/_*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f $(VENV)/.installed $(VENV)/.installed-dev
	find mcts muzero_wm tests benchmarks examples -name __pycache__ -prune -exec rm -rf {} +

distclean: clean  ## remove .venv as well
	rm -rf $(VENV)

$(VENV)/.created:
	@command -v $(PYTHON) > /dev/null || { \
		echo "error: there is no $(PYTHON); name a Python 3.11-3.13 with: make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
		echo "error: muzero_wm needs Python 3.11-3.13, $(PYTHON) is $$($(PYTHON) --version 2>&1);" \
			"name another with: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import os, sys, sysconfig; \
		sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' || { \
		echo "error: the headers of $(PYTHON) are missing (Debian, Ubuntu: apt install python3-dev)" >&2; exit 1; }
	@command -v $${CC:-cc} > /dev/null || { \
		echo "error: there is no C compiler (Debian, Ubuntu: apt install gcc)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { \
		echo "error: $(PYTHON) cannot make a virtual environment (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@touch $@

# torch goes first and alone: nothing that depends on it may choose another build.
$(VENV)/.torch: $(VENV)/.created constraints.txt
	@echo "Installing torch (minutes the first time) ..."
	$(PIP) $(TORCH_ARGS) --constraint constraints.txt torch
	@touch $@

$(VENV)/.installed: $(VENV)/.torch $(BUILD_INPUTS)
	@echo "Installing muzero_wm and building the planner's core ..."
	$(PIP) --constraint constraints.txt --editable .
	@touch $@

# By its name: what is installed already is not built again.
$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "Installing the development tools ..."
	$(PIP) --constraint constraints.txt 'muzero-wm[dev]'
	@touch $@
