# Needs make and Python 3.11 or newer, nothing else: every target sets up what it uses in .venv,
# from hashed lock files, and does so again only when pyproject.toml or a lock file has changed.

PYTHON ?= python3
UV ?= uv
JOBS ?= 2
ARGS ?=

venv := .venv
python := $(venv)/bin/python
pip := $(python) -m pip --quiet --no-input --disable-pip-version-check
# Wheels only, so that nothing compiles for an hour; promise (pure Python) exists only as source.
locked := --require-hashes --no-build-isolation --only-binary=:all: --no-binary=promise
locks := requirements/lock.txt requirements/lock-dev.txt requirements/lock-build.txt
compile := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command 'make lock'

.PHONY: help sweep test test-slow lint format docs lock clean

help:
	@echo 'make sweep      train the default sweep and print epsilon*; options: ARGS="--seeds 8"'
	@echo 'make test       run the fast tests (JOBS=2 at once); options: ARGS="-k solver"'
	@echo 'make test-slow  run the slow tests'
	@echo 'make lint       check style and types'
	@echo 'make format     format and fix what can be fixed'
	@echo 'make docs       build the documentation site into site/'
	@echo 'make lock       renew the lock files (needs uv)'
	@echo 'make clean      remove the environment and caches; results stay'

sweep: $(venv)/.runtime
	@$(python) -m phase_jax.sweep $(ARGS)

test: $(venv)/.dev
	@$(python) -m pytest -n $(JOBS) --dist worksteal $(ARGS)

test-slow: $(venv)/.dev
	@$(python) -m pytest -m slow $(ARGS)

lint: $(venv)/.dev
	@status=0; \
	$(python) -m ruff check --output-format concise . || status=1; \
	$(python) -m ruff format --check --output-format concise . || { echo 'Run "make format".'; status=1; }; \
	$(python) -m pyright --pythonpath $(python) || status=1; \
	exit $$status

format: $(venv)/.dev
	@$(python) -m ruff check --fix-only .
	@$(python) -m ruff format .

docs: $(venv)/.dev
	@$(python) docs/write_results.py
	@NO_MKDOCS_2_WARNING=1 $(python) -m mkdocs build --quiet
	@echo 'open site/index.html'

# The development lock starts from the runtime one, so that both name the same versions.
lock:
	@$(compile) --upgrade pyproject.toml -o requirements/lock.txt
	@cp requirements/lock.txt requirements/lock-dev.txt
	@$(compile) pyproject.toml --extra dev -o requirements/lock-dev.txt
	@$(compile) --upgrade --group build -o requirements/lock-build.txt
	@! grep -nE 'https?:|--(extra-)?index|--find-links|nvidia|^(tensorflow|libtpu)=' $(locks)
	@echo 'Renewed: $(locks)'

clean:
	rm -rf $(venv) build dist site .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(venv)/.build: requirements/lock-build.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Python 3.11 or newer is needed, for example: make PYTHON=python3.12'; exit 1; }
	@echo 'Setting up $(venv) (about 1.2 GB; only when something changed) ...'
	@$(PYTHON) -m venv $(venv)
	@$(pip) install --require-hashes -r requirements/lock-build.txt
	@touch $@

$(venv)/.runtime: $(venv)/.build requirements/lock.txt pyproject.toml
	@echo 'Installing phase_jax and what it needs ...'
	@$(pip) install $(locked) -r requirements/lock.txt
	@$(pip) install --no-build-isolation --no-deps --editable .
	@touch $@

$(venv)/.dev: $(venv)/.runtime requirements/lock-dev.txt
	@echo 'Installing what the tests need ...'
	@$(pip) install $(locked) -r requirements/lock-dev.txt
	@touch $@
