# What can be done with this checkout; `make help` lists it.

.DEFAULT_GOAL := help
SHELL := /bin/bash

# The profile whose programs `make assets` uses: the one that is built already.
PROFILE ?= release
# The workspace is always built whole in the profile `checked`, programs and tests at once: with less of it cargo would
# choose other features of the dependencies, and build twice.
CHECKED := --locked --profile checked --workspace
# What the demo and the images need, and nothing of the tests.
PROGRAMS := -p ocr-inference -p ocr-assets -p ocr-operator -p ocr-gateway

.PHONY: help
help: ## Lists every target
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## From a clean checkout to a pool on a real cluster that reads a scan and a PDF; installs what it needs
	@scripts/demo.sh

.PHONY: test
test: ## Every check, in its short form; installs what it needs (50 minutes on a cold machine with 2 cores)
	@scripts/test.sh

.PHONY: setup
setup: ## Installs the Debian packages and the Rust toolchain that building needs
	@scripts/setup.sh

.PHONY: build
build: ## Builds the programs: target/release/ocr
	cargo build --locked --release $(PROGRAMS)

.PHONY: assets
assets: ## Brings model weights and native libraries and builds the model bundles, under assets/
	@test -x target/$(PROFILE)/ocr-assets || cargo build --locked --profile $(PROFILE) $(PROGRAMS)
	target/$(PROFILE)/ocr-assets fetch
	target/$(PROFILE)/ocr-assets bundles
	target/$(PROFILE)/ocr-assets bundles --tests

.PHONY: read
read: build assets ## Reads files: make read FILES="a.jpg b.pdf"
	target/release/ocr read $(FILES)

.PHONY: serve
serve: build assets ## Serves on port 8100 (and 8101 for metrics)
	target/release/ocr serve

.PHONY: fmt
fmt: ## Formats the code
	cargo fmt --all

.PHONY: lint
lint: ## Clippy over everything; a warning is an error
	cargo clippy $(CHECKED) --all-targets -- -D warnings

.PHONY: deny
deny: ## Licences, banned crates and sources of all dependencies
	@scripts/tools.sh
	PATH="$(CURDIR)/target/tools/bin:$$PATH" cargo deny --locked check bans licenses sources

.PHONY: unit
unit: ## The unit tests alone
	cargo test $(CHECKED) --lib --bins

.PHONY: crds
crds: ## Writes again what is made from the operator's types: crds/ and the chart's files
	cargo build $(CHECKED) --bins --tests
	scripts/crds.sh target/checked/ocr-operator

# node: pods run; control-plane: fake nodes only.
SIZE ?= node

.PHONY: cluster-up
cluster-up: ## A real Kubernetes on this machine, in namespaces of its own: make cluster-up SIZE=node|control-plane
	@tests/cluster/up.sh --size $(SIZE)

.PHONY: cluster-down
cluster-down: ## Takes that cluster away, and all that is left of it
	@tests/cluster/down.sh

.PHONY: cluster-status
cluster-status: ## What of that cluster runs, and how it is
	@tests/cluster/status.sh

.PHONY: images
images: ## The container images: target/images/*.tar
	@scripts/images.sh

.PHONY: images-check
images-check: ## Builds the images twice, the second time in a clone without caches, and tries them; writes docs/proof/images-check.txt
	scripts/proof.sh images-check images/check.sh

.PHONY: e2e
e2e: ## The suites of a real cluster, short: make e2e, or one of them with CASE="a part of its name"
	cargo build $(CHECKED) --bins --tests
	scripts/e2e.sh e2e $(CASE)
	scripts/e2e.sh control_plane $(CASE)

.PHONY: e2e-long
e2e-long: build assets ## The same in their long form, against release builds; half an hour; writes docs/proof/e2e-long.txt
	cargo build $(CHECKED) --bins --tests
	scripts/proof.sh e2e-long scripts/e2e-long.sh

.PHONY: bench-operator
bench-operator: build ## 200 pools, 600 pods, 300 nodes: delay, CPU, memory, restart; writes docs/proof/bench-operator.txt
	cargo build $(CHECKED) --bins --tests
	OCR_TEST_LONG=1 OCR_PROGRAMS=target/release scripts/proof.sh bench-operator scripts/e2e.sh control_plane many_pools

