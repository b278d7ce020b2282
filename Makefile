# Every target sets up what it needs: a virtual environment in .venv, the extension built in place.
# `make help` lists them. PYTHON chooses the interpreter: make test PYTHON=python3.13

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := $(VENV)-peers
CARGO ?= cargo

# Relative to here, so that the tests and `make` agree on where the interop programs are. The one on
# 15.1.0 is for slow tests, which build it themselves.
INTEROP := tests/interop/rust16 tests/interop/rust15
INTEROP_TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target/interop)

# Rust outside the workspace: their dependencies are not ours.
PACKAGES := $(INTEROP) tests/interop/rust15_1 benchmarks/peers/rust16 benchmarks/h3load fuzz

# What browsers get: the client, and the page that shows it.
CLIENT := typescript
WEB := examples/web
CLIENT_SOURCES := $(wildcard $(CLIENT)/*.json) $(shell find $(CLIENT)/src -type f)
WEB_SOURCES := $(wildcard $(WEB)/*.json $(WEB)/*.html $(WEB)/*.ts) $(shell find $(WEB)/src -type f)

RUST_SOURCES := Cargo.toml Cargo.lock pyproject.toml \
	$(shell find rust -name '*.rs' -o -name 'Cargo.toml' -o -name 'build.rs')

# Both cargo and maturin must see the same interpreter, or each throws away what the other built.
export PYO3_PYTHON := $(CURDIR)/$(BIN)/python
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
unexport PYTHONPATH

SETUP := $(VENV)/.setup
BUILT := $(VENV)/.built

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo demo-web test test-rust test-python test-typescript test-slow soak check check-web \
	fmt bench bench-tools fuzz docs build clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: build ## certificates, a server, a client: the whole thing in a few seconds
	@$(BIN)/python examples/demo.py

demo-web: build $(WEB)/dist/index.html ## the page of examples/web, built and served; says how to open it
	@$(BIN)/python $(WEB)/server.py

test: test-rust test-python test-typescript ## everything a person waits for

# The binding is tested from Python: as a test program it would need Python's own library to link.
test-rust: | $(SETUP)
	$(CARGO) test --workspace --exclude jetstream-py --locked --quiet
	$(CARGO) test --manifest-path fuzz/Cargo.toml --locked --quiet

test-python: build $(VENV)/.interop $(VENV)/.clients $(VENV)/.node
	$(BIN)/python -m pytest -q -m "not slow"

test-typescript: $(VENV)/.node
	$(call in-typescript,test)

test-slow: build $(VENV)/.interop $(VENV)/.clients $(VENV)/.node $(VENV)/.browser ## the tests that take longer; CI runs them after `make test`
	$(BIN)/python -m pytest -q -m slow

soak: build ## a million calls, ten thousand reconnects, 20,000 connections; make soak SOAK=calls
	$(BIN)/python -W error -m tests.soak $(SOAK)

check: build $(VENV)/.node ## formats, lints, types, stubs: what CI checks; edits nothing
	$(CARGO) fmt --all --check
	@for package in $(PACKAGES); do $(CARGO) fmt --check --manifest-path $$package/Cargo.toml || exit; done
	$(CARGO) clippy --workspace --all-targets --locked --quiet -- -D warnings
	$(BIN)/ruff check --quiet
	$(BIN)/ruff format --check --quiet
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python -m mypy.stubtest jetstream._core
	$(call in-typescript,run check)
	@if $(NODE_FITS); then $(MAKE) --no-print-directory check-web; fi
	@if command -v cargo-deny >/dev/null; then $(CARGO) deny --offline check bans licenses sources; \
	else $(BIN)/python scripts/dependencies.py; fi

# The example is checked against the package as it is built.
check-web: $(CLIENT)/dist/index.js $(WEB)/node_modules/.package-lock.json
	@cd $(WEB) && npm run --silent check

fmt: $(VENV)/.node | $(SETUP) ## formats everything
	$(CARGO) fmt --all
	@for package in $(PACKAGES); do $(CARGO) fmt --manifest-path $$package/Cargo.toml || exit; done
	$(BIN)/ruff check --fix --quiet
	$(BIN)/ruff format --quiet
	$(call in-typescript,run fmt)

bench: build $(VENV)/.bench $(PEERS)/.bench $(VENV)/.node $(VENV)/.browser bench-tools ## measures beside others; make bench BENCH="--quick --only http"
	$(BIN)/python -m benchmarks.run $(BENCH)

fuzz: ## a long run of the fuzz targets, or of some: make fuzz FUZZ=frame
	fuzz/run $(FUZZ)

docs: build $(VENV)/.docs ## builds the pages into target/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir target/site
	@echo "target/site/index.html"

build: $(BUILT) ## the extension, built in place

clean: ## removes what was built and set up
	rm -rf $(VENV) $(PEERS) target .demo python/jetstream/_core*.so typescript/node_modules \
	  typescript/dist $(WEB)/node_modules $(WEB)/dist

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1)."; \
	  echo "Say which one to take: make PYTHON=python3.13"; exit 1; }
	@command -v $(CARGO) >/dev/null || { \
	  echo "Rust 1.85 or newer is needed, and there is no '$(CARGO)': see https://rustup.rs"; exit 1; }
	@echo "setting up $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "'$(PYTHON) -m venv' failed; on Debian and Ubuntu: apt install python3-venv"; \
	  rm -rf $(VENV); exit 1; }

# What asks over HTTP/1.1 and HTTP/2, and what loses packets: programs, and the packages of Debian.
TOOLS := h2load:nghttp2-client ip:iproute2 nft:nftables

bench-tools:
	@for tool in $(TOOLS); do program=$${tool%:*} package=$${tool#*:}; \
	  command -v $$program >/dev/null && continue; \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && apt-get install -qq --yes $$package >/dev/null && continue; fi; \
	  echo "no $$program (Debian: $$package): what takes it is not measured"; done

$(SETUP): requirements/dev.txt requirements/interop.txt | $(BIN)/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  -r requirements/interop.txt
	@touch $@

$(VENV)/.bench $(VENV)/.docs: $(VENV)/.%: requirements/%.txt | $(SETUP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# Servers that are only measured, in an environment of their own. What both have is of one version.
$(PEERS)/.bench: requirements/peers.txt | $(SETUP)
	@test -d $(PEERS) || $(BIN)/python -m venv $(PEERS)
	@$(BIN)/python -m pip freeze --exclude-editable >$(PEERS)/constraints.txt
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check \
	  -c $(PEERS)/constraints.txt -r $<
	@touch $@

$(CLIENT)/dist/index.js: $(CLIENT_SOURCES) | $(VENV)/.node
	@cd $(CLIENT) && npm run --silent build
	@touch $@

$(WEB)/node_modules/.package-lock.json: $(WEB)/package-lock.json | $(VENV)/.node
	@cd $(WEB) && npm ci --silent --no-audit --no-fund
	@touch $@

$(WEB)/dist/index.html: $(WEB_SOURCES) $(CLIENT)/dist/index.js $(WEB)/node_modules/.package-lock.json
	@cd $(WEB) && npm run --silent build
	@touch $@

# Python sources are used where they are: only Rust has to be built again.
$(BUILT): $(RUST_SOURCES) | $(SETUP)
	@echo "building the extension (the first time takes some minutes)"
	@$(BIN)/maturin develop --release --locked --quiet
	@touch $@

$(VENV)/.interop: $(wildcard $(INTEROP:=/Cargo.*) $(INTEROP:=/src/*.rs)) | $(SETUP)
	@echo "building the Rust programs that the tests talk to (the first time takes some minutes)"
	@for program in $(INTEROP); do (cd $$program && \
	  CARGO_TARGET_DIR="$(INTEROP_TARGET)" $(CARGO) build --release --locked --quiet) || exit; done
	@touch $@

# The TypeScript package's tools. Without Node its tests are skipped, and say so; the next `make` looks
# again.
NODE_FITS := node -e 'process.exit(Number(process.versions.node.split(".")[0] < 20))' 2>/dev/null
in-typescript = @if $(NODE_FITS); then cd typescript && npm --silent $(1); \
  else echo "no Node of 20 or newer: typescript/ is left out"; fi

$(VENV)/.node: typescript/package-lock.json | $(SETUP)
	@if ! $(NODE_FITS) && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing Node"; export DEBIAN_FRONTEND=noninteractive; \
	  { timeout 300 apt-get update && timeout 600 apt-get install -y --no-install-recommends nodejs npm; \
	  } </dev/null >/dev/null 2>&1 || true; fi
	@if $(NODE_FITS); then \
	  echo "installing what typescript/ is tested with"; \
	  (cd typescript && npm ci --silent --no-audit --no-fund) && touch $@; \
	else echo "Node 20 or newer is needed for typescript/, and there is none: see https://nodejs.org"; fi

# Clients that others wrote, each as program:package. They come by themselves only where that asks
# nobody; the tests of one that is missing are skipped, and say so.
$(VENV)/.clients: PROGRAMS := curl:curl h2load:nghttp2-client
$(VENV)/.browser: PROGRAMS := chromium:chromium
$(VENV)/.clients $(VENV)/.browser: | $(SETUP)
	@missing=; for each in $(PROGRAMS); do \
	  command -v $${each%:*} >/dev/null || missing="$$missing $${each#*:}"; done; \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing what some tests talk to:$$missing"; export DEBIAN_FRONTEND=noninteractive; \
	  { timeout 300 apt-get update; for package in $$missing; do \
	    timeout 600 apt-get install -y --no-install-recommends $$package; done; \
	  } </dev/null >/dev/null 2>&1 || true; fi
	@touch $@
