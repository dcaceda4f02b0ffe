# Hallmark. Every target installs what it needs on Debian (apt, cargo, and Python packages into target/) and says so.
.PHONY: help deps build demo test bench lint fuzz prove reason-codes clean

CARGO ?= cargo
FUZZ_SECONDS ?= 10

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

deps: ## install the system packages
	@scripts/deps

build: deps ## build every program (debug)
	@$(CARGO) build --workspace --bins

demo: deps ## the main job, shown on swtpm and SoftHSM
	@$(CARGO) build --workspace --bins
	@tests/demo/run

test: deps ## all tests, against real parts
	@tests/interop/setup
	@$(CARGO) build --workspace --bins
	@$(CARGO) test --workspace --no-fail-fast

bench: deps ## measure; prints a table and writes target/bench/results.json
	@$(CARGO) build --release --bins -p hallmark-server -p hallmark-agent -p hallmark
	@$(CARGO) run --release -p hallmark-bench

lint: deps ## formatting, lints, dependency rules
	@scripts/lint

fuzz: deps ## smoke-run every fuzz target (FUZZ_SECONDS each)
	@tests/fuzz/run $(FUZZ_SECONDS)

prove: ## check the attestation protocol's model with ProVerif
	@scripts/prove

reason-codes: ## write docs/reference/reason-codes.md from the catalogue
	@WRITE_REASON_CODES=1 $(CARGO) test -q -p hallmark-style --test reasons

clean: ## remove what was built
	@$(CARGO) clean