.PHONY: bench-gateway
bench-gateway: build ## What the gateway adds to a call, its requests a second on one core, its memory; writes docs/proof/bench-gateway.txt
	cargo build $(CHECKED) --bins --tests
	scripts/proof.sh bench-gateway target/checked/bench-gateway

.PHONY: peers
peers: ## Builds and installs the programs that ours is measured against, under target/peers
	@scripts/peers.sh

.PHONY: suite
suite: ## One suite: make suite NAME=http (tests/suites/ lists them); OCR_TEST_LONG=1 for its long form
	cargo build $(CHECKED) --bins --tests
	cargo test $(CHECKED) --test $(NAME)

.PHONY: bench
bench: build assets peers ## Ours, oar-ocr and RapidOCR over 80 receipts; about half an hour; writes docs/proof/bench.txt
	cargo build $(CHECKED) --bins --tests
	scripts/proof.sh bench target/checked/bench --ocr target/release/ocr

.PHONY: measure
measure: build assets ## Memory and cost of each bundle, as its model.yaml states them; a quiet machine, ten minutes
	cargo build $(CHECKED) --bins --tests
	target/checked/measure --ocr target/release/ocr $(notdir $(wildcard inference/bundles/*))

.PHONY: calibrate
calibrate: assets ## Writes the records again that the networks of bytes are made by, and the bundles by them; minutes
	cargo build $(CHECKED) --bins --tests
	target/checked/ocr-calibrate record
	target/checked/ocr-assets bundles --update

.PHONY: precision
precision: assets ## Word F1 and CPU time of int8, fp16 and int8-qdq against fp32, over 80 receipts; a quarter of an hour; writes docs/proof/precision.txt
	cargo build $(CHECKED) --bins --tests
	scripts/proof.sh precision target/checked/precision int8 fp16 int8-qdq

.PHONY: shapes
shapes: assets ## The same of inputs of few shapes, as on GPUs; five minutes; writes docs/proof/shapes.txt
	cargo build $(CHECKED) --bins --tests
	scripts/proof.sh shapes target/checked/precision fixed-shapes

.PHONY: profiles
profiles: build assets ## The profiles of the CPU over 80 receipts, against each other; ten minutes; writes docs/proof/profiles.txt
	cargo build $(CHECKED) --bins --tests
	OCR_TEST_LONG=1 OCR_BIN=$(CURDIR)/target/release/ocr scripts/proof.sh profiles cargo test $(CHECKED) --test profiles

.PHONY: bench-gpu
bench-gpu: build assets ## What an NVIDIA GPU proves: fp16 on it, its accuracy and speed; without one, that nothing was proven
	target/release/ocr-assets fetch --lock inference/assets/cuda.lock.yaml --out assets/cuda
	cargo build $(CHECKED) --bins --tests
	scripts/proof.sh bench-gpu target/checked/bench-gpu --ocr target/release/ocr

.PHONY: soak
soak: build assets peers ## The long forms of the suites; about 40 minutes; writes docs/proof/soak.txt
	scripts/proof.sh soak scripts/soak.sh

.PHONY: stability
stability: build assets ## 20 pages alone, shuffled and 16 at a time; two minutes; writes docs/proof/stability.txt
	cargo build $(CHECKED) --bins --tests
	OCR_TEST_LONG=1 OCR_BIN=$(CURDIR)/target/release/ocr scripts/proof.sh stability cargo test $(CHECKED) --test stability

.PHONY: placing
placing: ## 100,000 random clusters, with GPUs that come and go; ten minutes; writes docs/proof/placing.txt
	OCR_TEST_LONG=1 scripts/proof.sh placing cargo test $(CHECKED) --test placing -- --nocapture

.PHONY: mutants
mutants: ## Faults put into choosing, placing and rollouts, and how many the tests notice; some hours; writes docs/proof/mutants.txt
	scripts/proof.sh mutants scripts/mutants.sh

.PHONY: verify
verify: ## Generated files are as their sources make them
	@scripts/verify.sh

.PHONY: clean
clean: ## Removes what was built; keeps assets/
	cargo clean
