# make run: talk to it. make test: everything CI checks. Both set up what they need, and are quick when it is there.
# PYTHON=/path/to/python3 chooses the interpreter; ARGS="--port 9000" goes to `trunkline serve` or to pytest. JOBS=1: one test at a time.
BIN := .venv/bin
LOCK := requirements
JOBS ?= 3

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run test gate models system-packages format lock clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1|/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-24s%s\n", $$1, $$2 }'

run: .venv/.local models ## set up, pull the models, serve on http://127.0.0.1:8080
	@exec $(BIN)/trunkline serve $(ARGS)

test: system-packages .venv/.dev .venv/.clients models gate ## set up, with what the tests need, then the gate

gate: ## format, lint, types, import contracts, tests: nothing is set up
	@echo "== format";  $(BIN)/ruff format --check --quiet . || { echo "run: make format"; exit 1; }
	@echo "== lint";    $(BIN)/ruff check --quiet .
	@echo "== types";   $(BIN)/mypy
	@echo "== imports"; $(BIN)/lint-imports --no-logo
	@echo "== tests";   $(BIN)/pytest -q -n $(JOBS) --dist loadfile -m "not models and not browser and not alone" $(ARGS) || [ $$? -eq 5 ]
	@echo "== tests of models, pages and time, which want the machine for themselves"
	@$(BIN)/pytest -q -m "models or browser or alone" --durations=5 --durations-min=3 $(ARGS) || [ $$? -eq 5 ]

models: .venv/.local ## pull the model weights (about 260 MB, once)
	@$(BIN)/trunkline models pull

system-packages: ## the programs the tests use, by apt where that is allowed
	@scripts/system-packages redis-server chromium coturn nodejs npm

format: ## ruff, in place
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: ## rewrite requirements/*.txt from pyproject.toml; UPGRADE=1 takes newer releases
	@scripts/lock $(if $(UPGRADE),--upgrade)

clean: ## the virtual environment and caches; the pulled models stay
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

.venv/pyvenv.cfg:
	@scripts/venv .venv

.venv/.local: .venv/pyvenv.cfg $(LOCK)/local.txt pyproject.toml
	@$(BIN)/python scripts/install.py $(LOCK)/local.txt
	@touch $@

# The development lock is the other one and more: installing it does both.
.venv/.dev: .venv/pyvenv.cfg $(LOCK)/dev.txt pyproject.toml
	@$(BIN)/python scripts/install.py $(LOCK)/dev.txt
	@touch $@ .venv/.local

# Clients that callers use, from Node and Python. Without them their tests say so, as tests do that lack a program.
.venv/.clients: .venv/pyvenv.cfg tests/clients/package-lock.json tests/clients/requirements.txt
	@npm ci --prefix tests/clients --ignore-scripts --omit-lockfile-registry-resolved --no-audit --no-fund --loglevel=error \
	  && { test -x .venv/clients/bin/python || $(BIN)/python -m venv .venv/clients; } \
	  && .venv/clients/bin/python scripts/install.py tests/clients/requirements.txt --alone \
	  && touch $@ || echo "missing: the clients of tests/clients, from npm and pip"
