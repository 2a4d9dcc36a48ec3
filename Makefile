# The two commands of the README, and what they need. `make help` lists the targets.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Tests side by side.
JOBS   ?= 2
# One torch thread a process: two threads on two busy cores are many times slower than one.
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: help install quickstart test test-slow test-slurm test-hydra14 lint format bench bases clean

help: ## show this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "repro needs Python 3.11 or newer; set PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	# The two variables pin what source packages are built with; which of them pip reads depends on its version.
	PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,slurm]'
	touch $@

install: $(VENV)/.installed ## environment in .venv, every version locked by constraints.txt

quickstart: install ## install and run the main job at micro scale (minutes, offline)
	$(BIN)/python -m repro +experiment=quickstart

test: install ## fast tests: no network, no GPU, no data folder
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal --durations=20 -m "not slow and not slurm and not gpu and not hydra14"

test-slow: install ## everything that this machine can run
	$(BIN)/python -m pytest -m "not gpu"

test-slurm: install ## sweeps on a real two-node Slurm (root, apt packages slurmctld slurmd slurm-client munge; else skipped)
	$(BIN)/python -m pytest -m "slurm and not slow" tests/slurm

test-hydra14: install ## every experiment at every scale under the newest pre-release of Hydra 1.4 (network; else skipped)
	$(BIN)/python -m pytest -m hydra14 tests/test_hydra14.py

lint: install ## ruff, lint and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install ## benchmarks, ratios side by side in one run
	$(BIN)/python -m tests.benchmarks.training
	$(BIN)/python -m tests.benchmarks.rollouts
	$(BIN)/python -m tests.benchmarks.rewards
	$(BIN)/python -m tests.benchmarks.verifier
	$(BIN)/python -m tests.benchmarks.cot
	$(BIN)/python -m tests.benchmarks.scoring

bases: install ## train the base checkpoints that ship with the project again (half an hour)
	$(BIN)/python -m repro.models.pretrain model=micro_llama
	$(BIN)/python -m repro.models.pretrain model=micro_qwen_math

clean: ## remove the environment; outputs/ stays
	rm -rf $(VENV)
