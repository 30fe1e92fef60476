# `make` prints all targets. Their descriptions are the comments with ## below.
#
# TAG=, IMAGE=, PYTHON= and OS= (several with commas) limit a target to these variants.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help venv generate check list lock build test unit test-publish smoke plan push outdated upstream bench clean engine-stop

VENV := .venv
RUN := $(VENV)/bin/python
FILTERS := $(if $(TAG),--tag $(TAG)) $(if $(IMAGE),--image $(IMAGE)) $(if $(PYTHON),--python $(PYTHON)) $(if $(OS),--os $(OS))
# pytest keeps the tests as it has compiled them, or each of its processes compiles them again.
unit smoke test-publish test: export PYTHONDONTWRITEBYTECODE :=
# Tests at the same time. Most of them wait for a container.
JOBS ?= 4
# Two files at the same time, each with its own registry and builder.
TEST_PUBLISH = $(RUN) -m pytest -n 2 --dist loadfile tests/publish/loopback

# `##@ STAGE` stands before the targets of a stage. Lines are wrapped at 80 columns.
help: ## print this
	@echo "make TARGET [TAG=python3.13-slim] [IMAGE=hypercorn] [PYTHON=3.13] [OS=slim]"
	@awk -F ':[^#]*## ' '/^##@ / { print ""; print substr($$0, 5) } \
	    /^[a-z-]+:[^#]*## / { line = sprintf("  %-12s", $$1); count = split($$2, words, " "); \
	        for (i = 1; i <= count; i++) { \
	            if (length(line " " words[i]) > 80) { print line; line = sprintf("  %-12s", "") } \
	            line = line " " words[i] } \
	        print line }' $(MAKEFILE_LIST)

# Debian and Ubuntu have the module venv in a package of its own.
INSTALL_VENV = [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && echo "installing python3-venv" >&2 \
    && apt-get update -qq && apt-get install -qq -y --no-install-recommends python3-venv >/dev/null

# The tools of requirements.txt. Made again when it changes. Several `make` at the same time make it once.
$(VENV)/ready: requirements.txt
	@python3 -c 'import sys; sys.version_info >= (3, 10) or sys.exit("error: python3 is %s; 3.10 or newer is needed" % sys.version.split()[0])'
	@python3 -c 'import fcntl, subprocess, sys; lock = open(sys.argv[1]); fcntl.flock(lock, fcntl.LOCK_EX); sys.exit(subprocess.call(sys.argv[2:]))' \
	    requirements.txt $(MAKE) --no-print-directory venv

venv:
	@if [ ! $(VENV)/ready -nt requirements.txt ]; then \
	    echo "making $(VENV) from requirements.txt" >&2; \
	    rm -rf $(VENV); \
	    python3 -m venv $(VENV) 2>/dev/null || { $(INSTALL_VENV) && python3 -m venv $(VENV); } \
	        || { echo "error: python3 cannot make a virtual environment; install its module venv" >&2; exit 1; }; \
	    $(VENV)/bin/pip install -qq --disable-pip-version-check --require-hashes -r requirements.txt && touch $(VENV)/ready; \
	fi

##@ Find

lock: $(VENV)/ready ## pin the newest wheels for every Python, and the base images where a registry answers (needs the network)
	@$(RUN) -m imagematrix.find.wheels $(FILTERS) || status=$$?; [ "$${status:-0}" -le 1 ] || exit $$status; \
	    $(RUN) -m imagematrix.find.digests $(FILTERS) && exit $${status:-0}

outdated: $(VENV)/ready ## list newer base images and packages, and how long each Python is supported
	@$(RUN) -m imagematrix.find.outdated $(FILTERS)

upstream: $(VENV)/ready ## test the runtime's assumptions with the newest releases and pre-releases (needs the network)
	@$(RUN) -m tests.runtime.upstream.newest

##@ Render

list: $(VENV)/ready ## list the variants
	@$(RUN) generate.py --list $(FILTERS)

generate: $(VENV)/ready ## render build/, and without a filter README's tables, from matrix.yaml (ALLOW_REMOVAL=1 lets variants go)
	@$(RUN) generate.py $(FILTERS) $(if $(ALLOW_REMOVAL),--allow-removal)
	@$(if $(strip $(FILTERS)),,$(RUN) -m imagematrix.render.readme)

check: $(VENV)/ready ## list every file of build/ and README.md that is stale; write nothing
	@$(RUN) generate.py --check $(FILTERS)
	@$(if $(strip $(FILTERS)),,$(RUN) -m imagematrix.render.readme --check)

##@ Build

build: generate ## build and tag images on the container engine
	@$(RUN) -m imagematrix.build.local $(FILTERS)

clean: $(VENV)/ready ## remove this repository's images and containers from the engine
	@$(RUN) -m imagematrix.build.clean $(FILTERS)

engine-stop: $(VENV)/ready ## stop the container engine, if it was started here
	@$(RUN) -m imagematrix.machine.dockerd

##@ Prove

# Most of them wait for a server: six keep two processors busy, and take from each other what is left.
unit: JOBS := 6
unit: $(VENV)/ready ## the tests that need no engine
	@$(RUN) -m pytest -n $(JOBS) --dist worksteal --ignore tests/images --ignore tests/publish/loopback

smoke: build ## build, then test every image that was built
	@$(RUN) -m pytest -n $(JOBS) --dist loadgroup tests/images $(FILTERS)

test: unit ## all tests: without an engine, of every image, and without a filter of publishing (FULL=1: also long ones)
	@$(MAKE) --no-print-directory smoke
	@$(if $(strip $(FILTERS)),,$(TEST_PUBLISH))

test-publish: $(VENV)/ready ## the tests of publishing to a local registry, failures included (long)
	@FULL=1 $(TEST_PUBLISH)

bench: $(VENV)/ready ## measure the runtime beside other servers, write docs/benchmarks (ONLY=PATTERNS, ROUNDS=, SECONDS=, LIST=1)
	@$(RUN) -m tests.bench $(if $(ONLY),--only '$(ONLY)') $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SECONDS),--seconds $(SECONDS)) \
	    $(if $(OUTPUT),--output $(OUTPUT)) $(if $(LIST),--list) $(if $(JSON),--json)

##@ Publish

plan: $(VENV)/ready ## list what push would do with each variant, and why (REGISTRY=HOST[/NAMESPACE], FORMAT=json|jobs|tests)
	@$(RUN) -m imagematrix.publish.plan $(FILTERS) $(if $(FORMAT),--$(FORMAT))

push: $(VENV)/ready ## publish what has changed: build, test, sign, tag (BUILDER=, REGISTRY=, DRY_RUN=1)
	@$(RUN) -m imagematrix.publish.push $(FILTERS) $(if $(DRY_RUN),--dry-run) $(if $(ALLOW_STAND_INS),--allow-stand-ins)
