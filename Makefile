# All set-up and the main job on a fresh Debian 12 or 13, as root: make lab, make test, make lab-down.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
ORCH := $(VENV)/bin/pgha-orch
LAB := examples/lab.yml

.PHONY: drill drill-all setup lab lab-down lab-purge test test-backup test-nix test-nixos test-nixos-broken test-unit test-cluster test-vm lint bench clean
setup: $(VENV)/.installed

# Debian's packages that pgha-orch and the tests start; the list is one word a line.
$(VENV)/.installed: orchestrator/pyproject.toml packages.txt
	./setup $(PYTHON) $(VENV)
	touch $@

lab: setup ## build the images and boot examples/lab.yml on this machine
	$(ORCH) image build
	$(ORCH) deploy $(LAB)

lab-down: setup ## stop the lab; its data stays
	$(ORCH) destroy --yes $(LAB)

lab-purge: setup ## stop the lab and remove its data
	$(ORCH) destroy --yes --data $(LAB)

lint: setup
	cd orchestrator && ../$(VENV)/bin/ruff check . ../tests && ../$(VENV)/bin/ruff format --check . ../tests
	cd orchestrator && ../$(VENV)/bin/mypy -p pgha_orch
	cd orchestrator && ../$(VENV)/bin/lint-imports
	tests/shellcheck

test-unit: setup ## what boots no machine
	$(VENV)/bin/python -m pytest orchestrator/tests

test-cluster: setup ## what boots machines
	$(ORCH) image build
	$(VENV)/bin/python -m pytest tests --ignore=tests/nix

VM_PACKAGES := dosfstools fdisk mtools ovmf qemu-system-x86 qemu-utils squashfs-tools
test-vm: setup ## eight QEMU machines: watchdog, drills 7, 8, 10 and 11, a power cut of all; one by UEFI through SSH
	apt-get install -y --no-install-recommends $(VM_PACKAGES)
	PGHA_TEST_VM=1 $(VENV)/bin/python -m pytest tests/cluster/test_vm.py tests/cluster/test_vm_ssh.py --durations=0

# Evaluating every image takes a whole nixpkgs tree, gigabytes of memory and its time: a target of its own.
EVALUATION := evaluation images scripts
# The NixOS scenarios, in tools/nixos-on-debian: one to two minutes each.
SCENARIOS := tests/nix/test_nix_scenarios.py
BACKUPS := backup restore s3
test: lint ## everything that needs no nixpkgs tree
	$(ORCH) image build
	$(VENV)/bin/python -m pytest orchestrator/tests tests \
	  $(EVALUATION:%=--ignore=tests/nix/test_nix_%.py) --ignore=$(SCENARIOS)

test-backup: setup ## of these, backups, restores to a point in time, S3
	$(ORCH) image build
	$(VENV)/bin/python -m pytest $(BACKUPS:%=tests/cluster/test_%.py)

test-nix: setup ## what Nix evaluates: every package, configuration and check; skipped where there is no nixpkgs tree
	$(VENV)/bin/python -m pytest $(EVALUATION:%=tests/nix/test_nix_%.py)

test-nixos: setup ## every NixOS scenario without a Nix cache; skipped where nixos-on-debian is not set up
	$(VENV)/bin/python -m pytest $(SCENARIOS) -k passes

test-nixos-broken: setup ## the same scenarios, each with what it tests broken: they have to fail
	$(VENV)/bin/python -m pytest $(SCENARIOS) -k broken

drill-repository: setup ## the backup repository down for five minutes under load
	PGHA_REPO_DOWN_S=300 $(VENV)/bin/python -m pytest tests/cluster/test_backup.py -k repository_is_down

bench-backup: setup ## backup, restore and proof of more than 1 GB, next to pg_basebackup
	$(VENV)/bin/python -m tests.bench.backup

bench: setup ## the figures in README.md: images, deploy, memory and CPU, pgbench
	for each in images deploy footprint pgbench; do $(VENV)/bin/python -m tests.bench.$$each || exit; done

drill: lab ## the short set of drills on the lab; the report is drill.html
	$(ORCH) drill $(LAB) 1 2 6 10 17 --report drill.html

REPEAT := 5
drill-all: lab ## every drill, REPEAT times each (about 70 minutes with 5)
	$(ORCH) drill $(LAB) all --repeat $(REPEAT) --report drill.html
