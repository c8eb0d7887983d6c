# Set-up is a part of every target: the first one called makes .venv and installs pinned versions into it.
# PYTHON=/path/to/python uses an existing environment instead, and leaves it as it is.

SHELL := /bin/sh
BASE ?= python3
VENV := .venv
ARGS ?=
PORT ?= 5000

ifdef PYTHON
  RUN := PYTHONPATH=src $(PYTHON)
  SETUP := existing
  SETUP_DEV := existing
else
  RUN := $(VENV)/bin/python
  SETUP := $(VENV)/installed
  SETUP_DEV := $(VENV)/installed-dev
endif

.DEFAULT_GOAL := help
.PHONY: help run test check ui clean existing
.DELETE_ON_ERROR:

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-6s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo 'ARGS="optimizer=sgd arch.m=3" passes overrides on to run; PYTHON=... uses an existing environment'

run: $(SETUP)  ## train the default model, or what ARGS says, and show the result
	@$(RUN) run.py $(ARGS)
ifndef PYTHON
	@printf '\nNext:  . $(VENV)/bin/activate && python run.py optimizer=sgd optimizer.lr=0.1 arch.m=3\n'
endif

# Byte code is kept, whatever the environment says: tests start many processes.
test: check  ## run all checks and tests
	PYTHONDONTWRITEBYTECODE= $(RUN) -m pytest -n 3 --dist worksteal

check: $(SETUP_DEV)  ## lint, format and types only
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m basedpyright

ui: $(SETUP)  ## start MLflow's dashboard on loopback, and say where the last sweep is compared
	@$(RUN) -m convgrid ui --port $(PORT)

clean:  ## remove the environment and caches; runs and the dashboard's data stay
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@$(BASE) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'convgrid needs Python 3.11 or newer. Name one: make run BASE=python3.12'; exit 1; }
	@$(BASE) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo 'Python lacks its venv module. Debian and Ubuntu: apt install python3-venv'; exit 1; }
	@echo 'Making $(VENV) and installing pinned versions: a minute or two, once.'
	@$(BASE) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python pyproject.toml constraints.txt
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

existing:
	@$(PYTHON) -c 'import importlib.util as u, sys; \
	  missing = [m for m in ("torch", "lightning", "hydra", "mlflow", "sklearn", "pooch", "rich", "platformdirs", "filelock", "PIL", "psutil", "safetensors", "yaml") if not u.find_spec(m)]; \
	  sys.exit("$(PYTHON) lacks " + ", ".join(missing) + ". Install convgrid there: $(PYTHON) -m pip install -e ." if missing else 0)'
