# make demo         set up, then detect objects in real photographs through a server and a client on this machine
# make test         set up, then run the tests; make test-long the few that take about ten seconds each
# make test-cluster  installs Ray, then runs the tests of `cloud-server serve --cluster`
# make test-cluster-long  the end-to-end tests with two replicas for every bundle
# make lint         style and types
# make protos       regenerate the gRPC code
# make bench        measure, into docs/results/; accuracy too if LABELLED holds val2017/ and val.json of COCO
# make fuzz         fuzz every parser of foreign bytes, for hours; on x86-64 Linux
# make soak         a server under load for ten minutes: is its memory flat?
# make arm64        a device from nothing: ARM64 Debian 12 and 13, installed, streaming; needs root, debootstrap and qemu
# make image-steps  the containers' steps, by chroot where there is no Docker; needs root and debootstrap
# make arm64-check  the client on an emulated Raspberry Pi 4; needs qemu, and root on other machines than ARM64
#
# They set up .venv first: about 6 GB with PyTorch's build for NVIDIA cards, 2 GB with its CPU build, which pip takes with
# PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu in the environment. PYTHON=python3.12 takes another Python.
PYTHON ?= python3
VENV ?= .venv
BUNDLE ?= bundles/coco-plus
LABELLED ?= ../shared/data/coco
RUN = $(VENV)/bin/python
INSTALL = $(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-long test-cluster test-cluster-long lint protos bench fuzz soak attack arm64 arm64-check image-steps
.DELETE_ON_ERROR:

demo: $(VENV)/installed-demo
	$(RUN) -m demo

test: $(VENV)/installed-dev
	$(RUN) -m pytest -n auto --maxprocesses 4 --dist loadfile

test-long: $(VENV)/installed-dev
	$(RUN) -m pytest -m long

test-cluster: $(VENV)/installed-dev
	$(INSTALL) --editable ".[dev,cluster]"
	timeout 1800 $(RUN) -m pytest -m cluster tests/cluster

test-cluster-long: $(VENV)/installed-dev
	$(INSTALL) --editable ".[dev,cluster]"
	SLIMSPLIT_CLUSTER=local SLIMSPLIT_CLUSTER_REPLICAS=2 SLIMSPLIT_CLUSTER_TIMEOUT_S=10 \
	  timeout 7200 $(RUN) -m pytest tests/end_to_end

lint: $(VENV)/installed-dev
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

protos: $(VENV)/installed-dev
	$(RUN) -m protos.generate

bench: $(VENV)/installed-dev
	$(RUN) -m benchmarks codec --out docs/results/codec.json
	$(RUN) -m benchmarks switch --bundle $(BUNDLE) --out docs/results/switch.json
	$(RUN) -m benchmarks overhead --bundle $(BUNDLE) --out docs/results/overhead.json
	$(RUN) -m benchmarks serve --bundle $(BUNDLE) --out docs/results/serve.json
	if [ -f $(LABELLED)/val.json ]; then $(RUN) -m benchmarks rate --bundle $(BUNDLE) \
	    --images $(LABELLED)/val2017 --annotations $(LABELLED)/val.json --out docs/results/rate.json && \
	    $(RUN) -m benchmarks backends --bundle $(BUNDLE) --images $(LABELLED)/val2017 \
	    --annotations $(LABELLED)/val.json --out docs/results/backends.json; fi
	$(RUN) -m benchmarks failures --bundle $(BUNDLE) --out docs/results/failures.json
	$(RUN) -m benchmarks document

fuzz: $(VENV)/installed-dev
	$(INSTALL) --editable ".[dev,fuzz]"
	$(RUN) -m tests.fuzzing all --out docs/results/fuzz.json

attack: $(VENV)/installed-dev
	$(RUN) -m benchmarks attack --bundle $(BUNDLE) --out docs/results/attack.json

soak: $(VENV)/installed-dev
	$(RUN) -m benchmarks soak --bundle $(BUNDLE) --out docs/results/soak.json

arm64: $(VENV)/installed-dev
	.ci/arm64 $(RUN)

image-steps: $(VENV)/installed-dev
	$(RUN) .ci/image-steps $${IMAGE_ROOT:-/var/tmp/slimsplit-images}

arm64-check: $(VENV)/installed-dev
	.ci/arm64-check $(RUN)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed-demo: setup.cfg constraints.txt | $(VENV)/bin/python
	@echo "setting up $(VENV): a minute or two the first time"
	$(INSTALL) --editable ".[server,demo]"
	touch $@

$(VENV)/installed-dev: setup.cfg constraints.txt | $(VENV)/bin/python
	@echo "setting up $(VENV) for development: a minute or two the first time"
	$(INSTALL) --editable ".[dev]"
	touch $@ $(VENV)/installed-demo
