# One verb a line; `make help` lists them. Every verb sets up what it needs.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 30 --durations-min 5

.PHONY: help setup scan test faults check bench screenshots clean

help: ## list the verbs
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 13

setup: $(STAMP) ## make the virtual environment (.venv)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[jobs,dev]'
	@touch $(STAMP)

scan: $(STAMP) ## the whole pipeline on a simulated archive: local Ray, local files, SQLite MLflow
	$(BIN)/python -m jobs.demo --config configs/demo.yaml

test: $(STAMP) ## the test suite, two files at a time
	$(PYTEST) -m "not faults"

faults: $(STAMP) ## kills, outages, full and damaged disks, at random, for an hour or so
	FAULT_ROUNDS=$${FAULT_ROUNDS:-10} $(PYTEST) -m faults

check: $(STAMP) ## style, types, known vulnerabilities of the pinned libraries
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@if $(BIN)/python -c "import urllib.request as u; u.urlopen('https://pypi.org/pypi/pip/json', timeout=20)" 2>/dev/null; \
	then $(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip --progress-spinner off; \
	else echo "note: PyPI does not answer, so the libraries were not audited"; fi

bench: $(STAMP) ## benchmarks; results go to benchmarks/results
	$(BIN)/python -m benchmarks.bench_residual
	$(BIN)/python -m benchmarks.bench_scan

screenshots: scan ## pictures of the page and of MLflow for the docs, of the simulated archive
	SCREENSHOTS_OF=demo $(BIN)/python -m pytest tests/jobs/test_report.py -k reviewer

clean: ## remove the demo's output and caches (not .venv)
	rm -rf demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
