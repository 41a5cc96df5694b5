# Everything is set up by itself: `make run` and `make test` are all that a fresh clone needs.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run demo-servers cluster cluster-crash objects test crash side-by-side check bench lock clean

BIN := .venv/bin
# Tests that wait for servers leave a core idle: one process more than there are cores, four at most.
TEST_PROCESSES ?= $(shell cores=$$(nproc); echo $$((cores < 4 ? cores + 1 : 4)))
UV_COMPILE := $(BIN)/uv pip compile pyproject.toml --group build --universal --python-version 3.11 \
	--generate-hashes --no-header --no-emit-index-url --no-annotate --quiet

# Another interpreter's settings must not reach into .venv.
unexport PYTHONHOME PYTHONPATH PYTHONSTARTUP

help:  ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

run: .venv/.ready  ## Set up, then run a small nation: 31 provinces and 兵团, and the systems outside (state in var/nation)
	$(BIN)/vingate nation --state var/nation

demo-servers: .venv/.ready  ## Set up, then the whole network all day, on servers of its own, until Ctrl-C (in var/demo)
	bash scripts/servers
	$(BIN)/vingate demo --folder var/demo

cluster: .venv/.ready  ## Set up, then the reference job (RECORDS, 1,000,000) on a Spark cluster of this machine: master, two workers
	bash scripts/cluster var/spark
	$(BIN)/python bench/cluster.py --home var/spark --records $(or $(RECORDS),1000000)

cluster-crash: .venv/.ready-dev  ## Kill parts of a Spark cluster at work, twenty rounds (ROUNDS, SEED): nothing lost
	bash scripts/cluster var/spark
	PYTHONPATH=.:tests:tests/pipelines $(BIN)/python tests/pipelines/spark_rounds.py $(or $(ROUNDS),20) $(SEED)

objects: .venv/.ready-dev  ## See what is new in a bucket of OBJECTS (100,000), twice, on an S3 server of its own
	bash scripts/objectstore var/s3proxy
	PYTHONPATH=.:tests $(BIN)/python bench/objects.py --objects $(or $(OBJECTS),100000)

test: .venv/.ready-dev  ## Set up, then run all tests (SPARK=no: but those that need a Spark cluster)
	bash scripts/servers
	bash scripts/objectstore var/s3proxy
	$(if $(filter no,$(SPARK)),,bash scripts/cluster var/spark)
	$(BIN)/python -m pytest -q -n $(TEST_PROCESSES) --dist worksteal

crash: .venv/.ready-dev  ## Break the whole network under load, a hundred rounds (ROUNDS, FROM, SEED, RECORD): nothing lost
	bash scripts/servers
	$(BIN)/python tests/realtime/crash_rounds.py --rounds $(or $(ROUNDS),100) \
		$(if $(FROM),--from $(FROM)) $(if $(SEED),--seed $(SEED)) $(if $(RECORD),--record $(RECORD))

side-by-side: .venv/.ready-dev  ## Kill, stop and cut off gateways that share a state, fifty rounds (ROUNDS, SEED): nothing lost
	bash scripts/servers
	PYTHONPATH=.:tests:tests/pipelines $(BIN)/python tests/pipelines/side_by_side.py --rounds $(or $(ROUNDS),50) $(if $(SEED),--seed $(SEED))

check: .venv/.ready-dev  ## Lint, format, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.ready-dev  ## Measure the reference job side by side with the hand-written loop; writes bench/RESULTS.md
	$(BIN)/python bench/run.py

lock: .venv/.ready-dev  ## Resolve the dependencies anew and write both lock files, with hashes
	$(BIN)/python -m pip install --quiet "uv>=0.9"
	$(UV_COMPILE) --upgrade --output-file requirements.lock
	$(UV_COMPILE) --upgrade --extra dev --constraint requirements.lock --output-file requirements-dev.lock

clean:  ## Remove .venv and caches; state in var/ stays
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.ready: requirements.lock pyproject.toml scripts/setup
	bash scripts/setup requirements.lock
	@touch $@

.venv/.ready-dev: requirements-dev.lock requirements.lock pyproject.toml scripts/setup
	bash scripts/setup requirements-dev.lock
	@touch .venv/.ready $@
