# Two commands do all the set-up: `make results` and `make test`.
PYTHON ?= python3
CORES ?= $(shell nproc)
BIN := .venv/bin

.PHONY: help results test fast ui lock

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

results: .venv/.installed  ## run the default experiment; CORES=N sets the number of cores
	$(BIN)/snakemake --cores $(CORES)

test: .venv/.installed .venv/.browser  ## format, lint, types and all tests
	$(BIN)/ruff format --check ra tests tools
	$(BIN)/ruff check ra tests tools
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/pytest

fast: .venv/.installed  ## the tests that start no workflow, while you work
	$(BIN)/pytest -m 'not slow'

ui: RUNS := http://127.0.0.1:5000/\#/experiments/1/runs?workflowType=machine_learning
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

# For the tests of what people see in a browser; without one they are skipped. Tried once, and a
# failure is no error.
APT := timeout 300 apt-get -qy -o Acquire::Retries=0 -o Acquire::http::Timeout=20
CHROMIUM := chromium chromium-driver
.venv/.browser: export DEBIAN_FRONTEND := noninteractive
.venv/.browser: .venv/.installed
	@if command -v chromedriver >/dev/null; then :; \
	elif grep -qsx ID=debian /etc/os-release && [ "$$(id -u)" = 0 ]; then \
	  echo "apt-get install $(CHROMIUM)  # see .venv/browser.log"; \
	  { $(APT) update && $(APT) install --no-install-recommends $(CHROMIUM); } \
	    >.venv/browser.log 2>&1; \
	fi; command -v chromedriver >/dev/null || \
	  echo "Tests in a browser are skipped. On Debian: sudo apt-get install $(CHROMIUM)"
	@touch $@
