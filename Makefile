# Every target builds what it needs, so that a fresh clone needs nothing but Python 3.11 or later.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

export RAY_USAGE_STATS_ENABLED := 0

.PHONY: help install demo serve test test-fast verify mutation fuzz check format load compare audit chaos explain train wheel openapi clean

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(READY) ## create .venv with everything

# torch first and alone: its CPU build satisfies whatever the other packages ask for.
$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --editable '.[train,dev]'
	@touch $@

demo: $(READY) ## start the service, schedule 170 jobs over HTTP, show the plan, stop
	$(BIN)/gantry demo

serve: $(READY) ## run the service in the foreground on port 8000
	$(BIN)/gantry serve

# What starts no process and trains nothing runs on both cores; the rest one after the other.
FAST := not system and not learning

test: $(READY) ## all tests, real Ray Serve and MariaDB included; the second part also when the first has failed
	@failed=0; \
	$(BIN)/python -m pytest -n 2 --dist worksteal -m '$(FAST)' --durations=25 || failed=1; \
	$(BIN)/python -m pytest -m 'not ($(FAST))' --durations=25 || failed=1; \
	exit $$failed

test-fast: $(READY) ## tests without processes, servers and training
	$(BIN)/python -m pytest -n 2 --dist worksteal -m '$(FAST)'

verify: mutation fuzz audit chaos explain ## the slow proofs in full: what make test shows in short, and the drills
	$(BIN)/python -m tests.models.search.pinned_plants
	$(BIN)/python -m tests.deployments.scheduling.replanning
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m tests.models.search.deadlines
	$(BIN)/python -m tests.deployments.rollout.analysis.coverage
	$(BIN)/python -m tests.deployments.serve.anomaly_rates
	$(BIN)/python -m tests.system.test_rollout
	$(BIN)/python -m tests.system.recording --compare tests/data/recorded_answers.json
	$(BIN)/python -m tests.system.packaging
	$(BIN)/python -m tests.system.stopping
	$(BIN)/python -m tests.system.two_services
	$(BIN)/python -m loadtests.isolation

mutation: $(READY) ## spoil valid schedules in every way; show what the judge caught, fail if anything slipped past
	$(BIN)/python -m tests.env.judge.mutations

fuzz: $(READY) ## 5,000 spoiled real requests; fail on a 5xx, an undocumented answer or a silent omission
	$(BIN)/python -m tests.fuzzing --requests 5000

check: $(READY) ## style, code scan (ruff's S rules), types, the floors' import contracts, known holes in packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.dependency_scan

format: $(READY) ## sort out style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

chaos: $(READY) ## one fault after the other while requests keep arriving; print what clients noticed, and what was lost
	$(BIN)/python -m tests.system.chaos

audit: $(READY) ## write decisions while everything dies again and again; fail unless the books balance
	$(BIN)/python -m tests.system.auditing

# Fewer rows: make explain DECISIONS=300000
DECISIONS ?= 1000000
explain: $(READY) ## how MariaDB answers each query of the API at a million decisions; fail on a full scan or a sort
	$(BIN)/python -m tests.system.explaining --decisions $(DECISIONS)

compare: $(READY) ## what a stored plan costs, process by process, beside other ways to serve the policy; some half an hour
	$(BIN)/python -m loadtests.compare --arms abde --flames docs/figures/flames

load: $(READY) ## a bounded locust run against a service that it starts itself; exit code says pass or fail
	$(BIN)/python -m loadtests

train: $(READY) ## train a policy into runs/latest
	$(BIN)/gantry train

wheel: $(READY) ## build a source distribution and a wheel into dist/
	$(BIN)/python -m build --no-isolation

openapi: $(READY) ## write docs/openapi.json anew
	$(BIN)/python -m deployments.api > docs/openapi.json

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache build dist *.egg-info
