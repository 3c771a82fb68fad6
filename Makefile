# `make` alone lists the targets. Everything is installed into .venv; nothing outside is touched.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= 2

# The first of these that runs and is new enough; `PYTHON=... make env` overrides it.
SUITABLE := -c 'import sys; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p $(SUITABLE) 2>/dev/null && { echo $$p; break; }; done)

.DEFAULT_GOAL := help
.PHONY: help env demo test lint clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 8

env: $(STAMP)  ## create .venv with sptrack and everything it can use

$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" && $(PYTHON) $(SUITABLE) 2>/dev/null || { \
	  echo "sptrack needs Python 3.11 or newer; $(or $(PYTHON),python3) is older or does not run." >&2; \
	  echo "Name one that is new enough: PYTHON=python3.12 make env" >&2; exit 1; }
	test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
	{ $(BIN)/python -m pip install uv && \
	  $(BIN)/uv pip install --python $(BIN)/python --editable '.[all]'; } || \
	  $(BIN)/python -m pip install --editable '.[all]'  # five times as long
	@touch $@

demo: env  ## train on the embedded digits and print the table of results
	$(BIN)/python -m experiments.quickstart

test: env  ## run the tests; ARGS="-k pulses" is passed on to pytest
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

lint: env  ## check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

clean:  ## remove .venv, caches and build products
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
