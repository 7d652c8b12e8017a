# Two commands do all the set-up: `make results` and `make test`.
PYTHON ?= python3
CORES ?= $(shell nproc)
BIN := .venv/bin

.PHONY: help results test fast ui lock

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

results: .venv/.installed  ## run the default experiment; CORES=N sets the number of cores
	$(BIN)/snakemake --cores $(CORES)

test: .venv/.installed  ## format, lint, types and all tests
	$(BIN)/ruff format --check ra tests tools
	$(BIN)/ruff check ra tests tools
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/pytest

fast: .venv/.installed  ## the tests that start no workflow, while you work
	$(BIN)/pytest -m 'not slow'

ui: RUNS := http://127.0.0.1:5000/\#/experiments/1/runs
ui: .venv/.installed  ## show the recorded runs in a browser, on this machine only
	-MLFLOW_TRACKING_URI=sqlite:///results/mlflow.db $(BIN)/python -m ra.tracking.deliver
	@echo "The runs: $(RUNS)"
	@[ -z "$$DISPLAY$$WAYLAND_DISPLAY" ] || (sleep 5; $(BIN)/python -m webbrowser "$(RUNS)") &
	$(BIN)/mlflow ui --host 127.0.0.1 --backend-store-uri sqlite:///results/mlflow.db

lock:  ## choose newer versions within pyproject.toml's ranges; needs uv
	uv pip compile pyproject.toml --extra dev --generate-hashes --python-version 3.11 \
	  --no-emit-index-url --no-emit-find-links --no-annotate --no-header --upgrade \
	  -q -o requirements.lock

# The stamp comes last, so an interrupted installation is taken up again.
.venv/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v < (3, 13) \
	  else "Python 3.11 or 3.12 is needed, $(PYTHON) is %d.%d: make PYTHON=python3.11" % v[:2])'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check -q --require-hashes -r requirements.lock
	$(BIN)/pip install --disable-pip-version-check -q --no-deps --no-build-isolation -e .
	touch $@
