# Hallmark. Every target installs what it needs on Debian (apt, cargo, and Python packages into target/) and says so.
.PHONY: help deps build demo demo-boot test packages test-packages containers sbom test-sbom test-containers images test-images simulate soak bench lint doc fuzz prove reason-codes clean

CARGO ?= cargo
FUZZ_SECONDS ?= 10
SEEDS ?= 10000
ROTATIONS ?= 200
LIFE ?= 60
# What the demo runs, and nothing else of the workspace.
DEMO = hallmark-server hallmark-agent hallmark hallmark-demo

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

deps: ## install the system packages
	@scripts/deps

build: deps ## build every program (debug)
	@$(CARGO) build --workspace --bins

demo: ## the main job, shown on swtpm and SoftHSM
	@echo "demo: 1 of 3: system packages that are missing (swtpm, SoftHSM and their like)"
	@scripts/deps build demo
	@echo "demo: 2 of 3: the server, the agent, the command line and the demo (some minutes the first time)"
	@$(CARGO) build --bins $(addprefix -p ,$(DEMO))
	@echo "demo: 3 of 3: the demo itself (half a minute)"
	@tests/demo/run

demo-boot: deps ## a machine under QEMU boots an image, attests, and changed images are refused (needs root; ten minutes)
	@scripts/deps packages images test-images
	@$(CARGO) build --workspace --bins
	@tests/demo/boot

test: deps ## all tests, against real parts
	@tests/interop/setup
	@$(CARGO) build --workspace --bins
	@$(CARGO) test --workspace --no-fail-fast

packages: deps ## Debian packages of the three programs, in target/packages
	@scripts/deps packages
	@scripts/packages

test-packages: deps ## the packages' life in a machine of their own (systemd-nspawn; needs root)
	@scripts/deps packages
	@tests/packages/run
	@tests/packages/twice

containers: ## container images of server and agent, in target/images/containers (after `make packages`)
	@scripts/deps images
	@images/container server
	@images/container agent

sbom: ## what packages, container images and machine images consist of, in target/sbom (of those that were built)
	@scripts/deps images
	@images/sbom

test-sbom: ## what the lists of `make sbom` have of packages and a machine image, against lock file, packages and schema (after `make packages`; needs root)
	@scripts/deps packages images
	@tests/packages/sbom

test-containers: deps ## container images and Kubernetes manifests (runc; needs root)
	@scripts/deps packages images test-containers
	@$(CARGO) build --workspace --bins
	@tests/containers/run

images: ## an image of SITE=folder (and RECIPE=edge|provision|appliance KEYS=folder VERSION=… OUT=folder), in target/images/RECIPE; needs root
	@scripts/deps images
	@[ -n "$(KEYS)" ] || images/keys target/images/keys
	@images/build $(or $(RECIPE),edge) $(if $(SITE),--site $(SITE)) $(if $(KEYS),--keys $(KEYS)) $(if $(VERSION),--version $(VERSION)) $(if $(OUT),--out $(OUT))

test-images: deps ## images on machines: QEMU with firmware, Secure Boot and TPM (needs root; about two hours); SCENARIOS=… runs some
	@scripts/deps packages images test-images
	@$(CARGO) build --workspace --bins
	@tests/images/run $(SCENARIOS)

simulate: ## run SEEDS simulated schedules of servers, agents and operators; FIRST=… begins elsewhere
	@$(CARGO) run --quiet -p hallmark-simulation -- --seeds $(SEEDS) --first $(or $(FIRST),0)

soak: deps ## ROTATIONS of authorities that live LIFE seconds, while clients connect and parts fail (200 of 60 s take an hour and a half)
	@$(CARGO) build --workspace --bins
	@$(CARGO) run --quiet -p hallmark-soak -- $(ROTATIONS) $(LIFE)

bench: deps ## measure; prints a table and writes target/bench/results.json
	@$(CARGO) build --release --bins -p hallmark-server -p hallmark-agent -p hallmark
	@$(CARGO) run --release -p hallmark-bench

lint: deps ## formatting, lints, dependency rules
	@scripts/lint

doc: deps ## the sources' documentation, in target/doc; a warning is an error
	@RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --quiet

fuzz: deps ## smoke-run every fuzz target (FUZZ_SECONDS each)
	@tests/fuzz/run $(FUZZ_SECONDS)

prove: ## check the attestation protocol's model with ProVerif
	@scripts/prove

reason-codes: ## write docs/reference/reason-codes.md from the catalogue
	@WRITE_REASON_CODES=1 $(CARGO) test -q -p hallmark-style --test reasons

clean: ## remove what was built
	@$(CARGO) clean
