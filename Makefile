# make demo   see it work: needs Python 3.11+, nothing else, no root
# make test   everything a change has to pass: lint, types, tests on real SSH hosts (as root)
# make help   the other targets

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# The first interpreter that is new enough; `make PYTHON=...` overrides.
PYTHON ?= $(firstword $(foreach p,python3 python3.14 python3.13 python3.12 python3.11, \
            $(shell $(p) -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(p))))
VENV := .venv
PEERS := .venv-peers
PY := $(VENV)/bin/python
WORKERS ?= 2

SUDO := $(if $(filter 0,$(shell id -u)),,$(shell command -v sudo))

# pip $(1) ... : slow or flaky indexes get three chances, with a pause in between.
define pip
	for try in 1 2 3; do \
	  $(1)/bin/python -m pip --disable-pip-version-check --no-input --retries 10 --timeout 60 install --quiet $(2) \
	    && break; \
	  [ $$try != 3 ] || exit 1; echo "pip failed; trying again in $$((try * 5)) s" >&2; sleep $$((try * 5)); \
	done
endef

.PHONY: help demo test test-long lint lab bench schemas lock system clean

help:  ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.run  ## a small world of real processes: upgraded, broken, and recovered by a plan
	$(PY) examples/ultramcp/demo.py

test: system $(VENV)/.dev $(PEERS)/.ready lint  ## lint, types, and all tests that take less than ten minutes
	$(PY) -m pytest -n $(WORKERS) --dist worksteal -m "not long" $(PYTEST_ARGS)

test-long: system $(VENV)/.dev $(PEERS)/.ready  ## the tests that take longer: crash matrices, many hosts
	$(PY) -m pytest -n $(WORKERS) --dist worksteal -m long --timeout 3600 $(PYTEST_ARGS)

.PHONY: crash-matrix planted
crash-matrix: system $(VENV)/.dev  ## kill, tear, cut, fill and pause the real program, and print the table (root)
	@$(SUDO) $(CURDIR)/$(PY) -m tests.crash --table -j $(WORKERS)

planted: $(VENV)/.dev  ## bugs of the protocol, put in on purpose: which test catches each
	@$(SUDO) $(CURDIR)/$(PY) -m tests.planted

lint: $(VENV)/.dev  ## ruff and mypy --strict
	$(PY) -m ruff check .
	$(PY) -m mypy

schemas: $(VENV)/.run  ## write schemas/ anew from the step types
	$(PY) -m ultraplan.cli.schemas schemas

N ?= 3
lab: system $(VENV)/.run  ## N=3 real SSH hosts on this machine to play with (root); `make lab-down` ends them
	@$(SUDO) $(CURDIR)/$(PY) -m tests.lab up $(N) $(if $(KINDS),--kinds $(KINDS)) --owner "$$(id -u)"

.PHONY: lab-down
lab-down:  ## stop the hosts of `make lab`, leave nothing behind
	@$(SUDO) $(CURDIR)/$(PY) -m tests.lab down

bench: system $(VENV)/.dev  ## measure against Ansible, Mitogen, pyinfra, raw sh, OpenSSH, Terraform; BENCH=--quick
	@$(SUDO) $(CURDIR)/$(PY) -m benchmarks $(BENCH)

lock: $(VENV)/.dev  ## choose newer versions of all dependencies (see CONTRIBUTING.md)
	$(call pip,$(VENV),uv)
	cd requirements; compile() { \
	  ../$(VENV)/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
	    --custom-compile-command 'make lock' "$$@"; }; \
	compile ../pyproject.toml build.in -o run.txt; \
	compile ../pyproject.toml build.in --group ../pyproject.toml:dev -c run.txt -o dev.txt; \
	compile peers.in -o peers.txt; \
	for peer in ansible mitogen pyinfra; do compile bench-$$peer.in -o bench-$$peer.txt; done

clean:  ## remove environments, caches and what the demo made
	rm -rf $(VENV) $(PEERS) .venv-bench-* .demo .mypy_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# -- environments -------------------------------------------------------------------------------------------------

$(VENV)/bin/python:
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 or newer, with venv, is needed (make PYTHON=/path/to/python3)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements/run.txt pyproject.toml | $(VENV)/bin/python
	$(call pip,$(VENV),--require-hashes -r requirements/run.txt)
	$(call pip,$(VENV),--no-build-isolation --no-deps -e .)
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(VENV)/bin/python
	$(call pip,$(VENV),--require-hashes -r requirements/dev.txt)
	$(call pip,$(VENV),--no-build-isolation --no-deps -e .)
	@touch $@ $(VENV)/.run

$(PEERS)/.ready: requirements/peers.txt
	@[ -x $(PEERS)/bin/python ] || $(PYTHON) -m venv $(PEERS)
	$(call pip,$(PEERS),--require-hashes -r requirements/peers.txt)
	@touch $@

# -- the machine ----------------------------------------------------------------------------------------------------

# program:Debian package, for what the tests start on this machine
TOOLS := sshd:openssh-server ssh:openssh-client ip:iproute2 busybox:busybox-static sudo:sudo systemctl:systemd \
         dash:dash csh:tcsh fish:fish unshare:util-linux losetup:mount mkfs.ext4:e2fsprogs setfacl:acl setfattr:attr \
         nft:nftables zstd:zstd age:age ceph-mon:ceph-mon ceph-osd:ceph-osd radosgw:radosgw \
         redis-server:redis-server redis-cli:redis-tools psql:postgresql sqlite3:sqlite3

system:
	@missing=; \
	for tool in $(TOOLS); do \
	  PATH="$$PATH:/usr/sbin:/sbin" command -v "$${tool%%:*}" >/dev/null || missing="$$missing $${tool#*:}"; \
	done; \
	if [ -n "$$missing" ]; then \
	  echo "missing:$$missing"; \
	  if command -v apt-get >/dev/null && { [ "$$(id -u)" = 0 ] || [ -n "$(SUDO)" ]; }; then \
	    get() { $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=5 \
	      -o DPkg::Lock::Timeout=300 "$$@"; }; \
	    get update; get install -y --no-install-recommends $$missing >/dev/null; \
	  else echo "install them for the tests on real hosts; without them those tests are skipped" >&2; fi; \
	fi
