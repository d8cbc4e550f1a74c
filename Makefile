# `make help` lists what there is. Everything that is built or downloaded is kept outside the checkout,
# in $METRICWATCH_CACHE (~/.cache/metricwatch), except the virtual environment.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The interpreter the virtual environment is made with: 3.11 or newer.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
DEV := $(RUN) -m metricwatch_dev
RESULTS := build/test-results

CACHE := $(or $(METRICWATCH_CACHE),$(HOME)/.cache/metricwatch)
export UV_CACHE_DIR ?= $(CACHE)/uv
# uv looks at its own list of authorities, unless told of the machine's.
CERTIFICATES := $(wildcard /etc/ssl/certs/ca-certificates.crt)
ifneq ($(CERTIFICATES),)
export SSL_CERT_FILE ?= $(CERTIFICATES)
endif
# Beside other processes on few cores, more threads in each only wait for one another.
test-unit test-integration: export OMP_NUM_THREADS ?= 1

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##— the two commands ————————————————————————————————————————————————————————————————————————————
.PHONY: demo
demo: setup ## the whole path on a real cluster: learn, detect, alert, resolve (CSV=file: your metrics)
	$(DEV) demo $(if $(CSV),--csv $(CSV))

.PHONY: test
test: ## everything: lint, unit, property, integration and cluster tests
	rm -rf $(RESULTS)
	$(MAKE) setup-train
	$(MAKE) -j2 binaries lint
	running=$$($(DEV) cluster status >/dev/null 2>&1 && echo yes || echo no); \
	status=0; \
	$(MAKE) -j2 images test-code || status=$$?; \
	if [ $$status = 0 ]; then $(MAKE) test-cluster || status=$$?; fi; \
	if [ $$running = no ]; then $(MAKE) cluster-down || status=$$?; fi; \
	exit $$status

##— smaller steps ———————————————————————————————————————————————————————————————————————————————
.PHONY: setup
setup: $(VENV)/.setup ## the virtual environment, without torch

.PHONY: setup-train
setup-train: $(VENV)/.setup-train ## the virtual environment, with torch

.PHONY: lint
lint: setup-train ## ruff, mypy, import contracts, generated CRDs and tables
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/metricwatch crds --check
	$(DEV) values --check

.PHONY: test-unit
test-unit: setup-train $(RESULTS) ## tests without any server, and the examples in docstrings
	$(DEV) binaries --only clients --only gitops >/dev/null
	$(RUN) -m pytest --junitxml=$(RESULTS)/unit.xml tests/unit tests/property \
	  core trainer detector operator cli migrations dev $(PYTEST)

# They mostly wait, each file for servers of its own: three at a time keep two cores busy.
# Those with many tests are not begun first: the longest ones have few.
WORKERS := -n 3 --dist loadfile --no-loadscope-reorder

.PHONY: test-integration
test-integration: setup-train $(RESULTS) ## tests with real PostgreSQL, metrics servers and API server
	$(DEV) binaries --only envtest --only services --only clients --only gitops >/dev/null
	$(RUN) -m pytest --junitxml=$(RESULTS)/integration.xml $(WORKERS) tests/integration $(PYTEST)

.PHONY: test-code
test-code: ## unit and integration tests, side by side: one computes, the other mostly waits
	$(MAKE) -j2 test-unit test-integration

# Installations side by side on one cluster, which mostly wait; then what shakes the whole cluster.
# The local cluster's own tests need root and Go, which somebody with a cluster may not have.
INCIDENTS := test_main_job.py test_mistakes.py
VERSIONS := test_versions.py $(if $(KUBECONFIG),,test_local_cluster.py)
.PHONY: test-cluster
test-cluster: setup-train images ## tests on a cluster with a kubelet; the cluster stays
	$(MAKE) -j3 --keep-going test-cluster-install test-cluster-incidents test-cluster-versions
	$(if $(KUBECONFIG),,$(MAKE) test-cluster-faults)

