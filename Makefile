# What a user or the continuous integration runs. `make help` lists it.
PYTHON := .venv/bin/python
UV := $(or $(shell command -v uv),.tools/bin/uv)
LOCK := $(UV) pip compile --quiet $(if $(UPGRADE),--upgrade) --generate-hashes --no-header \
	--python-version 3.10 --python-platform x86_64-manylinux_2_28

.PHONY: help setup setup-dev system demo verify-weights test test-long test-quick test-fast check docs lock bench-quick clean distclean
.DEFAULT_GOAL := help

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

# Stamps inside .venv: a second `make` does nothing until a requirements file changes.
.venv/.stamp: requirements.txt scripts/setup.sh
	scripts/setup.sh requirements.txt
	touch $@

.venv/.stamp-dev: requirements-dev.txt .venv/.stamp
	scripts/setup.sh requirements.txt requirements-dev.txt
	touch $@

setup: .venv/.stamp ## make .venv (Python 3.10) with the pinned requirements

setup-dev: .venv/.stamp-dev ## the same, and what the tests need (PyTorch: several GB)

system: ## install the Debian packages that tests and drawing need (sudo unless root)
	scripts/system.sh

demo: setup ## tell what a picture shows
	$(PYTHON) demo/app.py

verify-weights: setup ## compare published weights with published answers (MODEL=ViT-B/32)
	$(PYTHON) -m nnclip verify --model "$(or $(MODEL),ViT-B/32)"

# Two processes, a file of tests at a time: a file's fixtures are made once.
test: setup-dev ## run every test, two at a time
	$(PYTHON) -m pytest -n 2 --dist loadfile -m "not long"

test-long: setup-dev ## the long forms of fuzzers and threads, the largest sizes (half an hour)
	$(PYTHON) -m pytest -m long

test-quick: setup-dev ## run the tests without the full-size models
	$(PYTHON) -m pytest -m "not heavy and not long"

test-fast: setup-dev ## run the tests that need neither torch nor full-size models, two at a time
	$(PYTHON) -m pytest -n 2 -m "not torch and not heavy and not long"

check: setup-dev ## formatting, lint, types, floors, the house
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/mypy
	.venv/bin/lint-imports
	$(PYTHON) -m pytest tests/house

# In an environment of its own, which uv keeps: -W, so that a link that leads nowhere fails.
docs: setup ## build the site of the pages in build/site
	$(UV) run --quiet --isolated --no-project --python $(PYTHON) --with-requirements requirements-docs.txt \
		sphinx-build -q -W --keep-going -c docs -b html . build/site
	@echo build/site/docs/README.html

lock: setup ## compile requirements*.in to pinned versions with hashes (UPGRADE=1: newest)
	$(LOCK) requirements-tools.in -o requirements-tools.txt
	$(LOCK) requirements.in -o requirements.txt
	$(LOCK) requirements-dev.in -o requirements-dev.txt
	$(LOCK) requirements-docs.in -o requirements-docs.txt
	$(LOCK) docker/requirements-demo.in -o docker/requirements-demo.txt
	$(LOCK) docker/requirements-serve.in -o docker/requirements-serve.txt
	$(LOCK) requirements-cuda.in -o requirements-cuda.txt

bench-quick: setup ## run the benchmarks, small sizes
	$(PYTHON) -W ignore benchmarks --quick

clean: ## remove caches and built files
	rm -rf build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache *.egg-info
	find . -path ./.venv -prune -o -path ./.tools -prune -o -name __pycache__ -exec rm -rf {} +

distclean: clean ## remove .venv and .tools too
	rm -rf .venv .tools
