# Two commands are all a newcomer needs: `make demo` and `make test`. Each sets up what it needs first.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
PROCESSES ?= 2

.PHONY: help demo demo-kafka test lint format bench proto demo-model train kafka clean
help:
	@echo "make demo        set up, then show NEO Runtime at work"
	@echo "make demo-kafka  the same through a real Kafka, started from pip"
	@echo "make test        set up, then run every test"
	@echo "make lint        ruff, mypy, import layers, buf"
	@echo "make bench       benchmarks beside their peers; results under benchmarks/results/"
	@echo "make proto       write neo_runtime/v1 from protos/"
	@echo "make demo-model  train the demo model again (some 35 minutes of one core)"
	@echo "make train       train on the Amazon 2014 files (AMAZON=FOLDER, PROCESSES=2) and evaluate"

.venv/base: pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with venv is needed; set PYTHON=..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

.venv/dev: .venv/base
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,kafka-dev,embed]'
	@touch $@

demo: .venv/base
	$(BIN)/neo demo

demo-kafka: .venv/dev
	$(BIN)/neo demo --kafka

test: .venv/dev
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	cd protos && ../$(BIN)/buf lint

format: .venv/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/dev
	$(BIN)/python -m benchmarks.bench_trie
	$(BIN)/python -m benchmarks.bench_rank
	$(BIN)/python -m benchmarks.bench_learned
	$(BIN)/python -m benchmarks.bench_engine
	$(BIN)/python -m benchmarks.bench_front
	$(BIN)/python -m benchmarks.bench_processor
	$(BIN)/python -m benchmarks.bench_precision
	$(BIN)/python -m benchmarks.bench_freshness
	$(BIN)/python -m benchmarks.bench_rate
	$(BIN)/python -m benchmarks.bench_commits
	$(BIN)/python -m benchmarks.bench_snapshots
	$(BIN)/python -m benchmarks.bench_swaps
	$(BIN)/python -m benchmarks.bench_embedders

proto: .venv/dev
	$(BIN)/python -m grpc_tools.protoc -Iprotos --python_out=. --pyi_out=. --grpc_python_out=. protos/neo_runtime/v1/*.proto

demo-model: .venv/dev
	$(BIN)/python -m neo_runtime.demo.build

train: .venv/dev
	@test -d "$(AMAZON)" || { echo "AMAZON=FOLDER names the Amazon 2014 files; docs/data.md describes them"; exit 1; }
	test -d .neo/amazon || { rm -rf .neo/amazon.new && $(BIN)/neo data amazon $(AMAZON) .neo/amazon.new && \
		mv .neo/amazon.new .neo/amazon; }
	OMP_NUM_THREADS=1 $(BIN)/torchrun --nproc-per-node $(PROCESSES) --master-addr 127.0.0.1 \
		-m neo_runtime.cli.main train all examples/train.toml
	$(BIN)/neo evaluate .neo/amazon --out .neo/amazon-report --neo .neo/amazon-model \
		--models popularity,item-knn,pctm,ease,neo,neo+pctm,neo+ease --search bm25,neo

kafka: .venv/dev
	$(BIN)/neo kafka dev

clean:
	rm -rf .venv .neo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