.PHONY: test-cluster-install
test-cluster-install: setup-train $(RESULTS)
	METRICWATCH_INSTALLATION=install $(RUN) -m pytest --junitxml=$(RESULTS)/cluster-install.xml \
	  tests/cluster/test_install.py $(PYTEST)

.PHONY: test-cluster-incidents
test-cluster-incidents: setup-train $(RESULTS)
	METRICWATCH_INSTALLATION=incidents $(RUN) -m pytest --junitxml=$(RESULTS)/cluster-incidents.xml \
	  $(addprefix tests/cluster/,$(INCIDENTS)) $(PYTEST)

.PHONY: test-cluster-versions
test-cluster-versions: setup-train $(RESULTS)
	METRICWATCH_INSTALLATION=versions $(RUN) -m pytest --junitxml=$(RESULTS)/cluster-versions.xml \
	  $(addprefix tests/cluster/,$(VERSIONS)) $(PYTEST)

.PHONY: test-cluster-faults
test-cluster-faults: setup-train $(RESULTS)
	METRICWATCH_INSTALLATION=faults $(RUN) -m pytest --junitxml=$(RESULTS)/cluster-faults.xml \
	  tests/cluster/test_faults.py $(PYTEST)

.PHONY: test-policies
test-policies: setup-train images $(RESULTS) ## the main job where only the chart's NetworkPolicies let anything through
	METRICWATCH_INSTALLATION=policies $(RUN) -m pytest --junitxml=$(RESULTS)/cluster-policies.xml \
	  tests/cluster/test_policies.py tests/cluster/test_main_job.py $(PYTEST)

.PHONY: binaries
binaries: setup ## build and download the cluster's programs into the cache
	$(DEV) binaries >/dev/null

.PHONY: cluster-up
cluster-up: setup ## start the local cluster, or use yours (KUBECONFIG)
	$(DEV) cluster up

.PHONY: cluster-down
cluster-down: setup ## remove what cluster-up started
	$(DEV) cluster down

.PHONY: images
images: setup ## build the images that changed and bring them to the cluster
	$(DEV) images

.PHONY: bench
bench: setup-train ## the figures that README quotes (ONLY=part of a file's name)
	$(RUN) benchmarks/figures.py $(if $(ONLY),--only $(ONLY))

.PHONY: constraints
constraints: $(VENV)/.uv ## write constraints.txt anew from pyproject.toml
	$(RUN) -m uv pip compile --quiet --no-header --no-annotate --all-extras pyproject.toml \
	  --python-version 3.11 --upgrade -o constraints.txt
	sed -i '1i # Versions the tests ran with. Regenerate: make constraints' constraints.txt
	$(MAKE) requirements

# Of each image's extras, for every machine and every Python that an image may have.
REQUIREMENTS := $(RUN) -m uv pip compile --quiet --no-header --no-annotate --no-emit-index-url \
  --universal --python-version 3.11 --generate-hashes -c constraints.txt
.PHONY: requirements
requirements: $(VENV)/.uv ## write the images' pinned and hashed requirements anew
	$(REQUIREMENTS) pyproject.toml --extra operator -o images/operator/requirements.txt
	$(REQUIREMENTS) pyproject.toml --extra detector -o images/detector/requirements.txt
	$(REQUIREMENTS) pyproject.toml --extra trainer -o images/trainer/requirements.txt
	printf 'hatchling>=1.27\nuv\n' | $(REQUIREMENTS) - -o images/tools.txt

$(RESULTS):
	mkdir -p $@

$(VENV)/.uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "error: $(PYTHON) is missing or older than 3.11: install one and name it with PYTHON=…" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "error: $(PYTHON) cannot make a virtual environment: apt-get install python3-venv" >&2; exit 1; }
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	touch $@

$(VENV)/.setup: pyproject.toml constraints.txt | $(VENV)/.uv
	$(RUN) -m uv pip install --quiet -c constraints.txt -e '.[operator,detector,cli,dev]'
	touch $@

$(VENV)/.setup-train: $(VENV)/.setup
	$(RUN) -m uv pip install --quiet -c constraints.txt -e '.[operator,detector,trainer,cli,dev]'
	touch $@
