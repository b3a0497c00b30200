# Everything starts here. From a fresh clone: `make demo` or `make test`; both make their own .venv.

PYTHON ?= python3
JOBS ?= 2

BIN := .venv/bin
# What is never imported need not be compiled, which would take longer than to fetch and unpack it.
PIP := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt
DEPENDENCIES := pyproject.toml constraints.txt
SPEED := startup views ntxent knn pipeline nets world

.DEFAULT_GOAL := help
.PHONY: help install demo test learn check format bench claims docs clean

help:  ## say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: .venv/.test  ## .venv with everything that the tests need

demo: .venv/.runtime  ## learn on the embedded world and open the report (five to ten minutes)
	@$(BIN)/manyviews pretrain simclr --baselines pixels random supervised --out runs/demo --overwrite
	@$(BIN)/python -c 'import os, pathlib, sys, webbrowser; \
		page = pathlib.Path("runs/demo/report.html").resolve(strict=True); \
		print(f"The report: {page}"); \
		seen = sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"); \
		seen and webbrowser.open(page.as_uri())'

test: check  ## format, lint, types and all tests but the slow ones
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

learn: .venv/.test  ## that every method learns, those included that start slowly (an hour or two)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) -m "slow or not slow" tests/test_learning.py

check: .venv/.test  ## format, lint and types only
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/basedpyright --threads 2

format: .venv/.test  ## write code the way `make check` wants it
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: .venv/.bench  ## speed, side by side with peers
	@for name in $(SPEED); do echo "== $$name"; $(BIN)/python "benchmarks/$$name.py" || exit 1; done

claims: .venv/.runtime  ## the pages of docs/claims and the README's verdicts, from the stored results
	@$(BIN)/python docs/claim_pages.py

docs: .venv/.docs  ## the site, in docs/_build
	@$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs docs/_build
	@echo "The site: docs/_build/index.html"

clean:  ## remove what was built; .venv and runs stay
	@rm -rf docs/_build docs/methods docs/nets docs/claims/*.md .pytest_cache .ruff_cache .hypothesis build dist
	@find src tests docs benchmarks -name __pycache__ -prune -exec rm -rf {} +

# A stamp a set of packages, so that nothing is installed twice.

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else \
		f"Manyviews needs Python 3.11 or later; $(PYTHON) is {sys.version.split()[0]}. Say which: make PYTHON=python3.12 ...")'
	@echo "Making .venv ..."
	@$(PYTHON) -m venv .venv

.venv/.runtime: $(BIN)/python $(DEPENDENCIES)
	@echo "Installing Manyviews and what it needs (one to a few minutes) ..."
	@$(PIP) --editable .
	@touch $@

.venv/.test .venv/.bench .venv/.docs: .venv/.%: $(BIN)/python $(DEPENDENCIES)
	@echo "Installing Manyviews with its [$*] extra (one to a few minutes) ..."
	@$(PIP) --editable '.[$*]'
	@touch $@
