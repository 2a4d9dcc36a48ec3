"""Shared by all tests: no network, one thread, and the overrides that shrink a cell to seconds."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1", WANDB_MODE="offline")
ROOT = Path(__file__).parents[1]

# Every stage really runs, on a model of a few thousand parameters and for a few steps.
SHRINK = [
    "model.micro.shipped=false",
    "model.micro.hidden_size=16",
    "model.micro.heads=2",
    "model.micro.kv_heads=2",
    "model.micro.layers=1",
    "model.micro.intermediate_size=32",
    "model.micro.skill_steps=3",
    "model.micro.mixture_steps=2",
    "model.micro.batch_size=8",
    "data.train_size=16",
    "sft.samples_per_problem=2",
    "sft.batch_size=8",
    "sft.save_steps=2",
    "rl.steps=4",
    "rl.prompts_per_step=2",
    "rl.group_size=2",
    "rl.max_completion_length=24",
    "rl.save_steps=1",
    "rl.eval_steps=2",
    "eval.questions=3",
    "eval.samples=2",
    "eval.max_tokens=24",
    "tracking=none",
    "traces.megabytes=1",
]


def repro(*arguments: str, cwd: Path, check: bool = True, timeout: float = 300, **env: str) -> subprocess.CompletedProcess:
    """``python -m repro ...`` in ``cwd``, as a user runs it."""
    command = [sys.executable, "-m", "repro", *arguments]
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=timeout, check=False)
    if check:
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done


@functools.cache
def planned(experiment: str, scale: str):
    """The plan of an experiment, seed 0: every arm composed and validated. Composing all arms is slow, and several tests look at them."""
    from repro.plan.cells import expand

    return expand([f"+experiment={experiment}", f"scale={scale}", "seed=0"])


@pytest.fixture(scope="session")
def shared_store(tmp_path_factory) -> Path:
    """A store for the tests that do not look at building: equal stages are built once a session, by whichever xdist worker is first."""
    root = tmp_path_factory.getbasetemp()
    return (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "shared-store"


@pytest.fixture(scope="session")
def start(tmp_path_factory) -> Path:
    """A random checkpoint of a few thousand parameters."""
    from tests.rl.small import make_start

    return make_start(tmp_path_factory.mktemp("start"))
