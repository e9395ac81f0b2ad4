# Everything runs in a virtual environment of its own; only python3, git and make are needed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CROSSBAR := .venv-crossbar
SOURCES := benchmarks buildbot_selfserve demo docs tests noxfile.py setup.py

# else each of the thousand processes of the tests would compile the whole package again
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help demo test test-all fuzz check format lint types docs changelog nox examples screenshots dist
.PHONY: bench bench-report bench-writes bench-pushes soak clean

help:
	@echo "make demo     run a Buildbot with self-serve, and walk through it; ARGS='--folder DIR' elsewhere"
	@echo "make test     run the tests in some minutes; ARGS='-k cancel' runs some"
	@echo "make test-all   run those and the heavy ones, as CI does"
	@echo "make fuzz     send ten thousand hostile requests to a master, in minutes"
	@echo "make check    all that CI runs: format, lint, types, docs, dist, tests"
	@echo "make format   format the code"
	@echo "make docs     make the generated documents again, and the site of all documents in site/"
	@echo "make changelog   show what the next release says of its changes"
	@echo "make nox      run the quick tests on other Pythons and on the oldest dependencies"
	@echo "make examples   record the examples of the documents anew, on a real master"
	@echo "make bench    measure reads and the reactor beside Buildbot's own REST API, in minutes"
	@echo "make bench-pushes   measure pushes beside Buildbot's REST API, in minutes"
	@echo "make bench-writes   measure bulk job requests beside Buildbot's own way, in minutes"
	@echo "make soak     use a master in all ways at once for 20 minutes, and look for leaks"
	@echo "make screenshots   take the pictures of the documents anew, in Chromium"
	@echo "make dist     build the sdist and the wheel, and look into them"

$(VENV)/demo: setup.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[cli,demo]'
	touch $@

$(VENV)/dev: setup.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[cli,demo,test,tools,docs,bench,dev]'
	touch $@

# The message router of the tests with two masters wants other versions of some packages. Where it
# cannot be installed those tests are left out, and CI fails.
$(CROSSBAR)/ready: requirements-crossbar.txt
	test -x $(CROSSBAR)/bin/python || $(PYTHON) -m venv $(CROSSBAR)
	$(CROSSBAR)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

.PHONY: crossbar
crossbar:
	-$(MAKE) --no-print-directory $(CROSSBAR)/ready

demo: $(VENV)/demo
	$(BIN)/python -m demo $(ARGS)

# ARGS='-k cancel' runs some of them; the slowest are named at the end, and what was skipped and why
# A process that dies is not replaced: pytest-xdist would wait for ever for what it had left to do.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --max-worker-restart 0 \
	--dist loadscope --no-loadscope-reorder --durations 20
test: $(VENV)/dev crossbar
	$(PYTEST) $(ARGS)

# also the soak, fuzzing, the servers for all that is tested on SQLite, both of two masters
# A few that fail beside so many others are run again by themselves, and named.
test-all: $(VENV)/dev crossbar
	$(PYTEST) -m "heavy or not heavy" $(ARGS) || { [ $$? -eq 1 ] && $(BIN)/python -m tests.again; }

fuzz: $(VENV)/dev
	SELFSERVE_FUZZ=10000 $(BIN)/python -m pytest tests/test_hostile.py

check: lint types site dist test-all

lint: $(VENV)/dev
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/python -m docs.generate --check

types: $(VENV)/dev
	$(BIN)/mypy

format: $(VENV)/dev
	$(BIN)/ruff check --fix-only --quiet $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

docs: $(VENV)/dev
	$(BIN)/python -m docs.generate
	$(MAKE) --no-print-directory site

# warnings are errors; the theme's own words of its successor are none of them
.PHONY: site
site: $(VENV)/dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

changelog: $(VENV)/dev
	$(BIN)/towncrier build --draft

# A Python that is not there is passed over; nox says so.
SESSIONS := stranger oldest tests
nox: dist
	$(BIN)/nox --no-error-on-missing-interpreters --session $(SESSIONS)

examples: $(VENV)/dev
	$(BIN)/python -m tests.record_examples

screenshots: $(VENV)/dev
	$(BIN)/python -m demo.pictures

dist: $(VENV)/dev
	rm -rf dist
	$(BIN)/python -m build --outdir dist . >/dev/null
	$(BIN)/twine check --strict dist/*
	$(BIN)/python tests/check_dist.py dist

# BUILDS=1000000 takes half an hour; BENCH has more options, see python -m benchmarks --help
BUILDS ?= 100000
bench: $(VENV)/dev
	$(BIN)/python -W ignore -m benchmarks --builds $(BUILDS) $(BENCH); status=$$?; \
	$(BIN)/python -m benchmarks.report && exit $$status

bench-report: $(VENV)/dev
	$(BIN)/python -m benchmarks.report

# SECONDS=60 is what the tests do; SOAK has more options, see python -m benchmarks.soak --help
SECONDS ?= 1200
soak: $(VENV)/dev
	$(BIN)/python -W ignore -m benchmarks.soak --seconds $(SECONDS) $(SOAK)

bench-writes: $(VENV)/dev
	$(BIN)/python -W ignore -m benchmarks.writes
	$(BIN)/python -W ignore -m benchmarks.plans

bench-pushes: $(VENV)/dev
	$(BIN)/python -W ignore -m benchmarks.pushes --builds 1000000

clean:
	rm -rf $(VENV) $(CROSSBAR) .nox build dist site demo-run* *.egg-info
