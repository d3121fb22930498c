# Two commands matter on a fresh machine: `make demo` and `make test`. Everything lives in .venv; `make clean` removes it.
#
#   PYTHON       the interpreter that makes the environments (3.11 or newer)
#   TORCH        which torch to install
#   TORCH_INDEX  a package index to take torch from, for example https://download.pytorch.org/whl/cpu
#   JOBS         how many tests run at a time
#   SECONDS      how long `make soak` runs
#   LINE, ARGS   which line of the scoreboard `make bench` runs, and how

PYTHON      ?= python3
TORCH       ?= torch==2.13.0
TORCH_INDEX ?=
JOBS        ?= 2
SECONDS     ?= 600
LINE        ?=
ARGS        ?=

VENV    := .venv
BIN     := $(VENV)/bin
# The stamps carry a checksum of everything that decides what is installed, so an environment is made again only then.
KEY     := $(shell { cat pyproject.toml; echo '$(TORCH) $(TORCH_INDEX)'; } | cksum | cut -d' ' -f1)
BASE    := $(VENV)/.stamp-base
DEMO    := $(VENV)/.stamp-demo-$(KEY)
DEV     := $(VENV)/.stamp-dev-$(KEY)
BENCH   := $(VENV)/.stamp-bench-$(KEY)
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo edge spark ray mlflow test lint types layers unit browser promtool notorch conformance format proto bench soak clean .venv

help:  ## list the targets
	@awk -F':.*## ' '/^[a-z.]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(DEMO)  ## fit a model on real flights, then ask it everything
	$(BIN)/python examples/flights.py

# Proofs run side by side, and the models that they ask about are made once, for the tests too.
ZOO := $(CURDIR)/build/zoo
test: export VAEKIT_ZOO = $(ZOO)
test: $(DEV)  ## everything that has to pass: lint, types, layers, proofs, tests
	rm -rf $(ZOO)
	$(MAKE) -j2 --output-sync lint types layers
	$(MAKE) -j2 --output-sync notorch conformance
	$(MAKE) unit

lint: $(DEV)  ## ruff: style, imports, docstrings, annotations
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV)  ## mypy: strict on the half that runs without torch
	$(BIN)/mypy

layers: $(DEV)  ## import-linter: who may import whom
	$(BIN)/lint-imports --no-cache

unit: $(DEV) browser promtool  ## the tests and the examples in the docstrings
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

browser:  ## the page of a report is tested in Chromium, a package of Debian and others
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || { \
	    apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || \
	    { echo "error: the test of the report needs chromium; install it" >&2; exit 2; }

promtool:  ## metrics are tested by promtool and a Prometheus that scrapes them, a package of Debian and others
	@command -v promtool >/dev/null && command -v prometheus >/dev/null || { \
	    apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus >/dev/null; } || \
	    { echo "error: the tests of metrics need prometheus and promtool; install them" >&2; exit 2; }

notorch: $(DEV)  ## bundles made here answer alike where torch is not installed
	tests/notorch/run.sh

conformance: $(DEV)  ## clients of others work with the service, and schemathesis finds nothing
	tests/conformance/run.sh

edge: $(DEV)  ## bundles for LiteRT answer as torch does; installs its converter, 1 GB
	$(INSTALL) -e '.[train,demo,serve,trace,client,dev,tflite]'
	$(BIN)/python -m pytest -n 0 -q tests/runtime/test_litert.py

spark: $(DEV)  ## Spark, started here for real, answers as one process does (needs Java; 500 MB of packages)
	tests/engines/run.sh spark

ray: $(DEV)  ## Ray Data, started here for real, answers as one process does
	tests/engines/run.sh ray

mlflow: $(DEV)  ## a run tracked by a real MLflow server, started here, and in its SQLite file (850 MB of packages)
	tests/engines/run.sh mlflow

format: $(DEV)  ## rewrite the code in the style that lint checks
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

PROTO := src/vaekit/serving/rpc
proto: $(DEV)  ## compile the description of the gRPC protocol; a test says when that is due
	$(BIN)/python -m grpc_tools.protoc -I$(PROTO) --descriptor_set_out=$(PROTO)/messages.binpb \
	    open_inference.proto envelope.proto

bench: $(if $(LINE),$(BENCH))  ## one line of the scoreboard: make bench LINE=A1 [ARGS=--quick]
	@test -n "$(LINE)" || { echo "error: name a line of the scoreboard: make bench LINE=A1" >&2; exit 2; }
	$(BIN)/python -m benchmarks $(LINE) $(ARGS)

soak: $(DEV)  ## mixed load on a real service for ten minutes: memory, failures, latency over time
	$(BIN)/python -m benchmarks.soak --seconds $(SECONDS)

clean:  ## remove the environments, caches and builds
	rm -rf .venv .venv-notorch .venv-conformance build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv: $(DEMO)  ## the environment for use: training and the demo

$(BASE):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "error: vaekit needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# torch first: it decides the size of the environment, and the rest then takes it as it is.
$(DEMO): $(BASE)
	$(INSTALL) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) '$(TORCH)'
	$(INSTALL) -e '.[train,demo]'
	@rm -f $(VENV)/.stamp-demo-* && touch $@

$(DEV): $(DEMO)
	$(INSTALL) -e '.[train,demo,serve,trace,client,dev]'
	@rm -f $(VENV)/.stamp-dev-* && touch $@

$(BENCH): $(DEV)
	$(INSTALL) -e '.[train,demo,serve,trace,client,dev,bench]'
	@rm -f $(VENV)/.stamp-bench-* && touch $@
